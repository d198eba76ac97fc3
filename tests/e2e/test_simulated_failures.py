"""The Python client with every simulated failure, against the whole stack."""

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
    """Alice's client, with a response timeout of two seconds."""
    limits = Limits(response_seconds=2, backoff_seconds_min=0.02)
    async with PayFlow(stack["gateway"], email=alice.email, password=PASSWORD, limits=limits) as opened:
        yield opened


@pytest.mark.parametrize(
    "word", ["response-lost", "outcome-unknown", "in-use", "unavailable", "rate-limited", "slow=20"]
)
async def test_a_payment_arrives_once(client: PayFlow, alice: Person, bob: Person, word: str) -> None:
    """Whatever happens to the first response, the client retries with the same key: one payment, and the outcome is known."""
    with client.simulate(word):
        # With Prefer: wait the client would extend the timeout by the time to wait.
        transfer = await client.send(**PAYMENT, to_wallet_id=bob.wallet_id, wait_seconds=0.9)
        transfer = await client.wait(transfer)

    assert "COMPLETED" == transfer.status
    assert (word not in ("unavailable", "rate-limited")) is transfer.replayed
    assert (99_750, 250) == (await alice.balance(), await bob.balance())


async def test_rejected_by_the_ledger_as_simulated(client: PayFlow, alice: Person, bob: Person) -> None:
    """insufficient-funds: accepted, then FAILED by the ledger; the client returns it as an outcome, not as an error."""
    with client.simulate("insufficient-funds"):
        transfer = await client.send(amount=100_001, currency="USD", to_wallet_id=bob.wallet_id)
    timeline = await client.timeline(transfer.id)

    assert ("FAILED", "insufficient_funds") == (transfer.status, transfer.failure and transfer.failure.code)
    assert "rejected" in [step.step for step in timeline.steps]
    assert (100_000, 0) == (await alice.balance(), await bob.balance())


async def test_pending_for_a_while(client: PayFlow, bob: Person) -> None:
    """slow-pending: the client returns a transfer that is still PENDING, and later finds it COMPLETED."""
    with client.simulate("slow-pending=2"):
        transfer = await client.send(**PAYMENT, to_wallet_id=bob.wallet_id, wait_seconds=0.3)
    done = await client.wait(transfer, wait_seconds=30)

    assert ("PENDING", "COMPLETED") == (transfer.status, done.status)


async def test_reversed_late(client: PayFlow, alice: Person, bob: Person) -> None:
    """reversed-late: PENDING past its expiry, then FAILED timed_out by the reversal, and no money has moved."""
    with client.simulate("reversed-late=1"):
        transfer = await client.send(**PAYMENT, to_wallet_id=bob.wallet_id, wait_seconds=0.3)
    done = await client.wait(transfer, wait_seconds=30)

    assert "PENDING" == transfer.status
    assert ("FAILED", "timed_out") == (done.status, done.failure and done.failure.code)
    assert (100_000, 0) == (await alice.balance(), await bob.balance())


async def test_a_cancel_whose_response_is_lost(client: PayFlow, bob: Person) -> None:
    """response-lost on a cancel: the client retries, which is idempotent; the transfer is cancelled."""
    with client.simulate("slow-pending=20"):
        transfer = await client.send(**PAYMENT, to_wallet_id=bob.wallet_id, wait_seconds=0)
    with client.simulate("response-lost"):
        cancelled = await client.cancel(transfer.id)

    assert ("FAILED", "cancelled") == (cancelled.status, cancelled.failure and cancelled.failure.code)


async def test_a_failed_read_is_retried(client: PayFlow) -> None:
    """A read without a response is repeated."""
    for word in ("unavailable", "response-lost", "outcome-unknown"):
        with client.simulate(word):
            assert 1 == len(await client.wallets())


async def test_a_client_without_retries_reports_an_unknown_outcome(stack: Stack, alice: Person, bob: Person) -> None:
    """A client that may not retry reports an unknown outcome, with the key; a refusal is returned unchanged."""
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


async def test_a_simulated_failure_applies_to_one_task(client: PayFlow, alice: Person, bob: Person) -> None:
    """A simulated failure applies to the task that set it; concurrent payments are ordinary."""

    async def simulated() -> str:
        with client.simulate("reversed-late=1"):
            transfer = await client.send(**PAYMENT, to_wallet_id=bob.wallet_id, wait_seconds=0)
        return (await client.wait(transfer, wait_seconds=30)).status

    async def ordinary() -> str:
        return (await client.send(**PAYMENT, to_wallet_id=bob.wallet_id)).status

    assert ("FAILED", "COMPLETED", "COMPLETED") == tuple(await asyncio.gather(simulated(), ordinary(), ordinary()))
    assert (99_500, 500) == (await alice.balance(), await bob.balance())
