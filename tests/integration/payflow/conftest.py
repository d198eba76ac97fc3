"""A fake gateway: real HTTP on a free port, responses as in the contract, faults on demand."""

from __future__ import annotations

import asyncio
import itertools
import socket
import uuid
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from payflow import cli
from payflow.client import PayFlow
from payflow.limits import Limits

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Fault = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

QUICK = Limits(
    connect_seconds=1,
    response_seconds=1,
    attempts_max=6,
    retry_seconds=3,
    backoff_seconds_min=0.01,
    backoff_seconds_max=0.05,
    poll_seconds_min=0.01,
    poll_seconds_max=0.05,
)
ALICE: dict[str, Any] = {"id": str(uuid.uuid4()), "email": "alice@example.com", "name": "Alice Example", "role": "user"}
OPERATOR: dict[str, Any] = {
    "id": str(uuid.uuid4()),
    "email": "ops@example.com",
    "name": "Olga Operator",
    "role": "operator",
}
PASSWORD = "payflow-demo-1"


@dataclass
class Request:
    """One received request."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any

    @property
    def key(self) -> str | None:
        return self.headers.get("Idempotency-Key")


def time_now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def problem(status: int, code: str, detail: str = "", headers: dict[str, str] | None = None) -> web.Response:
    document = {
        "type": f"urn:payflow:problem:{code}",
        "title": detail or code,
        "status": status,
        "detail": detail or code,
        "code": code,
        "request_id": "request-of-the-gateway",
        "errors": [],
    }
    return web.json_response(document, status=status, headers=headers, content_type="application/problem+json")


class Faults:
    """Faults of the connection and the gateway; each is used for one request."""

    def refuse(self, status: int, code: str, *, retry_after: str | None = None, detail: str = "") -> Fault:
        async def fault(_: web.Request, __: Handler) -> web.StreamResponse:
            return problem(status, code, detail, {"Retry-After": retry_after} if retry_after is not None else None)

        return fault

    def cut(self, *, after: bool) -> Fault:
        """The connection breaks before the request has its effect, or after it."""

        async def fault(request: web.Request, handler: Handler) -> web.StreamResponse:
            if after:
                await handler(request)
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        return fault

    def hang(self, released: asyncio.Event) -> Fault:
        """No response while the test lasts."""

        async def fault(_: web.Request, __: Handler) -> web.StreamResponse:
            await released.wait()
            return problem(503, "unavailable")

        return fault

    def respond(self, text: str, *, status: int = 200, headers: dict[str, str] | None = None) -> Fault:
        """A response that is not PayFlow's."""

        async def fault(_: web.Request, __: Handler) -> web.StreamResponse:
            return web.Response(text=text, status=status, content_type="text/html", headers=headers)

        return fault

    def document(self, document: Any) -> Fault:
        async def fault(_: web.Request, __: Handler) -> web.StreamResponse:
            return web.json_response(document)

        return fault


@dataclass
class FakeGateway:
    """The state of the fake gateway; tests read and change it."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    faults: defaultdict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    always: dict[str, Fault] = field(default_factory=dict)
    users: dict[str, dict[str, str]] = field(default_factory=lambda: {p["email"]: p for p in (ALICE, OPERATOR)})
    access: dict[str, dict[str, str]] = field(default_factory=dict)
    refresh: dict[str, dict[str, str]] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    expires_in: int = 600
    transfers: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    polls_until_final: int = 0
    keeps_preference: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)
    documents: dict[str, Any] = field(default_factory=dict)
    pages: dict[str, list[Any]] = field(default_factory=dict)
    counter: Any = field(default_factory=itertools.count)

    def fail(self, route: str, *faults: Fault) -> None:
        """Let the next requests of a route fail, one fault each."""
        self.faults[route].extend(faults)

    def seen(self, route: str) -> list[Request]:
        method, path = route.split(" ")
        return [request for request in self.requests if (request.method, request.path) == (method, path)]

    def end_sessions(self) -> None:
        self.access.clear()
        self.refresh.clear()

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._watch])
        routes = {
            "POST /auth/login": self._login,
            "POST /auth/register": self._register,
            "POST /auth/refresh": self._refresh,
            "POST /auth/logout": self._logout,
            "POST /transfers": self._accept,
            "POST /ops/deposits": self._accept,
            "GET /transfers": self._list,
            "GET /transfers/{id}": self._transfer,
        }
        for route, handler in routes.items():
            method, path = route.split(" ")
            application.router.add_route(method, f"/api/v1{path}", handler)
        application.router.add_route("*", "/{path:.*}", self._anything)
        return application

    @web.middleware
    async def _watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path.removeprefix("/api/v1")
        body = await request.json() if request.can_read_body else None
        self.requests.append(Request(request.method, path, dict(request.query), request.headers, body))
        route = f"{request.method} {path}"
        if self.faults[route]:
            return await self.faults[route].popleft()(request, handler)
        if route in self.always:
            return await self.always[route](request, handler)
        return await handler(request)

    def _user(self, request: web.Request) -> dict[str, str]:
        user = self.access.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if user is None:
            raise web.HTTPUnauthorized(
                text='{"code": "invalid_token", "detail": "The access token is not valid"}',
                content_type="application/problem+json",
            )
        return user

    def _session(self, user: dict[str, str], status: int = 200) -> web.Response:
        number = next(self.counter)
        self.access[f"access-{number}"] = self.refresh[f"refresh-{number}"] = user
        document = {
            "user": user,
            "access_token": f"access-{number}",
            "refresh_token": f"refresh-{number}",
            "token_type": "Bearer",
            "expires_in": self.expires_in,
        }
        return web.json_response(document, status=status)

    async def _login(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["email"] not in self.users or body["password"] != PASSWORD:
            return problem(401, "invalid_credentials", "The e-mail address or the password is wrong")
        return self._session(self.users[body["email"]])

    async def _register(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["email"] in self.users:
            return problem(409, "email_taken", "There is a user with this e-mail address")
        self.users[body["email"]] = {"id": str(uuid.uuid4()), "role": "user", **body}
        return self._session(self.users[body["email"]], status=201)

    async def _refresh(self, request: web.Request) -> web.Response:
        token = (await request.json())["refresh_token"]
        if token in self.spent:
            self.end_sessions()
        user = self.refresh.pop(token, None)
        if user is None:
            return problem(401, "invalid_refresh_token", "The refresh token is not valid")
        self.spent.add(token)
        return self._session(user)

    async def _logout(self, request: web.Request) -> web.Response:
        self._user(request)
        self.end_sessions()
        return web.Response(status=204)

    async def _accept(self, request: web.Request) -> web.Response:
        user, body, key = self._user(request), await request.json(), request.headers["Idempotency-Key"]
        replayed = (user["id"], key) in self.keys
        if not replayed:
            self.add_transfer(user, key, body)
        transfer = self.transfers[self.keys[user["id"], key]]
        headers = {"Idempotent-Replayed": "true"} if replayed else {}
        if self.keeps_preference and "Prefer" in request.headers:
            return web.json_response(self._finalized(transfer), headers=headers)
        return web.json_response(transfer, status=202, headers=headers)

    def add_transfer(self, user: dict[str, str], key: str, body: dict[str, Any]) -> dict[str, Any]:
        to = body.get("to") or body
        transfer = {
            "id": str(uuid.uuid4()),
            "kind": "deposit" if "wallet_id" in body else "transfer",
            "status": "PENDING",
            "amount": body["amount"],
            "currency": body["currency"],
            "from_wallet_id": str(uuid.uuid4()),
            "to_wallet_id": to.get("wallet_id") or str(uuid.uuid4()),
            "description": body.get("reference", body.get("description")),
            "metadata": body.get("metadata"),
            "created_at": time_now(),
            "expected_by": time_now(),
            "processing": "normal",
            "final_by": time_now(),
            "completed_at": None,
            "failed_at": None,
            "failure": None,
        }
        self.transfers[transfer["id"]] = transfer
        self.keys[user["id"], key] = transfer["id"]
        return transfer

    async def _list(self, request: web.Request) -> web.Response:
        user = self._user(request)
        if "idempotency_key" not in request.query:
            return self._page("/transfers", request)
        found = self.keys.get((user["id"], request.query["idempotency_key"]))
        return web.json_response({"items": [self.transfers[found]] if found else [], "next_cursor": None})

    async def _transfer(self, request: web.Request) -> web.Response:
        self._user(request)
        transfer = self.transfers.get(request.match_info["id"])
        if transfer is None:
            return problem(404, "transfer_not_found", "There is no such transfer")
        self.polls_until_final -= 1
        return web.json_response(self._finalized(transfer) if self.polls_until_final < 0 else transfer)

    async def _anything(self, request: web.Request) -> web.Response:
        user = self._user(request)
        path = request.path.removeprefix("/api/v1")
        if path.startswith("/ops/") and user["role"] != "operator":
            return problem(403, "operator_required", "This is for operators")
        if path in self.pages:
            return self._page(path, request)
        if path in self.documents:
            return web.json_response(self.documents[path])
        code = "transfer_not_found" if "/transfers/" in path else "not_found"
        return problem(404, code, "There is no such transfer" if "/transfers/" in path else "There is nothing here")

    def _page(self, path: str, request: web.Request) -> web.Response:
        start = int(request.query.get("cursor", "0"))
        end = start + min(2, int(request.query.get("limit", "2")))
        more = end < len(self.pages[path])
        return web.json_response({"items": self.pages[path][start:end], "next_cursor": str(end) if more else None})

    def _finalized(self, transfer: dict[str, Any]) -> dict[str, Any]:
        return {**transfer, "status": "COMPLETED", "completed_at": time_now()}


def proof(*, entries_ok: bool) -> dict[str, Any]:
    """A proof of the ledger, as the gateway returns it."""
    return {
        "ok": entries_ok,
        "at": "2026-01-02T12:00:00.000000Z",
        "checks": [
            {"name": "conserved", "ok": True, "detail": "12 currencies"},
            {"name": "balances_equal_entries", "ok": entries_ok, "detail": {"account": "a-1", "off_by": 5}},
        ],
    }


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def gateway() -> AsyncIterator[FakeGateway]:
    """A gateway of its own for each test."""
    fake = FakeGateway()
    runner = web.AppRunner(fake.application(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert isinstance(site._server, asyncio.Server)
    port = site._server.sockets[0].getsockname()[1]
    fake.url = f"http://127.0.0.1:{port}"
    yield fake
    fake.released.set()
    await runner.cleanup()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port without a listener, reserved for the test."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
async def alice(gateway: FakeGateway) -> AsyncIterator[PayFlow]:
    """A client with Alice's credentials and short time limits."""
    async with PayFlow(gateway.url, email=ALICE["email"], password=PASSWORD, limits=QUICK) as client:
        yield client


@pytest.fixture
async def ops(gateway: FakeGateway) -> AsyncIterator[PayFlow]:
    async with PayFlow(gateway.url, email=OPERATOR["email"], password=PASSWORD, limits=QUICK) as client:
        yield client


@dataclass
class Ran:
    """The result of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder, and a working folder without a stack."""
    working, folder = tmp_path / "working", tmp_path / "configuration"
    working.mkdir()
    monkeypatch.chdir(working)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("PAYFLOW_GATEWAY", "PAYFLOW_PASSWORD", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def run(
    gateway: FakeGateway,
    configuration: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Awaitable[Ran]]:
    """Runs one command against the fake gateway, given its arguments."""
    monkeypatch.setenv("PAYFLOW_GATEWAY", gateway.url)
    monkeypatch.setenv("PAYFLOW_PASSWORD", PASSWORD)

    async def invoke(*arguments: str) -> Ran:
        # In a thread: a command has its own event loop, and this one serves the gateway.
        code = await asyncio.to_thread(cli.main, arguments)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return invoke


def audit_entry(number: int) -> dict[str, Any]:
    """One entry of the audit log."""
    return {
        "id": str(number),
        "at": "2026-01-02T12:00:00Z",
        "service": "auth",
        "action": "login",
        "actor_id": "a",
        "user_id": "a",
        "subject": None,
        "detail": {},
        "request_id": f"r-{number}",
    }


def steps(*names: str) -> list[dict[str, Any]]:
    """Steps of a timeline, 12.5 ms apart."""
    began_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return [
        {
            "at": (began_at + timedelta(milliseconds=12.5 * number)).isoformat(timespec="microseconds"),
            "service": "transaction",
            "step": name,
            "detail": {"number": number, "redelivered": False},
        }
        for number, name in enumerate(names)
    ]


@pytest.fixture
def timeline() -> Callable[..., dict[str, Any]]:
    """Creates timelines as the gateway returns them."""

    def make(transfer_id: str, waiting_for: str | None = None) -> dict[str, Any]:
        return {
            "transfer_id": transfer_id,
            "status": "PENDING" if waiting_for else "COMPLETED",
            "steps": steps("accepted", "queued", "picked_up"),
            "waiting_for": waiting_for,
            "summary": "Your transfer is on its way [soon].",
            "unavailable": ["wallet"] if waiting_for else [],
            "added_later": 1,
        }

    return make
