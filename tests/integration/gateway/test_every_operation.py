"""Properties of every operation, read from the OpenAPI document: a new operation is tested without further work."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from multidict import CIMultiDict
from redis.asyncio import Redis as Client

from services.chassis import server
from services.contracts.api_keys import Scope
from services.contracts.identifiers import new_id
from services.gateway import api, openapi
from services.gateway.api import OPERATIONS
from tests.harness import samples
from tests.harness.document import Document, Operation
from tests.integration.gateway.conftest import ApiClient, FakeServices, Open, Response
from tests.integration.gateway.test_api_keys import END_OF, VERIFY, WRONG_KEYS, WRONG_PLACES
from tests.integration.gateway.test_authentication import FORGERIES

DOCUMENT = Document(openapi.build((*OPERATIONS, *api.reference.HEALTH)))
EVERY = DOCUMENT.operations
GUARDED = [operation for operation in EVERY if not operation.is_public]
WITH_BODY = [operation for operation in EVERY if DOCUMENT.body(operation) is not None]
IDENTITY_HEADERS = {
    "X-User-Id": str(new_id()), "X-Role": "operator", "X-Forwarded-User": "ops@example.com", "X-Forwarded-For": "10.0.0.1",
    "X-Real-Ip": "10.0.0.1", "Forwarded": "for=10.0.0.1;host=evil", "X-Original-Url": "/api/v1/ops/overview",
    "X-Rewrite-Url": "/api/v1/ops/overview", "X-Http-Method-Override": "DELETE", "X-Forwarded-Host": "evil.example",
    "X-Authenticated-Userid": str(new_id()), "X-Remote-User": "ops@example.com",
}  # fmt: skip
BACKGROUND = ("/internal/jwks", "/internal/revocations")
"""Calls that the gateway makes on its own behalf."""


def filled(operation: Operation, identifier: str | None = None) -> str:
    """The path with ids filled in."""
    path = operation.path
    for name in operation.placeholders:
        path = path.replace(f"{{{name}}}", identifier or str(new_id()))
    return path


async def ask(
    api: ApiClient, operation: Operation, *, path: str = "", token: str | None = None, **changes: Any
) -> Response:
    """A request that fits the document, except for `changes`; the response must fit it as well."""
    body = changes.pop("body", samples.body(DOCUMENT, operation))
    data = json.dumps(body).encode() if body is not None else None
    headers = samples.headers(DOCUMENT, operation) | ({"Content-Type": "application/json"} if data else {})
    response = await api.call(
        operation.method,
        path or filled(operation),
        token=token,
        data=data,
        headers=CIMultiDict([*headers.items(), *CIMultiDict(changes.pop("headers", {})).items()]),
        params=changes.pop("query", samples.query(DOCUMENT, operation)),
    )
    faults = DOCUMENT.faults(operation.method, operation.path, response.status, response.headers, response.body)
    # The fake services return less than the real ones do: only responses of the gateway itself are validated.
    if not 200 <= response.status < 300:
        assert [] == faults, f"{operation.name}: {response.status} {response.body[:300]!r}"
    return response


def upstream_calls(api: ApiClient) -> list[str]:
    """The upstream calls on behalf of clients."""
    calls = [call for service in api.fakes.all() for call in service.calls]
    return [f"{call.method} {call.path}" for call in calls if call.path not in BACKGROUND]


async def test_all_routes_are_documented(open_client: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guarantee 60: the routes of the running gateway are exactly those of the document."""
    served: set[tuple[str, str]] = set()
    serve = server.serve

    async def look_and_serve(app: web.Application, *args: Any, **keywords: Any) -> None:
        served.update((each.method, each.resource.canonical) for each in app.router.routes() if each.resource)
        await serve(app, *args, **keywords)

    monkeypatch.setattr(server, "serve", look_and_serve)
    async with open_client():
        # The chassis adds the health routes later, to every service.
        assert {(row.method, row.path) for row in OPERATIONS} == {place for place in served if place[0] != "HEAD"}


async def test_methods_match_the_document(api: ApiClient) -> None:
    """The methods of each path are exactly those of the document."""
    for path in {operation.path for operation in EVERY}:
        documented = {operation.method for operation in EVERY if operation.path == path}
        response = await api.call("PROPFIND", path.replace("{id}", str(new_id())))
        served = set(response.headers["Allow"].split(",")) - {"HEAD", "OPTIONS"}
        assert (405, documented) == (response.status, served), path


async def test_forged_tokens(api: ApiClient) -> None:
    """Guarantee 44: every kind of forged token gets the same refusal at every path, and no upstream service is called."""
    forged = {name: forge(api.fakes.auth) for name, forge in FORGERIES.items()}
    for operation in GUARDED:
        responses = set()
        for name, token in forged.items():
            response = await ask(api, operation, headers={"Authorization": f"Bearer {token}"})
            assert (401, "Bearer") == (response.status, response.headers["WWW-Authenticate"]), name
            responses.add(json.dumps(response.json() | {"request_id": ""}))
        assert 401 == (await ask(api, operation)).status
        assert 1 == len(responses)
        assert [] == upstream_calls(api)


def scope_of(operation: Operation) -> str | None:
    """The scope that an API key needs for this; None if API keys are not accepted."""
    scope: str | None = operation.definition["x-scope"]
    return scope


async def refused(api: ApiClient, operation: Operation, status: int, code: str, **changes: Any) -> None:
    """The request is refused as documented; the only upstream call is the verification of the key."""
    response = await ask(api, operation, **changes)

    assert (status, code) == (response.status, response.json()["code"]), operation.name
    assert str(status) in operation.definition["responses"], operation.name
    assert {f"POST {VERIFY}"} >= set(upstream_calls(api)), operation.name


def test_every_operation_documents_its_scope() -> None:
    """Every operation states whether API keys are accepted, and which scope they need."""
    assert [] == [operation.name for operation in GUARDED if "x-scope" not in operation.definition]
    for operation in GUARDED:
        scope = scope_of(operation)
        assert ({"api_key": [scope]} in operation.definition["security"]) is (scope is not None), operation.name
    assert set(Scope) == {scope_of(operation) for operation in GUARDED} - {None}


async def test_wrong_api_keys(open_client: Open, fakes: FakeServices, redis_client: Client) -> None:
    """Guarantee 44: a malformed, truncated or ended API key is refused like a forged token, at every path."""
    assert await redis_client.dbsize() == 0
    ended = {name: end(fakes.auth) for name, end in END_OF.items()}
    async with open_client() as api:
        expired = fakes.auth.api_key(*Scope, seconds=0.001)
        assert 200 == (await api.call("GET", "/api/v1/wallets", token=expired)).status
        fakes.auth.forget_api_key(expired)
        wrong = {name: make(fakes.auth) for name, make in WRONG_KEYS.items()} | ended | {"expired": expired}
        for name, key in wrong.items():
            for service in fakes.all():
                service.calls.clear()
            for operation in GUARDED:
                await refused(api, operation, 401, "invalid_token", headers={"Authorization": f"Bearer {key}"})
            # A malformed key causes no query, and an unknown one is queried once, not for each path.
            assert len(upstream_calls(api)) <= 1, name


async def test_api_keys_in_wrong_places(api: ApiClient) -> None:
    """Guarantee 44: a valid key is not accepted in the query, a cookie, another header or scheme, or twice."""
    scopes = list(Scope)
    key = api.fakes.auth.api_key(*scopes, role="operator")
    for place in WRONG_PLACES.values():
        for operation in GUARDED:
            await refused(api, operation, 401, "invalid_token", **place(key))
    assert [] == api.fakes.auth.calls_to("POST", VERIFY)


async def test_scopes_of_api_keys(api: ApiClient) -> None:
    """A key without the documented scope gets 403 and no upstream call; a key with it is accepted."""
    auth = api.fakes.auth
    every = auth.api_key(*Scope, role="operator")
    others = {scope: auth.api_key(*{*Scope} - {scope}, role="operator") for scope in Scope}
    only = {scope: auth.api_key(scope, role="operator") for scope in Scope}
    of_user = auth.api_key(*Scope)
    for operation in GUARDED:
        scope = scope_of(operation)
        if scope is None:
            await refused(api, operation, 403, "session_required", token=every)
            continue
        await refused(api, operation, 403, "insufficient_scope", token=others[Scope(scope)])
        if operation.is_for_operators:
            await refused(api, operation, 403, "operator_required", token=of_user)
        response = await ask(api, operation, token=only[Scope(scope)])
        assert response.status not in (401, 403), operation.name
        for service in api.fakes.all():
            service.calls.clear()


async def test_operator_paths_refuse_users(api: ApiClient, token: str) -> None:
    """A user gets 403 before anything else is checked, whatever identity headers the request has."""
    for operation in [each for each in EVERY if each.is_for_operators]:
        for headers in ({}, IDENTITY_HEADERS):
            response = await ask(api, operation, token=token, headers=headers)
            assert (403, "operator_required") == (response.status, response.json()["code"])
        assert [] == upstream_calls(api)


async def test_identity_headers_are_not_passed_on(api: ApiClient) -> None:
    """Guarantee 47: identity headers are ignored and not passed on; services receive the user of the token."""
    for operation in GUARDED:
        for service in api.fakes.all():
            service.calls.clear()
        assert 401 == (await ask(api, operation, headers=IDENTITY_HEADERS)).status
        assert [] == upstream_calls(api)

        await ask(api, operation, token=api.fakes.auth.token(), headers=IDENTITY_HEADERS)

        for service in api.fakes.all():
            for call in service.calls:
                received = f"{call.body} {call.query} {call.headers}"
                passed_on = [value for value in IDENTITY_HEADERS.values() if value != "DELETE" and value in received]
                assert [] == passed_on, (call.method, call.path)


async def test_nasty_values_in_every_field(api: ApiClient) -> None:
    """Guarantee 52: an invalid value is a 422 that names the field, without an upstream call; nothing is a 500."""
    for operation in WITH_BODY:
        schema = DOCUMENT.body(operation)
        assert schema is not None
        valid = samples.body(DOCUMENT, operation) or {}
        for path in samples.leaves(DOCUMENT, schema):
            for nasty in samples.NASTY:
                body = samples.changed(valid, path, nasty)
                # Each request has its own token: one of the operations is logout.
                response = await ask(api, operation, token=api.fakes.auth.token(role="operator"), body=body)
                where = f"{operation.name} {'.'.join(path)} = {nasty!r:.40}: {response.status} {response.body[:200]!r}"
                if isinstance(nasty, int) and abs(nasty) > 10**99:
                    assert 400 == response.status, where
                elif samples.is_unstorable(nasty) or not DOCUMENT.fits(schema, body):
                    assert 422 == response.status, where
                    named = [fault["field"] for fault in response.json()["errors"]]
                    assert [] != [field for field in named if field.split(".")[0] == path[0]], where
        for service in api.fakes.all():
            assert [] == [call for call in service.calls if samples.is_unstorable(call.body)]


async def test_all_invalid_fields_are_named_at_once(api: ApiClient, operator_token: str) -> None:
    """One response names all invalid and all unknown fields."""
    for operation in WITH_BODY:
        schema = DOCUMENT.body(operation)
        assert schema is not None
        body: dict[str, Any] = {name: [[]] for name in schema.get("properties", {})} | {"surely_unknown": 1}

        response = await ask(api, operation, token=operator_token, body=body)

        named = {fault["field"].split(".")[0] for fault in response.json()["errors"]}
        assert (422, set(body)) == (response.status, named)
        assert [] == upstream_calls(api)


async def test_nasty_values_in_every_parameter(api: ApiClient, operator_token: str) -> None:
    """Guarantee 52: an invalid, duplicate or unknown parameter is named; a malformed id is not found."""
    for operation in EVERY:
        valid = samples.query(DOCUMENT, operation)
        for parameter in DOCUMENT.parameters(operation, "query"):
            for nasty in samples.NASTY_TEXTS:
                response = await ask(api, operation, token=operator_token, query=valid | {parameter["name"]: nasty})
                whole = parameter["schema"].get("type") in ("integer", "number")
                if whole or samples.is_unstorable(nasty) or not DOCUMENT.fits(parameter["schema"], nasty):
                    where = f"{parameter['name']} = {nasty!r:.40}: {response.status}"
                    assert 422 == response.status, where
                    assert parameter["name"] in [fault["field"] for fault in response.json()["errors"]], where
        for nasty in ("x", samples.SQL, "\x00", "../../internal/wallets", "x" * 2000) if operation.placeholders else ():
            response = await ask(api, operation, path=filled(operation, quote(nasty, safe="")), token=operator_token)
            assert response.status in (400, 404), nasty


async def test_unknown_parameters(api: ApiClient, operator_token: str) -> None:
    """An unknown parameter is refused by name, except at paths that ignore parameters."""
    for operation in EVERY:
        if "422" not in operation.definition["responses"]:
            continue
        query = samples.query(DOCUMENT, operation) | {"surely_unknown": "1"}

        response = await ask(api, operation, token=operator_token, query=query)

        assert (422, ["surely_unknown"]) == (response.status, [fault["field"] for fault in response.json()["errors"]])


async def test_every_operation_has_limit_headers(open_client: Open, redis_client: Client) -> None:
    """With limits enabled, every response has the headers of the limit."""
    async with open_client(rate_limits="on") as api:
        for operation in EVERY:
            await ask(api, operation)
