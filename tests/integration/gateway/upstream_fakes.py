"""Fake upstream services: real sockets, real service tokens, and as much logic as the tests need."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.chassis.service_tokens import TokenVerifier
from services.contracts.api_keys import hash_key, new_key
from services.contracts.identifiers import new_id

NOW = "2026-01-01T00:00:00.000000Z"
LATER = "2026-01-01T00:01:30.000000Z"


@dataclass(frozen=True)
class Call:
    """One request as the service received it."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any


Responder = Callable[[Call], Awaitable[web.StreamResponse]]


def problem(status: int, code: str, **extra: Any) -> web.Response:
    """A refusal as the chassis of a service renders it."""
    document = {
        "type": f"urn:payflow:problem:{code}",
        "title": "Refused upstream.",
        "status": status,
        "detail": "Refused upstream.",
        "code": code,
        "errors": [],
        "request_id": "upstream",
    }
    return web.json_response(document | extra, status=status, content_type="application/problem+json")


@dataclass
class Service:
    """A server that can stop, start again, or not respond."""

    name: str
    public_keys: Mapping[str, Ed25519PublicKey]
    calls: list[Call] = field(default_factory=list)
    silent: bool = False
    silent_at: str | None = None
    """A path at which this service does not respond."""
    broken_at: str | None = None
    """A path at which this service closes every connection when it has received the request."""
    responses: dict[str, Any] = field(default_factory=dict)
    _runner: web.AppRunner | None = None
    _port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_get("/livez", self._livez)
        app.router.add_route("*", "/internal/{rest:.*}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        assert site._server is not None
        self._port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def calls_to(self, method: str, path: str) -> list[Call]:
        return [call for call in self.calls if (call.method, call.path) == (method, path)]

    async def respond(self, call: Call) -> web.StreamResponse:
        return problem(404, "not_found", detail=call.path)

    async def _livez(self, _request: web.Request) -> web.Response:
        await self._keep_silent("/livez")
        return web.json_response({"status": "ok"})

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        verifier = TokenVerifier(self.public_keys, audience=self.name)
        if verifier.caller(token) != "gateway":
            return problem(403, "service_not_allowed")
        body = await request.json() if request.can_read_body else None
        call = Call(request.method, request.path, dict(request.query), request.headers, body)
        self.calls.append(call)
        if call.path == self.broken_at and request.transport is not None:
            request.transport.abort()
        await self._keep_silent(call.path)
        fixed = self.responses.get(f"{call.method} {call.path}")
        if isinstance(fixed, web.Response):
            # A response object can be sent once; its content may be sent any number of times.
            headers = {name: fixed.headers[name] for name in ("Retry-After",) if name in fixed.headers}
            return web.Response(status=fixed.status, body=fixed.body, content_type=fixed.content_type, headers=headers)
        if fixed is not None:
            return web.json_response(fixed)
        return await self.respond(call)

    async def _keep_silent(self, path: str) -> None:
        while self.silent or path == self.silent_at:
            await asyncio.sleep(0.01)


@dataclass
class Auth(Service):
    """Keys, sessions and users."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    key_id: str = "key-1"
    ended: list[str] = field(default_factory=list)
    users: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Id and name by e-mail address."""
    passwords: dict[str, str] = field(default_factory=dict)
    revocations_max: int | None = None
    """The page size of the list of revocations."""
    ahead_seconds: float = 0.0
    """How far its clock, which dates access tokens, is ahead of ours."""
    places: set[tuple[str, str]] = field(default_factory=set)
    """E-mail and network addresses of logins that succeeded."""
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The results of verifications of API keys, by their hash."""

    def api_key(self, *scopes: str, user_id: str | None = None, role: str = "user", **changes: Any) -> str:
        """An API key with these scopes."""
        key = new_key().text
        self.keys[hash_key(key).hex()] = {
            "api_key_id": str(new_id()),
            "user_id": user_id or str(new_id()),
            "role": role,
            "scopes": sorted(scopes),
            "seconds": 600.0,
            "fresh_seconds": 600.0,
        } | changes
        return key

    def forget_api_key(self, key: str) -> None:
        """Make a key unknown."""
        del self.keys[hash_key(key).hex()]

    def api_key_id(self, key: str) -> str:
        return str(self.keys[hash_key(key).hex()]["api_key_id"])

    def jwk(self) -> dict[str, str]:
        x = base64.urlsafe_b64encode(self.key.public_key().public_bytes_raw()).decode().rstrip("=")
        return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.key_id, "use": "sig", "alg": "EdDSA"}

    def now(self) -> float:
        return time.time() + self.ahead_seconds

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(self.now())
        claims = {
            "iss": "payflow",
            "aud": "payflow-api",
            "sub": str(new_id()),
            "sid": str(new_id()),
            "role": "user",
            "iat": now,
            "nbf": now,
            "exp": now + 600,
            "jti": str(new_id()),
        } | changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, key: Any = None, algorithm: str = "EdDSA", header: Mapping[str, Any] = {}, **claims: Any) -> str:
        """An access token of auth; any claim can be changed, None leaves it out."""
        return jwt.encode(
            self.claims(**claims),
            self.key if key is None else key,
            algorithm=algorithm,
            headers={"typ": "at+jwt", "kid": self.key_id} | dict(header),
        )

    async def respond(self, call: Call) -> web.StreamResponse:  # noqa: PLR0911 - one for each route
        match call.method, call.path:
            case "GET", "/internal/jwks":
                return web.json_response({"keys": [self.jwk()]})
            case "GET", "/internal/revocations":
                after = int(call.query["after"])
                items = [
                    {"seq": seq, "session_id": session_id, "revoked_at": NOW}
                    for seq, session_id in enumerate(self.ended, start=1)
                    if seq > after
                ][: self.revocations_max]
                following = items[-1]["seq"] if items else len(self.ended)
                return web.json_response({"items": items, "next": following, "now": self.now()})
            case "POST", "/internal/api-keys/verify":
                known = self.keys.get(call.body["hash"])
                return web.json_response(known) if known else problem(404, "api_key_not_found")
            case "POST", "/internal/recipients":
                found = [
                    {"email": email, "user_id": self.users[email][0], "name": self.users[email][1]}
                    for email in call.body["emails"]
                    if email in self.users
                ]
                return web.json_response({"items": found})
            case "POST", "/internal/names":
                named = dict(self.users.values())
                found = [{"user_id": id_, "name": named[id_]} for id_ in call.body["ids"] if id_ in named]
                return web.json_response({"items": found})
            case "POST", "/internal/login":
                email = call.body["email"].strip().lower()
                if self.passwords.get(email) != call.body["password"]:
                    return problem(401, "invalid_credentials")
                self.places.add((email, call.body["address"]))
                return web.json_response({})
            case "POST", "/internal/known-locations":
                place = (call.body["email"].strip().lower(), call.body["address"])
                return web.json_response({"known": place in self.places})
            case "POST", "/internal/logout":
                self.ended.append(call.body["session_id"])
                return web.Response(status=204)
        return await super().respond(call)


@dataclass
class Wallet(Service):
    """Wallets by id, without postings."""

    wallets: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, owner_id: str | None, currency: str = "USD") -> str:
        wallet_id = str(new_id())
        self.wallets[wallet_id] = {
            "id": wallet_id,
            "owner_id": owner_id,
            "currency": currency,
            "balance": 1000,
            "available": 900,
            "held": 100,
            "status": "open",
            "created_at": NOW,
        }
        return wallet_id

    async def respond(self, call: Call) -> web.StreamResponse:  # noqa: PLR0911 - one for each route
        parts = call.path.split("/")[2:]
        if parts == ["wallets"]:
            return self._wallets(call)
        if parts == ["balances"]:
            return web.json_response({"items": [self._read(**item) for item in call.body["items"]]})
        if parts[0] == "wallets" and parts[1] not in self.wallets:
            return problem(404, "wallet_not_found")
        match call.method, parts:
            case "GET", ["wallets", wallet_id]:
                return web.json_response(self.wallets[wallet_id])
            case "GET", ["wallets", _, "balance"]:
                return web.json_response({"balance": 1000, "available": 900, "held": 100, "as_of": NOW})
            case "GET", ["wallets", _, "statement"]:
                start, limit = int(call.query.get("cursor", "0")), int(call.query["limit"])
                more = str(start + limit) if start + limit < len(self.lines) else None
                return web.json_response({"items": self.lines[start : start + limit], "next_cursor": more})
            case ("PUT" | "DELETE") as method, ["wallets", wallet_id, "freeze"]:
                self.wallets[wallet_id]["status"] = "frozen" if method == "PUT" else "open"
                return web.json_response(self.wallets[wallet_id])
            case "PUT", ["admissions", _]:
                return problem(404, "outcome_not_found")
            case "GET", ["outcomes", _]:
                return problem(404, "outcome_not_found")
        return await super().respond(call)

    def _read(self, wallet_id: str, owner_id: str) -> dict[str, Any] | None:
        found = self.wallets.get(wallet_id)
        return {"wallet": found, "as_of": NOW} if found is not None and found["owner_id"] == owner_id else None

    def _wallets(self, call: Call) -> web.StreamResponse:
        owner_id = call.query.get("owner_id") or call.body["owner_id"]
        mine = [wallet for wallet in self.wallets.values() if wallet["owner_id"] == owner_id]
        if call.method == "GET":
            return web.json_response({"items": mine})
        found = [wallet for wallet in mine if wallet["currency"] == call.body["currency"]]
        wallet_id = found[0]["id"] if found else self.add(owner_id, call.body["currency"])
        return web.json_response(self.wallets[wallet_id], status=200 if found else 201)


@dataclass
class Transaction(Service):
    """Accepts by key, as the real one does; `finalizes` decides whether transfers complete."""

    transfers: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """Request hash and transfer id by user and key."""
    owners: dict[str, str] = field(default_factory=dict)
    finalizes: bool = False
    rejects_batch_of: str | None = None
    """A key whose item makes this service refuse the whole batch."""
    unregistered: set[str] = field(default_factory=set)
    """Unregistered e-mail addresses."""

    async def respond(self, call: Call) -> web.StreamResponse:
        parts = call.path.split("/")[2:]
        match call.method, parts:
            case "POST", ["transfers"]:
                if self.rejects_batch_of in [item["idempotency_key"] for item in call.body["items"]]:
                    return problem(422, "invalid_request")
                return web.json_response({"items": [self._accept(item) for item in call.body["items"]]})
            case "GET", ["transfers", transfer_id]:
                return await self._get(call, transfer_id)
            case "GET", ["transfers", _, "steps"]:
                return problem(404, "transfer_not_found")
            case "PUT", ["wallets", _, "freeze-hint"]:
                return web.Response(status=204)
        return await super().respond(call)

    def _accept(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["to"].get("email") in self.unregistered:
            return {
                "problem": {"code": "recipient_not_found", "status": 422, "title": "Recipient not found."},
                "headers": {},
            }
        place = item["user_id"], item["idempotency_key"]
        known = self.keys.get(place)
        if known is not None and known[0] != item["request_hash"]:
            return {"problem": {"code": "idempotency_key_reused", "status": 422, "title": "Used."}, "headers": {}}
        transfer_id = known[1] if known else str(new_id())
        if not known:
            self.keys[place] = item["request_hash"], transfer_id
            self.owners[transfer_id] = item["user_id"]
            self.transfers[transfer_id] = pending(transfer_id, item)
        return {"transfer": pending(transfer_id, item), "replayed": known is not None}

    async def _get(self, call: Call, transfer_id: str) -> web.StreamResponse:
        if self.owners.get(transfer_id) != call.query["viewer"]:
            return problem(404, "transfer_not_found")
        if "wait" in call.query:
            deadline = time.monotonic() + float(call.query["wait"])
            while not self.finalizes and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
        if self.finalizes:
            self.transfers[transfer_id] |= {"status": "COMPLETED", "completed_at": LATER}
        return web.json_response(self.transfers[transfer_id])


@dataclass
class Notification(Service):
    """Feeds by user, whose oldest events may have expired; otherwise the fixed responses."""

    feeds: dict[str, list[str]] = field(default_factory=dict)
    pruned: dict[str, int] = field(default_factory=dict)

    def add_events(self, user_id: str, *texts: str) -> None:
        self.feeds.setdefault(user_id, []).extend(texts)

    async def respond(self, call: Call) -> web.StreamResponse:
        if (call.method, call.path) == ("POST", "/internal/events"):
            items = [self._news(item["user_id"], item["after"], call.body["limit"]) for item in call.body["items"]]
            return web.json_response({"items": [item for item in items if item["after"] != item["last_seq"]]})
        return await super().respond(call)

    def _news(self, user_id: str, after: int | None, limit: int) -> dict[str, Any]:
        feed = self.feeds.get(user_id, [])
        lines = [
            {"seq": seq, "type": "notification", "payload": f'{{"text":"{text}"}}'}
            for seq, text in enumerate(feed, start=1)
            if after is not None and seq > max(after, self.pruned.get(user_id, 0))
        ]
        return {"user_id": user_id, "after": after, "last_seq": len(feed), "events": lines[:limit]}


def pending(transfer_id: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """The transfer as accepted."""
    return {
        "id": transfer_id,
        "kind": item["kind"],
        "status": "PENDING",
        "amount": item["amount"],
        "currency": item["currency"],
        "from_wallet_id": str(UUID(int=1)),
        "to_wallet_id": str(UUID(int=2)),
        "description": item["description"],
        "metadata": item["metadata"],
        "created_at": NOW,
        "expected_by": None,
        "processing": "delayed",
        "final_by": LATER,
        "completed_at": None,
        "failed_at": None,
        "failure": None,
    }
