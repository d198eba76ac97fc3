"""The services behind the gateway: their addresses, the deadlines of calls to them, and a "no" that names nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from aiohttp import web

from services.chassis.client import ATTEMPTS_MAX, Upstream
from services.chassis.problems import Fault
from services.chassis.service_tokens import Identity
from services.contracts.refusal import Refusal

CALL_SECONDS = 8.0
"""A call's deadline, below that of the request it is made for."""

SIDE_SECONDS = 1.0
"""The deadline of what an answer can do without."""

WAIT_POOLS = 8
"""So many times the connections of one upstream may be held by clients that wait for an outcome."""

NOT_FOUND = 404

_BETWEEN_US = frozenset({"service_token_required", "service_not_allowed", "not_found", "method_not_allowed"})
"""Codes that say that the gateway is wrong, not its client: a key or a version that does not fit."""

log = structlog.get_logger()

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Each service behind. The transaction service has connections of their own for what must not wait for the rest.

    `passwords` is auth over those for whatever hashes a password: a crowd that logs in holds up nobody but itself.
    """

    auth: Upstream
    passwords: Upstream
    wallet: Upstream
    transaction: Upstream
    notification: Upstream
    intake: Upstream
    waits: tuple[Upstream, ...]

    async def close(self) -> None:
        """Close all connections."""
        for upstream in (*self.services(), self.passwords, self.intake, *self.waits):
            await upstream.close()

    def waiting_for(self, transfer_id: str) -> Upstream:
        """The transaction service over connections for those who wait: each of them holds one."""
        return self.waits[int(transfer_id[-2:], 16) % len(self.waits)]

    def services(self) -> tuple[Upstream, ...]:
        """Each service once."""
        return self.auth, self.wallet, self.transaction, self.notification


UPSTREAMS: web.AppKey[Upstreams] = web.AppKey("upstreams")


def connect(identity: Identity, *, auth: str, wallet: str, transaction: str, notification: str) -> Upstreams:
    """Upstreams at these addresses; nothing is sent yet."""

    def upstream(name: str, address: str) -> Upstream:
        return Upstream("gateway", name, address, identity)

    return Upstreams(
        auth=upstream("auth", auth),
        passwords=upstream("auth", auth),
        wallet=upstream("wallet", wallet),
        transaction=upstream("transaction", transaction),
        notification=upstream("notification", notification),
        intake=upstream("transaction", transaction),
        waits=tuple(upstream("transaction", transaction) for _ in range(WAIT_POOLS)),
    )


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
) -> Any:
    """One call; a 404 becomes `missing`, so that its body is the same whoever said it.

    `once` is for what must not reach the service twice: a spent refresh token ends its session.

    Raises:
        Refusal: as `Upstream.call`.
        Fault: the service refused the gateway itself.
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
        if refusal.code in _BETWEEN_US:
            log.error("gateway_refused", upstream=upstream.name, path=path, code=refusal.code)  # noqa: TRY400 - no trace helps
            raise Fault from None
        if missing is not None and refusal.status == NOT_FOUND:
            raise missing from None
        raise


async def attempt(answer: Awaitable[Result]) -> Result | None:
    """What came of something that is not needed; None when it was refused."""
    try:
        return await answer
    except Refusal:
        return None


async def is_ready(upstream: Upstream) -> bool:
    """Whether the service answers within a second."""
    try:
        async with asyncio.timeout(SIDE_SECONDS):
            await upstream.ping()
    except Exception:  # noqa: BLE001 - whatever it is, it does not answer
        return False
    return True
