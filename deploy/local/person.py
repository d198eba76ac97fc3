"""Somebody who uses PayFlow through the gateway, as any client would."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from deploy.local.trouble import Trouble

API = "/api/v1"
REQUEST_SECONDS_MAX = 40.0
OUTCOME_SECONDS_MAX = 90.0
OUTCOME_POLL_SECONDS = 0.1
TERMINAL = frozenset({"COMPLETED", "FAILED"})


@dataclass(slots=True)
class Person:
    """A user and the session with which they are logged in."""

    session: aiohttp.ClientSession
    gateway: str
    email: str
    password: str
    token: str = ""

    async def register(self, name: str) -> bool:
        """Register; whether they are new."""
        body = {"email": self.email, "password": self.password, "name": name}
        status, answer = await self._send("POST", "/auth/register", body)
        if status == 409:  # noqa: PLR2004 - taken
            return False
        self._expect(status, answer, "/auth/register", 201)
        return True

    async def log_in(self) -> None:
        """Get an access token."""
        answer = await self.post("/auth/login", {"email": self.email, "password": self.password})
        self.token = answer["access_token"]

    async def get(self, path: str) -> Any:
        """GET below /api/v1.

        Raises:
            Trouble: the answer is not 200.
        """
        status, answer = await self._send("GET", path)
        self._expect(status, answer, path, 200)
        return answer

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        """POST below /api/v1.

        Raises:
            Trouble: the answer is none of 200, 201, 202.
        """
        status, answer = await self._send("POST", path, body, headers)
        self._expect(status, answer, path, 200, 201, 202)
        return answer

    async def wallet(self, currency: str) -> dict[str, Any]:
        """Their wallet in a currency, balance included."""
        for wallet in (await self.get("/wallets"))["items"]:
            if wallet["currency"] == currency:
                return await self.get(f"/wallets/{wallet['id']}")  # type: ignore[no-any-return]
        raise Trouble(f"{self.email} has no {currency} wallet")

    async def outcome(self, transfer: dict[str, Any]) -> dict[str, Any]:
        """The transfer once it is terminal.

        Raises:
            Trouble: it is not in OUTCOME_SECONDS_MAX.
        """
        deadline = time.monotonic() + OUTCOME_SECONDS_MAX
        while transfer["status"] not in TERMINAL:
            if time.monotonic() > deadline:
                raise Trouble(
                    f"transfer {transfer['id']} is still {transfer['status']} after {OUTCOME_SECONDS_MAX:.0f} s"
                )
            await asyncio.sleep(OUTCOME_POLL_SECONDS)
            transfer = await self.get(f"/transfers/{transfer['id']}")
        return transfer

    async def _send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        sent = dict(headers or {})
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        try:
            async with self.session.request(method, self.gateway + API + path, json=body, headers=sent) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Trouble(f"{method} {path}: no answer from the gateway ({error or type(error).__name__})") from error

    def _expect(self, status: int, answer: Any, path: str, *expected: int) -> None:
        if status not in expected:
            code = answer.get("code") if isinstance(answer, dict) else None
            detail = answer.get("detail") if isinstance(answer, dict) else None
            raise Trouble(f"{self.email} {path}: the gateway answered {status} {code or ''} {detail or ''}".rstrip())


def client() -> aiohttp.ClientSession:
    """A session whose requests end in time."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX))
