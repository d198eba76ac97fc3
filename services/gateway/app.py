"""Composition of the gateway's role."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import structlog
from aiohttp import web

from services.chassis import server
from services.chassis.encoding import encode
from services.chassis.roles import Runtime
from services.chassis.watchdog import Watchdog
from services.gateway import api, openapi, operations, responses, upstreams, wakeup
from services.gateway.address import Network
from services.gateway.api import OPERATIONS, reference_page
from services.gateway.api.waiting import LONG_POLLS, LongPolls
from services.gateway.api.wallet_facts import WALLET_FACTS, WalletFacts
from services.gateway.cache import Cache
from services.gateway.clients.alertmanager import ALERTS, Alertmanager
from services.gateway.file_stream import FILES, Files
from services.gateway.idempotency import ResponseCache
from services.gateway.intake import INTAKE, Intake
from services.gateway.live import HUB, Hub
from services.gateway.security import admission, authentication, rate_limit
from services.gateway.security.authentication import Tokens
from services.gateway.security.cors import Origins
from services.gateway.security.jwks import KEYS, Keys
from services.gateway.security.login_throttle import LOGIN_THROTTLE, LoginThrottle
from services.gateway.security.passwords import PASSWORDS, Passwords
from services.gateway.security.rate_limit import LIMITER, RateLimiter
from services.gateway.security.rate_limit_counters import Quotas
from services.gateway.security.revocations import REVOCATIONS, Revocations
from services.gateway.security.verified_keys import VerifiedKeys
from services.gateway.settings import GatewaySettings
from services.gateway.upstreams import UPSTREAMS, Upstreams
from services.gateway.wallet_reader import WALLET_READER, WalletReader

BODY_BYTES_MAX = 64 * 1024

log = structlog.get_logger()

_DOCUMENT = openapi.build((*OPERATIONS, *api.reference.HEALTH))
_DOCUMENT_BYTES = encode(_DOCUMENT)
_DOCS = reference_page.render(_DOCUMENT)


async def serve_api(settings: GatewaySettings, runtime: Runtime) -> None:
    """The api role: serve the public API."""
    redis_url = settings.redis_url.get_secret_value()
    async with AsyncExitStack() as stack:
        clients = _connect(settings)
        stack.push_async_callback(clients.close)
        # Connections of their own: a burst of logins must not delay revocations.
        feeds = _connect(settings)
        stack.push_async_callback(feeds.close)
        cache = Cache(redis_url)
        stack.push_async_callback(cache.close)
        keys, revocations, cached = Keys(feeds.auth), Revocations(feeds.auth), ResponseCache(cache)
        stack.push_async_callback(cached.close)
        runtime.health.register("keys", keys.ping)
        runtime.health.register("revocations", revocations.ping)
        hub = Hub(clients.notification, streams_max=settings.streams_max)
        are_limited = _are_limited(settings)
        quotas = Quotas(cache)
        stack.push_async_callback(quotas.close)
        app = build(
            clients,
            keys=keys,
            revocations=revocations,
            cached=cached,
            hub=hub,
            limiter=RateLimiter(quotas, rate_limit.limits_of(settings), enabled=are_limited),
            login_throttle=LoginThrottle(cache, clients.auth, enabled=are_limited),
            trusted=settings.trusted_networks,
            requests_max=settings.requests_max,
            passwords_max=settings.passwords_max,
            origins=_origins(settings),
        )
        _install_options(app, settings, stack)
        revocations.subscribe(hub.end_session)
        for work in (keys.run(), revocations.run(), hub.run(), *_wakeups(redis_url, revocations, hub)):
            runtime.run_beside(stack, work)
        await server.serve(app, runtime, host=settings.host, port=settings.gateway_port, watch=_watchdog(settings))


def build(
    clients: Upstreams,
    *,
    keys: Keys,
    revocations: Revocations,
    cached: ResponseCache,
    limiter: RateLimiter,
    hub: Hub,
    login_throttle: LoginThrottle,
    trusted: Sequence[Network],
    requests_max: int,
    passwords_max: int,
    origins: Origins,
) -> web.Application:
    """The application with all its routes."""
    app = server.application(
        "gateway",
        shed=admission.shed,
        guards=[
            rate_limit.by_address(limiter, trusted),
            authentication.guard(Tokens(keys, revocations.now), revocations, VerifiedKeys(clients.auth, limiter)),
            rate_limit.by_caller(limiter),
        ],
        body_bytes_max=BODY_BYTES_MAX,
    )
    app.on_response_prepare.extend([responses.on_prepare, rate_limit.on_prepare])
    app[UPSTREAMS], app[HUB] = clients, hub
    app[KEYS], app[REVOCATIONS] = keys, revocations
    app[LIMITER], app[LOGIN_THROTTLE] = limiter, login_throttle
    app[PASSWORDS] = Passwords(under_way_max=passwords_max)
    app[INTAKE] = Intake(clients.transaction, cached, requests_max=requests_max)
    app[LONG_POLLS] = long_polls = LongPolls()
    app[FILES] = files = Files()
    app.on_shutdown.extend([long_polls.end, hub.drain, files.abort])
    app[api.wallets.FILE_PAGES] = asyncio.Semaphore(api.wallets.FILE_PAGES_AT_ONCE)
    app[WALLET_FACTS], app[WALLET_READER] = WalletFacts(clients.wallet), WalletReader(clients.wallet)
    app[api.reference.DOCUMENT], app[api.reference.DOCS] = _DOCUMENT_BYTES, _DOCS
    operations.add_routes(app, OPERATIONS)
    origins.install(app, OPERATIONS)
    return app


def _install_options(app: web.Application, settings: GatewaySettings, stack: AsyncExitStack) -> None:
    app[ALERTS] = Alertmanager(settings.alertmanager_url)
    stack.push_async_callback(app[ALERTS].close)
    if settings.demo:
        from services.gateway import simulation  # noqa: PLC0415 - loaded nowhere else

        simulation.install(app)


def _are_limited(settings: GatewaySettings) -> bool:
    if settings.rate_limits == "on":
        return True
    log.warning("rate_limits_disabled")
    return False


def _origins(settings: GatewaySettings) -> Origins:
    also = (api.transfers.SIMULATE,) if settings.demo else ()
    return Origins(settings.allowed_origins, settings.own_origin, also=also)


def _connect(settings: GatewaySettings) -> Upstreams:
    return upstreams.connect(
        settings.identity_keys,
        auth=settings.auth_url,
        wallet=settings.wallet_url,
        transaction=settings.transaction_url,
        notification=settings.notification_url,
    )


def _wakeups(redis_url: str, revocations: Revocations, hub: Hub) -> Iterator[Coroutine[Any, Any, None]]:
    yield wakeup.listen(redis_url, wakeup.REVOCATIONS, lambda _message: revocations.notify())
    yield wakeup.listen(redis_url, wakeup.EVENTS, hub.notify)


def _watchdog(settings: GatewaySettings) -> Watchdog:
    limited = settings.rate_limits == "on"
    return Watchdog(
        "gateway",
        headers=responses.HEADERS,
        connections_max=settings.connections_max,
        per_address_max=settings.connections_per_address_max if limited else None,
    )
