"""The list of ended sessions: pulled to its end, remembered for as long as a token lives, forgotten after that."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.chassis.client import Upstream
from services.chassis.service_tokens import Identity
from services.contracts import limits
from services.contracts.identifiers import new_id
from services.gateway.clients.auth import AuthClient
from services.gateway.security import authentication, revocations
from services.gateway.security.revocations import Revocations
from tests.integration.gateway.conftest import PUBLIC_KEYS, SEED, ApiClient, Behind, Open, eventually

ME = "/api/v1/auth/me"


class Clock:
    """Takes the place of the module `time`: the seconds of a clock that this test moves."""

    def __init__(self) -> None:
        self.seconds = time.monotonic()

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
async def auth(behind: Behind) -> AsyncIterator[AuthClient]:
    """Auth as a gateway calls it."""
    identity = Identity(Ed25519PrivateKey.from_private_bytes(SEED), PUBLIC_KEYS)
    upstream = Upstream("gateway", "auth", behind.auth.url, identity)
    yield AuthClient(upstream, passwords=upstream)
    await upstream.close()


async def test_one_pull_reads_every_page(behind: Behind, auth: AuthClient) -> None:
    """A gateway that starts is ready only when it knows all that ended, however many pages that is."""
    behind.auth.ended += [str(new_id()) for _ in range(7)]
    behind.auth.revocations_max = 2
    made = Revocations(auth)
    known_before = made.are_known
    await made.pull()

    assert (False, True) == (known_before, made.are_known)
    assert all(made.is_revoked(session_id) for session_id in behind.auth.ended)
    assert ["0", "2", "4", "6"] == [
        call.query["after"] for call in behind.auth.calls_to("GET", "/internal/revocations")
    ][:4]


async def test_what_ended_is_remembered_for_as_long_as_its_tokens_live(
    behind: Behind, auth: AuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the whole life of a token that was issued in the moment of the end; later it is forgotten, in the order of ends."""
    clock = Clock()
    monkeypatch.setattr(revocations, "time", clock)
    made, early, late = Revocations(auth), str(new_id()), str(new_id())
    await made.pull()
    made.add(early)
    clock.seconds += 100
    made.add(late)
    seen = []
    for seconds in (
        limits.ACCESS_TOKEN_SECONDS + authentication.CLOCK_SECONDS - 100,
        100,
        0.0,
        revocations.KEPT_SECONDS,
    ):
        clock.seconds += seconds
        await made.pull()
        seen.append((made.is_revoked(early), made.is_revoked(late)))
    made.add(early)
    clock.seconds += revocations.KEPT_SECONDS - 1
    made.add(late)
    clock.seconds += 1
    await made.pull()

    assert [(True, True), (True, True), (True, True), (False, False)] == seen
    assert (False, True) == (made.is_revoked(early), made.is_revoked(late))


async def test_a_remembered_token_vouches_for_no_other(api: ApiClient, user_id: str) -> None:
    """After a token was accepted, its claims under another signature, and its signature under other claims, are refused."""
    api.behind.auth.answers[f"GET /internal/users/{user_id}"] = {
        "id": user_id, "email": "a@example.com", "name": "Alice", "role": "user", "email_verified": False,
    }  # fmt: skip
    token, other = api.behind.auth.token(sub=user_id), api.behind.auth.token(sub=str(new_id()))
    assert [200, 200] == [(await api.call("GET", ME, token=token)).status for _ in range(2)]
    unsigned, _, signature = token.rpartition(".")
    foreign_unsigned, _, foreign_signature = other.rpartition(".")

    for forged in (f"{unsigned}.{foreign_signature}", f"{foreign_unsigned}.{signature}", f"{unsigned}.{'A' * 86}"):
        assert 401 == (await api.call("GET", ME, token=forged)).status
    assert 200 == (await api.call("GET", ME, token=token)).status


async def test_what_ends_sessions_here_is_known_here_at_once(
    open_client: Open, behind: Behind, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another password ends the session that asked in the same response; the list is pulled then, not at its next turn."""
    monkeypatch.setattr(revocations, "PULL_EVERY_SECONDS", 3600)
    own, other, third = (str(new_id()) for _ in range(3))
    tokens_of = {each: behind.auth.token(sub=user_id, sid=each) for each in (own, other, third)}
    behind.auth.answers["POST /internal/password"] = {"access_token": "a", "refresh_token": "r"}
    behind.auth.answers["POST /internal/sessions/end-others"] = web.Response(status=204)
    behind.auth.answers["POST /internal/sessions/end"] = web.Response(status=204)
    body = {"current_password": "correct horse", "new_password": "battery staple"}

    async def is_refused(api: ApiClient, session_id: str) -> bool:
        return (await api.call("GET", "/api/v1/wallets", token=tokens_of[session_id])).status == 401

    async with open_client() as api:
        ended = await api.call("DELETE", f"/api/v1/auth/sessions/{third}", token=tokens_of[own])
        third_is_refused = await is_refused(api, third)
        behind.auth.ended.append(other)
        ended_others = await api.call("DELETE", "/api/v1/auth/sessions", token=tokens_of[own])
        await eventually(lambda: is_refused(api, other))
        changed = await api.call("POST", "/api/v1/auth/password", token=tokens_of[own], json=body)
        own_is_refused = await is_refused(api, own)

    assert [204, 204, 200] == [answer.status for answer in (ended, ended_others, changed)]
    assert (True, True) == (third_is_refused, own_is_refused)


async def test_another_password_is_heard_of_at_once(
    open_client: Open, behind: Behind, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other sessions that it ended are refused without waiting for the next turn of the list."""
    monkeypatch.setattr(revocations, "PULL_EVERY_SECONDS", 3600)
    other = str(new_id())
    token, others = behind.auth.token(sub=user_id), behind.auth.token(sub=user_id, sid=other)
    behind.auth.answers["POST /internal/password"] = {"access_token": "a", "refresh_token": "r"}
    body = {"current_password": "correct horse", "new_password": "battery staple"}
    async with open_client() as api:
        assert 200 == (await api.call("GET", "/api/v1/wallets", token=others)).status
        behind.auth.ended.append(other)
        assert 200 == (await api.call("POST", "/api/v1/auth/password", token=token, json=body)).status

        async def is_refused() -> bool:
            return (await api.call("GET", "/api/v1/wallets", token=others)).status == 401

        await eventually(is_refused)
