"""One HTTP request to the gateway; its response as a value or as one of `errors`."""

from __future__ import annotations

import errno
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from payflow import events, retry
from payflow.errors import GatewayUnreachable, NoResponse, Problem, UnexpectedResponse
from payflow.events import Block
from payflow.limits import Limits

BASE_PATH = "/api/v1"
CONNECTIONS_MAX = 100

_OK = range(200, 300)
_REFUSED = range(400, 600)


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the gateway: its JSON (None without a body) and its headers (names in any case)."""

    status: int
    headers: Mapping[str, str]
    document: Any


class Transport:
    """The connections to one gateway."""

    def __init__(self, gateway: str, limits: Limits) -> None:
        """No connection is opened before the first request."""
        self.gateway = gateway
        self._limits = limits
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Response:
        """Send one request below `/api/v1`, once.

        Raises:
            GatewayUnreachable: no connection, nothing was sent.
            NoResponse: no complete response within `seconds` (default: `response_seconds` of the limits).
            UnexpectedResponse: the response is not JSON, or a redirect.
            Problem: the gateway refused the request.
        """
        seconds = self._limits.response_seconds if seconds is None else seconds
        try:
            async with self._open().request(
                method,
                self.gateway + BASE_PATH + path,
                json=body,
                params=params,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=self._limits.connect_seconds),
                # A redirect would send the token to an address that the caller did not choose.
                allow_redirects=False,
            ) as response:
                raw = await response.read()
        except aiohttp.ConnectionTimeoutError as error:
            raise GatewayUnreachable(
                self.gateway, f"no connection within {self._limits.connect_seconds:g} s"
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise GatewayUnreachable(self.gateway, _reason(error)) from error
        except TimeoutError as error:
            raise NoResponse(f"the gateway at {self.gateway} did not respond within {seconds:g} s") from error
        except aiohttp.ClientError as error:
            raise NoResponse(
                f"the connection to the gateway at {self.gateway} broke before the response arrived"
            ) from error
        return self._read(response, raw)

    @asynccontextmanager
    async def stream(self, path: str, *, headers: Mapping[str, str]) -> AsyncIterator[AsyncIterator[Block]]:
        """A stream of events below `/api/v1`, block by block, until one side closes it.

        Raises:
            GatewayUnreachable, NoResponse, UnexpectedResponse, Problem: as `send`; NoResponse also when it breaks in the middle.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._limits.connect_seconds, sock_read=events.SILENT_SECONDS
        )
        headers = {**headers, "Accept": "text/event-stream"}
        try:
            async with self._open().get(
                self.gateway + BASE_PATH + path, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status != _OK.start or response.content_type != "text/event-stream":
                    self._read(response, await response.read())
                    raise UnexpectedResponse(f"{self.gateway} did not respond with a stream of events")
                yield events.read_blocks(response.content)
        except aiohttp.ClientConnectorError as error:
            raise GatewayUnreachable(self.gateway, _reason(error)) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoResponse(f"the stream of events of the gateway at {self.gateway} broke") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _read(self, response: aiohttp.ClientResponse, raw: bytes) -> Response:
        document = _parse(raw)
        if response.status in _REFUSED:
            # A proxy refuses without a problem document: only the status is known.
            raise Problem(
                response.status,
                document if isinstance(document, dict) else {},
                retry_after_seconds=retry.read_retry_after(response.headers.get("Retry-After")),
                request_id=response.headers.get("X-Request-Id"),
            )
        if response.status not in _OK or (raw and document is None):
            raise UnexpectedResponse(
                f"{self.gateway} did not respond like a PayFlow gateway"
                f" ({response.status} {response.headers.get('Content-Type', 'without a content type')})"
            )
        return Response(response.status, response.headers, document)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "payflow-python", "Accept": "application/json"},
            )
        return self._session


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return None


def _reason(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"there is no host {error.host}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid"
    if isinstance(error.os_error, ssl.SSLError):
        # Its number is one of OpenSSL's, which means another error in the list of the operating system.
        return f"no TLS connection ({error.os_error.reason or 'the handshake failed'})"
    number = error.os_error.errno
    return os.strerror(number).lower() if number is not None and number in errno.errorcode else str(error.os_error)
