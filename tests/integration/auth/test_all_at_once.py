"""Everything that begins and ends sessions and keys of one user, at the same time."""

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
from tests.integration.auth.service import Answer, AuthService, register_operator, running
from tests.integration.auth.test_sessions import claims_of

EMAIL = "alice@example.com"
PASSWORD = "correct horse"
ROUNDS = 6
OPERATOR = str(new_id())


class Alice:
    """A user of whom everybody wants something."""

    def __init__(self, auth: AuthService, other: AuthService, session: dict[str, Any]) -> None:
        self._both = itertools.cycle((auth, other))
        self.session = session
        self.id = session["user"]["id"]
        self.passwords = itertools.cycle((PASSWORD, "battery staple"))
        self.shown = itertools.cycle((PASSWORD, "battery staple"))

    def actions(self) -> list[Callable[[], Awaitable[Answer]]]:
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

    async def ask(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        return await next(self._both).call(method, path, body)

    async def log_in(self) -> Answer:
        answer = await next(self._both).log_in(EMAIL, next(self.passwords))
        if answer.status == 200:
            self.session = answer.body
        return answer


async def test_all_at_once(auth: AuthService, pool: Pool) -> None:
    """Nothing deadlocks or breaks; in the end whoever is disabled has nothing left, all of it numbered and on record."""
    chance = random.Random(45)
    told: Counter[int] = Counter()
    await register_operator(auth, pool)
    async with running(pool) as second:
        alice = Alice(auth, second, await auth.register(EMAIL))
        for _ in range(ROUNDS):
            actions = alice.actions() * 2
            chance.shuffle(actions)
            told.update(answer.status for answer in await asyncio.gather(*(action() for action in actions)))
        await alice.ask("PUT", f"/internal/users/{alice.id}/disable", {"operator_id": OPERATOR, "reason": "test"})
        feed = await auth.revocations()

    assert set() == {status for status in told if status >= 500}, told
    assert told[200] > ROUNDS
    left = await pool.fetchrow(
        "SELECT (SELECT count(*) FROM sessions WHERE revoked_at IS NULL AND user_id = $1),"
        " (SELECT count(*) FROM api_keys WHERE revoked_at IS NULL),"
        " (SELECT count(*) FROM letters WHERE kind = 'reset_password' AND ended_at IS NULL),"
        " (SELECT count(*) FROM api_keys) - (SELECT count(*) FROM audit_log WHERE action = 'api_key_revoked'),"
        " (SELECT count(*) FROM api_keys) - (SELECT count(*) FROM audit_log WHERE action = 'api_key_created')",
        UUID(alice.id),
    )
    assert left is not None
    assert (0, 0, 0, 0, 0) == tuple(left)
    assert list(range(1, feed["next"] + 1)) == [item["seq"] for item in feed["items"]]
