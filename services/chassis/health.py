"""`/livez`: the event loop responds. `/readyz`: the dependencies of this process respond; each role registers its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

PING_SECONDS = 1.0
Ping = Callable[[], Awaitable[None]]


class Health:
    """The pings of one process. A ping raises, or takes longer than a second, if its dependency is unavailable."""

    def __init__(self) -> None:
        self._pings: dict[str, Ping] = {}
        self.starting = False
        self.draining = False

    def register(self, name: str, ping: Ping) -> None:
        """Make readiness depend on `ping`."""
        self._pings[name] = ping

    async def check(self) -> tuple[list[str], list[str]]:
        """The names of the dependencies that respond, and of those that do not."""
        names = list(self._pings)
        results = await asyncio.gather(*(self._responds(name) for name in names))
        ok = [name for name, responds in zip(names, results, strict=True) if responds]
        failing = [name for name, responds in zip(names, results, strict=True) if not responds]
        states = {"starting": self.starting, "draining": self.draining}
        return ok, [state for state, is_so in states.items() if is_so] + failing

    async def _responds(self, name: str) -> bool:
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._pings[name]()
        except Exception:  # noqa: BLE001 - any error means not ready
            return False
        return True


def add_routes(app: web.Application, health: Health) -> None:
    """Serve `/livez` and `/readyz` from this application."""

    async def livez(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.Response:
        ok, failing = await health.check()
        headers = {"Retry-After": "1"} if failing else None
        return web.json_response({"ok": ok, "failing": failing}, status=503 if failing else 200, headers=headers)

    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)


def metrics_application(health: Health) -> web.Application:
    """The application of the metrics port: health, and the metrics for Prometheus."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    add_routes(app, health)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/", metrics)
    return app
