"""One throw-away user: logs in, sends payments, retries, and records every response. Uses HTTP only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.chaos.history import Attempt, History, Intent

ACCEPTED = frozenset({200, 202})
REFUSED = frozenset({400, 403, 404, 413, 415, 422})
"""Final refusals. Any other status leaves the outcome of the request unknown."""

REUSED = "idempotency_key_reused"

RENEW_SECONDS = 300.0
PASSWORD = "chaos is a ladder, not a key"
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Response:
    """A response; `status` is None when none arrived, or only a part."""

    status: int | None
    body: Any = None
    replayed: bool = False

    @property
    def code(self) -> str | None:
        """The problem code."""
        return self.body.get("code") if isinstance(self.body, dict) else None


@dataclass(slots=True)
class Client:
    """A user with a wallet in the default currency."""

    session: aiohttp.ClientSession
    base: str
    email: str
    history: History
    began: float
    password: str = PASSWORD
    user_id: str = ""
    wallet_id: str = ""
    intents: list[Intent] = field(default_factory=list)
    _waiting: list[Intent] = field(default_factory=list)
    _token: str = ""
    _renew_at: float = 0.0

    def add(self, intent: Intent) -> None:
        """Add a payment."""
        self.intents.append(intent)
        self._waiting.append(intent)

    def unresolved(self) -> list[Intent]:
        """Payments whose outcome is unknown, oldest first."""
        self._waiting = [intent for intent in self._waiting if intent.open]
        return self._waiting

    async def sign_in(self, *, register: bool = True) -> None:
        """Register or log in, and find the wallet; retry until it succeeds.

        Raises:
            TimeoutError: no success within `PATIENCE_SECONDS`.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            if register:
                body = {"email": self.email, "password": self.password, "name": "Chaos Client"}
                while (await self._request("POST", "/auth/register", json=body)).status not in {201, 409}:
                    await asyncio.sleep(0.5)
            while not self._token:
                await self.log_in()
            me = await self.get_until_ok("/auth/me")
            wallets = await self.get_until_ok("/wallets")
        self.user_id = me["id"]
        self.wallet_id = wallets["items"][0]["id"]

    async def log_in(self) -> None:
        """Get a new access token; one attempt."""
        response = await self._request("POST", "/auth/login", json={"email": self.email, "password": self.password})
        if response.status == 200:
            self._token = response.body["access_token"]
            self._renew_at = time.monotonic() + RENEW_SECONDS
        else:
            await asyncio.sleep(0.5)

    async def send(
        self, method: str, path: str, *, seconds: float = 10.0, headers: Mapping[str, str] | None = None, **request: Any
    ) -> Response:
        """Send one request as this user, without retries."""
        if time.monotonic() > self._renew_at:
            await self.log_in()
        sent = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        response = await self._request(method, path, seconds=seconds, headers=sent, **request)
        if response.status == 401:
            self._renew_at = 0.0
        return response

    async def get_until_ok(self, path: str, *, seconds: float = PATIENCE_SECONDS) -> Any:
        """GET until the response is 200.

        Raises:
            TimeoutError: it is not, within this many seconds.
        """
        async with asyncio.timeout(seconds):
            while True:
                response = await self.send("GET", path)
                if response.status == 200:
                    return response.body
                await asyncio.sleep(0.3)

    async def attempt(self, intent: Intent, *, seconds: float) -> Response:
        """Send a payment, first or repeated, and record what the response proves."""
        sent_at, known = self.now(), intent.transfer_id is not None
        path, body = _payload(intent)
        headers = {"Idempotency-Key": intent.key}
        response = await self.send("POST", path, seconds=seconds, headers=headers, json=body)
        transfer_id = response.body["id"] if response.status in ACCEPTED else None
        intent.attempts.append(
            Attempt(sent_at, self.now(), response.status, response.code, transfer_id, replayed=response.replayed)
        )
        if transfer_id is not None:
            self._accepted(intent, transfer_id, response.body)
        elif response.status in REFUSED:
            self._refused(intent, response, known=known)
        return response

    async def attempt_twice(self, intent: Intent, *, seconds: float) -> None:
        """Send a payment over two connections at once. A refusal proves nothing while the other request may still succeed."""
        await asyncio.gather(*(self.attempt(intent, seconds=seconds) for _ in range(2)))
        if any(attempt.status not in ACCEPTED | REFUSED for attempt in intent.attempts[-2:]):
            intent.refusal = None

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    def _accepted(self, intent: Intent, transfer_id: str, body: Mapping[str, Any]) -> None:
        intent.refusal = None
        intent.transfer_id = intent.transfer_id or transfer_id
        plan_ = (body["amount"], body["to_wallet_id"], body["from_wallet_id"])
        if plan_ != (intent.amount, intent.destination, intent.source or plan_[2]):
            self.history.add_contradiction(
                f"key {intent.key} of {self.user_id} returned another transfer: {transfer_id}"
            )
        if body["status"] != "PENDING":
            self.history.record_body(body)

    def _refused(self, intent: Intent, response: Response, *, known: bool) -> None:
        """Record a refusal. It contradicts an earlier acceptance; `REUSED` contradicts a key used for one payment only."""
        if known:
            self.history.add_contradiction(
                f"transfer {intent.transfer_id} was accepted, then its key was refused: {response.code}"
            )
        elif response.code == REUSED and any(one is intent for one in self.intents):
            self.history.add_contradiction(f"key {intent.key} of {self.user_id} was refused as reused")
        if intent.open:
            intent.refusal = response.code

    async def _request(self, method: str, path: str, *, seconds: float = 10.0, **request: Any) -> Response:
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self.session.request(
                method, f"{self.base}/api/v1{path}", timeout=timeout, **request
            ) as http_response:
                raw = await http_response.read()
                body = await http_response.json(content_type=None) if raw else None
                replayed = http_response.headers.get("Idempotent-Replayed") == "true"
                response = Response(http_response.status, body, replayed)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            response = Response(None)
        self.history.count(response.status)
        return response


def _payload(intent: Intent) -> tuple[str, dict[str, Any]]:
    money = {"amount": intent.amount, "currency": "USD"}
    if intent.kind == "deposit":
        return "/ops/deposits", money | {"wallet_id": intent.destination, "reference": "chaos"}
    return "/transfers", money | {"to": {"wallet_id": intent.destination}}
