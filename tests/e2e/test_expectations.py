"""`expected_by` of a transfer, and the notification when it is missed, through the public API."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from services.transaction.expectation import REVERSAL_SILENT_SECONDS
from tests.harness.api import ApiClient, Person
from tests.harness.drills import FULL
from tests.harness.stack import Stack

DATE_BACK = "UPDATE heartbeats SET at = at - make_interval(secs => $2) WHERE name = $1"


async def expected(alice: Person, bob: Person) -> dict[str, str]:
    """A request to pay, accepted with an expectation: once the processes have reported that they run."""
    body = {"amount": 100, "currency": "USD", "to": {"wallet_id": bob.wallet_id}}
    async with asyncio.timeout(60):
        while True:
            key = uuid4().hex
            accepted = await alice.post("/transfers", body, key=key)
            if accepted.body["expected_by"] is not None:
                return accepted.body | {"key": key}
            assert "delayed" == accepted.body["processing"]
            await asyncio.sleep(0.2)


async def test_a_replay_returns_the_same_expectation(alice: Person, bob: Person) -> None:
    """It is stored in the accepting commit: also when the transfer is final, and whatever is expected by then."""
    accepted = await expected(alice, bob)
    await alice.finalized(accepted["id"])
    body = {"amount": 100, "currency": "USD", "to": {"wallet_id": bob.wallet_id}}

    again = await alice.post("/transfers", body, key=accepted["key"])
    done = (await alice.get(f"/transfers/{accepted['id']}")).body

    assert "true" == again.headers["Idempotent-Replayed"]
    assert (accepted["expected_by"], "normal") == (again.body["expected_by"], again.body["processing"])
    assert (accepted["expected_by"], None) == (done["expected_by"], done["processing"])
    assert accepted["created_at"] < accepted["expected_by"] < accepted["final_by"]


async def test_the_sender_is_notified_when_it_is_missed(alice: Person, bob: Person) -> None:
    """One notification that the money is safe, then that of the outcome; the recipient gets only the latter."""
    await expected(alice, bob)
    body = {"amount": 100, "currency": "USD", "to": {"wallet_id": bob.wallet_id}, "description": "Rent"}
    slow = await alice.post("/transfers", body, key=uuid4().hex, headers={"PayFlow-Simulate": "slow-pending=12"})
    late = await notified(alice, slow.body["id"], 1)
    done = await alice.finalized(slow.body["id"])
    both = await notified(alice, slow.body["id"], 2)

    assert ["transfer_late"] == [each["kind"] for each in late]
    assert "Your money is safe" in late[0]["body"]
    assert "COMPLETED" == done["status"]
    assert ["transfer_completed", "transfer_late"] == [each["kind"] for each in both]
    assert ["transfer_received"] == [each["kind"] for each in await notified(bob, slow.body["id"], 1)]


async def test_nothing_is_expected_while_a_job_is_stale(
    stack: Stack, api: ApiClient, alice: Person, bob: Person
) -> None:
    """Without a reversal the response has no time, and says that processing is delayed; afterwards it has one again.

    The short form dates its last heartbeat back; under PAYFLOW_DRILLS=full it grows old by itself.
    """
    await stack.take_down("transaction-reversal")
    try:
        if not FULL:
            await stack.query("transaction", DATE_BACK, "transaction-reversal", REVERSAL_SILENT_SECONDS)
        body = {"amount": 100, "currency": "USD", "to": {"wallet_id": bob.wallet_id}}
        async with asyncio.timeout(90):
            while (await alice.post("/transfers", body, key=uuid4().hex)).body["processing"] == "normal":
                await asyncio.sleep(0.5)
    finally:
        stack.bring_up("transaction-reversal")
    await expected(alice, bob)


async def notified(person: Person, transfer_id: str, count: int) -> list[dict[str, str]]:
    """The notifications of a transfer, newest first, once there are so many."""
    async with asyncio.timeout(60):
        while True:
            items = (await person.get("/notifications")).body["items"]
            found = [item for item in items if item["transfer_id"] == transfer_id]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.1)
