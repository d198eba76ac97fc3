"""Users of PayFlow through its public API, for end-to-end tests. HTTP only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from tests.harness import leaks
from tests.harness.document import Document

PASSWORD = "correct horse battery"

PASSWORDS_SECONDS_MAX = 60.0
RENEW_AFTER_SECONDS = 300
"""Half of the life of an access token."""

_documents: dict[str, Document] = {}
"""By base URL of the gateway."""


@dataclass(slots=True)
class Response:
    """Status, headers and parsed body of a response."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def code(self) -> str:
        """The problem code."""
        return str(self.body["code"])

    @property
    def fields(self) -> list[str]:
        """The invalid fields of a problem."""
        return [error["field"] for error in self.body["errors"]]


@dataclass(slots=True)
class ApiClient:
    """The gateway, without a login."""

    session: aiohttp.ClientSession
    base: str

    async def send(self, method: str, path: str, **request: Any) -> Response:
        """Send one request below /api/v1, without retries."""
        async with self.session.request(method, f"{self.base}/api/v1{path}", **request) as response:
            # An event stream has no end to wait for.
            raw = b"" if response.content_type == "text/event-stream" else await response.read()
            await self._check(method, response, raw)
            is_json = "json" in response.headers.get("Content-Type", "")
            return Response(
                response.status, response.headers, await response.json(content_type=None) if is_json and raw else raw
            )

    async def _check(self, method: str, response: aiohttp.ClientResponse, raw: bytes) -> None:
        """Guarantee 60: every response received by a test is one that the OpenAPI document allows."""
        if self.base not in _documents:
            _documents[self.base] = await Document.of(self.session, self.base)
        path = response.url.raw_path
        faults = _documents[self.base].faults(method, path, response.status, response.headers, raw)
        assert [] == faults, f"{method} {path}: {response.status} {raw[:500]!r}"

    async def register(self, name: str = "Test Person") -> Person:
        """Register a new user with a wallet in the default currency."""
        email = f"{uuid4().hex}@example.com"
        response = await self._check_password("/auth/register", {"email": email, "password": PASSWORD, "name": name})
        assert response.status == 201, response
        return await self._person(email, response)

    async def login(self, email: str, password: str) -> Person:
        """Log in a registered user."""
        response = await self._check_password("/auth/login", {"email": email, "password": password})
        assert response.status == 200, response
        return await self._person(email, response)

    async def _check_password(self, path: str, body: dict[str, str]) -> Response:
        """Send a request that hashes a password; retry while the gateway has too many of them, as a client does."""
        async with asyncio.timeout(PASSWORDS_SECONDS_MAX):
            while (
                response := await self.send("POST", path, json=body)
            ).status == 503 and response.code == "too_many_logins":
                await asyncio.sleep(float(response.headers["Retry-After"]))
        return response

    async def _person(self, email: str, response: Response) -> Person:
        leaks.remember(email, PASSWORD, response.body["access_token"], response.body["refresh_token"])
        person = Person(
            self.session,
            self.base,
            email,
            response.body["user"]["id"],
            response.body["access_token"],
            response.body["refresh_token"],
        )
        person.wallet_id = (await person.get("/wallets")).body["items"][0]["id"]
        return person


@dataclass(slots=True)
class Person(ApiClient):
    """A logged-in user."""

    email: str
    user_id: str
    token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    wallet_id: str = ""
    logged_in_at: float = field(default_factory=time.monotonic, repr=False)

    async def get(self, path: str, **request: Any) -> Response:
        """GET as this user."""
        return await self._as_me("GET", path, **request)

    async def post(self, path: str, body: Any = None, *, key: str | None = None, **request: Any) -> Response:
        """POST JSON as this user, with an idempotency key if given."""
        headers = dict(request.pop("headers", {}))
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self._as_me("POST", path, json=body, headers=headers, **request)

    async def send_money(self, to: Person, amount: int, *, key: str | None = None, wait: int | None = None) -> Response:
        """Send minor units of the default currency to a user's wallet."""
        body = {"amount": amount, "currency": "USD", "to": {"wallet_id": to.wallet_id}}
        headers = {"Prefer": f"wait={wait}"} if wait is not None else {}
        return await self.post("/transfers", body, key=key or uuid4().hex, headers=headers)

    async def balance(self) -> int:
        """The balance of the default wallet, in minor units."""
        return (await self.get(f"/wallets/{self.wallet_id}/balance")).body["balance"]

    async def finalized(self, transfer_id: str, *, seconds: float = 90) -> dict[str, Any]:
        """Wait until the transfer is terminal."""
        async with asyncio.timeout(seconds):
            while (transfer := (await self.get(f"/transfers/{transfer_id}")).body)["status"] == "PENDING":
                await asyncio.sleep(0.02)
        return transfer

    async def fund(self, person: Person, amount: int) -> None:
        """As operator: deposit money and wait until it has arrived."""
        body = {"wallet_id": person.wallet_id, "amount": amount, "currency": "USD", "reference": "test"}
        response = await self.post("/ops/deposits", body, key=uuid4().hex, headers={"Prefer": "wait=30"})
        assert response.body["status"] == "COMPLETED", response

    async def _as_me(self, method: str, path: str, **request: Any) -> Response:
        if time.monotonic() - self.logged_in_at > RENEW_AFTER_SECONDS:
            await self._renew()
        headers = {"Authorization": f"Bearer {self.token}"} | dict(request.pop("headers", {}))
        return await self.send(method, path, headers=headers, **request)

    async def _renew(self) -> None:
        # Some users are needed for longer than an access token is valid; after the end of a session the old token stays.
        self.logged_in_at = time.monotonic()
        response = await self.send("POST", "/auth/refresh", json={"refresh_token": self.refresh_token})
        if response.status == 200:
            self.token, self.refresh_token = response.body["access_token"], response.body["refresh_token"]
