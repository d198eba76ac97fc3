"""The clients of the gateway and the routes of the services: same paths, same bodies, same query parameters.

Every method of every client is called against the routes of the real service. What the client sent is compared, name by name,
with the model that the route validates it with. Nothing is behind the routes, so each call fails after its validation.
"""

from __future__ import annotations

import inspect
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import CoroutineType
from typing import Any

import pytest
from aiohttp import web
from pydantic import TypeAdapter

from deploy.local.roles import IDENTITIES
from services.chassis import body as chassis_body
from services.chassis import server
from services.chassis.client import Upstream
from services.chassis.service_tokens import TokenVerifier
from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal
from services.gateway import schemas
from services.gateway.clients.auth import AuthClient
from services.gateway.clients.notification import NotificationClient
from services.gateway.clients.service import ServiceClient
from services.gateway.clients.transaction import TransactionClient, TransferItem
from services.gateway.clients.wallet import WalletClient
from services.transaction import api as transaction_api
from tests.harness.services import identities
from tests.integration.test_internal_callers import ROUTES

KEYS = identities(IDENTITIES)
ID = str(new_id())
TIME = "2026-01-31T12:00:00Z"
SECRET = "correct horse battery"
PAGE = schemas.types.PageQuery(limit="10", cursor="c").parameters()
PERIOD = schemas.types.PeriodQuery(limit="10", cursor="c", **{"from": TIME, "to": TIME}).parameters()
TRANSFERS = schemas.transfers.TransferQuery(
    status="PENDING",
    kind="transfer",
    wallet_id=ID,
    idempotency_key="key",
    limit="10",
    cursor="c",
    **{"from": TIME, "to": TIME},
).parameters()
KNOWN = schemas.ops.SearchQuery(id=ID, limit="10", cursor="c", **{"from": TIME, "to": TIME}).known()
SEARCH = KNOWN | {"user_id": ID, "idempotency_key": "key", "request_id": "r"}
AUDIT = {
    "actor_id": ID,
    "user_id": ID,
    "action": "login_failed",
    "from": TIME,
    "to": TIME,
    "limit": "10",
    "before": f"{TIME}/{ID}",
}
DEAD_LETTERS = {"queue": "q", "state": "waiting", "limit": "10", "before": f"{TIME}/{ID}"}
BY = {"operator_id": ID, "request_id": "request"}


def item(**to: str) -> TransferItem:
    """A transfer with every field."""
    return {
        "user_id": ID,
        "idempotency_key": "key",
        "request_hash": "0" * 64,
        "kind": "transfer",
        "amount": 1,
        "currency": "USD",
        "to": to,
        "from_wallet_id": ID,
        "description": "rent",
        "metadata": {"order": 7},
        "request_id": "request",
        "traceparent": None,
        "simulation": {"unchecked": True, "delay_seconds": 1.0, "expires_seconds": 1.0},
    }


@dataclass
class Requests:
    """What one service received: the names in the bodies and queries, and the names of the models, by route."""

    sent: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    validated: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    rejected: list[Any] = field(default_factory=list)
    routes: set[tuple[str, str]] = field(default_factory=set)
    """The routes that let the gateway in."""
    route: tuple[str, str] = ("", "")


def names(value: Any, path: str = "") -> Iterator[str]:
    """The dotted names in a body or query."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield f"{path}{name}"
            yield from names(member, f"{path}{name}.")
    if isinstance(value, list):
        for member in value:
            yield from names(member, path)


def model_names(schema: dict[str, Any], definitions: dict[str, Any], path: str = "") -> Iterator[str]:
    """The dotted names of a model, from its JSON schema; a name that ends with `.*` has members of any name."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    for choice in schema.get("anyOf", ()):
        yield from model_names(choice, definitions, path)
    if "items" in schema:
        yield from model_names(schema["items"], definitions, path)
    if schema.get("type") == "object" and "properties" not in schema:
        yield f"{path}*"
    for name, member in schema.get("properties", {}).items():
        yield f"{path}{name}"
        yield from model_names(member, definitions, f"{path}{name}.")


async def routes_of_gateway(app: web.Application, upstream: Upstream) -> set[tuple[str, str]]:
    """The routes that let the gateway in."""
    found = set()
    for route in app.router.routes():
        if route.resource is None or route.method == "HEAD" or not route.resource.canonical.startswith("/internal/"):
            continue
        try:
            await upstream.call(route.method, route.resource.canonical, seconds=10)
        except Refusal as refusal:
            if refusal.code == "service_not_allowed":
                continue
        found.add((route.method, route.resource.canonical))
    return found


def record_models(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record the names of each model that a route validates with, and what it rejects."""

    def spy(validate: Callable[..., Any]) -> Callable[..., Any]:
        def validated(adapter: TypeAdapter[Any], value: Any) -> Any:
            schema = adapter.json_schema(by_alias=True)
            requests.validated[requests.route] |= set(model_names(schema, schema.get("$defs", {})))
            try:
                return validate(adapter, value)
            except Refusal as refusal:
                requests.rejected.append((requests.route, refusal.errors))
                raise

        return validated

    for module in [module for path, module in sys.modules.items() if path.startswith("services.")]:
        for function in (chassis_body.validate, chassis_body.validate_json):
            if getattr(module, function.__name__, None) is function and module is not chassis_body:
                monkeypatch.setattr(module, function.__name__, spy(function))


@asynccontextmanager
async def receiving(name: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Requests, Upstream]]:
    """The routes of a service, which record what they receive, and the gateway's way to them."""
    requests = Requests()

    record_models(requests, monkeypatch)

    @web.middleware
    async def record(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
        resource = request.match_info.route.resource
        requests.route = request.method, resource.canonical if resource is not None else f"unknown {request.path}"
        received = await request.json() if request.can_read_body else {}
        requests.sent[requests.route] |= set(names(received)) | set(request.query)
        try:
            return await handler(request)
        except KeyError:
            return web.Response(status=503)  # It has no database.

    app = server.application(name)
    app.middlewares.append(record)
    app[transaction_api.SIMULATES] = True
    ROUTES[name](app, TokenVerifier(KEYS[name].public_keys, audience=name))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    upstream = Upstream("gateway", name, f"http://127.0.0.1:{runner.addresses[0][1]}", KEYS["gateway"])
    try:
        requests.routes = await routes_of_gateway(app, upstream)
        requests.sent.clear()
        requests.validated.clear()
        requests.rejected.clear()
        yield requests, upstream
    finally:
        await upstream.close()
        await runner.cleanup()


def calls_of_service(client: ServiceClient) -> list[Coroutine[Any, Any, Any]]:
    return [client.list_audit(AUDIT)]


def calls_of_dead_letters(client: TransactionClient | NotificationClient) -> list[Coroutine[Any, Any, Any]]:
    return [
        *calls_of_service(client),
        client.list_dead_letters(DEAD_LETTERS),
        client.count_dead_letters(),
        client.get_dead_letter(ID),
        client.replay_dead_letter(ID, **BY, dry_run=True),
        client.discard_dead_letter(ID, **BY, reason="done"),
    ]


def calls_of_auth(client: AuthClient) -> list[Coroutine[Any, Any, Any]]:
    user: dict[str, Any] = {"email": "a@example.com", "user_agent": "curl"}
    both: dict[str, Any] = {"user_id": ID, "password": SECRET, "totp": "123456"}
    return [
        *calls_of_service(client),
        client.register(**user, password=SECRET, name="Alice", address="127.0.0.1"),
        client.log_in(**user, password=SECRET, totp="123456", address="127.0.0.1"),
        client.change_password(
            user_id=ID, current_password=SECRET, new_password=SECRET, totp="123456", user_agent="curl"
        ),
        client.reset_password(token="t", new_password=SECRET),
        client.start_totp(user_id=ID, password=SECRET),
        client.confirm_totp(user_id=ID, code="123456"),
        client.remove_totp(**both),
        client.renew_recovery_codes(**both),
        client.create_api_key(**both, session_id=ID, name="shop", scopes=["read"], expires_at=TIME),
        client.is_known_location(email="a@example.com", address="127.0.0.1"),
        client.refresh("token"),
        client.log_out(session_id=ID, user_id=ID),
        client.list_sessions(ID, PAGE | {"cursor": ID}),
        client.end_session(user_id=ID, session_id=ID),
        client.end_other_sessions(user_id=ID, session_id=ID),
        client.list_revocations(after=7, seconds=10),
        client.get_user(ID),
        client.find_account("a@example.com"),
        client.set_role(ID, role="operator", operator_id=ID),
        client.disable_user(ID, reason="fraud", operator_id=ID),
        client.enable_user(ID, operator_id=ID),
        client.find_recipients(["a@example.com"]),
        client.find_names([ID], seconds=10),
        client.verify_email("token"),
        client.request_verification(ID),
        client.request_password_reset("a@example.com"),
        client.list_api_keys(ID),
        client.revoke_api_key(ID, user_id=ID),
        client.verify_api_key(bytes(32), seconds=10),
        client.get_jwks(seconds=10),
        client.list_signing_keys(),
        client.rotate_signing_keys(ID),
    ]


def calls_of_wallet(client: WalletClient) -> list[Coroutine[Any, Any, Any]]:
    return [
        *calls_of_service(client),
        client.open_wallet(owner_id=ID, currency="USD"),
        client.list_wallets(ID),
        client.get_wallet(ID),
        client.read_wallets([{"wallet_id": ID, "owner_id": ID}]),
        client.get_balance(ID, at=TIME),
        client.get_statement(ID, PERIOD),
        client.freeze(ID, **BY),
        client.unfreeze(ID, **BY),
        client.get_outcome(ID),
        client.admit_outcome(ID, reason="clock", **BY),
        client.get_balance_sheet(),
        client.get_last_proof(),
        client.run_proof(whole=True, head=f"1:{'0' * 64}", seconds=10),
        client.run_proof(whole=False, head=None, seconds=10),
        client.start_proof(full=True, head=f"1:{'0' * 64}"),
        client.get_proof_run(ID),
    ]


def calls_of_transaction(client: TransactionClient) -> list[Coroutine[Any, Any, Any]]:
    return [
        *calls_of_dead_letters(client),
        client.create_transfers([item(email="a@example.com"), item(wallet_id=ID)]),
        client.list_transfers(ID, TRANSFERS),
        client.get_transfer(ID, viewer=ID),
        client.wait_for_outcome(ID, viewer=ID, wait_seconds=1, seconds=10),
        client.cancel_transfer(ID, viewer=ID),
        client.get_steps(ID, viewer=ID),
        client.search(SEARCH),
        client.get_overview(),
        client.set_freeze_hint(ID, frozen=True),
    ]


def calls_of_notification(client: NotificationClient) -> list[Coroutine[Any, Any, Any]]:
    return [
        *calls_of_dead_letters(client),
        client.list_notifications(ID, PAGE),
        client.mark_read(ID, user_id=ID),
        client.list_of_transfer(ID),
        client.read_feeds([(ID, 7)], limit=10, seconds=10),
    ]


CLIENTS: dict[str, Callable[[Upstream], tuple[ServiceClient, list[Coroutine[Any, Any, Any]]]]] = {
    "auth": lambda up: (made := AuthClient(up, passwords=up), calls_of_auth(made)),
    "wallet": lambda up: (made := WalletClient(up), calls_of_wallet(made)),
    "transaction": lambda up: (
        made := TransactionClient(up, intake=up, waits=[up]),
        calls_of_transaction(made),
    ),
    "notification": lambda up: (made := NotificationClient(up), calls_of_notification(made)),
}
LOCAL = {"is_ready", "close"}
"""Methods of clients that send no request to an internal route."""


@pytest.mark.parametrize("name", CLIENTS)
async def test_clients_and_routes_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request has a route of the service, and both sides name the same fields and parameters, without exception."""
    async with receiving(name, monkeypatch) as (requests, upstream):
        client, calls = CLIENTS[name](upstream)
        for call in calls:
            with suppress(Refusal, KeyError, TypeError):
                await call

    methods = {
        method for method, function in inspect.getmembers(type(client), inspect.iscoroutinefunction) if method[0] != "_"
    } - LOCAL
    assert methods == {call.__name__ for call in calls if isinstance(call, CoroutineType)}
    assert [] == requests.rejected
    assert requests.routes == set(requests.sent)
    for route, sent in requests.sent.items():
        free = tuple(each.removesuffix("*") for each in requests.validated[route] if each.endswith("*"))
        fixed = {each for each in requests.validated[route] if not each.endswith("*")}
        assert fixed == {each for each in sent if not (free and each.startswith(free))}, route
