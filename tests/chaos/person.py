"""One throw-away user of the system under fire: logs in, asks, keeps asking, and notes every answer. Knows HTTP only."""

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
"""Answers that are a "no" for good. Everything else says nothing about what became of the request."""

REUSED = "idempotency_key_reused"

RENEW_SECONDS = 300.0
PASSWORD = "chaos is a ladder, not a key"
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `status` None when nothing did, or not whole."""

    status: int | None
    body: Any = None
    replayed: bool = False

    @property
    def code(self) -> str | None:
        """The machine word of a problem."""
        return self.body.get("code") if isinstance(self.body, dict) else None


@dataclass(slots=True)
class Person:
    """Somebody with a wallet in the default currency."""

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

    def means(self, intent: Intent) -> None:
        """Take up one more payment."""
        self.intents.append(intent)
        self._waiting.append(intent)

    def unanswered(self) -> list[Intent]:
        """The payments of which nothing is known yet, oldest first."""
        self._waiting = [intent for intent in self._waiting if intent.open]
        return self._waiting

    async def enter(self, *, register: bool = True) -> None:
        """Register, or log in, and find the wallet; keeps trying for a while.

        Raises:
            TimeoutError: the system does not let anybody in.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            if register:
                body = {"email": self.email, "password": self.password, "name": "Chaos Client"}
                while (await self._request("POST", "/auth/register", json=body)).status not in {201, 409}:
                    await asyncio.sleep(0.5)
            while not self._token:
                await self.log_in()
            me = await self.insist("/auth/me")
            wallets = await self.insist("/wallets")
        self.user_id = me["id"]
        self.wallet_id = wallets["items"][0]["id"]

    async def log_in(self) -> None:
        """Get a new access token, if the system gives one now."""
        answer = await self._request("POST", "/auth/login", json={"email": self.email, "password": self.password})
        if answer.status == 200:
            self._token = answer.body["access_token"]
            self._renew_at = time.monotonic() + RENEW_SECONDS
        else:
            await asyncio.sleep(0.5)

    async def ask(
        self, method: str, path: str, *, seconds: float = 10.0, headers: Mapping[str, str] | None = None, **request: Any
    ) -> Answer:
        """One request as this person; nothing is retried."""
        if time.monotonic() > self._renew_at:
            await self.log_in()
        sent = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        answer = await self._request(method, path, seconds=seconds, headers=sent, **request)
        if answer.status == 401:
            self._renew_at = 0.0
        return answer

    async def insist(self, path: str, *, seconds: float = PATIENCE_SECONDS) -> Any:
        """GET until it is answered.

        Raises:
            TimeoutError: it is not, in this many seconds.
        """
        async with asyncio.timeout(seconds):
            while True:
                answer = await self.ask("GET", path)
                if answer.status == 200:
                    return answer.body
                await asyncio.sleep(0.3)

    async def attempt(self, intent: Intent, *, seconds: float) -> Answer:
        """Send one payment, for the first time or again, and believe the answer as far as it goes."""
        sent_at, known = self.now(), intent.transfer_id is not None
        path, body = _payload(intent)
        headers = {"Idempotency-Key": intent.key}
        answer = await self.ask("POST", path, seconds=seconds, headers=headers, json=body)
        transfer_id = answer.body["id"] if answer.status in ACCEPTED else None
        intent.attempts.append(
            Attempt(sent_at, self.now(), answer.status, answer.code, transfer_id, replayed=answer.replayed)
        )
        if transfer_id is not None:
            self._accepted(intent, transfer_id, answer.body)
        elif answer.status in REFUSED:
            self._refused(intent, answer, known=known)
        return answer

    async def attempt_twice(self, intent: Intent, *, seconds: float) -> None:
        """Send one payment over two connections at once. A refusal says nothing yet while its twin may get in."""
        await asyncio.gather(*(self.attempt(intent, seconds=seconds) for _ in range(2)))
        if any(attempt.status not in ACCEPTED | REFUSED for attempt in intent.attempts[-2:]):
            intent.refusal = None

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    def _accepted(self, intent: Intent, transfer_id: str, body: Mapping[str, Any]) -> None:
        intent.refusal = None
        intent.transfer_id = intent.transfer_id or transfer_id
        said = (body["amount"], body["to_wallet_id"], body["from_wallet_id"])
        if said != (intent.amount, intent.destination, intent.source or said[2]):
            self.history.contradict(
                f"key {intent.key} of {self.user_id} is answered by another transfer: {transfer_id}"
            )
        if body["status"] != "PENDING":
            self.history.saw(body)

    def _refused(self, intent: Intent, answer: Answer, *, known: bool) -> None:
        """A no. It cannot follow a yes, nor can a key be used up that its user never used for anything else."""
        if known:
            self.history.contradict(f"transfer {intent.transfer_id} was accepted and its key is refused: {answer.code}")
        elif answer.code == REUSED and any(one is intent for one in self.intents):
            self.history.contradict(f"key {intent.key} of {self.user_id} is taken for one used before")
        if intent.open:
            intent.refusal = answer.code

    async def _request(self, method: str, path: str, *, seconds: float = 10.0, **request: Any) -> Answer:
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self.session.request(
                method, f"{self.base}/api/v1{path}", timeout=timeout, **request
            ) as response:
                raw = await response.read()
                body = await response.json(content_type=None) if raw else None
                replayed = response.headers.get("Idempotent-Replayed") == "true"
                answer = Answer(response.status, body, replayed)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            answer = Answer(None)
        self.history.count(answer.status)
        return answer


def _payload(intent: Intent) -> tuple[str, dict[str, Any]]:
    money = {"amount": intent.amount, "currency": "USD"}
    if intent.kind == "deposit":
        return "/ops/deposits", money | {"wallet_id": intent.destination, "reference": "chaos"}
    return "/transfers", money | {"to": {"wallet_id": intent.destination}}
