"""The aiohttp application of a service: what happens around its handlers, how it is served, and how it drains."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import structlog
from aiohttp import http_parser, web

from services.chassis import crash_points, framing, health, metrics, problems, telemetry, tracing, watchdog
from services.chassis.problems import Handler
from services.chassis.roles import Runtime
from services.chassis.service_tokens import TokenVerifier
from services.chassis.watchdog import Connection, Watchdog
from services.contracts.refusal import Refusal

log = structlog.get_logger()

BODY_BYTES_MAX = 8 * 1024 * 1024
"""Internal requests carry lists; the gateway sets its own, smaller limit."""

DRAIN_SECONDS = 20.0
KEEPALIVE_SECONDS = 75.0


Guard = Callable[[web.Request], Awaitable[None]]
"""Raises a refusal if the request must not reach its handler."""

Shed = Callable[[web.Request], web.Response | None]
"""Refuses a request at the least cost, by returning the response. Nothing has been done for it, not even its id is bound."""

RESPONDED_AT: web.RequestKey[float] = web.RequestKey("responded_at", float)
"""Set (`time.perf_counter()`) by a handler of a stream: its duration is measured up to there."""


class NotAService(Refusal):
    """This endpoint is for services only, and the request has no valid service token."""

    status = 401
    code = "service_token_required"


class NotThisService(Refusal):
    """This endpoint is for other services than the caller."""

    status = 403
    code = "service_not_allowed"


def application(
    service: str, *, guards: Sequence[Guard] = (), shed: Shed | None = None, body_bytes_max: int = BODY_BYTES_MAX
) -> web.Application:
    """An application whose responses are traced and measured, and whose refusals are problem documents.

    `guards` run in their order before the handler; `shed` runs before anything else.
    """
    # The pure-Python parser accepts requests that the C parser refuses (request smuggling).
    assert http_parser.HttpRequestParser is http_parser.HttpRequestParserC, "aiohttp runs without its C parser"
    app = web.Application(
        middlewares=[_middleware(service, guards, shed)],
        client_max_size=body_bytes_max,
    )
    app.on_response_prepare.append(problems.on_prepare)
    return app


def callers(verifier: TokenVerifier, allowed: Sequence[str]) -> Any:
    """A decorator for handlers that only these identities may call. Without a token 401, with that of another service 403.

    Raises:
        NotAService, NotThisService, TokenClockSkew
    """

    def decorate(handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if not token or scheme.lower() != "bearer":
                raise NotAService
            caller = verifier.caller(token)
            if caller is None:
                # A token, but not that of a known service: that of a user, for instance.
                raise NotThisService if token.count(".") == 2 else NotAService  # noqa: PLR2004
            if caller not in allowed:
                raise NotThisService
            return await handler(request)

        return guarded

    return decorate


async def serve(app: web.Application, runtime: Runtime, *, host: str, port: int, watch: Watchdog | None = None) -> None:
    """Serve `app`, with `/livez` and `/readyz`, until the role stops; then drain open requests for at most 20 s."""
    health.add_routes(app, runtime.health)
    watching = watch or Watchdog(runtime.service)
    async with AsyncExitStack() as stack:
        # The runner closes idle connections; the sockets are ours, so that the watchdog sees each connection.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_SECONDS, handle_signals=False)
        await runner.setup()
        # Ends after the drain: a client that does not read its response is disconnected during the drain, too.
        runtime.run_beside(stack, watching.run())
        stack.push_async_callback(runner.cleanup)
        listening = await asyncio.get_running_loop().create_server(
            lambda: Connection(_server_of(runner), watching, keepalive_seconds=KEEPALIVE_SECONDS),
            host,
            port,
            backlog=1024,
        )
        stack.callback(listening.close)
        runtime.health.starting = False
        log.info("server_started", port=port)
        await runtime.until_stopped()


def _server_of(runner: web.AppRunner) -> web.Server:
    server = runner.server
    assert server is not None
    return server


def _middleware(service: str, guards: Sequence[Guard], shed: Shed | None) -> Any:
    """Everything that happens around a handler, in one middleware: each middleware costs time in every request."""

    @web.middleware
    async def surround(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = watchdog.begin(request)
        try:
            if shed is not None and (refused := shed(request)) is not None:
                return refused
            request_id = tracing.bind(request.headers)
            span = telemetry.begin_request(request.headers, is_edge=service == telemetry.EDGE)
            started = time.perf_counter()
            try:
                if framing.is_plain(request):
                    for guard in guards:
                        await guard(request)
                    response = await handler(request)
                else:
                    response = framing.refuse()
            except Exception as error:  # noqa: BLE001 - every one becomes a response
                response = problems.render_error(request, error)
            ended = time.perf_counter()
            if response.prepared:
                ended = request.get(RESPONDED_AT, ended)
            else:
                response.headers[tracing.REQUEST_ID] = request_id
            metrics.http_seconds(
                service, route=problems.route_of(request), method=request.method, status=response.status
            ).observe(ended - started)
            if span is not None:
                telemetry.end_request(span, request.method, problems.route_of(request), status=response.status)
            crash_points.pass_by("before-answer", request.method, request.path)
            crash_points.pass_by_soon("after-answer", request.method, request.path)
            return response
        finally:
            if connection is not None:
                connection.end()

    return surround
