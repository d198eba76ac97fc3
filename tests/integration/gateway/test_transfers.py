"""Transfers at the gateway: keys, replays, waiting, and the batch sent upstream."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from redis.asyncio import Redis as Client

from services.chassis.client import CONNECTIONS_MAX
from services.contracts.identifiers import new_id
from services.gateway.clients import service, transaction
from services.gateway.idempotency import KeyedRequest, hash_request
from tests.integration.gateway.conftest import ApiClient, FakeServices, Open, eventually
from tests.integration.gateway.upstream_fakes import NOW, Transaction, problem

TRANSFERS = "/api/v1/transfers"
BUSY_SECONDS = 8.0
"""Enough for a wait of one second on a busy machine, and less than the ten seconds after which a request times out."""


def _items(transaction: Transaction) -> list[dict[str, Any]]:
    calls = transaction.calls_to("POST", "/internal/transfers")
    return [item for call in calls for item in call.body["items"]]


async def test_transfer_is_accepted(api: ApiClient, token: str, user_id: str) -> None:
    """202 with the transfer and its path; the transaction service receives the user of the token and the whole body."""
    response = await api.send(
        token, "k-1", description="Lunch", metadata={"order": 7, "gift": True, "note": "ü"},
        headers={"X-Request-Id": "mine-1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"},
    )  # fmt: skip

    transfer = response.json()
    sent = {
        "currency": "USD", "amount": 1050, "to": {"email": "bob@example.com"}, "description": "Lunch",
        "metadata": {"order": 7, "gift": True, "note": "ü"},
    }  # fmt: skip
    assert response.status == 202
    assert response.headers["Location"] == f"{TRANSFERS}/{transfer['id']}"
    assert response.headers["X-Request-Id"] == "mine-1"
    assert "Idempotent-Replayed" not in response.headers
    assert (transfer["status"], transfer["amount"]) == ("PENDING", 1050)
    assert _items(api.fakes.transaction) == [
        sent
        | {
            "user_id": user_id,
            "idempotency_key": "k-1",
            "request_hash": hash_request("POST", TRANSFERS, sent),
            "kind": "transfer",
            "from_wallet_id": None,
            "request_id": "mine-1",
            "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        }
    ]


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ([], "idempotency_key_missing"),
        ([""], "idempotency_key_invalid"),
        (["x" * 256], "idempotency_key_invalid"),
        (["a", "b"], "idempotency_key_invalid"),
        (["a", "a"], "idempotency_key_invalid"),
        (["a b"], "idempotency_key_invalid"),
        (["é"], "idempotency_key_invalid"),
        (["a\tb"], "idempotency_key_invalid"),
    ],
)
async def test_invalid_key_is_refused(api: ApiClient, token: str, keys: list[str], code: str) -> None:
    """Guarantee 19: a missing, empty, long, duplicate or invisible key is a 400, and nothing is sent upstream."""
    headers = [("Authorization", f"Bearer {token}"), *(("Idempotency-Key", key) for key in keys)]
    body = {"currency": "USD", "amount": 1, "to": {"email": "b@example.com"}}

    for path in (TRANSFERS, "/api/v1/ops/deposits"):
        if path != TRANSFERS:
            headers[0] = ("Authorization", f"Bearer {api.fakes.auth.token(role='operator')}")
            body = {"currency": "USD", "amount": 1, "wallet_id": str(new_id()), "reference": "x"}
        async with api.session.post(api.url + path, json=body, headers=headers) as response:
            assert (response.status, (await response.json())["code"]) == (400, code)
    assert _items(api.fakes.transaction) == []


@pytest.mark.parametrize("key", ["x" * 255, "a", '"quoted"', "a,b", "!~", "Ab-1_2:3/4"])
async def test_key_is_used_as_sent(api: ApiClient, token: str, key: str) -> None:
    """Any 1 to 255 visible characters are a key, unchanged."""
    assert (await api.send(token, key)).status == 202
    assert _items(api.fakes.transaction)[0]["idempotency_key"] == key


async def test_replay_repeats_the_first_response(api: ApiClient, token: str) -> None:
    """Guarantee 17: the same key and body get the same bytes, flagged as a replay; the cache saves the call."""
    first = await api.send(token, "k-1")
    await eventually(lambda: _is_cached(api, token))
    items_before = len(_items(api.fakes.transaction))

    replay = await api.send(token, "k-1")

    assert (replay.status, replay.body) == (202, first.body)
    assert replay.headers["Location"] == first.headers["Location"]
    assert replay.headers["Idempotent-Replayed"] == "true"
    assert len(_items(api.fakes.transaction)) == items_before


async def _is_cached(api: ApiClient, token: str) -> bool:
    items_before = len(_items(api.fakes.transaction))
    await api.send(token, "k-1")
    return len(_items(api.fakes.transaction)) == items_before


async def test_nulls_and_order_of_members_do_not_matter(api: ApiClient, token: str) -> None:
    """A null field counts as absent, and the order of members does not matter."""
    first = await api.send(token, "k-1", description=None, metadata=None)
    again = await api.call(
        "POST", TRANSFERS, token=token,
        data=b'{"to":{"wallet_id":null,"email":"bob@example.com"},\n "amount":1050,"currency":"USD"}',
        headers={"Idempotency-Key": "k-1", "Content-Type": "application/json; charset=utf-8", "Prefer": "nothing"},
    )  # fmt: skip

    assert (again.status, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert again.json()["id"] == first.json()["id"]


async def test_key_reused_for_another_request(api: ApiClient, token: str) -> None:
    """Guarantee 18: the same key with another amount is 422, cached or not; keys of different users are separate."""
    first = await api.send(token, "k-1")
    await eventually(lambda: _is_cached(api, token))

    reused = await api.send(token, "k-1", amount=1)
    other = await api.send(api.fakes.auth.token(), "k-1", amount=1)

    assert (reused.status, reused.json()["code"]) == (422, "idempotency_key_reused")
    assert other.status == 202
    assert other.json()["id"] != first.json()["id"]


async def test_flushed_redis_changes_nothing(api: ApiClient, token: str, redis_client: Client) -> None:
    """Guarantee 20: after a flush the transaction service is called, and the second request is a replay."""
    first = await api.send(token, "k-1")
    await eventually(lambda: _is_cached(api, token))
    await redis_client.flushall()

    replay = await api.send(token, "k-1")

    assert replay.headers["Idempotent-Replayed"] == "true"
    assert replay.json()["id"] == first.json()["id"]


@pytest.mark.parametrize(
    "invalid",
    [
        b"",
        b"{}",
        b"\xff" * 100,
        b"seal",
        b"seal{}",
        b'seal{"id": "x"}',
        b"half",
        b"another seal",
        b"completed",
        "list",
        "hash",
    ],
)
async def test_invalid_cache_entries_are_ignored(
    api: ApiClient, token: str, user_id: str, redis_client: Client, invalid: bytes | str
) -> None:
    """A malformed or truncated entry, or one of another request or type, is ignored, and the transaction service is called."""
    first = await api.send(token, "k-1")
    await eventually(lambda: _is_cached(api, token))
    body = {"currency": "USD", "amount": 1050, "to": {"email": "bob@example.com"}}
    request = KeyedRequest(user_id, "k-1", hash_request("POST", TRANSFERS, body))
    valid = await redis_client.get(request.cache_key)
    assert isinstance(valid, bytes)
    assert valid.startswith(request.fingerprint)
    items_before = len(_items(api.fakes.transaction))
    await _corrupt(redis_client, request, valid, invalid)

    replay = await api.send(token, "k-1")

    assert len(_items(api.fakes.transaction)) == items_before + 1
    assert (replay.status, replay.headers["Idempotent-Replayed"]) == (202, "true")
    assert replay.json()["id"] == first.json()["id"]


async def _corrupt(redis_client: Client, request: KeyedRequest, valid: bytes, invalid: bytes | str) -> None:
    if invalid == "list":
        await redis_client.delete(request.cache_key)
        await redis_client.rpush(request.cache_key, "x")
    elif invalid == "hash":
        await redis_client.delete(request.cache_key)
        await redis_client.hset(request.cache_key, "x", "y")
    elif invalid == b"half":
        await redis_client.set(request.cache_key, valid[:-20])
    elif invalid == b"another seal":
        await redis_client.set(request.cache_key, b"0" * 64 + valid[64:])
    elif invalid == b"completed":
        await redis_client.set(request.cache_key, valid.replace(b'"PENDING"', b'"COMPLETED"'))
    else:
        assert isinstance(invalid, bytes)
        await redis_client.set(request.cache_key, invalid.replace(b"seal", request.fingerprint))


async def test_concurrent_requests_are_batched(api: ApiClient, token: str) -> None:
    """A hundred concurrent requests become a few calls, each item with its own response."""
    responses = await asyncio.gather(*(api.send(token, f"k-{number}", amount=number + 1) for number in range(100)))

    amounts = [response.json()["amount"] for response in responses]
    assert amounts == list(range(1, 101))
    assert len(api.fakes.transaction.calls_to("POST", "/internal/transfers")) < 100


async def test_one_invalid_item_fails_alone(api: ApiClient, token: str) -> None:
    """A batch that is refused because of one item is halved until the item is alone."""
    api.fakes.transaction.rejects_batch_of = "k-13"

    responses = await asyncio.gather(*(api.send(token, f"k-{number}") for number in range(40)))

    assert [number for number, response in enumerate(responses) if response.status != 202] == [13]
    assert responses[13].status == 422


async def test_concurrent_duplicates_are_one_transfer(api: ApiClient, token: str) -> None:
    """Guarantee 17: a hundred concurrent requests with the same key create one transfer, which every response has."""
    responses = await asyncio.gather(*(api.send(token, "k-1") for _ in range(100)))

    assert {response.status for response in responses} == {202}
    assert len({response.json()["id"] for response in responses}) == 1
    assert sum("Idempotent-Replayed" not in response.headers for response in responses) == 1


async def test_refusal_of_an_item_is_passed_on(api: ApiClient, token: str) -> None:
    """The refusal of one item reaches its sender unchanged: code, fields, Retry-After."""
    api.fakes.transaction.responses["POST /internal/transfers"] = {
        "items": [
            {
                "problem": {
                    "type": "urn:payflow:problem:busy",
                    "title": "Much to do.",
                    "status": 503,
                    "detail": "Much to do.",
                    "code": "busy",
                    "errors": [{"field": "to", "message": "is far"}],
                },
                "headers": {"Retry-After": "7"},
            }
        ]
    }

    response = await api.send(token, "k-1")

    document = response.json()
    assert (response.status, response.headers["Retry-After"]) == (503, "7")
    assert (document["code"], document["errors"]) == ("busy", [{"field": "to", "message": "is far"}])
    assert document["request_id"] == response.headers["X-Request-Id"]


async def test_refusals_are_not_cached(api: ApiClient, token: str) -> None:
    """The key of a refused request may be used again once the reason is gone."""
    api.fakes.transaction.responses["POST /internal/transfers"] = {
        "items": [{"problem": {"status": 422, "code": "insufficient_funds", "title": "No."}, "headers": {}}]
    }
    refused = await api.send(token, "k-1")
    api.fakes.transaction.responses.clear()
    accepted = await api.send(token, "k-1")

    assert (refused.status, accepted.status) == (422, 202)
    assert "Idempotent-Replayed" not in accepted.headers


async def test_wait_returns_the_outcome(api: ApiClient, token: str) -> None:
    """Guarantee 57: `Prefer: wait` responds with the outcome, for a first request and for a replay."""
    api.fakes.transaction.finalizes = True
    for replayed in (None, "true"):
        response = await api.send(token, "k-1", headers={"Prefer": "wait=5"})

        assert (response.status, response.json()["status"]) == (200, "COMPLETED")
        assert response.headers["Preference-Applied"] == "wait=5"
        assert response.headers["Location"].startswith(TRANSFERS)
        assert response.headers.get("Idempotent-Replayed") == replayed


async def test_wait_ends_in_time(api: ApiClient, token: str) -> None:
    """Guarantee 57: without an outcome the response is 202 after the wait, whether the service waits or does not respond."""
    started = time.monotonic()
    patient = await api.send(token, "k-1", headers={"Prefer": "respond-async, wait=1"})
    between = time.monotonic()
    api.fakes.transaction.silent_at = f"/internal/transfers/{patient.json()['id']}"
    silent = await api.send(token, "k-1", headers={"Prefer": "wait=1"})

    for response in (patient, silent):
        assert (response.status, response.json()["status"]) == (202, "PENDING")
        assert "Preference-Applied" not in response.headers
    assert 0.9 < between - started < BUSY_SECONDS
    assert 1.4 < time.monotonic() - between < BUSY_SECONDS


async def test_failure_while_waiting_is_a_202(api: ApiClient, token: str) -> None:
    """An accepted transfer stays accepted, whatever happens during the wait."""
    api.fakes.transaction.responses = {}
    first = await api.send(token, "k-1")
    transfer_id = first.json()["id"]
    api.fakes.transaction.responses[f"GET /internal/transfers/{transfer_id}"] = problem(503, "database_unavailable")

    response = await api.send(token, "k-1", headers={"Prefer": "wait=5"})

    assert response.status == 202


async def test_long_wait_is_shortened_and_invalid_ignored(api: ApiClient, token: str) -> None:
    """More than 30 s counts as 30 s; a malformed preference is ignored."""
    api.fakes.transaction.finalizes = True
    long = await api.send(token, "k-1", headers={"Prefer": "wait=3600"})
    assert (long.status, long.headers["Preference-Applied"]) == (200, "wait=30")
    for value in ("wait=-1", "wait=soon", "wait", "wait=1.5", "wait=", ""):
        assert (await api.send(token, "k-1", headers={"Prefer": value})).status == 202


async def test_shutdown_ends_long_polls(open_client: Open, token: str) -> None:
    """A waiting request gets its 202 at once when the gateway shuts down."""
    async with open_client() as api:
        waiting = asyncio.create_task(api.send(token, "k-1", headers={"Prefer": "wait=30"}))

        async def is_waiting() -> bool:
            return any("wait" in call.query for call in api.fakes.transaction.calls)

        await eventually(is_waiting)
        started = time.monotonic()
        api.runtime.stopping.set()

        assert (await waiting).status == 202
        assert time.monotonic() - started < 20


async def test_transaction_service_unavailable(api: ApiClient, token: str) -> None:
    """While it is unavailable a transfer is a 503 with Retry-After; when it is back the same key works."""
    await api.fakes.transaction.stop()
    refused = await api.send(token, "k-1")
    await api.fakes.transaction.start()
    accepted = await api.send(token, "k-1")

    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert refused.json()["code"] == "upstream_unavailable"
    assert accepted.status == 202


async def test_silent_transaction_service(api: ApiClient, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No response in time is 504 `outcome_unknown`; a retry with the same key returns the outcome."""
    monkeypatch.setattr(service, "CALL_SECONDS", 0.3)
    api.fakes.transaction.silent = True
    unknown = await api.send(token, "k-1")
    api.fakes.transaction.silent = False
    retry = await api.send(token, "k-1")

    assert (unknown.status, unknown.json()["code"]) == (504, "outcome_unknown")
    assert retry.status == 202
    assert len(api.fakes.transaction.transfers) == 1


async def test_batch_with_an_unknown_commit(api: ApiClient, token: str) -> None:
    """A commit with an unknown result is a 504 for every request of its batch; none is cached, and each key works later."""
    transaction = api.fakes.transaction
    transaction.responses["POST /internal/transfers"] = problem(504, "outcome_unknown")
    unknown = await asyncio.gather(*(api.send(token, f"k-{number}") for number in range(4)))
    transaction.responses.clear()
    retries = [await api.send(token, f"k-{number}") for number in range(4)]

    assert [(504, "outcome_unknown")] * 4 == [(response.status, response.json()["code"]) for response in unknown]
    assert [202] * 4 == [response.status for response in retries]
    assert 4 == len(transaction.transfers)


async def test_invalid_response_of_the_transaction_service(api: ApiClient, token: str) -> None:
    """A response of another length or shape is not treated as success."""
    invalid: list[object] = [
        {"items": []},
        {"items": [{}]},
        {"items": None},
        [],
        {"items": [{"transfer": {}, "replayed": False}]},
    ]
    for nonsense in invalid:
        api.fakes.transaction.responses["POST /internal/transfers"] = nonsense
        response = await api.send(token, "k-1")
        assert (response.status, response.json()["code"]) == (504, "outcome_unknown")
    api.fakes.transaction.responses.clear()
    assert (await api.send(token, "k-1")).status == 202


async def test_deposit_is_a_transfer_of_an_operator(api: ApiClient, operator_token: str, token: str) -> None:
    """A deposit is a transfer with its reference as description; users may not create one."""
    wallet_id = str(new_id())
    body = {"wallet_id": wallet_id, "amount": 100_000, "currency": "USD", "reference": "Opening"}
    key = {"Idempotency-Key": "d-1"}

    refused = await api.call("POST", "/api/v1/ops/deposits", token=token, json=body, headers=key)
    made = await api.call("POST", "/api/v1/ops/deposits", token=operator_token, json=body, headers=key)

    assert refused.status == 403
    assert (made.status, made.json()["kind"]) == (202, "deposit")
    assert made.headers["Location"] == f"{TRANSFERS}/{made.json()['id']}"
    (item,) = _items(api.fakes.transaction)
    assert (item["kind"], item["to"], item["description"]) == ("deposit", {"wallet_id": wallet_id}, "Opening")
    assert item["request_hash"] == hash_request("POST", "/api/v1/ops/deposits", body)


async def test_fields_of_a_deposit_have_their_own_names(api: ApiClient, operator_token: str) -> None:
    """Errors about a field of the transfer name the field of the deposit."""
    api.fakes.transaction.responses["POST /internal/transfers"] = {
        "items": [
            {
                "problem": {
                    "status": 422,
                    "code": "wallet_not_found",
                    "title": "No.",
                    "errors": [
                        {"field": "to", "message": "is unknown"},
                        {"field": "currency", "message": "the wallet in `to` is in EUR"},
                    ],
                },
                "headers": {},
            }
        ]
    }
    body = {"wallet_id": str(new_id()), "amount": 1, "currency": "USD", "reference": "x"}

    refused = await api.call(
        "POST", "/api/v1/ops/deposits", token=operator_token, json=body, headers={"Idempotency-Key": "d-1"}
    )

    assert (refused.status, refused.json()["errors"]) == (
        422,
        [
            {"field": "wallet_id", "message": "is unknown"},
            {"field": "currency", "message": "the wallet in `wallet_id` is in EUR"},
        ],
    )


async def test_transfer_is_read_with_its_tag(api: ApiClient, token: str) -> None:
    """A strong ETag over the body; a client with the current version gets 304; HEAD works."""
    transfer_id = (await api.send(token, "k-1")).json()["id"]
    path = f"{TRANSFERS}/{transfer_id}"

    full = await api.call("GET", path, token=token)
    tag = full.headers["ETag"]
    known = await api.call("GET", path, token=token, headers={"If-None-Match": f'"other", W/{tag}'})
    changed = await api.call("GET", path, token=token, headers={"If-None-Match": '"other"'})
    head = await api.call("HEAD", path, token=token)

    assert (full.status, tag[0], tag[-1]) == (200, '"', '"')
    assert (known.status, known.body, known.headers["ETag"]) == (304, b"", tag)
    assert (changed.status, head.status, head.headers["ETag"]) == (200, 200, tag)
    assert head.body == b""


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["{tag}"], 304),
        (['"other"', "{tag}"], 304),
        (['"other",, {tag}'], 304),
        (['"a,b" ,W/{tag}'], 304),
        (["*"], 304),
        (['"other"'], 200),
        (['"*"'], 200),
        (["*, x"], 200),
        (["{bare}"], 200),
        ([""], 200),
    ],
)
async def test_tags_in_every_spelling(api: ApiClient, token: str, lines: list[str], status: int) -> None:
    """Several lines are one list, and elements of it may be empty (RFC 9110, 5.3 and 5.6.1)."""
    path = f"{TRANSFERS}/{(await api.send(token, 'k-1')).json()['id']}"
    transfer = await api.call("GET", path, token=token)
    assert transfer.status == 200, transfer.body
    tag = transfer.headers["ETag"]
    known = [("If-None-Match", line.format(tag=tag, bare=tag.strip('"'))) for line in lines]

    headers = [*known, ("Authorization", f"Bearer {token}")]
    async with api.session.get(api.url + path, headers=headers) as response:
        assert (status, tag) == (response.status, response.headers["ETag"])


async def test_transfer_of_another_user_is_unknown(api: ApiClient, token: str) -> None:
    """Guarantee 46: another user's id, an unknown id and an invalid id get the same body."""
    transfer_id = (await api.send(token, "k-1")).json()["id"]
    other = api.fakes.auth.token()
    bodies = []
    for suffix in ("", "/timeline"):
        for identifier in (transfer_id, str(new_id()), "x", "1' OR '1'='1", transfer_id.replace("-", "")):
            response = await api.call("GET", f"{TRANSFERS}/{identifier}{suffix}", token=other)
            assert response.status == 404
            bodies.append({**response.json(), "request_id": ""})
        api.fakes.transaction.responses[f"GET /internal/transfers/{transfer_id}/steps"] = problem(
            404, "transfer_not_found"
        )
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["code"] == "transfer_not_found"


async def test_list_is_limited_to_the_viewer(api: ApiClient, token: str, user_id: str) -> None:
    """Filters are passed on; the token alone decides whose list it is."""
    api.fakes.transaction.responses["GET /internal/transfers"] = {"items": [], "next_cursor": None}
    wallet_id = str(new_id())

    response = await api.call(
        "GET", TRANSFERS, token=token,
        params={"status": "FAILED", "kind": "transfer", "wallet_id": wallet_id, "idempotency_key": "k&1", "limit": "7",
                "cursor": "c=", "from": "2026-01-01T00:00:00+01:00", "to": "2026-02-01T00:00:00.5Z"},
    )  # fmt: skip

    assert (response.status, response.json()) == (200, {"items": [], "next_cursor": None})
    (call,) = api.fakes.transaction.calls_to("GET", "/internal/transfers")
    assert call.query == {
        "status": "FAILED", "kind": "transfer", "wallet_id": wallet_id, "idempotency_key": "k&1", "limit": "7",
        "cursor": "c=", "from": "2025-12-31T23:00:00Z", "to": "2026-02-01T00:00:00.500000Z", "viewer": user_id,
    }  # fmt: skip


async def test_cancel(api: ApiClient, token: str, user_id: str) -> None:
    """Cancelling passes the viewer; a 409 is passed on unchanged, with the transfer."""
    transfer_id = str(new_id())
    path = f"/internal/transfers/{transfer_id}/cancel"
    api.fakes.transaction.responses[f"POST {path}"] = problem(
        409, "transfer_not_cancellable", transfer={"id": transfer_id}
    )

    response = await api.call("POST", f"{TRANSFERS}/{transfer_id}/cancel", token=token)

    assert (response.status, response.json()["transfer"]) == (409, {"id": transfer_id})
    assert api.fakes.transaction.calls_to("POST", path)[0].body == {"viewer": user_id}


async def test_timeline_is_merged(api: ApiClient, token: str, user_id: str) -> None:
    """Steps of three services in order of time, without notifications of other users."""
    transfer_id = str(new_id())
    _known(api.fakes, transfer_id)
    api.fakes.wallet.responses[f"GET /internal/outcomes/{transfer_id}"] = {
        "transfer_id": transfer_id, "outcome": "posted", "reason": None, "at": "2026-01-01T00:00:02.000000Z",
    }  # fmt: skip
    api.fakes.notification.responses[f"GET /internal/transfers/{transfer_id}/notifications"] = {
        "items": [
            {"at": "2026-01-01T00:00:03.000000Z", "user_id": user_id, "kind": "transfer_completed"},
            {"at": "2026-01-01T00:00:03.000000Z", "user_id": str(new_id()), "kind": "transfer_received"},
        ]
    }

    response = await api.call("GET", f"{TRANSFERS}/{transfer_id}/timeline", token=token)

    timeline = response.json()
    assert [step["step"] for step in timeline["steps"]] == ["accepted", "posted", "completed", "notified"]
    assert (timeline["status"], timeline["unavailable"], timeline["waiting_for"]) == ("COMPLETED", [], None)


async def test_timeline_names_unavailable_services(
    api: ApiClient, token: str, operator_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that is unavailable or does not respond is named; the rest is returned after a second at most."""
    monkeypatch.setattr(service, "SIDE_SECONDS", 0.2)
    transfer_id = str(new_id())
    _known(api.fakes, transfer_id)
    api.fakes.wallet.silent = True
    await api.fakes.notification.stop()

    for path, bearer in ((TRANSFERS, token), ("/api/v1/ops/transfers", operator_token)):
        timeline = (await api.call("GET", f"{path}/{transfer_id}/timeline", token=bearer)).json()
        assert timeline["unavailable"] == ["notification", "wallet"]
        assert [step["step"] for step in timeline["steps"]] == ["accepted", "completed"]


@pytest.mark.parametrize(
    ("outcome", "status", "sentence"),
    [
        ("posted", "COMPLETED", "The money has arrived."),
        ("voided", "FAILED", "The transfer was not carried out. No money has moved."),
    ],
)
@pytest.mark.parametrize("silent", [False, True])
async def test_operators_see_the_outcome_without_the_transaction_service(
    api: ApiClient, token: str, operator_token: str, monkeypatch: pytest.MonkeyPatch,
    *, outcome: str, status: str, sentence: str, silent: bool,
) -> None:  # fmt: skip
    """What the ledger decided, with the missing service named; a user gets an error, as only that service knows the owner."""
    monkeypatch.setattr(transaction, "STEPS_SECONDS", 0.2)
    transfer_id = str(new_id())
    api.fakes.wallet.responses[f"GET /internal/outcomes/{transfer_id}"] = {
        "transfer_id": transfer_id, "outcome": outcome, "reason": None, "at": NOW,
    }  # fmt: skip
    if silent:
        api.fakes.transaction.silent = True
    else:
        await api.fakes.transaction.stop()

    seen = await api.call("GET", f"/api/v1/ops/transfers/{transfer_id}/timeline", token=operator_token)
    own = await api.call("GET", f"{TRANSFERS}/{transfer_id}/timeline", token=token)
    nothing = await api.call("GET", f"/api/v1/ops/transfers/{new_id()}/timeline", token=operator_token)

    timeline = seen.json()
    assert (200, status, [outcome], sentence) == (
        seen.status, timeline["status"], [step["step"] for step in timeline["steps"]], timeline["summary"],
    )  # fmt: skip
    assert "transaction" in timeline["unavailable"]
    assert [504 if silent else 503] * 2 == [own.status, nothing.status]


def _known(fakes: FakeServices, transfer_id: str) -> None:
    fakes.transaction.responses[f"GET /internal/transfers/{transfer_id}/steps"] = {
        "transfer": {"id": transfer_id, "status": "COMPLETED"},
        "steps": [
            {"at": NOW, "service": "transaction", "step": "accepted", "detail": None},
            {"at": "2026-01-01T00:00:02.000000Z", "service": "transaction", "step": "completed", "detail": None},
        ],
        "waiting_for": None,
        "summary": "Done.",
    }


@pytest.mark.usefixtures("patient")
async def test_two_gateways_share_the_cache(open_client: Open, redis_client: Client, token: str) -> None:
    """A response of one gateway is replayed by another from the cache."""
    await redis_client.flushall()
    async with open_client() as one, open_client() as other:
        first = await one.send(token, "k-1")
        await eventually(lambda: _is_cached(one, token))
        items_before = len(_items(one.fakes.transaction))
        replay = await other.send(token, "k-1")

        assert replay.json()["id"] == first.json()["id"]
        assert len(_items(one.fakes.transaction)) == items_before


async def test_reads_do_not_delay_transfers(api: ApiClient, token: str) -> None:
    """With every connection for reading in use, transfers are still accepted and waited for."""
    transaction = api.fakes.transaction
    transaction.finalizes = True
    transaction.silent_at = "/internal/transfers/" + str(UUID(int=7))
    path = f"{TRANSFERS}/{UUID(int=7)}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        headers = {"Authorization": f"Bearer {token}"}
        readers = [asyncio.create_task(_status(session, api.url + path, headers)) for _ in range(80)]

        async def are_silent() -> bool:
            return len(transaction.calls_to("GET", transaction.silent_at or "")) >= CONNECTIONS_MAX

        await eventually(are_silent)

        assert (await api.send(token, "k-1", headers={"Prefer": "wait=2"})).status == 200
        transaction.silent_at = None
        await asyncio.gather(*readers)


async def _status(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> int:
    async with session.get(url, headers=headers) as response:
        return response.status
