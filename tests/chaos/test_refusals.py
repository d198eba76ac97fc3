"""One user whose transfers are refused, again and again: it is nobody else's trouble."""

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
async def people(api: ApiClient, operator: Person) -> list[TimedPerson]:
    # Mallory notes his calls elsewhere.
    return [*await timing.register_timed(api, operator, 2), *await timing.register_timed(api, operator, 1)]


async def pay(people: list[TimedPerson], count: int) -> Counter[str]:
    """The others pay one another, one after the other, each waiting for the outcome: what became of it."""
    outcomes: Counter[str] = Counter()
    for number in range(count):
        sender, receiver = people[number % 2], people[1 - number % 2]
        answer = await sender.send_money(receiver, 1, wait=30)
        outcomes[answer.body["status"]] += 1
    return outcomes


async def test_refused_at_the_gateway(
    stack: Stack, api: ApiClient, operator: Person, people: list[TimedPerson]
) -> None:
    """Guarantee 41: a hundred refusals at the gateway in a row, for want of funds and of a frozen wallet: others are served."""
    *others, mallory = people
    poor = await api.register("Mallory Poor")
    codes: Counter[str] = Counter()

    async def try_and_fail() -> None:
        for _ in range(REFUSALS):
            for sender in (poor, mallory):
                codes[await refusal(sender, others[0])] += 1

    began = time.monotonic()
    before = await pay(others, PAYMENTS)
    broke = time.monotonic()
    async with frozen(operator, mallory):
        _, during = await asyncio.gather(try_and_fail(), pay(others, PAYMENTS))
    over = time.monotonic()

    calm, busy = timing.phase(others, began, broke), timing.phase(others, broke, over)
    timing.report("41 api", calm=calm.figures(), busy=busy.figures(), refused=codes)
    assert {"insufficient_funds": REFUSALS, "wallet_frozen": REFUSALS} == codes
    assert {"COMPLETED": PAYMENTS} == before == during
    assert {"COMPLETED": 10} == await pay(others, 10)
    if FULL:
        assert busy.percentile(50) < SLOWER_MAX * calm.percentile(50)


async def test_rejected_by_the_ledger(stack: Stack, operator: Person, people: list[TimedPerson]) -> None:
    """Guarantee 41: a hundred rejections by the ledger in a row, among the others' transfers: those are carried out."""
    alice, bob, mallory = people
    doomed: list[UUID] = []
    good: list[UUID] = []
    # From now on the transaction service knows that Mallory can pay. Without the hint it does not look at the wallet again,
    # and only the ledger refuses.
    assert {"COMPLETED": 2} == await pay([mallory, bob], 2)
    async with frozen(operator, mallory):
        await stack.query("transaction", "DELETE FROM freeze_hints WHERE wallet_id = $1", UUID(mallory.wallet_id))
        for _ in range(REFUSALS):
            doomed.append(UUID((await mallory.send_money(bob, 1)).body["id"]))
            good.append(UUID((await alice.send_money(bob, 1)).body["id"]))
        done = await asyncio.gather(*(alice.finalized(str(id_)) for id_ in good))
        failed = await asyncio.gather(*(mallory.finalized(str(id_)) for id_ in doomed))
    after = await pay([alice, bob], 20)

    assert [] == await faults_when_quiet(stack, {*good, *doomed}, seconds=30)
    assert {("FAILED", "wallet_frozen"): REFUSALS} == Counter((t["status"], t["failure"]["code"]) for t in failed)
    assert {"COMPLETED": REFUSALS} == Counter(transfer["status"] for transfer in done)
    assert {"COMPLETED": 20} == after


async def refusal(sender: Person, receiver: Person) -> str:
    """Why this did not work out. The gateway looks at funds as a courtesy, when there is time; then the ledger refuses."""
    answer = await sender.send_money(receiver, TOO_MUCH)
    if answer.status == 202:
        return str((await sender.finalized(answer.body["id"]))["failure"]["code"])
    return answer.code


@asynccontextmanager
async def frozen(operator: Person, person: Person) -> AsyncIterator[None]:
    """An operator has frozen the person's wallet."""
    path = f"/ops/wallets/{person.wallet_id}/freeze"
    assert 200 == (await operator._as_me("PUT", path)).status
    try:
        yield
    finally:
        assert 200 == (await operator._as_me("DELETE", path)).status
