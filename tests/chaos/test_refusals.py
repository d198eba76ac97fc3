"""One user whose transfers are refused many times: other users are unaffected."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from tests.chaos import timing
from tests.chaos.timing import TimedPerson
from tests.harness.api import ApiClient, Person
from tests.harness.books import faults_when_quiet
from tests.harness.drills import FULL, bound
from tests.harness.stack import Stack

REFUSALS = 100
TOO_MUCH = 10**9
PAYMENTS = bound(40, 400)
SLOWER_MAX = 2


@pytest.fixture(scope="module")
async def users(api: ApiClient, operator: Person) -> list[TimedPerson]:
    # Mallory's calls are recorded in a list of their own.
    return [*await timing.register_timed(api, operator, 2), *await timing.register_timed(api, operator, 1)]


async def pay(users: list[TimedPerson], count: int) -> Counter[str]:
    """Send payments between the other users, one after another, each waiting for its outcome; count the outcomes."""
    outcomes: Counter[str] = Counter()
    for number in range(count):
        sender, receiver = users[number % 2], users[1 - number % 2]
        response = await sender.send_money(receiver, 1, wait=30)
        outcomes[response.body["status"]] += 1
    return outcomes


async def test_refused_at_the_gateway(stack: Stack, api: ApiClient, operator: Person, users: list[TimedPerson]) -> None:
    """Guarantee 41: a hundred refusals by the gateway in a row, for lack of funds or a frozen wallet: others are served."""
    *others, mallory = users
    poor = await api.register("Mallory Poor")
    codes: Counter[str] = Counter()

    async def send_refused_transfers() -> None:
        for _ in range(REFUSALS):
            for sender in (poor, mallory):
                codes[await refusal(sender, others[0])] += 1

    began = time.monotonic()
    before = await pay(others, PAYMENTS)
    broke = time.monotonic()
    async with frozen(operator, mallory):
        _, during = await asyncio.gather(send_refused_transfers(), pay(others, PAYMENTS))
    over = time.monotonic()

    calm, busy = timing.phase(others, began, broke), timing.phase(others, broke, over)
    timing.report("41 api", calm=calm.figures(), busy=busy.figures(), refused=codes)
    assert {"insufficient_funds": REFUSALS, "wallet_frozen": REFUSALS} == codes
    assert {"COMPLETED": PAYMENTS} == before == during
    assert {"COMPLETED": 10} == await pay(others, 10)
    if FULL:
        assert busy.percentile(50) < SLOWER_MAX * calm.percentile(50)


async def test_rejected_by_the_ledger(stack: Stack, operator: Person, users: list[TimedPerson]) -> None:
    """Guarantee 41: a hundred rejections by the ledger in a row, among the others' transfers: those complete."""
    alice, bob, mallory = users
    refused: list[UUID] = []
    accepted: list[UUID] = []
    # From now on the transaction service assumes that Mallory can pay. Without the hint it does not query the wallet again,
    # and only the ledger refuses.
    assert {"COMPLETED": 2} == await pay([mallory, bob], 2)
    async with frozen(operator, mallory):
        await stack.query("transaction", "DELETE FROM freeze_hints WHERE wallet_id = $1", UUID(mallory.wallet_id))
        for _ in range(REFUSALS):
            refused.append(UUID((await mallory.send_money(bob, 1)).body["id"]))
            accepted.append(UUID((await alice.send_money(bob, 1)).body["id"]))
        done = await asyncio.gather(*(alice.finalized(str(id_)) for id_ in accepted))
        failed = await asyncio.gather(*(mallory.finalized(str(id_)) for id_ in refused))
    after = await pay([alice, bob], 20)

    assert [] == await faults_when_quiet(stack, {*accepted, *refused}, seconds=30)
    assert {("FAILED", "wallet_frozen"): REFUSALS} == Counter((t["status"], t["failure"]["code"]) for t in failed)
    assert {"COMPLETED": REFUSALS} == Counter(transfer["status"] for transfer in done)
    assert {"COMPLETED": 20} == after


async def refusal(sender: Person, receiver: Person) -> str:
    """The failure code. The gateway checks funds only as a courtesy, when there is time; otherwise the ledger rejects."""
    response = await sender.send_money(receiver, TOO_MUCH)
    if response.status == 202:
        return str((await sender.finalized(response.body["id"]))["failure"]["code"])
    return response.code


@asynccontextmanager
async def frozen(operator: Person, person: Person) -> AsyncIterator[None]:
    """Freeze the user's wallet during the block."""
    path = f"/ops/wallets/{person.wallet_id}/freeze"
    assert 200 == (await operator._as_me("PUT", path)).status
    try:
        yield
    finally:
        assert 200 == (await operator._as_me("DELETE", path)).status
