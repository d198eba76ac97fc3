"""Login, refresh and logout."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from payflow.client import PayFlow
from payflow.errors import Misconfigured, NotLoggedIn, Problem, SessionEnded
from payflow.session import FileSessionStore

EMAIL = "alice@example.com"
PASSWORD = "payflow-demo-1"
LOGIN = "POST /auth/login"
REFRESH = "POST /auth/refresh"


@pytest.fixture(autouse=True)
def wallets(gateway: Any) -> None:
    """A document to read."""
    gateway.documents["/wallets"] = {"items": [], "next_cursor": None}


async def test_login(gateway: Any) -> None:
    """After a login the user is known and requests carry the access token."""
    async with PayFlow(gateway.url) as client:
        user = await client.login(EMAIL, PASSWORD)
        await client.wallets()

    assert (user.email, user.role, user.is_operator) == (EMAIL, "user", False)
    assert client.user == user
    assert gateway.seen("GET /wallets")[0].headers["Authorization"] == "Bearer access-0"


async def test_wrong_password(gateway: Any) -> None:
    """A refused login raises its problem, after one request."""
    async with PayFlow(gateway.url) as client:
        with pytest.raises(Problem) as caught:
            await client.login(EMAIL, "wrong")

    assert caught.value.code == "invalid_credentials"
    assert len(gateway.seen(LOGIN)) == 1


async def test_register(gateway: Any) -> None:
    """A new user is logged in."""
    async with PayFlow(gateway.url) as client:
        user = await client.register("carol@example.com", PASSWORD, "Carol")
        await client.wallets()

        with pytest.raises(Problem, match="email_taken"):
            await client.register("carol@example.com", PASSWORD, "Carol")

    assert user.email == "carol@example.com"


async def test_not_logged_in(gateway: Any) -> None:
    """Without a session NotLoggedIn is raised, and nothing is sent."""
    async with PayFlow(gateway.url) as client:
        with pytest.raises(NotLoggedIn):
            await client.wallets()
        with pytest.raises(NotLoggedIn):
            await client.logout()

    assert gateway.requests == []


async def test_half_of_the_credentials() -> None:
    """An e-mail address without a password raises Misconfigured."""
    with pytest.raises(Misconfigured):
        PayFlow("http://127.0.0.1:8000", email=EMAIL)


async def test_renews_before_the_token_expires(gateway: Any) -> None:
    """A token that is about to expire is refreshed before it is used."""
    gateway.expires_in = 0
    async with PayFlow(gateway.url) as client:
        await client.login(EMAIL, PASSWORD)
        gateway.expires_in = 600
        await client.wallets()
        await client.wallets()

    assert len(gateway.seen(REFRESH)) == 1
    assert {request.headers["Authorization"] for request in gateway.seen("GET /wallets")} == {"Bearer access-1"}


async def test_renews_once_for_many(gateway: Any) -> None:
    """Many concurrent requests with a refused token use one refresh token, once."""
    async with PayFlow(gateway.url) as client:
        await client.login(EMAIL, PASSWORD)
        gateway.access.clear()

        await asyncio.gather(*[client.wallets() for _ in range(20)])

    assert len(gateway.seen(REFRESH)) == 1


async def test_renews_once_for_two_commands(gateway: Any, tmp_path: Path) -> None:
    """Two concurrent commands with one session file do not use the same refresh token twice."""
    clients = [PayFlow(gateway.url, session_store=FileSessionStore(tmp_path, gateway.url)) for _ in range(2)]
    await clients[0].login(EMAIL, PASSWORD)
    gateway.access.clear()

    await asyncio.gather(*[client.wallets() for client in clients for _ in range(5)])

    assert len(gateway.seen(REFRESH)) == 1
    assert gateway.refresh
    for client in clients:
        await client.close()


async def test_session_ends(gateway: Any) -> None:
    """A revoked session raises SessionEnded, and is removed."""
    async with PayFlow(gateway.url) as client:
        await client.login(EMAIL, PASSWORD)
        gateway.end_sessions()

        with pytest.raises(SessionEnded):
            await client.wallets()
        with pytest.raises(NotLoggedIn):
            await client.wallets()


async def test_token_refused_although_new(gateway: Any, faults: Any) -> None:
    """If the gateway refuses every token, the call ends after one refresh."""
    gateway.always["GET /wallets"] = faults.refuse(401, "invalid_token")
    async with PayFlow(gateway.url) as client:
        await client.login(EMAIL, PASSWORD)

        with pytest.raises(SessionEnded):
            await client.wallets()

    assert len(gateway.seen("GET /wallets")) == 2


async def test_logs_in_again_with_credentials(gateway: Any, alice: PayFlow) -> None:
    """A client with credentials begins a new session when the old one has ended."""
    await alice.wallets()
    gateway.end_sessions()

    await alice.wallets()

    assert len(gateway.seen(LOGIN)) == 2


async def test_renewal_survives_an_outage(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """A refresh with a transient error is retried; the session continues."""
    await alice.wallets()
    gateway.access.clear()
    gateway.fail(REFRESH, faults.refuse(503, "unavailable", retry_after="0"))

    await alice.wallets()

    assert len(gateway.seen(REFRESH)) == 2
    assert len(gateway.seen(LOGIN)) == 1


async def test_logout(gateway: Any) -> None:
    """A logout ends the session at the gateway and here."""
    async with PayFlow(gateway.url) as client:
        await client.login(EMAIL, PASSWORD)
        await client.logout()

        assert client.user is None

    assert gateway.access == {}


async def test_logout_of_an_ended_session(gateway: Any) -> None:
    """A session that has already ended at the gateway is removed without an error."""
    async with PayFlow(gateway.url) as client:
        await client.login(EMAIL, PASSWORD)
        gateway.end_sessions()
        await client.logout()

        assert client.user is None


async def test_logout_without_a_response(gateway: Any, faults: Any) -> None:
    """While the gateway does not confirm the logout, the session is kept: it may still be open there."""
    gateway.fail("POST /auth/logout", faults.refuse(503, "unavailable"))
    async with PayFlow(gateway.url) as client:
        await client.login(EMAIL, PASSWORD)

        with pytest.raises(Problem):
            await client.logout()

        assert client.user is not None


async def test_file_is_private(gateway: Any, tmp_path: Path) -> None:
    """The session outlives the client, in a file that only its owner can read; a logout removes it."""
    session_store = FileSessionStore(tmp_path / "a" / "sessions", gateway.url)
    async with PayFlow(gateway.url, session_store=session_store) as client:
        await client.login(EMAIL, PASSWORD)

    assert stat.S_IMODE(session_store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(session_store.path.parent.stat().st_mode) == 0o700
    assert [path for path in session_store.path.parent.iterdir() if path.suffix != ".lock"] == [session_store.path]

    async with PayFlow(gateway.url, session_store=FileSessionStore(tmp_path / "a" / "sessions", gateway.url)) as client:
        await client.wallets()
        await client.logout()

    assert not session_store.path.exists()


async def test_emails(gateway: Any, faults: Any) -> None:
    """Tokens from e-mails are sent without a session, another e-mail is requested with one, and an old session file is read."""
    routes = ("/auth/email/verify", "/auth/email/verification", "/auth/password/forgot", "/auth/password/reset")
    gateway.always |= {f"POST {route}": faults.respond("{}") for route in routes}
    async with PayFlow(gateway.url, email=EMAIL, password=PASSWORD) as client:
        await client.verify_email("t")
        await client.forgot_password(EMAIL)
        await client.reset_password("t", "another one")
        user = client.user
        await client.send_verification()
    bodies = [gateway.seen(f"POST {route}")[0].body for route in routes]

    assert user is None
    assert [{"token": "t"}, None, {"email": EMAIL}, {"token": "t", "new_password": "another one"}] == bodies
    assert gateway.seen(f"POST {routes[1]}")[0].headers["Authorization"] == "Bearer access-0"
    assert client.user is not None
    assert client.user.email_verified is False
