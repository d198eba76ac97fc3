"""What the gateway does not let in: bodies, amounts, parameters, methods, sizes."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from services.gateway import operations
from tests.integration.gateway.conftest import ApiClient

TRANSFERS = "/api/v1/transfers"
SOME_ID = "0196f0c0-0000-7000-8000-000000000001"
VALID = {"currency": "USD", "amount": 1050, "to": {"email": "bob@example.com"}}
JSON = {"Content-Type": "application/json", "Idempotency-Key": "k-1"}

BAD_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "amount as text": ({"amount": "10.5"}, "amount"),
    "amount with a fraction": ({"amount": 10.5}, "amount"),
    "amount as a whole float": ({"amount": 10.0}, "amount"),
    "amount as digits of another script": ({"amount": "０１"}, "amount"),
    "negative": ({"amount": -1}, "amount"),
    "zero": ({"amount": 0}, "amount"),
    "too much": ({"amount": 10**15 + 1}, "amount"),
    "two to the 63": ({"amount": 2**63}, "amount"),
    "true": ({"amount": True}, "amount"),
    "null": ({"amount": None}, "amount"),
    "a list": ({"amount": [1]}, "amount"),
    "unknown currency": ({"currency": "ZZZ"}, "currency"),
    "currency in lower case": ({"currency": "usd"}, "currency"),
    "currency as number": ({"currency": 840}, "currency"),
    "no recipient": ({"to": {}}, "to"),
    "two recipients": ({"to": {"email": "b@example.com", "wallet_id": SOME_ID}}, "to"),
    "recipient as text": ({"to": "bob@example.com"}, "to"),
    "no e-mail address": ({"to": {"email": "bob"}}, "to.email"),
    "SQL as e-mail address": ({"to": {"email": "'; DROP TABLE users; --"}}, "to.email"),
    "NUL in an e-mail address": ({"to": {"email": "b\x00@example.com"}}, "to.email"),
    "no wallet id": ({"to": {"wallet_id": "1"}}, "to.wallet_id"),
    "SQL as wallet id": ({"to": {"wallet_id": "1' OR '1'='1"}}, "to.wallet_id"),
    "unknown member of to": ({"to": {"email": "b@example.com", "x": 1}}, "to.x"),
    "no source id": ({"from_wallet_id": "mine"}, "from_wallet_id"),
    "long description": ({"description": "x" * 141}, "description"),
    "NUL in the description": ({"description": "a\x00b"}, "description"),
    "half a character": ({"description": "\ud800"}, "description"),
    "description as number": ({"description": 5}, "description"),
    "metadata as list": ({"metadata": []}, "metadata"),
    "float in metadata": ({"metadata": {"rate": 0.5}}, "metadata.rate"),
    "NUL in metadata": ({"metadata": {"a": "\x00"}}, "metadata.a"),
    "nested metadata": ({"metadata": {"a": {"b": 1}}}, "metadata.a"),
    "large number in metadata": ({"metadata": {"a": 2**53}}, "metadata.a"),
    "long text in metadata": ({"metadata": {"a": "x" * 501}}, "metadata.a"),
    "empty key in metadata": ({"metadata": {"": 1}}, "metadata"),
    "long key in metadata": ({"metadata": {"x" * 41: 1}}, "metadata"),
    "much metadata": ({"metadata": {str(number): 1 for number in range(51)}}, "metadata"),
    "unknown field": ({"fee": 0}, "fee"),
    "status": ({"status": "COMPLETED"}, "status"),
    "user": ({"user_id": SOME_ID}, "user_id"),
}


@pytest.mark.parametrize("case", BAD_FIELDS)
async def test_faulty_field_is_named(api: ApiClient, token: str, case: str) -> None:
    """Guarantee 52: a faulty field is a 422 that names it, and nothing is handed over."""
    changes, field = BAD_FIELDS[case]

    response = await api.call("POST", TRANSFERS, token=token, data=json.dumps(VALID | changes), headers=JSON)

    document = response.json()
    assert (response.status, document["code"]) == (422, "invalid_request")
    assert [fault["field"] for fault in document["errors"]] == [field]
    assert api.fakes.transaction.calls_to("POST", "/internal/transfers") == []


async def test_all_invalid_fields_of_a_transfer_are_named(api: ApiClient, token: str) -> None:
    """One response names all invalid fields."""
    body = {"currency": "ZZZ", "amount": -1, "to": {"email": "x"}, "extra": 1}
    response = await api.call("POST", TRANSFERS, token=token, json=body, headers=JSON)

    fields = {fault["field"] for fault in response.json()["errors"]}
    assert fields == {"currency", "amount", "to.email", "extra"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}{}",
        b'{"currency":"USD","amount":NaN,"to":{"email":"b@example.com"}}',
        b'{"currency":"USD","amount":Infinity,"to":{"email":"b@example.com"}}',
        b'{"currency":"USD","amount":1,"amount":2,"to":{"email":"b@example.com"}}',
        b'{"currency":"USD","amount":' + b"9" * 101 + b',"to":{"email":"b@example.com"}}',
        b"[" * 10_000 + b"]" * 10_000,
        b'{"metadata":' + b'{"a":' * 21 + b"1" + b"}" * 21 + b"}",
        b'{"metadata":' + b'{"a":' * 20 + b"1" + b"}" * 20 + b"}",
        b'{"metadata":' + b"[" * 20 + b"]" * 20 + b"}",
        b"[" * 21 + b"]" * 21,
        b'\xff{"a":1}',
        b'\xef\xbb\xbf{"currency":"USD"}',
        b'{"currency":"U\xc0\xafSD"}',
        b'{"currency":"\xed\xa0\x80"}',
        b'\x00{"currency":"USD"}',
        b'{"currency":"USD"}\x00',
        b'{"currency":"U\x00SD"}',
        b'{"to":{"email":"a@example.com","email":"b@example.com"}}',
        b'{"amount":1,"amo\\u0075nt":2}',
        b'{"amount":-Infinity}',
        b'{"amount":01}',
        b'{"amount":+1}',
        b'{"amount":0x1}',
        b'{"amount":1,}',
        b'{"amount":1}//',
        '{"currency":"USD"}'.encode("utf-16-le"),
        '{"currency":"USD"}'.encode("utf-32"),
        '{"currency":"USD"}'.encode("utf-16"),
        b"{'currency':'USD'}",
    ],
)
async def test_malformed_json_is_refused(api: ApiClient, token: str, body: bytes) -> None:
    """Guarantee 51: ambiguous or malformed JSON is a 400."""
    response = await api.call("POST", TRANSFERS, token=token, data=body, headers=JSON)

    assert (response.status, response.json()["code"]) == (400, "malformed_json")


@pytest.mark.parametrize("inner", [b"1", b"[]"])
async def test_twenty_levels_are_accepted(api: ApiClient, token: str, inner: bytes) -> None:
    """Guarantee 51: 20 levels are accepted, whatever the innermost value is."""
    levels = 19 if inner == b"[]" else 20
    body = b"[" * levels + inner + b"]" * levels

    assert 422 == (await api.call("POST", TRANSFERS, token=token, data=body, headers=JSON)).status


async def test_invalid_names_are_replaced_in_the_response(api: ApiClient, token: str) -> None:
    """An unpaired surrogate in a name is replaced in the response: strict parsers could not read it."""
    body = b'{"metadata": {"\\ud800": "\\udfff", "\\u0000x": "\\u0000"}}'

    response = await api.call("POST", TRANSFERS, token=token, data=body, headers=JSON)

    fields = {fault["field"] for fault in response.json()["errors"]}
    assert (422, {"metadata.(key)", "metadata.\ufffd", "metadata.\ufffdx"}) == (response.status, fields)


@pytest.mark.parametrize("document", [[], "text", 5, True, None])
async def test_body_must_be_an_object(api: ApiClient, token: str, document: Any) -> None:
    """JSON of another kind is a 422."""
    response = await api.call("POST", TRANSFERS, token=token, data=json.dumps(document), headers=JSON)

    assert (response.status, response.json()["code"]) == (422, "invalid_request")
    assert [{"field": "body", "message": "must be an object"}] == response.json()["errors"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json, text/plain"},
        {"Content-Type": "application/jsonp"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": ""},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {"Content-Type": "application/json", "Content-Encoding": "deflate"},
        {"Content-Type": "application/json", "Content-Encoding": "br"},
        {"Content-Type": "application/json", "Content-Encoding": "zstd"},
        {"Content-Type": "application/json", "Content-Encoding": "rot13"},
        {"Content-Type": "application/json", "Content-Encoding": "identity, gzip"},
    ],
)
async def test_other_media_types_are_refused(api: ApiClient, token: str, headers: dict[str, str]) -> None:
    """Guarantee 51: another content type or an encoded body is a 415."""
    data = json.dumps(VALID).encode()
    for encoded in (
        (data, gzip.compress(data), gzip.compress(b" " * 2**20)) if "Content-Encoding" in headers else (data,)
    ):
        whole = {"Idempotency-Key": "k-1"} | headers
        response = await api.call("POST", TRANSFERS, token=token, data=encoded, headers=whole)
        assert (415, "unsupported_media_type") == (response.status, response.json()["code"])
        assert [] == api.fakes.transaction.calls_to("POST", "/internal/transfers")


async def test_two_encodings(api: ApiClient, token: str) -> None:
    """Guarantee 51: a body declared both unencoded and encoded is a 415."""
    headers = [*JSON.items(), ("Content-Encoding", "identity"), ("Content-Encoding", "rot13")]
    authorised = [*headers, ("Authorization", f"Bearer {token}")]
    async with api.session.post(api.url + TRANSFERS, data=json.dumps(VALID), headers=authorised) as response:
        assert 415 == response.status


async def test_json_media_type_in_other_spellings(api: ApiClient, token: str) -> None:
    """Upper case and the explicit charset UTF-8 are accepted."""
    named = JSON | {"Content-Type": 'Application/JSON; charset="UTF-8"', "Content-Encoding": "Identity"}
    assert 202 == (await api.call("POST", TRANSFERS, token=token, data=json.dumps(VALID), headers=named)).status


async def test_size_of_bodies(api: ApiClient, token: str) -> None:
    """64 KiB are accepted, one byte more is a 413."""
    fitting = await api.call("POST", TRANSFERS, token=token, data=b" " * (64 * 1024), headers=JSON)
    larger = await api.call("POST", TRANSFERS, token=token, data=b" " * (64 * 1024 + 1), headers=JSON)

    assert (fitting.status, larger.status) == (400, 413)
    assert larger.json()["code"] == "body_too_large"


async def _begin(api: ApiClient, token: str, path: str, *, length: int) -> bytes:
    """The head of the response to a body of which only the first byte arrives."""
    where = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: k\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{{".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    writer.close()
    return head


@pytest.mark.parametrize("path", [TRANSFERS, "/api/v1/auth/logout"])
async def test_declared_length_is_checked_first(api: ApiClient, token: str, path: str) -> None:
    """Guarantee 51: a declared length above the limit is refused before the body is sent."""
    head = await _begin(api, token, path, length=65537)

    assert head.startswith(b"HTTP/1.1 413")


async def test_slow_body_times_out(api: ApiClient, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not arrive is a 408 and the connection ends."""
    monkeypatch.setattr(operations, "BODY_SECONDS", 0.2)
    head = await _begin(api, token, TRANSFERS, length=100)

    assert head.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in head.lower()


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/wallets?owner_id=x", "owner_id"),
        ("/api/v1/transfers?user_id=x", "user_id"),
        ("/api/v1/transfers?viewer=x", "viewer"),
        ("/api/v1/transfers?limit=0", "limit"),
        ("/api/v1/transfers?limit=201", "limit"),
        ("/api/v1/transfers?limit=-1", "limit"),
        ("/api/v1/transfers?limit=1e2", "limit"),
        ("/api/v1/transfers?limit=%D9%A1", "limit"),
        ("/api/v1/transfers?limit=99999999999999999999", "limit"),
        ("/api/v1/transfers?limit=", "limit"),
        ("/api/v1/transfers?limit=1&limit=2", "limit"),
        ("/api/v1/transfers?cursor=", "cursor"),
        ("/api/v1/transfers?cursor=a%00b", "cursor"),
        ("/api/v1/transfers?status=pending", "status"),
        ("/api/v1/transfers?kind=refund", "kind"),
        ("/api/v1/transfers?wallet_id=x", "wallet_id"),
        ("/api/v1/transfers?idempotency_key=%20", "idempotency_key"),
        ("/api/v1/transfers?from=yesterday", "from"),
        ("/api/v1/transfers?from=1700000000", "from"),
        ("/api/v1/transfers?to=2026-01-01T00:00:00", "to"),
        ("/api/v1/transfers?to=0001-01-01T00:00:00%2B14:00", "to"),
        ("/api/v1/transfers?from=2026-01-01T00:00:00Z&to=2026-01-01T00:59:59%2B01:00", "to"),
        (f"/api/v1/wallets/{SOME_ID}/statement?from=2026-01-01T00:00:01Z&to=2026-01-01T00:00:00Z", "to"),
        ("/api/v1/recipients", "email"),
        ("/api/v1/recipients?email=x", "email"),
        ("/api/v1/recipients?email=b@example.com&name=x", "name"),
        ("/api/v1/currencies?x=1", "x"),
        ("/api/v1/auth/me?x", "x"),
        ("/api/v1/auth/me?=x", "(no name)"),
        ("/api/v1/transfers?=x", "(no name)"),
        (f"/api/v1/transfers/{SOME_ID}?viewer={SOME_ID}", "viewer"),
        (f"/api/v1/transfers/{SOME_ID}/timeline?viewer=", "viewer"),
        ("/api/v1/notifications?user_id=x", "user_id"),
    ],
)
async def test_invalid_parameter_is_named(api: ApiClient, token: str, path: str, field: str) -> None:
    """Unknown, duplicate and malformed parameters are a 422 that names them; no upstream service is called."""
    for service in api.fakes.all():
        service.calls.clear()

    response = await api.call("GET", path, token=token)

    document = response.json()
    assert (response.status, document["code"]) == (422, "invalid_request")
    assert [fault["field"] for fault in document["errors"]] == [field]
    assert not api.fakes.transaction.calls
    assert not api.fakes.wallet.calls
    assert not api.fakes.notification.calls


@pytest.mark.parametrize("query", ["?", "?&", "?&&"])
async def test_query_without_parameters(api: ApiClient, token: str, query: str) -> None:
    """An empty query is not an unknown parameter."""
    for path in ("/api/v1/wallets", "/api/v1/currencies"):
        assert 200 == (await api.call("GET", path + query, token=token)).status


async def test_unknown_path_and_method(api: ApiClient, token: str) -> None:
    """404 and 405 are problem documents too, the latter with `Allow`; internal routes are not reachable."""
    for path in ("/nothing", "/api/v1/nothing", "/internal/post", "/api/v1/internal/transfers", "/metrics", "/api/v1/"):
        response = await api.call("GET", path, token=token)
        assert (response.status, response.json()["code"]) == (404, "not_found")
    for method in ("DELETE", "PATCH", "PUT", "TRACE", "OPTIONS"):
        response = await api.call(method, TRANSFERS, token=token)
        assert (response.status, response.json()["code"]) == (405, "method_not_allowed")
        assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD", "POST"}


async def test_every_response_has_its_headers(api: ApiClient, token: str) -> None:
    """Every response has security headers and a request id, including refusals; the server software is not named."""
    for path in ("/", "/api/v1/docs", "/api/v1/currencies", "/livez", "/nothing", "/api/v1/auth/me", "/api/v1/wallets"):
        headers = (await api.call("GET", path, token=token if path.endswith("wallets") else None)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "Server" not in headers
        assert len(headers["X-Request-Id"]) == 36
        if path != "/api/v1/currencies":
            assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("request_id", ["mine-1", "A.b:c_9"])
async def test_valid_request_id_is_kept(api: ApiClient, request_id: str) -> None:
    """The client's own request id is used if it is valid."""
    response = await api.call("GET", "/nothing", headers={"X-Request-Id": request_id})
    assert response.headers["X-Request-Id"] == response.json()["request_id"] == request_id


@pytest.mark.parametrize("request_id", ["", "x" * 65, "a b", "é", "<script>"])
async def test_invalid_request_id_is_replaced(api: ApiClient, request_id: str) -> None:
    """Otherwise a new one is generated."""
    response = await api.call("GET", "/nothing", headers={"X-Request-Id": request_id})
    assert response.headers["X-Request-Id"] == response.json()["request_id"] != request_id


@pytest.mark.parametrize("sent", ["mine-2", "not <sane>"])
async def test_expectation_is_refused_with_one_request_id(api: ApiClient, sent: str) -> None:
    """An unsupported expectation is a 417 with the same request id in body and header: the client's own, if valid."""
    headers = {"Expect": "the unexpected", "X-Request-Id": sent}
    response = await api.call("POST", "/api/v1/auth/login", json={}, headers=headers)

    named = response.json()["request_id"]
    assert (417, "expectation_failed") == (response.status, response.json()["code"])
    assert named == response.headers["X-Request-Id"]
    assert (sent == "mine-2") == (sent == named)


@pytest.mark.parametrize(("first", "status"), [(b"", b"400"), (b"1\r\n{\r\n", b"408")])
async def test_broken_chunks_are_a_client_error(
    api: ApiClient, token: str, monkeypatch: pytest.MonkeyPatch, first: bytes, status: bytes
) -> None:
    """A body with invalid chunks is a 400 or, if noticed later, a body that never arrives."""
    monkeypatch.setattr(operations, "BODY_SECONDS", 0.3)
    where = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    head = (
        f"POST {TRANSFERS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: k\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    writer.write(head.encode() + first)
    await writer.drain()
    if first:
        # The request must start before its body breaks.
        assert (await api.call("GET", "/livez")).status == 200
    writer.write(b"zz\r\n{}\r\n0\r\n\r\n")
    response = await asyncio.wait_for(reader.readuntil(b"\r\n"), 30)
    writer.close()

    assert response.split()[1] == status
