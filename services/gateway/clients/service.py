"""What the clients of all upstream services have in common: deadlines, retries, and a 404 that names nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import structlog

from services.chassis.client import ATTEMPTS_MAX, Upstream
from services.chassis.problems import Fault
from services.contracts.refusal import Refusal

CALL_SECONDS = 8.0
"""The deadline of a call, below that of the request it is made for."""

SIDE_SECONDS = 1.0
"""The deadline of a call whose result is optional."""

NOT_FOUND = 404
FAULT = 500
"""The status of a refusal that says nothing about the request, and above it."""

UNKNOWN_ROUTE = "not_found"

_INTERNAL = frozenset({"service_token_required", "service_not_allowed", UNKNOWN_ROUTE, "method_not_allowed"})
"""Codes that blame the gateway, not its client: a service key or a version that does not fit."""

log = structlog.get_logger()

Json = dict[str, Any]
Result = TypeVar("Result")


class RouteUnknown(Exception):  # noqa: N818 - reads as what it is
    """The service has no such route: it still runs the release before."""


class ServiceClient:
    """One upstream service."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    @property
    def name(self) -> str:
        """The name of the service."""
        return self._upstream.name

    async def is_ready(self) -> bool:
        """Whether the service responds within a second."""
        try:
            async with asyncio.timeout(SIDE_SECONDS):
                await self._upstream.ping()
        except Exception:  # noqa: BLE001 - any error means that it does not respond
            return False
        return True

    async def close(self) -> None:
        """Close all connections."""
        await self._upstream.close()

    async def list_audit(self, params: Mapping[str, str]) -> Json:
        """A page of the service's audit log."""
        page: Json = await call(self._upstream, "GET", "/internal/audit", params=params, seconds=SIDE_SECONDS)
        return page


async def call(
    upstream: Upstream,
    method: str,
    path: str,
    *,
    body: Any = None,
    params: Mapping[str, str] | None = None,
    missing: type[Refusal] | None = None,
    seconds: float | None = None,
    once: bool = False,
    is_new: bool = False,
) -> Any:
    """Send one request. A 404 becomes `missing`, so that all services report it alike.

    `once` is for requests that must not arrive twice: a spent refresh token, for instance, ends its session. `is_new`: the
    service of the release before has no such route.

    Raises:
        Refusal: as `Upstream.call`.
        Fault: the service rejected the gateway itself.
        RouteUnknown: `is_new`, and the service has no such route.
    """
    try:
        return await upstream.call(
            method,
            path,
            body=body,
            params=params,
            seconds=CALL_SECONDS if seconds is None else seconds,
            attempts=1 if once else ATTEMPTS_MAX,
        )
    except Refusal as refusal:
        if is_new and refusal.code == UNKNOWN_ROUTE:
            raise RouteUnknown from None
        if refusal.code in _INTERNAL:
            log.error("gateway_refused", upstream=upstream.name, path=path, code=refusal.code)  # noqa: TRY400 - no trace helps
            raise Fault from None
        if missing is not None and refusal.status == NOT_FOUND:
            raise missing from None
        raise


async def attempt(result: Awaitable[Result]) -> Result | None:
    """An optional result; None when the service refused it or is unavailable."""
    try:
        return await result
    except Refusal:
        return None
