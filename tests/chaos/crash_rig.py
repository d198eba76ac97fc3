"""A stack without its supervisor: the test starts, arms and restarts each process and waits for its crash."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import os
import re
import signal
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

from deploy.local.home import Home
from deploy.local.payflow import PayFlow
from deploy.local.ports import find_free
from deploy.local.process import Process
from deploy.local.roles import ROLES, Wiring
from deploy.local.stack import Stack, wait_ready
from services.chassis import dead_letters
from services.chassis.broker import OutgoingMessage, Publisher
from services.chassis.database import Pool, close_pool, open_pool
from services.chassis.dead_letters import Actor
from services.contracts.identifiers import new_id
from services.contracts.messages import encode_envelope
from services.contracts.topology import DELAY_SECONDS, QUEUES, TRANSFERS_FINALIZED, TRANSFERS_REQUESTED, Route
from services.wallet import commands as wallet_commands
from services.wallet.proof import prove
from services.wallet.store import Proof
from tests.chaos.crash_table import NOTHING, NOTIFIER, WORKER_ROLE
from tests.harness import preloaded
from tests.harness.api import ApiClient, Person, Response
from tests.harness.databases import DataFolder
from tests.harness.outbox_items import make_item
from tests.harness.preloaded import PreloadedWiring

AMOUNT = 10
LONG_SECONDS = 3600.0
"""Old enough that no transfer of a drill is stale: the reversal must not be the reason it completes."""

WAIT_SECONDS = 60.0
RETRY_SECONDS = 0.05
LOGIN_SECONDS = 120.0
CONSUMERS = (WORKER_ROLE, NOTIFIER)
SETTINGS = {
    "PAYFLOW_RATE_LIMITS": "off",
    "PAYFLOW_REVERSAL_EVERY_SECONDS": "0.5",
    "PAYFLOW_CATCH_UP_SECONDS": str(LONG_SECONDS),
}
"""Catch-up is off: redelivery by the broker must be the reason an event arrives."""


class MailServer:
    """An SMTP server that accepts everything and counts the Message-IDs."""

    def __init__(self) -> None:
        self.ids: Counter[str] = Counter()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.ids[str(email.message_from_bytes(envelope.content, policy=email.policy.default)["Message-ID"])] += 1
        return "250 OK"


@dataclass(slots=True)
class Sent:
    """One transfer of a drill: a sender, a receiver of its own, a key, and the result of each attempt."""

    sender: Person
    wallet_id: UUID
    owner_id: UUID
    key: str = field(default_factory=lambda: uuid4().hex)
    tries: list[int | None] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)

    @property
    def transfer_id(self) -> UUID:
        return UUID(self.responses[0].body["id"])


class Rig:
    """The running processes, their databases, the broker, and a mail server."""

    def __init__(self, wiring: Wiring, home: Home, mail_server: MailServer) -> None:
        self.wiring = wiring
        self.home = home
        self.mail_server = mail_server
        self.running: dict[str, Process] = {}
        self.armed: set[str] = set()
        self.age_seconds = LONG_SECONDS
        self._roles = {role.name: role for role in ROLES}
        self._people: dict[str, tuple[Person, float]] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        """Connect to the databases and the broker."""
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
        # No keep-alive: a request must not reuse a connection to a gateway that has died.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self.session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

    # Processes

    async def start(self, name: str, *, crash_at: str = "", wait: bool = True, **variables: str) -> None:
        """Start a role, armed or not; `wait` until it is ready, unless it crashes before that."""
        role = self._roles[name]
        environment = self.wiring.environment(role) | variables
        environment["PAYFLOW_REVERSAL_AFTER_SECONDS"] = str(self.age_seconds)
        self.armed.discard(name)
        if crash_at:
            self.armed.add(name)
            environment["PAYFLOW_CRASH_AT"] = crash_at
        self.running[name] = preloaded.program(
            name, f"services.{role.service}", role.role, environment=environment, log=self.home.log(name)
        )
        self.running[name].spawn()
        if wait:
            await wait_ready(self.session, self.running[name], f"{self.wiring.metrics_url(name)}/readyz")

    async def stop(self, name: str) -> None:
        """Let a role finish its current work and exit."""
        await self.running[name].stop()

    async def take_down(self, name: str) -> None:
        """Stop a role that has nothing left to do, so that later work belongs to the next drill."""
        while True:
            await self.quiet()
            await self.stop(name)
            if name not in CONSUMERS or not any((await self.depths()).values()):
                return
            await self.start(name)

    async def died(self, name: str) -> None:
        """Wait until the armed role has killed itself; otherwise its point was not reached."""
        assert await self.running[name].wait(WAIT_SECONDS), f"{name} is still running: it never reached its point"
        assert -signal.SIGKILL == self.running[name].poll(), self.running[name].last_line()

    async def age(self, seconds: float) -> None:
        """Set the lifetime of transfers accepted from now on."""
        if seconds != self.age_seconds:
            self.age_seconds = seconds
            await self.stop("transaction")
            await self.start("transaction")

    def passed(self, name: str, since: int) -> Counter[str]:
        """The points an armed role has passed, according to its log from this byte on."""
        lines = self.home.log(name).read_bytes()[since:].decode().splitlines()
        passed = [json.loads(line) for line in lines if '"crash_point_passed"' in line]
        return Counter(line["point"] for line in passed)

    # Users and their requests

    async def person(self, name: str) -> Person:
        """A demo user, with a token that stays valid for the length of a drill."""
        known = self._people.get(name)
        if known is None or time.monotonic() - known[1] > LOGIN_SECONDS:
            person = await ApiClient(self.session, self.wiring.gateway_url).login(
                f"{name}@example.com", "payflow-demo-1"
            )
            known = self._people[name] = (person, time.monotonic())
        return known[0]

    async def draft(self, sender: str = "alice") -> Sent:
        """A transfer to a new receiver."""
        owner_id = new_id()
        opened, _ = await wallet_commands.open_wallet(self.pools["wallet"], owner_id=owner_id, currency="USD")
        return Sent(await self.person(sender), opened.id, owner_id)

    async def submit(self, sent: Sent, *, copies: int = 1) -> None:
        """Send it with its key until there is a response, as a client that needs the outcome does."""
        await asyncio.gather(*(self._submit_once(sent) for _ in range(copies)))

    async def _submit_once(self, sent: Sent) -> None:
        body = {"amount": AMOUNT, "currency": "USD", "to": {"wallet_id": str(sent.wallet_id)}}
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                try:
                    response = await sent.sender.post("/transfers", body, key=sent.key)
                except aiohttp.ClientError:
                    sent.tries.append(None)
                else:
                    sent.tries.append(response.status)
                    if response.status == 202:
                        sent.responses.append(response)
                        return
                    assert response.status in (409, 502, 503, 504), response
                await asyncio.sleep(RETRY_SECONDS)

    # Recorded state

    async def state(self, sent: Sent) -> str:
        """The recorded state of a transfer: its status, and its outcome while the status is still PENDING."""
        row = await self.pools["transaction"].fetchrow(
            "SELECT id, status FROM transfers WHERE to_wallet_id = $1", sent.wallet_id
        )
        if row is None:
            return NOTHING
        outcome = await self.pools["wallet"].fetchval("SELECT outcome FROM outcomes WHERE transfer_id = $1", row["id"])
        return f"PENDING, {outcome}" if outcome and row["status"] == "PENDING" else str(row["status"])

    async def until(self, service: str, statement: str, *arguments: object) -> None:
        """Wait until a statement returns true."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not await self.pools[service].fetchval(statement, *arguments):
            assert time.monotonic() < deadline, f"not true after {WAIT_SECONDS:.0f} s: {statement}"
            await asyncio.sleep(0.02)

    async def finalized(self, sent: Sent, *, notified: bool = True) -> None:
        """Wait until the transfer is terminal, everything is published, and (`notified`) its users are notified."""
        await self.until("transaction", "SELECT status <> 'PENDING' FROM transfers WHERE id = $1", sent.transfer_id)
        await self.until("transaction", "SELECT NOT EXISTS (SELECT FROM outbox WHERE published_at IS NULL)")
        if notified:
            await self._wait_notified(sent)

    async def _wait_notified(self, sent: Sent) -> None:
        await self.until(
            "notification", "SELECT EXISTS (SELECT FROM notifications WHERE transfer_id = $1)", sent.transfer_id
        )

    async def delivered(self) -> None:
        """Wait until no e-mail is waiting."""
        await self.until("notification", "SELECT NOT EXISTS (SELECT FROM deliveries WHERE state = 'waiting')")

    async def end_leases(self) -> None:
        """End all leases now."""
        now = "SET claimed_until = clock_timestamp() WHERE claimed_until > clock_timestamp()"
        await self.pools["transaction"].execute("UPDATE leases SET expires_at = clock_timestamp()")
        await self.pools["notification"].execute(f"UPDATE deliveries {now} AND state = 'waiting'")

    async def prove(self) -> Proof:
        return await prove(self.pools["proof"])

    # The broker

    async def copy(self, sent: Sent, route: Route) -> None:
        """Publish one more copy of a command or event."""
        transfer = await self.pools["transaction"].fetchrow("SELECT * FROM transfers WHERE id = $1", sent.transfer_id)
        assert transfer is not None, "it was accepted"
        await self.publish(route, encode_envelope(route, [make_item(route, transfer)], sent_at=datetime.now(UTC)))

    async def publish(self, route: Route, body: bytes) -> None:
        assert [None] == await self.publisher.publish([OutgoingMessage(route.exchange, route.type, body)])

    async def depths(self) -> dict[str, int]:
        """The number of messages in both queues."""
        return await self.publisher.depths([queue.name for queue in QUEUES])

    async def waits(self, queue_name: str, count: int) -> None:
        """Wait until a queue holds this many messages."""
        async with asyncio.timeout(WAIT_SECONDS):
            while (await self.depths())[queue_name] < count:
                await asyncio.sleep(0.02)

    async def exceptions(self) -> Counter[str]:
        """Messages that failed: dead letters, and those waiting for a retry."""
        names = [queue.dead_letter for queue in QUEUES]
        names += [queue.delay(seconds) for queue in QUEUES for seconds in DELAY_SECONDS]
        return +Counter(await self.publisher.depths(names))

    async def discard_poison(self) -> int:
        """Wait until the unreadable messages are recorded, discard them, and return their number."""
        pool = self.pools["transaction"]
        waiting = "SELECT id FROM dead_letters WHERE state = 'waiting'"
        async with asyncio.timeout(WAIT_SECONDS):
            while not (rows := await pool.fetch(waiting)) or await self.exceptions():
                await asyncio.sleep(0.05)
        for row in rows:
            await dead_letters.discard(pool, row["id"], "a drill", Actor(new_id(), "drill"))
        return len(rows)

    async def quiet(self) -> None:
        """Wait until both queues are empty and no consumer holds an unacknowledged message."""
        async with asyncio.timeout(WAIT_SECONDS):
            while any((await self.depths()).values()) or await self._is_busy():
                await asyncio.sleep(0.05)

    async def _is_busy(self) -> bool:
        for name in CONSUMERS:
            if self.running[name].pid is not None:
                async with self.session.get(self.wiring.metrics_url(name) + "/metrics") as response:
                    page = await response.text()
                if re.search(r'^payflow_queue_messages\{[^}]*state="unacked"\} (?!0\.0$)', page, re.MULTILINE):
                    return True
        return False


@asynccontextmanager
async def open_rig(
    folder: Path, data: DataFolder | None = None, caller: Mapping[str, str] = os.environ
) -> AsyncIterator[Rig]:
    """The whole system below `folder`, with every role running and no supervisor."""
    async with AsyncExitStack() as stack:
        mail_server = MailServer()
        listener = await asyncio.get_running_loop().create_server(
            lambda: SMTP(mail_server, enable_SMTPUTF8=True, hostname="mail_server"), "127.0.0.1", 0
        )
        stack.callback(listener.close)
        home = Home(folder)
        home.open()
        if data is not None:
            await data.copy(home.path / "postgres", home.secrets)
        settings = SETTINGS | {
            # Its payments would reach the points of the table, too.
            "PAYFLOW_CANARY": "off",
            "PAYFLOW_GATEWAY_PORT": str(find_free()),
            "PAYFLOW_SMTP_URL": f"smtp://127.0.0.1:{listener.sockets[0].getsockname()[1]}",
            "PAYFLOW_REVERSAL_AFTER_SECONDS": str(LONG_SECONDS),
        }
        plan = PayFlow(home, {**caller, **settings}, wiring=PreloadedWiring)
        system = Stack(home, plan, report=lambda _line: None)
        stack.push_async_callback(system.stop)
        await system.start()
        await system.finish_start()
        rig = Rig(plan.wiring, home, mail_server)
        rig.running = {process.name: process for process in system._processes}
        stack.push_async_callback(_stop_all, rig)
        await rig.open(stack)
        await rig.stop("transaction-worker-2")
        yield rig


async def _stop_all(rig: Rig) -> None:
    await asyncio.gather(*(process.stop() for process in rig.running.values()))


COMMAND, EVENT = TRANSFERS_REQUESTED, TRANSFERS_FINALIZED
