"""Concurrent requests that open and end sessions and API keys of one user."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from services.chassis.database import Pool
from services.contracts.identifiers import new_id
from tests.integration.auth.service import AuthService, Response, register_operator, running
from tests.integration.auth.test_sessions import claims_of

EMAIL = "alice@example.com"
PASSWORD = "correct horse"
ROUNDS = 6
OPERATOR = str(new_id())


class Alice:
    """A user with many concurrent requests."""

    def __init__(self, auth: AuthService, other: AuthService, session: dict[str, Any]) -> None:
        self._both = itertools.cycle((auth, other))
        self.session = session
        self.id = session["user"]["id"]
        self.passwords = itertools.cycle((PASSWORD, "battery staple"))
        self.shown = itertools.cycle((PASSWORD, "battery staple"))

    def actions(self) -> list[Callable[[], Awaitable[Response]]]:
        mine, other = {"user_id": self.id, "session_id": claims_of(self.session)["sid"]}, f"/internal/users/{self.id}"
        key = mine | {"name": "server", "scopes": ["read"], "password": next(self.shown)}
        change = {"user_id": self.id, "current_password": next(self.passwords), "new_password": "battery staple"}
        return [
            lambda: self.ask("POST", "/internal/refresh", {"refresh_token": self.session["refresh_token"]}),
            lambda: self.ask("POST", "/internal/logout", mine),
            lambda: self.ask("POST", "/internal/sessions/end", mine),
            lambda: self.ask("POST", "/internal/sessions/end-others", mine),
            lambda: self.ask("POST", "/internal/api-keys", key),
            lambda: self.ask("POST", "/internal/password", change),
            lambda: self.ask("POST", "/internal/password/forgot", {"email": EMAIL}),
            lambda: self.ask("PUT", f"{other}/disable", {"operator_id": OPERATOR, "reason": "test"}),
            lambda: self.ask("DELETE", f"{other}/disable", {"operator_id": OPERATOR}),
            lambda: self.ask("PUT", f"{other}/role", {"operator_id": OPERATOR, "role": "operator"}),
            lambda: self.ask("PUT", f"{other}/role", {"operator_id": OPERATOR, "role": "user"}),
            self.log_in,
            self.log_in,
        ]

    async def ask(self, method: str, path: str, body: dict[str, Any]) -> Response:
        return await next(self._both).call(method, path, body)

    async def log_in(self) -> Response:
        response = await next(self._both).log_in(EMAIL, next(self.passwords))
        if response.status == 200:
            self.session = response.body
        return response


async def test_concurrent_requests(auth: AuthService, pool: Pool) -> None:
    """No deadlock and no fault; a disabled user has no access left, and every revocation is numbered and recorded."""
    chance = random.Random(45)
    output: Counter[int] = Counter()
    await register_operator(auth, pool)
    async with running(pool) as second:
        alice = Alice(auth, second, await auth.register(EMAIL))
        for _ in range(ROUNDS):
            actions = alice.actions() * 2
            chance.shuffle(actions)
            output.update(response.status for response in await asyncio.gather(*(action() for action in actions)))
        await alice.ask("PUT", f"/internal/users/{alice.id}/disable", {"operator_id": OPERATOR, "reason": "test"})
        feed = await auth.revocations()

    assert set() == {status for status in output if status >= 500}, output
    assert output[200] > ROUNDS
    left = await pool.fetchrow(
        "SELECT (SELECT count(*) FROM sessions WHERE revoked_at IS NULL AND user_id = $1),"
        " (SELECT count(*) FROM api_keys WHERE revoked_at IS NULL),"
        " (SELECT count(*) FROM emails WHERE kind = 'reset_password' AND ended_at IS NULL),"
        " (SELECT count(*) FROM api_keys) - (SELECT count(*) FROM audit_log WHERE action = 'api_key_revoked'),"
        " (SELECT count(*) FROM api_keys) - (SELECT count(*) FROM audit_log WHERE action = 'api_key_created')",
        UUID(alice.id),
    )
    assert left is not None
    assert (0, 0, 0, 0, 0) == tuple(left)
    assert list(range(1, feed["next"] + 1)) == [item["seq"] for item in feed["items"]]
