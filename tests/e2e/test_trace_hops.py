"""`payflow trace` for transfers that are stopped at each hop, with the real processes kept down.

`make test` stops two transfers at each hop once; `make drills` stops one to eight of them, 20 times.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import pytest

from services.contracts.topology import REQUESTED_QUEUE
from tests.chaos import superuser
from tests.e2e.test_command_line import Terminal
from tests.harness import broker
from tests.harness.api import Person
from tests.harness.drills import FULL, bound
from tests.harness.stack import Stack

WORKERS = ("transaction-worker-1", "transaction-worker-2")
SECONDS = 60.0
STUCK = 3
"""The exit code of `payflow stuck` if it finds a transfer."""

INTERNAL_WORDS = re.compile(
    r"(?i)relay|broker|worker|queue|rabbit|postgres|database|wallet service|dead letter|reversal"
)
"""Words that mean nothing to a customer."""

SHORT_SIZE = 2
FULL_SIZE_MAX = 8

Send = Callable[[], Awaitable[list[str]]]
"""Sends some transfers at once and returns their ids."""

repeated = pytest.mark.usefixtures("repetition")


@pytest.fixture(params=range(bound(1, 20)))
def repetition(request: pytest.FixtureRequest) -> int:
    """The number of this run of a test."""
    number: int = request.param
    return number


@pytest.fixture
def send(alice: Person, bob: Person, request: pytest.FixtureRequest) -> Send:
    """How many are sent depends on the name of the test, which contains the repetition."""
    size = random.Random(request.node.name).randint(1, FULL_SIZE_MAX) if FULL else SHORT_SIZE

    async def send_some() -> list[str]:
        sent = await asyncio.gather(*(alice.send_money(bob, 1) for _ in range(size)))
        return [response.body["id"] for response in sent]

    return send_some


@pytest.fixture
async def terminal(stack: Stack, tmp_path: Path) -> Terminal:
    """The command line of an operator."""
    opened = Terminal(stack, tmp_path)
    assert (0, "") == (ran := await opened.run("login", "ops@example.com", password="payflow-demo-1"))[::2], ran
    return opened


@asynccontextmanager
async def down(stack: Stack, *names: str) -> AsyncIterator[None]:
    """Keep these processes down."""
    try:
        for name in names:
            await stack.take_down(name)
        yield
    finally:
        for name in names:
            stack.bring_up(name)
        for name in [name for name in names if name != "rabbitmq"]:
            await stack.ready(name)


async def timeline(operator: Person, transfer_id: str) -> dict[str, Any]:
    """The timeline; its sentence is fit for a customer."""
    trace: dict[str, Any] = (await operator.get(f"/ops/transfers/{transfer_id}/timeline")).body
    sentence = trace["summary"]
    assert not INTERNAL_WORDS.search(sentence), sentence
    assert re.search(
        r"not be charged twice|[Nn]o money (has moved|moves)|money has arrived|being finalized", sentence
    ), sentence
    return trace


async def waits(terminal: Terminal, operator: Person, ids: list[str], hop: str) -> list[list[str]]:
    """Wait until this hop is named for each: the steps so far. `payflow trace` names it too, what to check, and since when."""
    async with asyncio.timeout(SECONDS):
        traces = [await named(operator, transfer_id, hop) for transfer_id in ids]
    before = traces[0]
    shown = await terminal.run("trace", ids[0])
    # The sentence changes when the transfer expires meanwhile.
    after = await timeline(operator, ids[0])
    assert (0, "") == (shown[0], shown[2])
    assert re.search(rf"^waits for +{hop}: ", shown[1], re.MULTILINE), shown
    assert re.search(r"^since +\S+ \S+ after \w+ \(\w+\)$", shown[1], re.MULTILINE), shown
    assert re.search(r"^check ", shown[1], re.MULTILINE), shown
    assert before["summary"] in shown[1] or after["summary"] in shown[1], shown
    return [[step["step"] for step in trace["steps"]] for trace in traces]


async def named(operator: Person, transfer_id: str, hop: str) -> dict[str, Any]:
    """The timeline as soon as it names this hop."""
    while (trace := await timeline(operator, transfer_id))["waiting_for"] != hop:
        assert trace["status"] == "PENDING", (hop, trace)
        await asyncio.sleep(0.1)
    return trace


async def ended(operator: Person, person: Person, ids: list[str]) -> list[list[str]]:
    """The steps of transfers that have their outcome; they wait for nothing."""
    steps = []
    for transfer_id in ids:
        await person.finalized(transfer_id)
        trace = await timeline(operator, transfer_id)
        assert None is trace["waiting_for"]
        steps.append([step["step"] for step in trace["steps"]])
    return steps


async def stuck(terminal: Terminal, ids: list[str]) -> set[str | None]:
    """What these transfers wait for by `payflow stuck`, which finds each of them without its id; None: one was not found."""
    code, out, _ = await terminal.run("stuck", "--seconds", "0", "--limit", "200", "--json")
    assert code == STUCK, out
    late = {item["id"]: item["waiting_for"] for item in json.loads(out)["items"]}
    return {late.get(transfer_id) for transfer_id in ids}


@repeated
async def test_relay_down(stack: Stack, terminal: Terminal, operator: Person, alice: Person, send: Send) -> None:
    """Guarantee 67: with the relay down a transfer waits for the relay, and `payflow stuck` finds it; then it ends."""
    async with down(stack, "transaction-relay"):
        ids = await send()
        steps = await waits(terminal, operator, ids, "relay")
        late = await stuck(terminal, ids)
    assert [["accepted"]] * len(ids) == steps
    assert {"relay"} == late
    assert all("accepted" in each for each in await ended(operator, alice, ids))


@repeated
async def test_broker_down(stack: Stack, terminal: Terminal, operator: Person, alice: Person, send: Send) -> None:
    """Guarantee 67: with RabbitMQ down a transfer is accepted and waits for the broker; then it ends."""
    async with down(stack, "rabbitmq"):
        ids = await send()
        steps = await waits(terminal, operator, ids, "broker")
    assert [["accepted"]] * len(ids) == steps
    for name in ("transaction-relay", *WORKERS):
        await stack.ready(name)
    assert all("accepted" in each for each in await ended(operator, alice, ids))


@repeated
async def test_workers_down(stack: Stack, terminal: Terminal, operator: Person, alice: Person, send: Send) -> None:
    """Guarantee 67: with the workers down a transfer is queued and waits for a worker; then it ends."""
    async with down(stack, *WORKERS):
        ids = await send()
        steps = await waits(terminal, operator, ids, "worker")
    assert [["accepted", "queued"]] * len(ids) == steps
    assert all({"accepted", "queued"} < set(each) for each in await ended(operator, alice, ids))


@repeated
async def test_wallet_down(stack: Stack, terminal: Terminal, operator: Person, alice: Person, send: Send) -> None:
    """Guarantee 67: with the wallet service down the transfer waits for it, and the missing steps are announced."""
    for transfer_id in await send():
        await alice.finalized(transfer_id)
    async with down(stack, "wallet"):
        ids = await send()
        steps = await waits(terminal, operator, ids, "wallet")
        trace = await timeline(operator, ids[0])
    assert all({"accepted", "queued"} <= set(each) for each in steps)
    assert ["wallet"] == trace["unavailable"]
    await stack.ready("gateway")
    assert all({"accepted", "queued"} < set(each) for each in await ended(operator, alice, ids))


@repeated
async def test_database_of_notifications_down(
    stack: Stack, terminal: Terminal, operator: Person, alice: Person, send: Send
) -> None:
    """Guarantee 67: the transfer is COMPLETED all the same; its trace names the missing service, later its notifications."""
    async with no_connections(stack, "notification"):
        ids = await send()
        steps = await ended(operator, alice, ids)
        trace = await timeline(operator, ids[0])
        shown = await terminal.run("trace", ids[0])
    await stack.ready("notification")
    async with asyncio.timeout(SECONDS):
        while "notified" not in [step["step"] for step in (await timeline(operator, ids[0]))["steps"]]:
            await asyncio.sleep(0.1)

    assert all({"posted", "completed"} < set(each) for each in steps)
    assert ["notification"] == trace["unavailable"]
    assert re.search(r"^unavailable +notification \(steps may be missing\)$", shown[1], re.MULTILINE), shown


@asynccontextmanager
async def no_connections(stack: Stack, database: str) -> AsyncIterator[None]:
    """The database ends all its connections and accepts no new ones."""
    async with superuser.logged_in(stack) as connection:
        await connection.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)
        try:
            yield
        finally:
            await connection.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")


@repeated
async def test_rejected(stack: Stack, terminal: Terminal, operator: Person, alice: Person, bob: Person) -> None:
    """Guarantee 67: a transfer that the ledger rejects has that step, with the reason; nothing is waited for."""
    body = {"amount": 10**9, "currency": "USD", "to": {"wallet_id": bob.wallet_id}}
    headers = {"PayFlow-Simulate": "insufficient-funds"}
    transfer = (await alice.post("/transfers", body, key=uuid4().hex, headers=headers)).body
    [steps] = await ended(operator, alice, [transfer["id"]])
    shown = await terminal.run("trace", transfer["id"])

    assert ["rejected", "failed"] == [step for step in steps if step in ("posted", "rejected", "voided", "failed")]
    assert "insufficient_funds" in shown[1]
    assert "The wallet did not hold enough money. No money has moved." in shown[1]


@repeated
async def test_expired_and_reversed(
    stack: Stack, terminal: Terminal, operator: Person, alice: Person, bob: Person
) -> None:
    """Guarantee 67: an expired transfer waits for the reversal, which `payflow stuck` shows too; then it was voided."""
    body = {"amount": 1, "currency": "USD", "to": {"wallet_id": bob.wallet_id}}
    headers = {"PayFlow-Simulate": "reversed-late=1"}
    # A worker that gets an expired command has it voided too.
    async with down(stack, *WORKERS):
        async with down(stack, "transaction-reversal"):
            ids = [(await alice.post("/transfers", body, key=uuid4().hex, headers=headers)).body["id"]]
            [steps] = await waits(terminal, operator, ids, "reversal")
            late = await stuck(terminal, ids)
        [done] = await ended(operator, alice, ids)

    assert "accepted" in steps
    assert {"reversal"} == late
    assert ["voided", "failed"] == [step for step in done if step in ("posted", "rejected", "voided", "failed")]


@repeated
async def test_dead_lettered(stack: Stack, terminal: Terminal, operator: Person, alice: Person, send: Send) -> None:
    """Guarantee 67: a transfer whose command is a dead letter says so and that its end is the reversal; a replay completes it."""
    # Without the reversal the test has all the time that it needs.
    async with down(stack, *WORKERS, "transaction-reversal"):
        ids = await send()
        for step in ("queued", "dead_lettered"):
            async with asyncio.timeout(SECONDS):
                for transfer_id in ids:
                    while step not in [each["step"] for each in (await timeline(operator, transfer_id))["steps"]]:
                        await asyncio.sleep(0.1)
            if step == "queued":
                await put_aside(stack)
        steps = await waits(terminal, operator, ids, "reversal")
        late = await stuck(terminal, ids)
        aside = {
            item["id"]
            for item in (await operator.get("/ops/dead-letters")).body["items"]
            if set(ids) & set(item["transfer_ids"])
        }
        replayed = {(await operator.post(f"/ops/dead-letters/{each}/replay")).status for each in aside}
    done = await ended(operator, alice, ids)

    assert [["accepted", "queued", "dead_lettered"]] * len(ids) == steps
    assert {"reversal"} == late
    assert {200} == replayed
    assert all({"dead_lettered", "replayed"} < set(each) for each in done)


async def put_aside(stack: Stack) -> None:
    """Move the commands that wait in the queue to its dead-letter queue, as a consumer does that has given up."""
    async with broker.channel(stack) as channel:
        queue = await channel.get_queue(REQUESTED_QUEUE.name, ensure=False)
        while (message := await queue.get(fail=False)) is not None:
            copy = aio_pika.Message(
                message.body, headers=message.headers, delivery_mode=2, message_id=message.message_id, type=message.type
            )
            await channel.default_exchange.publish(copy, REQUESTED_QUEUE.dead_letter)
            await message.ack()


async def test_found_without_its_id(
    stack: Stack, terminal: Terminal, operator: Person, alice: Person, bob: Person
) -> None:
    """Guarantee 67: the key, the user and the request id each lead to the same trace; the pages fit the API document."""
    key, request_id = uuid4().hex, f"order-{uuid4().hex[:8]}"
    body = {"amount": 1, "currency": "USD", "to": {"wallet_id": bob.wallet_id}}
    headers = {"Prefer": "wait=20", "X-Request-Id": request_id}
    transfer = (await alice.post("/transfers", body, key=key, headers=headers)).body
    generated = await alice.send_money(bob, 1, wait=20)
    ways = [
        (["--key", key, "--user", alice.email], transfer["id"]),
        (["--key", key], transfer["id"]),
        (["--user", bob.user_id], None),
        (["--request-id", request_id], transfer["id"]),
        (["--request-id", generated.headers["X-Request-Id"]], generated.body["id"]),
    ]
    for way, expected in ways:
        code, out, err = await terminal.run("trace", *way, "--json")
        document = json.loads(out)
        found = [document["transfer_id"]] if "transfer_id" in document else [item["id"] for item in document["items"]]
        assert (0, True) == (code, (expected or transfer["id"]) in found), (way, out, err)
    first = (await operator.get(f"/ops/transfers?limit=1&user={alice.email}")).body
    second = (await operator.get(f"/ops/transfers?limit=1&user={alice.user_id}&cursor={first['next_cursor']}")).body
    assert [generated.body["id"], transfer["id"]] == [page["items"][0]["id"] for page in (first, second)]
