"""A stack without its supervisor: each process is started, armed, watched dying and started again by the test."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
from aiosmtpd.smtp import SMTP, Envelope, Session

from deploy.local.home import REPOSITORY, Home
from deploy.local.payflow import PayFlow
from deploy.local.ports import find_free
from deploy.local.process import Process
from deploy.local.roles import ROLES, Wiring
from deploy.local.stack import Stack, wait_ready
from services.chassis import dead_letters
from services.chassis.broker import Outgoing, Publisher
from services.chassis.database import Pool, close_pool, open_pool
from services.chassis.dead_letters import Replay
from services.contracts.identifiers import new_id
from services.contracts.messages import encode_envelope
from services.contracts.topology import DELAY_SECONDS, QUEUES, TRANSFERS_FINALIZED, TRANSFERS_REQUESTED, Route
from services.wallet import commands as wallet_commands
from services.wallet.proof import Proof, prove
from tests.chaos.crash_table import NOTHING, NOTIFIER, WORKER_ROLE
from tests.harness.api import Answer, ApiClient, Person

AMOUNT = 10
LONG_SECONDS = 3600.0
"""An age at which no transfer of a drill is stale: the reversal is not what saved it."""

WAIT_SECONDS = 60.0
TRY_AGAIN_SECONDS = 0.05
LOGIN_SECONDS = 120.0
CONSUMERS = (WORKER_ROLE, NOTIFIER)
SETTINGS = {
    "PAYFLOW_RATE_LIMITS": "off",
    "PAYFLOW_REVERSAL_EVERY_SECONDS": "0.5",
    "PAYFLOW_CATCH_UP_SECONDS": str(LONG_SECONDS),
}
"""Nobody catches up: what the broker delivers again is what saved it."""


class Postbox:
    """A mail server that takes everything, and keeps the Message-IDs."""

    def __init__(self) -> None:
        self.ids: Counter[str] = Counter()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.ids[str(email.message_from_bytes(envelope.content, policy=email.policy.default)["Message-ID"])] += 1
        return "250 OK"


@dataclass(slots=True)
class Sent:
    """One transfer of a drill: a sender, a receiver nobody else sends to, a key, and how each try of it ended."""

    sender: Person
    wallet_id: UUID
    owner_id: UUID
    key: str = field(default_factory=lambda: uuid4().hex)
    tries: list[int | None] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    @property
    def transfer_id(self) -> UUID:
        return UUID(self.answers[0].body["id"])


class Rig:
    """The running processes, the three databases as their services see them, the broker, and a postbox."""

    def __init__(self, wiring: Wiring, home: Home, postbox: Postbox) -> None:
        self.wiring = wiring
        self.home = home
        self.postbox = postbox
        self.running: dict[str, Process] = {}
        self.armed: set[str] = set()
        self.age_seconds = LONG_SECONDS
        self._roles = {role.name: role for role in ROLES}
        self._people: dict[str, tuple[Person, float]] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        """Connect to what stands behind the processes."""
        engines = self.wiring._engines
        self.pools: dict[str, Pool] = {}
        for name, service, role in (
            ("wallet", "wallet", "payflow_wallet"),
            ("proof", "wallet", "payflow_wallet_proof"),
            ("transaction", "transaction", "payflow_transaction"),
            ("notification", "notification", "payflow_notification"),
        ):
            self.pools[name] = await open_pool(engines.postgres.dsn(service, role), name="drill", size_max=4)
            stack.push_async_callback(close_pool, self.pools[name])
        self.publisher = Publisher(engines.rabbitmq.url, "drill")
        stack.push_async_callback(self.publisher.close)
        # Nothing is kept alive: a gateway that dies must not meet a connection to the one before it.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self.session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

    # Processes

    async def start(self, name: str, *, crash_at: str = "", wait: bool = True, **variables: str) -> None:
        """Start a role, armed or not; `wait` until it is ready, unless it is going to end before it is."""
        role = self._roles[name]
        environment = self.wiring.environment(role) | variables
        environment["PAYFLOW_REVERSAL_AFTER_SECONDS"] = str(self.age_seconds)
        self.armed.discard(name)
        if crash_at:
            self.armed.add(name)
            environment["PAYFLOW_CRASH_AT"] = crash_at
        command = [sys.executable, "-m", f"services.{role.service}", role.role]
        log = self.home.log(name)
        self.running[name] = Process(name, command, environment=environment, directory=REPOSITORY, log=log)
        self.running[name].spawn()
        if wait:
            await wait_ready(self.session, self.running[name], f"{self.wiring.metrics_url(name)}/readyz")

    async def stop(self, name: str) -> None:
        """Let a role finish what it has in hand, and end."""
        await self.running[name].stop()

    async def take_down(self, name: str) -> None:
        """Stop a role that has nothing left to do: what waits for it afterwards belongs to the next drill."""
        while True:
            await self.quiet()
            await self.stop(name)
            if name not in CONSUMERS or not any((await self.depths()).values()):
                return
            await self.start(name)

    async def died(self, name: str) -> None:
        """Wait for the armed role to end by its own hand; that it does not means that the point was not reached."""
        assert await self.running[name].wait(WAIT_SECONDS), f"{name} lives: it never came by its point"
        assert -signal.SIGKILL == self.running[name].poll(), self.running[name].last_line()

    async def age(self, seconds: float) -> None:
        """Let transfers be accepted from now on for so many seconds."""
        if seconds != self.age_seconds:
            self.age_seconds = seconds
            await self.stop("transaction")
            await self.start("transaction")

    def passed(self, name: str, since: int) -> Counter[str]:
        """The points that an armed role came by, as its log tells from that byte on."""
        lines = self.home.log(name).read_bytes()[since:].decode().splitlines()
        told = [json.loads(line) for line in lines if '"crash_point_passed"' in line]
        return Counter(line["point"] for line in told)

    # People and what they send

    async def person(self, name: str) -> Person:
        """One of the demo people, with a token that is good for the length of a drill."""
        known = self._people.get(name)
        if known is None or time.monotonic() - known[1] > LOGIN_SECONDS:
            person = await ApiClient(self.session, self.wiring.gateway_url).login(
                f"{name}@example.com", "payflow-demo-1"
            )
            known = self._people[name] = (person, time.monotonic())
        return known[0]

    async def draft(self, sender: str = "alice") -> Sent:
        """A transfer to somebody new."""
        owner_id = new_id()
        opened, _ = await wallet_commands.open_wallet(self.pools["wallet"], owner_id=owner_id, currency="USD")
        return Sent(await self.person(sender), opened.id, owner_id)

    async def submit(self, sent: Sent, *, twins: int = 1) -> None:
        """Send it as a client does that must know: with the same key, until there is an answer."""
        await asyncio.gather(*(self._insist(sent) for _ in range(twins)))

    async def _insist(self, sent: Sent) -> None:
        body = {"amount": AMOUNT, "currency": "USD", "to": {"wallet_id": str(sent.wallet_id)}}
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                try:
                    answer = await sent.sender.post("/transfers", body, key=sent.key)
                except aiohttp.ClientError:
                    sent.tries.append(None)
                else:
                    sent.tries.append(answer.status)
                    if answer.status == 202:
                        sent.answers.append(answer)
                        return
                    assert answer.status in (409, 502, 503, 504), answer
                await asyncio.sleep(TRY_AGAIN_SECONDS)

    # What is on record

    async def state(self, sent: Sent) -> str:
        """What is on record about a transfer: its status, and its outcome where the status does not tell it yet."""
        row = await self.pools["transaction"].fetchrow(
            "SELECT id, status FROM transfers WHERE to_wallet_id = $1", sent.wallet_id
        )
        if row is None:
            return NOTHING
        outcome = await self.pools["wallet"].fetchval("SELECT outcome FROM outcomes WHERE transfer_id = $1", row["id"])
        return f"PENDING, {outcome}" if outcome and row["status"] == "PENDING" else str(row["status"])

    async def until(self, service: str, statement: str, *arguments: object) -> None:
        """Wait until a statement says true."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not await self.pools[service].fetchval(statement, *arguments):
            assert time.monotonic() < deadline, f"not so after {WAIT_SECONDS:.0f} s: {statement}"
            await asyncio.sleep(0.02)

    async def finalized(self, sent: Sent, *, told: bool = True) -> None:
        """Wait until the transfer is terminal, all is published, and (`told`) those whom it concerns were told."""
        await self.until("transaction", "SELECT status <> 'PENDING' FROM transfers WHERE id = $1", sent.transfer_id)
        await self.until("transaction", "SELECT NOT EXISTS (SELECT FROM outbox WHERE published_at IS NULL)")
        if told:
            await self._told(sent)

    async def _told(self, sent: Sent) -> None:
        await self.until("notification", "SELECT EXISTS (SELECT FROM inbox WHERE transfer_id = $1)", sent.transfer_id)

    async def delivered(self) -> None:
        """Wait until no e-mail waits."""
        await self.until("notification", "SELECT NOT EXISTS (SELECT FROM deliveries WHERE state = 'waiting')")

    async def end_leases(self) -> None:
        """Let the time of every lease be over now."""
        now = "SET claimed_until = clock_timestamp() WHERE claimed_until > clock_timestamp()"
        await self.pools["transaction"].execute(f"UPDATE outbox {now} AND published_at IS NULL")
        await self.pools["notification"].execute(f"UPDATE deliveries {now} AND state = 'waiting'")

    async def prove(self) -> Proof:
        return await prove(self.pools["proof"])

    # The broker

    async def copy(self, sent: Sent, route: Route) -> None:
        """Put one more of the same command or event into its queue."""
        body = await self.pools["transaction"].fetchval(
            "SELECT body FROM outbox WHERE topic = $1 AND body::jsonb ->> 'transfer_id' = $2",
            route.type,
            str(sent.transfer_id),
        )
        await self.publish(route, encode_envelope(route, [body], sent_at=datetime.now(UTC)))

    async def publish(self, route: Route, body: bytes) -> None:
        assert [None] == await self.publisher.publish([Outgoing(route.exchange, route.type, body)])

    async def depths(self) -> dict[str, int]:
        """What waits in the two queues."""
        return await self.publisher.depths([queue.name for queue in QUEUES])

    async def waits(self, queue_name: str, count: int) -> None:
        """Wait until so many messages wait in a queue."""
        async with asyncio.timeout(WAIT_SECONDS):
            while (await self.depths())[queue_name] < count:
                await asyncio.sleep(0.02)

    async def exceptions(self) -> Counter[str]:
        """What did not finalize: dead letters, and what waits for its next try."""
        names = [queue.dead_letter for queue in QUEUES]
        names += [queue.delay(seconds) for queue in QUEUES for seconds in DELAY_SECONDS]
        return +Counter(await self.publisher.depths(names))

    async def discard_poison(self) -> int:
        """Wait until what nobody can read is on record, and deal with it; how many waited."""
        pool = self.pools["transaction"]
        waiting = "SELECT id FROM dead_letters WHERE state = 'waiting'"
        async with asyncio.timeout(WAIT_SECONDS):
            while not (letters := await pool.fetch(waiting)) or await self.exceptions():
                await asyncio.sleep(0.05)
        for letter in letters:
            await dead_letters.discard(pool, letter["id"], "a drill", Replay(new_id(), "drill"))
        return len(letters)

    async def quiet(self) -> None:
        """Wait until both queues are empty and no consumer has anything in hand."""
        async with asyncio.timeout(WAIT_SECONDS):
            while any((await self.depths()).values()) or await self._in_hand():
                await asyncio.sleep(0.05)

    async def _in_hand(self) -> bool:
        for name in CONSUMERS:
            if self.running[name].pid is not None:
                async with self.session.get(self.wiring.metrics_url(name) + "/metrics") as response:
                    page = await response.text()
                if re.search(r'^payflow_queue_messages\{[^}]*state="unacked"\} (?!0\.0$)', page, re.MULTILINE):
                    return True
        return False


@asynccontextmanager
async def rigged(folder: Path, caller: Mapping[str, str] = os.environ) -> AsyncIterator[Rig]:
    """The whole system below `folder`, every role running and nobody watching over it."""
    async with AsyncExitStack() as stack:
        postbox = Postbox()
        listener = await asyncio.get_running_loop().create_server(
            lambda: SMTP(postbox, enable_SMTPUTF8=True, hostname="postbox"), "127.0.0.1", 0
        )
        stack.callback(listener.close)
        home = Home(folder)
        home.open()
        settings = SETTINGS | {
            "PAYFLOW_GATEWAY_PORT": str(find_free()),
            "PAYFLOW_SMTP_URL": f"smtp://127.0.0.1:{listener.sockets[0].getsockname()[1]}",
            "PAYFLOW_REVERSAL_AFTER_SECONDS": str(LONG_SECONDS),
        }
        plan = PayFlow(home, {**caller, **settings})
        system = Stack(home, plan, tell=lambda _line: None)
        stack.push_async_callback(system.stop)
        await system.start()
        await system.furnish()
        rig = Rig(plan.wiring, home, postbox)
        rig.running = {process.name: process for process in system._processes}
        stack.push_async_callback(_stop_all, rig)
        await rig.open(stack)
        await rig.stop("transaction-worker-2")
        yield rig


async def _stop_all(rig: Rig) -> None:
    await asyncio.gather(*(process.stop() for process in rig.running.values()))


COMMAND, EVENT = TRANSFERS_REQUESTED, TRANSFERS_FINALIZED
