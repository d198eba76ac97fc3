"""Calls between services: a deadline, a service token, bounded retries; problem documents become refusals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
import stamina
import stamina.instrumentation
import structlog

from services.chassis import crash_points, metrics, tracing
from services.chassis.encoding import encode
from services.chassis.service_tokens import Clock, Identity, TokenClockSkew, TokenSigner
from services.contracts.refusal import OutcomeUnknown, Refusal, Unavailable, from_problem

ATTEMPTS_MAX = 2
CONNECT_SECONDS = 1.0
CONNECTIONS_MAX = 64
FAULT = 500
"""The lowest status of a server error."""

# Nothing was sent, or the connection was lost, usually a kept-alive one that the service had closed. Nearly every internal call
# is idempotent (keyed by the transfer id, or read-only), so one retry is safe.
_NOT_PROCESSED = (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)

log = structlog.get_logger()

# Every call is measured below, so retries are not logged.
stamina.instrumentation.set_on_retry_hooks([])


class UpstreamUnavailable(Unavailable):
    """An upstream service is unavailable."""

    code = "upstream_unavailable"


class UpstreamTimeout(OutcomeUnknown):
    """It is not known whether the request was carried out. Send it again; use the same Idempotency-Key if it has one."""


class ConnectionLost(UpstreamTimeout):
    """The connection was lost after the request was sent. Send it again; use the same Idempotency-Key if it has one."""


class Upstream:
    """The client of one service."""

    def __init__(self, service: str, name: str, base_url: str, identity: Identity, *, clock: Clock = time.time) -> None:
        """`service` is the caller (for metrics), `name` the callee and the audience of the token, `clock` the Unix time."""
        self.name = name
        self._service = service
        self._base_url = base_url.rstrip("/")
        self._signer = TokenSigner(identity, audience=name, clock=clock)
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        seconds: float,
        attempts: int = ATTEMPTS_MAX,
    ) -> Any:
        """Send one request; return the parsed JSON of the response (None for 204). `attempts=1`: never send it twice.

        Raises:
            UpstreamUnavailable: it could not be reached, responded without a problem document, or disagrees on the time.
            UpstreamTimeout: no response within `seconds`, or the connection was lost after a request that may change state was
                sent.
            Refusal: the response of the service, 4xx or 5xx, unchanged.
        """
        started = time.perf_counter()
        outcome = "fault"
        try:
            async with asyncio.timeout(seconds):
                response = await self._send_in_its_time(method, path, body=body, params=params, attempts=attempts)
            outcome = "ok"
        except aiohttp.ConnectionTimeoutError:
            outcome = "unavailable"
            raise UpstreamUnavailable(f"the {self.name} service accepts no more connections") from None
        except TimeoutError:
            outcome = "timeout"
            raise UpstreamTimeout(f"the {self.name} service did not respond in time") from None
        except aiohttp.ClientConnectorError:
            outcome = "unavailable"
            raise UpstreamUnavailable(f"the {self.name} service is unavailable") from None
        except aiohttp.ClientError:
            if method == "GET":
                outcome = "unavailable"
                raise UpstreamUnavailable(f"the {self.name} service is unavailable") from None
            outcome = "lost"
            raise ConnectionLost(f"the connection to the {self.name} service was lost before its response") from None
        except Refusal:
            outcome = "refused"
            raise
        finally:
            metrics.UPSTREAM_SECONDS.labels(self._service, self.name, outcome).observe(time.perf_counter() - started)
        return response

    async def ping(self) -> None:
        """Raise when the service cannot be reached; for `/readyz` of its dependents."""
        async with self._open().get(f"{self._base_url}/livez") as response:
            response.raise_for_status()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _send_in_its_time(self, method: str, path: str, **sent: Any) -> Any:
        """Send; if the clock of the callee differs, send once more with a token dated by its clock.

        The token was refused before anything was done, so this is safe for requests that must not be sent twice.
        """
        for is_last in (False, True):
            try:
                return await self._send(method, path, **sent)
            except Refusal as refusal:
                if refusal.code != TokenClockSkew.code:
                    raise
                # Never passed on: our caller would take it for our clock, and date its tokens by it.
                if is_last or not self._signer.learn(refusal):
                    raise UpstreamUnavailable(f"the {self.name} service disagrees on the time") from None
            log.warning("upstream_clock_differs", upstream=self.name, ahead_seconds=self._signer.callee_ahead_seconds)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _send(self, method: str, path: str, *, body: Any, params: Mapping[str, str] | None, attempts: int) -> Any:
        data = None if body is None else encode(body)
        try:
            return await self._send_once(method, path, data=data, params=params)
        except _NOT_PROCESSED as error:
            if attempts == 1:
                raise
            lost = error
        try:
            return await self._send_again(method, path, data=data, params=params, attempts=attempts - 1)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            # The second attempt was not sent; the result of the first one counts.
            raise lost from None
        except Refusal as refusal:
            # A server error of the second attempt, such as 503 "nothing was recorded", says nothing about the first one.
            if method == "GET" or refusal.status < FAULT or isinstance(lost, aiohttp.ClientConnectorError):
                raise
            raise lost from refusal

    async def _send_again(
        self, method: str, path: str, *, data: bytes | None, params: Mapping[str, str] | None, attempts: int
    ) -> Any:
        # The retry context costs a third of a call, so calls that need no retry do without it.
        async for attempt in stamina.retry_context(
            on=_NOT_PROCESSED, attempts=attempts, wait_initial=0.02, wait_max=0.1, wait_jitter=0.05
        ):
            with attempt:
                return await self._send_once(method, path, data=data, params=params)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _send_once(self, method: str, path: str, *, data: bytes | None, params: Mapping[str, str] | None) -> Any:
        headers = tracing.headers() | {"Authorization": f"Bearer {self._signer.token()}"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        crash_points.pass_by("before-request", method, path)
        async with self._open().request(
            method,
            self._base_url + path,
            data=data,
            params=params,
            headers=headers,
            allow_redirects=False,
        ) as response:
            crash_points.pass_by("after-request", method, path)
            raw = await response.read()
            crash_points.pass_by("after-response", method, path)
            if response.status >= 400:  # noqa: PLR2004
                raise self._refusal(response, raw)
            try:
                return orjson.loads(raw) if raw else None
            except ValueError:
                raise UpstreamTimeout(f"the {self.name} service responded without JSON") from None

    def _refusal(self, response: aiohttp.ClientResponse, raw: bytes) -> Refusal:
        try:
            return from_problem(orjson.loads(raw), response.headers)
        except (ValueError, AttributeError, TypeError):
            return UpstreamUnavailable(
                f"the {self.name} service responded {response.status} without a problem document"
            )

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=60),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS),
                auto_decompress=True,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            # aiohttp repeats a GET, PUT or DELETE by itself when a connection breaks, even one that must not be sent twice.
            self._session._retry_connection = False  # noqa: SLF001 - it has no parameter for this
        return self._session
