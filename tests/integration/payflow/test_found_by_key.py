"""A send with a lost response: the transfer found under its key is used only if every field matches."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from payflow import new_key
from payflow.client import PayFlow
from payflow.errors import OutcomeUnknown
from payflow.limits import Limits
from payflow.session import MemorySessionStore, Session, User
from tests.integration.payflow.conftest import ALICE

POST = "POST /transfers"
PAYMENT: dict[str, Any] = {
    "amount": 1050,
    "currency": "USD",
    "to_wallet_id": "wallet-of-bob",
    "from_wallet_id": "wallet-of-alice",
    "description": "tea",
    "metadata": {"order": 7},
}
DEPOSIT: dict[str, Any] = {"wallet_id": "wallet-of-bob", "amount": 1050, "currency": "USD", "reference": "wire 7"}

OTHERWISE: dict[str, dict[str, Any]] = {
    "another amount": {"amount": 9999},
    "another currency": {"currency": "EUR"},
    "another recipient": {"to_wallet_id": "wallet-of-carol"},
    "another wallet to pay from": {"from_wallet_id": "another-wallet-of-alice"},
    "another description": {"description": "coffee"},
    "another value in the metadata": {"metadata": {"order": 8}},
}


async def arrived(gateway: Any, faults: Any, client: PayFlow, **changes: Any) -> str:
    """A transfer exists under this key, and every further send is refused."""
    key = new_key()
    sent = PAYMENT | changes
    transfer = await client.send(**sent, idempotency_key=key, wait_seconds=0)
    gateway.transfers[transfer.id]["from_wallet_id"] = sent["from_wallet_id"]
    gateway.always[POST] = faults.refuse(503, "unavailable", retry_after="0")
    return key


@pytest.mark.parametrize("difference", OTHERWISE)
async def test_a_transfer_that_differs_is_not_used(gateway: Any, faults: Any, alice: PayFlow, difference: str) -> None:
    """If any field differs, the transfer of an earlier send with the key is not returned."""
    key = await arrived(gateway, faults, alice)

    with pytest.raises(OutcomeUnknown):
        await alice.send(**PAYMENT | OTHERWISE[difference], idempotency_key=key, wait_seconds=0)


async def test_the_same_transfer_is_used(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """If every field matches, it is the one that was sent; the wait for its outcome starts then."""
    key = await arrived(gateway, faults, alice)
    gateway.polls_until_final = 10**6
    began_at = time.monotonic()

    transfer = await alice.send(**PAYMENT, idempotency_key=key, wait_seconds=1)

    assert [transfer.id] == list(gateway.transfers)
    assert "PENDING" == transfer.status
    assert time.monotonic() - began_at >= 1
    assert gateway.seen(f"GET /transfers/{transfer.id}")


@pytest.mark.parametrize("difference", [{"wallet_id": "wallet-of-carol"}, {"amount": 1}, {"reference": "wire 8"}])
async def test_a_deposit_that_differs_is_not_used(
    gateway: Any, faults: Any, ops: PayFlow, difference: dict[str, Any]
) -> None:
    """A deposit to another wallet, of another amount or with another reference is another one."""
    key = new_key()
    made = await ops.operator.deposit(**DEPOSIT, idempotency_key=key, wait_seconds=0)
    gateway.transfers[made.id]["description"] = DEPOSIT["reference"]
    gateway.always["POST /ops/deposits"] = faults.refuse(503, "unavailable", retry_after="0")

    found = await ops.operator.deposit(**DEPOSIT, idempotency_key=key, wait_seconds=0)
    with pytest.raises(OutcomeUnknown):
        await ops.operator.deposit(**DEPOSIT | difference, idempotency_key=key, wait_seconds=0)

    assert made.id == found.id


async def test_the_response_is_waited_for_beyond_the_preference(gateway: Any) -> None:
    """A gateway that delays the response for the preferred time causes no timeout: nothing is sent twice."""
    limits = Limits(response_seconds=0.1, attempts_max=3, backoff_seconds_min=0.01, backoff_seconds_max=0.01)
    session_store = MemorySessionStore()
    session_store.save(Session(user=User(**ALICE), access_token="a", refresh_token="r", renew_at=time.time() + 600))
    gateway.access["a"] = ALICE

    async def held(request: Any, handler: Any) -> Any:
        await asyncio.sleep(3 * limits.response_seconds)
        return await handler(request)

    gateway.fail(POST, held)
    async with PayFlow(gateway.url, session_store=session_store, limits=limits) as client:
        transfer = await client.send(**PAYMENT, wait_seconds=10)

    assert 1 == len(gateway.seen(POST))
    assert [transfer.id] == list(gateway.transfers)
