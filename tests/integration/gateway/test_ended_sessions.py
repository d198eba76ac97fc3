"""The list of revocations: pulled to its end, kept for as long as a token lives, then forgotten."""

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
from tests.integration.gateway.conftest import PUBLIC_KEYS, SEED, ApiClient, FakeServices, Open, eventually

ME = "/api/v1/auth/me"


class Clock:
    """Replaces the module `time`: a clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = time.monotonic()

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
async def auth(fakes: FakeServices) -> AsyncIterator[AuthClient]:
    """The auth client of a gateway."""
    identity = Identity(Ed25519PrivateKey.from_private_bytes(SEED), PUBLIC_KEYS)
    upstream = Upstream("gateway", "auth", fakes.auth.url, identity)
    yield AuthClient(upstream, passwords=upstream)
    await upstream.close()


async def test_one_pull_reads_every_page(fakes: FakeServices, auth: AuthClient) -> None:
    """A starting gateway is ready only when it has read all revocations, however many pages that is."""
    fakes.auth.ended += [str(new_id()) for _ in range(7)]
    fakes.auth.revocations_max = 2
    made = Revocations(auth)
    known_before = made.are_known
    await made.pull()

    assert (False, True) == (known_before, made.are_known)
    assert all(made.is_revoked(session_id) for session_id in fakes.auth.ended)
    assert ["0", "2", "4", "6"] == [
        call.query["after"] for call in fakes.auth.calls_to("GET", "/internal/revocations")
    ][:4]


async def test_revocations_are_kept_for_the_lifetime_of_tokens(
    fakes: FakeServices, auth: AuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept for the lifetime of a token issued at the instant of the revocation; later forgotten, in the order of revocations."""
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


async def test_a_cached_token_validates_no_other(api: ApiClient, user_id: str) -> None:
    """After a token was accepted, its claims with another signature, and its signature with other claims, are refused."""
    api.fakes.auth.responses[f"GET /internal/users/{user_id}"] = {
        "id": user_id, "email": "a@example.com", "name": "Alice", "role": "user", "email_verified": False,
    }  # fmt: skip
    token, other = api.fakes.auth.token(sub=user_id), api.fakes.auth.token(sub=str(new_id()))
    assert [200, 200] == [(await api.call("GET", ME, token=token)).status for _ in range(2)]
    unsigned, _, signature = token.rpartition(".")
    foreign_unsigned, _, foreign_signature = other.rpartition(".")

    for forged in (f"{unsigned}.{foreign_signature}", f"{foreign_unsigned}.{signature}", f"{unsigned}.{'A' * 86}"):
        assert 401 == (await api.call("GET", ME, token=forged)).status
    assert 200 == (await api.call("GET", ME, token=token)).status


async def test_revocations_at_this_gateway_apply_at_once(
    open_client: Open, fakes: FakeServices, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password change ends its session in the same response; the list is pulled at once, not at the next interval."""
    monkeypatch.setattr(revocations, "PULL_EVERY_SECONDS", 3600)
    own, other, third = (str(new_id()) for _ in range(3))
    tokens_of = {each: fakes.auth.token(sub=user_id, sid=each) for each in (own, other, third)}
    fakes.auth.responses["POST /internal/password"] = {"access_token": "a", "refresh_token": "r"}
    fakes.auth.responses["POST /internal/sessions/end-others"] = web.Response(status=204)
    fakes.auth.responses["POST /internal/sessions/end"] = web.Response(status=204)
    body = {"current_password": "correct horse", "new_password": "battery staple"}

    async def is_refused(api: ApiClient, session_id: str) -> bool:
        return (await api.call("GET", "/api/v1/wallets", token=tokens_of[session_id])).status == 401

    async with open_client() as api:
        ended = await api.call("DELETE", f"/api/v1/auth/sessions/{third}", token=tokens_of[own])
        third_is_refused = await is_refused(api, third)
        fakes.auth.ended.append(other)
        ended_others = await api.call("DELETE", "/api/v1/auth/sessions", token=tokens_of[own])
        await eventually(lambda: is_refused(api, other))
        changed = await api.call("POST", "/api/v1/auth/password", token=tokens_of[own], json=body)
        own_is_refused = await is_refused(api, own)

    assert [204, 204, 200] == [response.status for response in (ended, ended_others, changed)]
    assert (True, True) == (third_is_refused, own_is_refused)


async def test_a_password_change_pulls_revocations_at_once(
    open_client: Open, fakes: FakeServices, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other sessions are refused without waiting for the next interval."""
    monkeypatch.setattr(revocations, "PULL_EVERY_SECONDS", 3600)
    other = str(new_id())
    token, others = fakes.auth.token(sub=user_id), fakes.auth.token(sub=user_id, sid=other)
    fakes.auth.responses["POST /internal/password"] = {"access_token": "a", "refresh_token": "r"}
    body = {"current_password": "correct horse", "new_password": "battery staple"}
    async with open_client() as api:
        assert 200 == (await api.call("GET", "/api/v1/wallets", token=others)).status
        fakes.auth.ended.append(other)
        assert 200 == (await api.call("POST", "/api/v1/auth/password", token=token, json=body)).status

        async def is_refused() -> bool:
            return (await api.call("GET", "/api/v1/wallets", token=others)).status == 401

        await eventually(is_refused)
