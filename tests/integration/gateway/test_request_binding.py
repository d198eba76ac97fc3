"""What binds a response to its request: the hash of the whole body, the tag of the document, the day it is cached."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis as Client

from services.contracts.identifiers import new_id
from tests.integration.gateway.conftest import ApiClient, Response, eventually
from tests.integration.gateway.upstream_fakes import NOW

TRANSFERS = "/api/v1/transfers"
DEPOSITS = "/api/v1/ops/deposits"
DAY = 24 * 3600

PAYMENT: dict[str, Any] = {
    "amount": 1050,
    "currency": "USD",
    "to": {"wallet_id": str(new_id())},
    "from_wallet_id": str(new_id()),
    "description": "Lunch",
    "metadata": {"order": 7, "note": "a"},
}
DEPOSIT: dict[str, Any] = {"wallet_id": str(new_id()), "amount": 1050, "currency": "USD", "reference": "Wire 7"}

OTHERWISE: dict[str, dict[str, Any]] = {
    "another amount": {"amount": 1051},
    "another currency": {"currency": "EUR"},
    "another recipient": {"to": {"wallet_id": str(new_id())}},
    "an e-mail address instead": {"to": {"email": "bob@example.com"}},
    "another wallet to pay from": {"from_wallet_id": str(new_id())},
    "no wallet to pay from": {"from_wallet_id": None},
    "another description": {"description": "lunch"},
    "no description": {"description": None},
    "another value in the metadata": {"metadata": {"order": 8, "note": "a"}},
    "another type in the metadata": {"metadata": {"order": "7", "note": "a"}},
    "one member less in the metadata": {"metadata": {"order": 7}},
    "no metadata": {"metadata": None},
}


async def post(api: ApiClient, path: str, body: dict[str, Any], token: str) -> Response:
    return await api.call("POST", path, token=token, json=body, headers={"Idempotency-Key": "k-1"})


async def is_kept(redis_client: Client) -> bool:
    return bool(await redis_client.keys("payflow:response:*"))


@pytest.mark.usefixtures("patient")
async def test_every_field_belongs_to_the_request(api: ApiClient, token: str, redis_client: Client) -> None:
    """Guarantee 18: the same key with any field changed or left out is refused, with and without the cache."""
    first = await post(api, TRANSFERS, PAYMENT, token)
    assert 202 == first.status
    for is_cached in (True, False):
        if is_cached:
            await eventually(lambda: is_kept(redis_client))
        for name, change in OTHERWISE.items():
            if not is_cached:
                await redis_client.flushall()
            refused = await post(api, TRANSFERS, PAYMENT | change, token)
            assert (422, "idempotency_key_reused") == (refused.status, refused.json()["code"]), name
        same = await post(api, TRANSFERS, PAYMENT, token)
        assert (202, "true", first.body) == (same.status, same.headers["Idempotent-Replayed"], same.body)

    assert 1 == len(api.fakes.transaction.transfers)


@pytest.mark.parametrize(
    "change", [{"wallet_id": str(new_id())}, {"amount": 1}, {"currency": "EUR"}, {"reference": "Wire 8"}]
)
async def test_every_field_belongs_to_a_deposit(api: ApiClient, operator_token: str, change: dict[str, Any]) -> None:
    """Guarantee 18: the same for a deposit, which has the recipient in a field of its own."""
    first = await post(api, DEPOSITS, DEPOSIT, operator_token)
    other = await post(api, DEPOSITS, DEPOSIT | change, operator_token)

    assert (202, 422, "idempotency_key_reused") == (first.status, other.status, other.json()["code"])


async def test_all_fields_are_passed_on(api: ApiClient, token: str, user_id: str) -> None:
    """The transaction service receives each field as it was sent; absent fields are null."""
    await post(api, TRANSFERS, PAYMENT, token)
    await api.call(
        "POST", TRANSFERS, token=token, json={"amount": 1, "currency": "JPY", "to": {"email": "bob@example.com"}},
        headers={"Idempotency-Key": "k-2"},
    )  # fmt: skip
    full, short = [
        item for call in api.fakes.transaction.calls_to("POST", "/internal/transfers") for item in call.body["items"]
    ]
    nothing = {"from_wallet_id": None, "description": None, "metadata": None}

    assert PAYMENT | {"user_id": user_id, "kind": "transfer", "idempotency_key": "k-1"} == {
        name: full[name] for name in (*PAYMENT, "user_id", "kind", "idempotency_key")
    }
    assert {"amount": 1, "currency": "JPY", "to": {"email": "bob@example.com"}} | nothing == {
        name: short[name] for name in PAYMENT
    }


@pytest.mark.usefixtures("patient")
async def test_a_response_is_cached_for_a_day(api: ApiClient, token: str, redis_client: Client) -> None:
    """24 hours from acceptance; a replay does not extend it, and an outcome is never cached."""
    api.fakes.transaction.finalizes = True
    await post(api, TRANSFERS, PAYMENT, token)
    await eventually(lambda: is_kept(redis_client))
    [place] = await redis_client.keys("payflow:response:*")
    lifetime = await redis_client.ttl(place)
    await redis_client.expire(place, 1000)
    waited = await api.call(
        "POST", TRANSFERS, token=token, json=PAYMENT, headers={"Idempotency-Key": "k-1", "Prefer": "wait=5"}
    )
    kept = await redis_client.get(place)

    assert DAY - 60 < lifetime <= DAY
    assert "COMPLETED" == waited.json()["status"]
    assert await redis_client.ttl(place) <= 1000
    assert kept is not None
    assert b'"PENDING"' in kept


async def test_the_tag_changes_with_the_transfer(api: ApiClient, token: str) -> None:
    """A client with the pending transfer gets the completed one, with another tag; two transfers have two tags."""
    transfer_id = (await api.send(token, "k-1")).json()["id"]
    other_id = (await api.send(token, "k-2")).json()["id"]
    path = f"{TRANSFERS}/{transfer_id}"
    pending = await api.call("GET", path, token=token)
    other = await api.call("GET", f"{TRANSFERS}/{other_id}", token=token)
    known = {"If-None-Match": pending.headers["ETag"]}
    unchanged = await api.call("GET", path, token=token, headers=known)
    # Only the last field of the document differs.
    api.fakes.transaction.transfers[transfer_id]["failure"] = {"code": "cancelled", "message": None}
    last_field = await api.call("GET", path, token=token, headers=known)
    api.fakes.transaction.transfers[transfer_id] |= {"status": "COMPLETED", "completed_at": NOW, "failure": None}
    completed = await api.call("GET", path, token=token, headers=known)

    assert (304, b"") == (unchanged.status, unchanged.body)
    assert (200, "cancelled") == (last_field.status, last_field.json()["failure"]["code"])
    assert (200, "COMPLETED") == (completed.status, completed.json()["status"])
    assert 4 == len({response.headers["ETag"] for response in (pending, other, last_field, completed)})
    assert 34 == len(completed.headers["ETag"])


async def test_the_preferred_wait_is_passed_on(api: ApiClient, token: str) -> None:
    """The transaction service gets the wait in seconds and the sender as viewer; its response is returned."""
    api.fakes.transaction.finalizes = True
    transfer_id = (await api.send(token, "k-1", headers={"Prefer": "wait=7"})).json()["id"]
    [call] = api.fakes.transaction.calls_to("GET", f"/internal/transfers/{transfer_id}")

    assert ("7", api.fakes.transaction.owners[transfer_id]) == (call.query["wait"], call.query["viewer"])


async def test_transfers_by_email_do_not_delay_others(api: ApiClient, token: str) -> None:
    """Transfers to e-mail addresses and to wallets are sent to the transaction service in separate batches."""
    to = [{"email": "bob@example.com"}, {"wallet_id": str(new_id())}] * 20
    responses = await asyncio.gather(*(api.send(token, f"k-{number}", to=each) for number, each in enumerate(to)))
    kinds = [
        {next(iter(item["to"])) for item in call.body["items"]}
        for call in api.fakes.transaction.calls_to("POST", "/internal/transfers")
    ]

    assert {202} == {response.status for response in responses}
    assert all(len(kind) == 1 for kind in kinds)
