"""A user of PayFlow, who calls the gateway as any client does."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from deploy.local.errors import LocalError

API = "/api/v1"
REQUEST_SECONDS_MAX = 40.0
OUTCOME_SECONDS_MAX = 90.0
OUTCOME_POLL_SECONDS = 0.1
TERMINAL = frozenset({"COMPLETED", "FAILED"})
UNAVAILABLE = frozenset({503, 504})
"""A retry helps: no request here has another effect when it is sent twice."""

RETRY_SECONDS_MAX = 30.0
RETRY_PAUSE_SECONDS = 1.0
"""Without a Retry-After header."""


@dataclass(slots=True)
class User:
    """A user with an access token."""

    session: aiohttp.ClientSession
    gateway: str
    email: str
    password: str
    token: str = ""

    async def register(self, name: str) -> bool:
        """Register; False if the e-mail address is registered already."""
        body = {"email": self.email, "password": self.password, "name": name}
        status, document = await self._send("POST", "/auth/register", body)
        if status == 409:  # noqa: PLR2004 - registered already
            return False
        self._expect(status, document, "/auth/register", 201)
        return True

    async def log_in(self) -> None:
        """Get an access token."""
        document = await self.post("/auth/login", {"email": self.email, "password": self.password})
        self.token = document["access_token"]

    async def get(self, path: str) -> Any:
        """GET below /api/v1.

        Raises:
            LocalError: the response is not 200.
        """
        status, document = await self._send("GET", path)
        self._expect(status, document, path, 200)
        return document

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        """POST below /api/v1.

        Raises:
            LocalError: the response is none of 200, 201, 202.
        """
        status, document = await self._send("POST", path, body, headers=headers)
        self._expect(status, document, path, 200, 201, 202)
        return document

    async def wallet(self, currency: str) -> dict[str, Any]:
        """The user's wallet in a currency, with its balance."""
        for wallet in (await self.get("/wallets"))["items"]:
            if wallet["currency"] == currency:
                return await self.get(f"/wallets/{wallet['id']}")  # type: ignore[no-any-return]
        raise LocalError(f"{self.email} has no {currency} wallet")

    async def outcome(self, transfer: dict[str, Any]) -> dict[str, Any]:
        """Wait for the outcome of a transfer; returns the transfer.

        Raises:
            LocalError: there is no outcome within OUTCOME_SECONDS_MAX.
        """
        deadline = time.monotonic() + OUTCOME_SECONDS_MAX
        while transfer["status"] not in TERMINAL:
            if time.monotonic() > deadline:
                raise LocalError(
                    f"transfer {transfer['id']} is still {transfer['status']} after {OUTCOME_SECONDS_MAX:.0f} s"
                )
            await asyncio.sleep(OUTCOME_POLL_SECONDS)
            transfer = await self.get(f"/transfers/{transfer['id']}")
        return transfer

    async def _send(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send a request, and again while a busy or starting service does not serve it."""
        sent = dict(headers or {})
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        deadline = time.monotonic() + RETRY_SECONDS_MAX
        while True:
            status, document, pause = await self._send_once(method, path, body=body, headers=sent)
            if status not in UNAVAILABLE or time.monotonic() + pause > deadline:
                return status, document
            await asyncio.sleep(pause)

    async def _send_once(self, method: str, path: str, *, body: Any, headers: dict[str, str]) -> tuple[int, Any, float]:
        """Status and document of the response, and the seconds to wait before a retry."""
        try:
            async with self.session.request(method, self.gateway + API + path, json=body, headers=headers) as response:
                after = response.headers.get("Retry-After", "")
                pause = float(after) if after.isdecimal() else RETRY_PAUSE_SECONDS
                return response.status, await response.json(content_type=None), pause
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise LocalError(
                f"{method} {path}: no response from the gateway ({error or type(error).__name__})"
            ) from error

    def _expect(self, status: int, document: Any, path: str, *expected: int) -> None:
        if status not in expected:
            code = document.get("code") if isinstance(document, dict) else None
            detail = document.get("detail") if isinstance(document, dict) else None
            raise LocalError(
                f"{self.email} {path}: the gateway responded with {status} {code or ''} {detail or ''}".rstrip()
            )


def http_session() -> aiohttp.ClientSession:
    """An HTTP session whose requests have a time limit."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX))
