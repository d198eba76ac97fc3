"""Every internal route of every service: which identities are allowed. The routes come from the applications."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.roles import IDENTITIES
from services.auth import api as auth
from services.chassis import server
from services.chassis.dead_letter_api import DeadLetterApi
from services.chassis.service_tokens import Identity, TokenSigner, TokenVerifier
from services.contracts.identifiers import new_id
from services.contracts.topology import FINALIZED_QUEUE, REQUESTED_QUEUE, Queue
from services.notification import api as notification
from services.transaction import api as transaction
from services.wallet import api as wallet
from tests.harness.services import identities

AddRoutes = Callable[[web.Application, TokenVerifier], None]


def _with_dead_letters(add_routes: AddRoutes, queue: Queue, app: web.Application, verifier: TokenVerifier) -> None:
    """The routes of a service with those of its dead letters; no database is connected."""
    nothing: Any = None
    add_routes(app, verifier)
    DeadLetterApi(nothing, queue, read_pool=nothing, broker_url="", instance="test", preview=nothing).add_routes(
        app, verifier
    )


ROUTES: dict[str, AddRoutes] = {
    "auth": auth.add_routes,
    "wallet": wallet.add_routes,
    "transaction": lambda app, verifier: _with_dead_letters(transaction.add_routes, REQUESTED_QUEUE, app, verifier),
    "notification": lambda app, verifier: _with_dead_letters(notification.add_routes, FINALIZED_QUEUE, app, verifier),
}
BEYOND_THE_GATEWAY = {
    ("auth", "POST", "/internal/recipients"): {"gateway", "transaction"},
    ("auth", "POST", "/internal/contacts"): {"notification-deliver"},
    ("auth", "POST", "/internal/emails/claim"): {"notification-deliver"},
    ("auth", "POST", "/internal/emails/mark"): {"notification-deliver"},
    ("auth", "POST", "/internal/emails/release"): {"notification-deliver"},
    ("wallet", "POST", "/internal/post"): {"transaction-worker"},
    ("wallet", "POST", "/internal/void"): {"transaction-worker", "transaction-reversal", "transaction"},
    ("wallet", "POST", "/internal/wallets/find"): {"transaction"},
    ("wallet", "POST", "/internal/availability"): {"transaction"},
    ("transaction", "GET", "/internal/finalized"): {"notification-worker"},
    ("transaction", "GET", "/internal/pending"): {"notification-worker"},
    ("transaction", "GET", "/internal/late"): {"notification-worker"},
    ("transaction", "POST", "/internal/events"): {"notification-worker"},
}
"""Routes with callers other than the gateway. All others are for the gateway only."""

REFUSED = ("service_token_required", "service_not_allowed")


@dataclass
class Service:
    """The routes of one service on a free port, without a database: an allowed caller gets some other response."""

    url: str
    routes: list[tuple[str, str]]
    session: aiohttp.ClientSession

    async def request(self, method: str, path: str, authorization: str | None) -> tuple[int, str]:
        headers = {} if authorization is None else {"Authorization": authorization}
        url = self.url + path.replace("{id}", str(new_id())).replace("{transfer_id}", str(new_id()))
        async with self.session.request(method, url, headers=headers) as response:
            return response.status, (await response.json(content_type=None) or {}).get("code", "")


@pytest.fixture
def keys() -> dict[str, Identity]:
    return identities(IDENTITIES)


@asynccontextmanager
async def running(name: str, keys: dict[str, Identity]) -> AsyncIterator[Service]:
    app = server.application(name)
    ROUTES[name](app, TokenVerifier(keys[name].public_keys, audience=name))
    routes = [
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    ]
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Service(f"http://127.0.0.1:{runner.addresses[0][1]}", routes, session)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("name", ROUTES)
async def test_every_route_has_its_callers(name: str, keys: dict[str, Identity]) -> None:
    """Guarantee 48: each route accepts its identities, with a token for this service; all others get 403."""
    async with running(name, keys) as service:
        for method, path in service.routes:
            may = BEYOND_THE_GATEWAY.get((name, method, path), {"gateway"})
            for caller, key in keys.items():
                token = TokenSigner(key, audience=name).token()
                status, code = await service.request(method, path, f"Bearer {token}")
                case = (name, method, path, caller)
                if caller in may:
                    assert code not in REFUSED, case
                else:
                    assert (403, "service_not_allowed") == (status, code), case


@pytest.mark.parametrize("name", ROUTES)
async def test_invalid_credentials_are_rejected_by_every_route(name: str, keys: dict[str, Identity]) -> None:
    """Guarantee 48: no credential or no token: 401, also for an expired one. A user's, another service's, a forged one: 403."""
    others = next(other for other in ROUTES if other != name)
    now = int(time.time())
    user = {"iss": "payflow", "aud": "payflow-api", "sub": str(new_id()), "iat": now, "exp": now + 60}
    async with running(name, keys) as service:
        for method, path in service.routes:
            caller = min(BEYOND_THE_GATEWAY.get((name, method, path), {"gateway"}))
            key = keys[caller].key
            claims = {"iss": caller, "aud": name, "iat": now, "exp": now + 60}
            expired = _signed(claims | {"iat": now - 3600, "exp": now - 3540}, key, caller)
            refusals = {
                None: (401, "service_token_required"),
                "Bearer": (401, "service_token_required"),
                "Bearer nonsense": (401, "service_token_required"),
                "Basic YTpi": (401, "service_token_required"),
                f"Bearer {expired}": (401, "token_clock_skew"),
                f"Bearer {_signed(user, Ed25519PrivateKey.generate(), 'k')}": (403, "service_not_allowed"),
                f"Bearer {_signed(claims | {'aud': others}, key, caller)}": (403, "service_not_allowed"),
                f"Bearer {_signed(claims | {'exp': now + 3600}, key, caller)}": (403, "service_not_allowed"),
                f"Bearer {_signed(claims, Ed25519PrivateKey.generate(), caller)}": (403, "service_not_allowed"),
            }
            for authorization, expected in refusals.items():
                assert expected == await service.request(method, path, authorization), (method, path, authorization)


async def test_the_list_names_only_routes_that_exist(keys: dict[str, Identity]) -> None:
    """The list above has no entry for a route that does not exist."""
    existing = set()
    for name in ROUTES:
        async with running(name, keys) as service:
            existing |= {(name, method, path) for method, path in service.routes}

    assert set(BEYOND_THE_GATEWAY) <= existing
    assert len(existing) >= 60


def _signed(claims: dict[str, object], key: Ed25519PrivateKey, key_id: str) -> str:
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": key_id})
