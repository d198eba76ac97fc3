"""What a disabled user still receives: money by wallet id and transfers accepted before, but nothing by e-mail address."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from tests.harness.api import PASSWORD, ApiClient, Person, Response
from tests.harness.stack import Stack

WORKERS = ("transaction-worker-1", "transaction-worker-2")
WAIT = {"Prefer": "wait=30"}


async def disable(operator: Person, person: Person) -> None:
    """Disable a user, as the operator."""
    path = f"/ops/users/{person.user_id}/disable"
    response = await operator._as_me("PUT", path, json={"reason": "a test"})
    assert 200 == response.status, response


async def enable(operator: Person, person: Person) -> Person:
    """Enable a user, and log in again."""
    assert 200 == (await operator._as_me("DELETE", f"/ops/users/{person.user_id}/disable")).status
    return await operator.login(person.email, PASSWORD)


async def status(operator: Person, transfer_id: str) -> str:
    """The status, read by the operator: its users can no longer read it."""
    return str((await operator.get(f"/ops/transfers/{transfer_id}/timeline")).body["status"])


def payment(amount: int, **to: str) -> dict[str, Any]:
    return {"amount": amount, "currency": "USD", "to": to}


def comparable(response: Response) -> tuple[int, dict[str, Any], set[str]]:
    """All parts of a response that are the same for two identical requests."""
    return response.status, response.body | {"request_id": ""}, set(response.headers) - {"RateLimit"}


async def test_disabled_user_looks_like_an_unknown_address(alice: Person, api: ApiClient, operator: Person) -> None:
    """Guarantee 45b: looked up or paid by e-mail, disabled is the same response as unknown; a replay is unchanged."""
    bob, unknown = await api.register(), f"{uuid4().hex}@example.com"
    key = uuid4().hex
    first = await alice.post("/transfers", payment(7, email=bob.email), key=key)
    await disable(operator, bob)

    looked_up = [await alice.get(f"/recipients?email={email}") for email in (bob.email, unknown)]
    paid = [await alice.post("/transfers", payment(5, email=email), key=uuid4().hex) for email in (bob.email, unknown)]
    again = await alice.post("/transfers", payment(7, email=bob.email), key=key)
    bob = await enable(operator, bob)
    found = await alice.get(f"/recipients?email={bob.email}")
    accepted = await alice.post("/transfers", payment(3, email=bob.email), key=uuid4().hex, headers=WAIT)

    for disabled, unknown_ in (looked_up, paid):
        assert "recipient_not_found" == disabled.code
        assert comparable(disabled) == comparable(unknown_)
    assert (202, first.body) == (again.status, again.body)
    assert (200, "COMPLETED") == (found.status, accepted.body["status"])
    assert 10 == await bob.balance()


async def test_disabled_user_receives_by_wallet(alice: Person, api: ApiClient, operator: Person) -> None:
    """Guarantee 45b: payments and deposits to the wallet arrive; a frozen wallet accepts neither."""
    bob = await api.register()
    await operator.fund(bob, 50)
    await disable(operator, bob)

    paid = await alice.post("/transfers", payment(5, wallet_id=bob.wallet_id), key=uuid4().hex, headers=WAIT)
    await operator.fund(bob, 20)
    async with asyncio.timeout(30):
        while 401 != (await bob.get("/auth/me")).status:
            await asyncio.sleep(0.02)
    refused = await bob.send_money(alice, 1)
    await operator._as_me("PUT", f"/ops/wallets/{bob.wallet_id}/freeze")
    frozen = await alice.post("/transfers", payment(5, wallet_id=bob.wallet_id), key=uuid4().hex)
    await operator._as_me("DELETE", f"/ops/wallets/{bob.wallet_id}/freeze")
    bob = await enable(operator, bob)

    assert "COMPLETED" == paid.body["status"]
    assert 401 == refused.status
    assert (422, "wallet_frozen") == (frozen.status, frozen.code)
    assert 75 == await bob.balance()


async def test_pending_transfers_of_disabled_users_end_as_accepted(
    stack: Stack, api: ApiClient, operator: Person
) -> None:
    """Guarantee 45b: a transfer accepted before its sender or recipient is disabled is still COMPLETED."""
    carol, dave = await api.register(), await api.register()
    await operator.fund(carol, 100)
    await operator.fund(dave, 100)
    await asyncio.gather(*(stack.take_down(worker) for worker in WORKERS))
    try:
        accepted = [
            await carol.post("/transfers", payment(30, email=dave.email), key=uuid4().hex),
            await dave.post("/transfers", payment(10, wallet_id=carol.wallet_id), key=uuid4().hex),
        ]
        await disable(operator, carol)
        await disable(operator, dave)
        seen = [await status(operator, response.body["id"]) for response in accepted]
    finally:
        for worker in WORKERS:
            stack.bring_up(worker)
    async with asyncio.timeout(90):
        for response in accepted:
            while "PENDING" == (ended := await status(operator, response.body["id"])):
                await asyncio.sleep(0.05)
            assert "COMPLETED" == ended

    assert ["PENDING", "PENDING"] == seen
    carol, dave = await enable(operator, carol), await enable(operator, dave)
    assert (80, 120) == (await carol.balance(), await dave.balance())
