"""Cross-origin requests (CORS), and the origin check of requests that carry the session cookie."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import hdrs, web

from services.gateway.errors import OriginNotAllowed
from services.gateway.operations import Handler, Operation

_CONDITIONS = "Prefer, If-None-Match, Last-Event-ID"
_TRACES = "X-Request-Id, traceparent"
REQUEST_HEADERS = f"Authorization, Content-Type, Idempotency-Key, {_CONDITIONS}, {_TRACES}"
_LIMITS = "Retry-After, RateLimit, RateLimit-Policy"
EXPOSED_HEADERS = f"Location, ETag, Idempotent-Replayed, Preference-Applied, {_LIMITS}, X-Request-Id, Link"
PREFLIGHT_SECONDS = 600
"""How long a browser may cache the response to a preflight."""


class Origins:
    """The origins whose pages may read responses, and this gateway's own."""

    def __init__(self, allowed: frozenset[str], own: str | None, *, also: tuple[str, ...] = ()) -> None:
        """`own` is the public origin of the pages, if it differs from the `Host` of requests.

        `also` names further headers that pages may send.
        """
        self._allowed = allowed
        self._own = own
        self._request_headers = ", ".join((REQUEST_HEADERS, *also))

    def is_listed(self, origin: str | None) -> bool:
        """Whether pages of this origin may read responses. `null` never is: any sandboxed page has it."""
        return origin in self._allowed

    def check(self, request: web.Request) -> None:
        """Require a page of our own or of a listed origin.

        A request without `Origin` passes only if the browser marks it as same-origin.

        Raises:
            OriginNotAllowed
        """
        origins = request.headers.getall(hdrs.ORIGIN, ())
        if not origins and request.headers.getall("Sec-Fetch-Site", ()) == ["same-origin"]:
            return
        if len(origins) != 1 or not self._admits(request, origins[0]):
            raise OriginNotAllowed

    def check_if_sent(self, request: web.Request) -> None:
        """As `check`, but a request without `Origin` passes: it is not from a browser.

        Raises:
            OriginNotAllowed
        """
        if hdrs.ORIGIN in request.headers:
            self.check(request)

    async def on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the CORS headers to every response, including errors and responses that no handler made."""
        headers = response.headers
        known = headers.get(hdrs.VARY)
        headers[hdrs.VARY] = f"{known}, {hdrs.ORIGIN}" if known else hdrs.ORIGIN
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and self.is_listed(origin):
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
            headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED_HEADERS

    def install(self, app: web.Application, operations: Iterable[Operation]) -> None:
        """Respond to preflights of every path and mark every response; without listed origins, do nothing."""
        app[ORIGINS] = self
        if not self._allowed:
            return
        methods: dict[str, list[str]] = {}
        for row in operations:
            methods.setdefault(row.path, []).extend(["GET", "HEAD"] if row.method == "GET" else [row.method])
        for path, allowed in methods.items():
            app.router.add_route(hdrs.METH_OPTIONS, path, self._preflight(allowed))
        app.on_response_prepare.append(self.on_prepare)

    def _admits(self, request: web.Request, origin: str) -> bool:
        # The host as the request names it: a browser sets it, and stores the cookie under it.
        return origin in (f"{request.scheme}://{request.host}", self._own) or self.is_listed(origin)

    def _preflight(self, methods: list[str]) -> Handler:
        headers = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(methods),
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: self._request_headers,
            hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_SECONDS),
        }

        async def preflight(request: web.Request) -> web.StreamResponse:
            origin = request.headers.get(hdrs.ORIGIN)
            if origin is None or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
                raise web.HTTPMethodNotAllowed(hdrs.METH_OPTIONS, methods)
            if not self.is_listed(origin):
                raise OriginNotAllowed
            return web.Response(status=204, headers=headers)

        return preflight


ORIGINS: web.AppKey[Origins] = web.AppKey("origins")
