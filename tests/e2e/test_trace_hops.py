"""`payflow trace` for a transfer that is stopped at each hop, with the real processes kept down."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import pytest

from services.contracts.topology import REQUESTED_QUEUE
from tests.e2e.test_command_line import Terminal
from tests.harness import broker
from tests.harness.api import Person
from tests.harness.stack import Stack

WORKERS = ("transaction-worker-1", "transaction-worker-2")
SECONDS = 60.0
INTERNAL_WORDS = re.compile(
    r"(?i)relay|broker|worker|queue|rabbit|postgres|database|wallet service|dead letter|reversal"
)
"""Words that mean nothing to a customer."""


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


async def waits(terminal: Terminal, operator: Person, transfer_id: str, hop: str) -> list[str]:
    """Wait until this hop is named; the steps so far. `payflow trace` names it too, with what to check and since when."""
    async with asyncio.timeout(SECONDS):
        while (before := await timeline(operator, transfer_id))["waiting_for"] != hop:
            assert before["status"] == "PENDING", (hop, before)
            await asyncio.sleep(0.1)
    shown = await terminal.run("trace", transfer_id)
    # The sentence changes when the transfer expires meanwhile.
    after = await timeline(operator, transfer_id)
    assert (0, "") == (shown[0], shown[2])
    assert re.search(rf"^waits for +{hop}: ", shown[1], re.MULTILINE), shown
    assert re.search(r"^since +\S+ \S+ after \w+ \(\w+\)$", shown[1], re.MULTILINE), shown
    assert re.search(r"^check ", shown[1], re.MULTILINE), shown
    assert before["summary"] in shown[1] or after["summary"] in shown[1], shown
    return [step["step"] for step in before["steps"]]


async def ended(operator: Person, person: Person, transfer_id: str) -> list[str]:
    """The steps of a transfer that has its outcome; it waits for nothing."""
    await person.finalized(transfer_id)
    trace = await timeline(operator, transfer_id)
    assert None is trace["waiting_for"]
    return [step["step"] for step in trace["steps"]]


async def test_relay_down(stack: Stack, terminal: Terminal, operator: Person, alice: Person, bob: Person) -> None:
    """Guarantee 67: with the relay down a transfer is accepted and waits for the relay; then it ends."""
    async with down(stack, "transaction-relay"):
        transfer = (await alice.send_money(bob, 1)).body
        steps = await waits(terminal, operator, transfer["id"], "relay")
    assert ["accepted"] == steps
    assert "accepted" in await ended(operator, alice, transfer["id"])


async def test_broker_down(stack: Stack, terminal: Terminal, operator: Person, alice: Person, bob: Person) -> None:
    """Guarantee 67: with RabbitMQ down a transfer is accepted and waits for the broker; then it ends."""
    async with down(stack, "rabbitmq"):
        transfer = (await alice.send_money(bob, 1)).body
        steps = await waits(terminal, operator, transfer["id"], "broker")
    assert ["accepted"] == steps
    for name in ("transaction-relay", *WORKERS):
        await stack.ready(name)
    assert "accepted" in await ended(operator, alice, transfer["id"])


async def test_workers_down(stack: Stack, terminal: Terminal, operator: Person, alice: Person, bob: Person) -> None:
    """Guarantee 67: with the workers down a transfer is queued and waits for a worker; then it ends."""
    async with down(stack, *WORKERS):
        transfer = (await alice.send_money(bob, 1)).body
        steps = await waits(terminal, operator, transfer["id"], "worker")
    assert ["accepted", "queued"] == steps
    assert {"accepted", "queued"} < set(await ended(operator, alice, transfer["id"]))


async def test_wallet_down(stack: Stack, terminal: Terminal, operator: Person, alice: Person, bob: Person) -> None:
    """Guarantee 67: with the wallet service down the transfer waits for it, and the missing steps are announced."""
    await alice.send_money(bob, 1, wait=20)
    async with down(stack, "wallet"):
        transfer = (await alice.send_money(bob, 1)).body
        steps = await waits(terminal, operator, transfer["id"], "wallet")
        trace = await timeline(operator, transfer["id"])
    assert {"accepted", "queued"} <= set(steps)
    assert ["wallet"] == trace["unavailable"]
    await stack.ready("gateway")
    assert {"accepted", "queued"} < set(await ended(operator, alice, transfer["id"]))


async def test_rejected(stack: Stack, terminal: Terminal, operator: Person, alice: Person, bob: Person) -> None:
    """Guarantee 67: a transfer that the ledger rejects has that step, with the reason; nothing is waited for."""
    body = {"amount": 10**9, "currency": "USD", "to": {"wallet_id": bob.wallet_id}}
    headers = {"PayFlow-Simulate": "insufficient-funds"}
    transfer = (await alice.post("/transfers", body, key=uuid4().hex, headers=headers)).body
    steps = await ended(operator, alice, transfer["id"])
    shown = await terminal.run("trace", transfer["id"])

    assert ["rejected", "failed"] == [step for step in steps if step in ("posted", "rejected", "voided", "failed")]
    assert "insufficient_funds" in shown[1]
    assert "The wallet did not hold enough money. No money has moved." in shown[1]


async def test_expired_and_reversed(
    stack: Stack, terminal: Terminal, operator: Person, alice: Person, bob: Person
) -> None:
    """Guarantee 67: an expired transfer waits for the reversal, which `payflow stuck` shows too; then it was voided."""
    body = {"amount": 1, "currency": "USD", "to": {"wallet_id": bob.wallet_id}}
    headers = {"PayFlow-Simulate": "reversed-late=1"}
    # A worker that gets an expired command has it voided too.
    async with down(stack, *WORKERS):
        async with down(stack, "transaction-reversal"):
            transfer = (await alice.post("/transfers", body, key=uuid4().hex, headers=headers)).body
            steps = await waits(terminal, operator, transfer["id"], "reversal")
            code, out, _ = await terminal.run("stuck", "--seconds", "0", "--json")
        late = {item["id"]: item["waiting_for"] for item in json.loads(out)["items"]}
        done = await ended(operator, alice, transfer["id"])

    assert "accepted" in steps
    assert (3, "reversal") == (code, late[transfer["id"]])
    assert ["voided", "failed"] == [step for step in done if step in ("posted", "rejected", "voided", "failed")]


async def test_dead_lettered(stack: Stack, terminal: Terminal, operator: Person, alice: Person, bob: Person) -> None:
    """Guarantee 67: a transfer whose command is a dead letter says so and that its end is the reversal; a replay completes it."""
    # Without the reversal the test has all the time that it needs.
    async with down(stack, *WORKERS, "transaction-reversal"):
        transfer = (await alice.send_money(bob, 1)).body
        async with asyncio.timeout(SECONDS):
            while len((await timeline(operator, transfer["id"]))["steps"]) == 1:
                await asyncio.sleep(0.1)
        await put_aside(stack)
        async with asyncio.timeout(SECONDS):
            while "dead_lettered" not in [step["step"] for step in (await timeline(operator, transfer["id"]))["steps"]]:
                await asyncio.sleep(0.1)
        steps = await waits(terminal, operator, transfer["id"], "reversal")
        [aside] = [
            item
            for item in (await operator.get("/ops/dead-letters")).body["items"]
            if transfer["id"] in item["transfer_ids"]
        ]
        replayed = await operator.post(f"/ops/dead-letters/{aside['id']}/replay")
    done = await ended(operator, alice, transfer["id"])

    assert ["accepted", "queued", "dead_lettered"] == steps
    assert 200 == replayed.status
    assert {"dead_lettered", "replayed"} < set(done)


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
