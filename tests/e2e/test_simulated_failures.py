"""Our own client under every word that can be simulated, against the whole stack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from payflow import Limits, OutcomeUnknown, PayFlow, Problem, new_key
from payflow.errors import NoResponse
from tests.harness.api import PASSWORD, Person
from tests.harness.stack import Stack

PAYMENT: dict[str, Any] = {"amount": 250, "currency": "USD"}


@pytest.fixture
async def client(stack: Stack, alice: Person) -> AsyncIterator[PayFlow]:
    """Alice's client, which waits for no response longer than two seconds."""
    limits = Limits(response_seconds=2, backoff_seconds_min=0.02)
    async with PayFlow(stack["gateway"], email=alice.email, password=PASSWORD, limits=limits) as opened:
        yield opened


@pytest.mark.parametrize(
    "word", ["response-lost", "outcome-unknown", "in-use", "unavailable", "rate-limited", "slow=20"]
)
async def test_a_payment_arrives_once(client: PayFlow, alice: Person, bob: Person, word: str) -> None:
    """Whatever becomes of the first response, the client asks again with the same key: paid once, and it knows the outcome."""
    with client.simulate(word):
        # With Prefer: wait the client would grant a slow response the time it waits itself.
        transfer = await client.send(**PAYMENT, to_wallet_id=bob.wallet_id, wait_seconds=0.9)
        transfer = await client.wait(transfer)

    assert "COMPLETED" == transfer.status
    assert (word not in ("unavailable", "rate-limited")) is transfer.replayed
    assert (99_750, 250) == (await alice.balance(), await bob.balance())


async def test_the_ledger_says_no(client: PayFlow, alice: Person, bob: Person) -> None:
    """insufficient-funds: accepted, then FAILED by the ledger; the client hands it over as an outcome, not as an error."""
    with client.simulate("insufficient-funds"):
        transfer = await client.send(amount=100_001, currency="USD", to_wallet_id=bob.wallet_id)
    timeline = await client.timeline(transfer.id)

    assert ("FAILED", "insufficient_funds") == (transfer.status, transfer.failure and transfer.failure.code)
    assert "rejected" in [step.step for step in timeline.steps]
    assert (100_000, 0) == (await alice.balance(), await bob.balance())


async def test_pending_for_a_while(client: PayFlow, bob: Person) -> None:
    """slow-pending: the client gives a transfer back that is still PENDING, and learns later that it is COMPLETED."""
    with client.simulate("slow-pending=2"):
        transfer = await client.send(**PAYMENT, to_wallet_id=bob.wallet_id, wait_seconds=0.3)
    done = await client.wait(transfer, wait_seconds=30)

    assert ("PENDING", "COMPLETED") == (transfer.status, done.status)


async def test_reversed_late(client: PayFlow, alice: Person, bob: Person) -> None:
    """reversed-late: PENDING past its time, then FAILED timed_out by the reversal, and nothing has moved."""
    with client.simulate("reversed-late=1"):
        transfer = await client.send(**PAYMENT, to_wallet_id=bob.wallet_id, wait_seconds=0.3)
    done = await client.wait(transfer, wait_seconds=30)

    assert "PENDING" == transfer.status
    assert ("FAILED", "timed_out") == (done.status, done.failure and done.failure.code)
    assert (100_000, 0) == (await alice.balance(), await bob.balance())


async def test_a_cancel_whose_answer_is_lost(client: PayFlow, bob: Person) -> None:
    """response-lost on a cancel: the client asks again, which is the same; the transfer is cancelled."""
    with client.simulate("slow-pending=20"):
        transfer = await client.send(**PAYMENT, to_wallet_id=bob.wallet_id, wait_seconds=0)
    with client.simulate("response-lost"):
        cancelled = await client.cancel(transfer.id)

    assert ("FAILED", "cancelled") == (cancelled.status, cancelled.failure and cancelled.failure.code)


async def test_a_read_that_fails_is_asked_again(client: PayFlow) -> None:
    """A read that finds nobody, or whose response is lost, is repeated."""
    for word in ("unavailable", "response-lost", "outcome-unknown"):
        with client.simulate(word):
            assert 1 == len(await client.wallets())


async def test_an_impatient_client_tells_that_it_does_not_know(stack: Stack, alice: Person, bob: Person) -> None:
    """A client that may not ask again says that it does not know, with the key; a refusal is handed over as it is."""
    once = Limits(attempts_max=1, response_seconds=1)
    key = new_key()
    async with PayFlow(stack["gateway"], email=alice.email, password=PASSWORD, limits=once) as client:
        with client.simulate("unavailable=9"), pytest.raises(OutcomeUnknown) as unknown:
            await client.send(**PAYMENT, to_wallet_id=bob.wallet_id, idempotency_key=key, wait_seconds=0)
        with client.simulate("slow=3"), pytest.raises(NoResponse):
            await client.wallets()

        with client.simulate("rate-limited=9"), pytest.raises(Problem) as refused:
            await client.wallets()

    assert key == unknown.value.key
    assert (429, 9) == (refused.value.status, refused.value.retry_after_seconds)


async def test_two_tasks_of_one_client_simulate_apart(client: PayFlow, alice: Person, bob: Person) -> None:
    """A word is for the task that set it: payments beside it are ordinary ones."""

    async def simulated() -> str:
        with client.simulate("reversed-late=1"):
            transfer = await client.send(**PAYMENT, to_wallet_id=bob.wallet_id, wait_seconds=0)
        return (await client.wait(transfer, wait_seconds=30)).status

    async def ordinary() -> str:
        return (await client.send(**PAYMENT, to_wallet_id=bob.wallet_id)).status

    assert ("FAILED", "COMPLETED", "COMPLETED") == tuple(await asyncio.gather(simulated(), ordinary(), ordinary()))
    assert (99_500, 500) == (await alice.balance(), await bob.balance())
