"""One request over HTTP to the gateway, and its answer as a value or as one of `errors`."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from payflow import events, retry
from payflow.errors import NoAnswer, Problem, UnexpectedAnswer, Unreachable
from payflow.events import Block
from payflow.limits import Limits

BASE_PATH = "/api/v1"
CONNECTIONS_MAX = 100

_OK = range(200, 300)
_REFUSED = range(400, 600)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway answered: the JSON (None when there is no body) and the headers (names in any case)."""

    status: int
    headers: Mapping[str, str]
    document: Any


class Transport:
    """The connections to one gateway."""

    def __init__(self, gateway: str, limits: Limits) -> None:
        """Nothing is opened before the first request."""
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
    ) -> Answer:
        """Send one request below `/api/v1`, once.

        Raises:
            Unreachable: no connection, nothing was sent.
            NoAnswer: no whole answer within `seconds` (default: `answer_seconds` of the limits).
            UnexpectedAnswer: the answer is not JSON, or a redirect.
            Problem: the gateway said no.
        """
        seconds = self._limits.answer_seconds if seconds is None else seconds
        try:
            async with self._open().request(
                method,
                self.gateway + BASE_PATH + path,
                json=body,
                params=params,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=self._limits.connect_seconds),
                # A redirect would carry the token to an address nobody chose.
                allow_redirects=False,
            ) as response:
                raw = await response.read()
        except aiohttp.ConnectionTimeoutError as error:
            raise Unreachable(self.gateway, f"no connection within {self._limits.connect_seconds:g} s") from error
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(self.gateway, _reason(error)) from error
        except TimeoutError as error:
            raise NoAnswer(f"the gateway at {self.gateway} gave no answer within {seconds:g} s") from error
        except aiohttp.ClientError as error:
            raise NoAnswer(f"the connection to the gateway at {self.gateway} broke before the answer came") from error
        return self._read(response, raw)

    @asynccontextmanager
    async def stream(self, path: str, *, headers: Mapping[str, str]) -> AsyncIterator[AsyncIterator[Block]]:
        """A stream of events below `/api/v1`, block by block, until one side ends it.

        Raises:
            Unreachable, NoAnswer, UnexpectedAnswer, Problem: as `send`; NoAnswer also when it breaks in the middle.
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
                    raise UnexpectedAnswer(f"{self.gateway} does not answer with a stream of events")
                yield events.read_blocks(response.content)
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(self.gateway, _reason(error)) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(f"the stream of events of the gateway at {self.gateway} broke") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _read(self, response: aiohttp.ClientResponse, raw: bytes) -> Answer:
        document = _parse(raw)
        if response.status in _REFUSED:
            # A proxy in between refuses without a problem document: the status has to do.
            raise Problem(
                response.status,
                document if isinstance(document, dict) else {},
                retry_after_seconds=retry.read_retry_after(response.headers.get("Retry-After")),
                request_id=response.headers.get("X-Request-Id"),
            )
        if response.status not in _OK or (raw and document is None):
            raise UnexpectedAnswer(
                f"{self.gateway} does not answer like a PayFlow gateway"
                f" ({response.status} {response.headers.get('Content-Type', 'without a content type')})"
            )
        return Answer(response.status, response.headers, document)

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
    number = error.os_error.errno
    return os.strerror(number).lower() if number is not None and number in errno.errorcode else str(error.os_error)
