"""E-mails of the real auth service, sent to a real mail server or written to a folder."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.chassis.client import Upstream
from services.chassis.database import Pool, close_pool
from services.chassis.roles import Runtime
from services.contracts.refusal import Refusal
from services.notification import channels, metrics
from services.notification.channels import ChannelUnavailable, Smtp, open_channel
from services.notification.emails import AuthEmail, AuthEmails
from services.notification.sender import Sender
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import AuthService, identity, running
from tests.integration.auth.test_sessions import claims_of
from tests.integration.notification.test_deliver import SENDER, Sink, listening, text_of

ALICE = "alice@example.com"


@pytest.fixture
async def auth_pool(auth_database: TestDatabase) -> AsyncIterator[Pool]:
    opened = await auth_database.pool()
    yield opened
    await close_pool(opened)


@pytest.fixture
async def auth(auth_pool: Pool) -> AsyncIterator[AuthService]:
    async with running(auth_pool) as service:
        yield service


@pytest.fixture
async def upstream(auth: AuthService) -> AsyncIterator[Upstream]:
    opened = Upstream("notification", "auth", auth.url, identity("notification-deliver"))
    yield opened
    await opened.close()


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    made = Sink()
    async with listening(made):
        yield made


@pytest.fixture
def sender(upstream: Upstream, sink: Sink, runtime: Runtime) -> Sender[AuthEmail]:
    return sender_to(f"smtp://127.0.0.1:{sink.port}", upstream, runtime)


def sender_to(url: str, upstream: Upstream, runtime: Runtime) -> Sender[AuthEmail]:
    source = AuthEmails(upstream, "https://pay.example")
    return Sender(source, open_channel(url, SENDER), runtime, retry_seconds=30, attempts_max=3)


async def let_leases_end(pool: Pool) -> None:
    await pool.execute("UPDATE emails SET claimed_until = clock_timestamp()")


async def test_email_arrives_and_its_token_works(
    auth: AuthService, auth_pool: Pool, sender: Sender[AuthEmail], sink: Sink
) -> None:
    """A registered user gets one e-mail, under the Message-ID of its id; its token verifies the address."""
    await auth.register(ALICE, name="Alice")
    counts = [await sender.send_due() for _ in range(2)]
    [mail] = sink.mails
    [token] = re.findall(r"#token=(\S+)", text_of(mail))
    email_id = await auth_pool.fetchval("SELECT id FROM emails WHERE sent_at IS NOT NULL AND token_sealed IS NULL")

    assert [1, 0] == counts
    assert text_of(mail).startswith("Hello,\n\n")
    assert f"\n{token}\n" in text_of(mail)
    assert f"<{email_id}@payflow.example>" == mail["Message-ID"]
    assert 204 == (await auth.call("POST", "/internal/email/verify", {"token": token})).status


async def test_changes_of_an_account_are_reported(auth: AuthService, sender: Sender[AuthEmail], sink: Sink) -> None:
    """A changed password and a new API key are reported to the owner, with the day, without a link or a token."""
    session = await auth.register(ALICE, name="Alice")
    user_id, session_id = session["user"]["id"], claims_of(session)["sid"]
    body = {"user_id": user_id, "session_id": session_id, "name": "server", "scopes": ["read", "transfer"]}
    body["password"] = "correct horse"
    key = (await auth.call("POST", "/internal/api-keys", body)).body
    change = {"user_id": user_id, "current_password": "correct horse", "new_password": "battery staple"}
    assert 200 == (await auth.call("POST", "/internal/password", change)).status
    counts = [await sender.send_due() for _ in range(2)]
    texts = {mail["Subject"]: text_of(mail) for mail in sink.mails}

    assert [3, 0] == counts
    created, changed = texts["A new API key was created"], texts["Your password was changed"]
    assert f"starts with {key['prefix']}. Its permissions: read, transfer." in created
    assert key["key"] not in created
    for text in (created, changed):
        assert f" on {key['created_at'][:10]} at " in text
        assert "://" not in text


async def test_unmarked_email_is_sent_again(
    auth: AuthService, auth_pool: Pool, sender: Sender[AuthEmail], sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An e-mail that was sent and not marked is sent again when its lease ends, and not before, under the same id."""
    await auth.register(ALICE)
    with monkeypatch.context() as broken:
        broken.setattr(AuthEmails, "mark_sent", _fail)
        with pytest.raises(Refusal):
            await sender.send_due()
    early = await sender.send_due()
    await let_leases_end(auth_pool)
    await sender.send_due()

    assert (0, 2) == (early, len(sink.mails))
    assert 1 == len({mail["Message-ID"] for mail in sink.mails})


async def _fail(*_: object, **__: object) -> None:
    raise Refusal


async def test_temporary_and_permanent_refusal(
    auth: AuthService, auth_pool: Pool, sender: Sender[AuthEmail], sink: Sink
) -> None:
    """A temporary refusal is retried later, a permanent one never; the other e-mail is not delayed."""
    await auth.register(ALICE)
    await auth.register("bob@example.com")
    sink.refuse("RCPT", "451 later")
    await sender.send_due()
    assert 1 == len(sink.mails)
    assert 0 == await sender.send_due()
    await let_leases_end(auth_pool)
    sink.refuse("RCPT", "550 no such user")
    await sender.send_due()
    row = await auth_pool.fetchrow("SELECT attempts, last_error, token_sealed FROM emails WHERE sent_at IS NULL")

    assert row is not None
    assert (2, "recipient refused: 550", None) == tuple(row)


async def test_mail_server_unavailable(
    auth: AuthService, auth_pool: Pool, upstream: Upstream, runtime: Runtime
) -> None:
    """While the mail server is unavailable e-mails are released without an attempt."""
    gone = Sink()
    async with listening(gone) as url:
        pass
    await auth.register(ALICE)
    with pytest.raises(ChannelUnavailable):
        await sender_to(url, upstream, runtime).send_due()
    row = await auth_pool.fetchrow("SELECT attempts, claimed_until <= clock_timestamp() FROM emails")

    assert row is not None
    assert (0, True) == tuple(row)


async def test_emails_not_attempted_are_released(
    auth: AuthService, auth_pool: Pool, sender: Sender[AuthEmail], sink: Sink
) -> None:
    """The server closes the connection at the first of four: the other three are due at once; each attempt is counted."""
    before = [metrics.AUTH_EMAILS.labels(name)._value.get() for name in ("sent", "retried", "failed")]
    for number in range(4):
        await auth.register(f"user-{number}@example.com")
    sink.refuse("DATA", "hang up")
    counts = [await sender.send_due() for _ in range(2)]
    attempted = await auth_pool.fetch("SELECT attempts FROM emails WHERE sent_at IS NULL")

    after = [metrics.AUTH_EMAILS.labels(name)._value.get() for name in ("sent", "retried", "failed")]
    assert ([4, 3], 3) == (counts, len(sink.mails))
    assert [1] == [row["attempts"] for row in attempted]
    assert [3, 1, 0] == [now - then for now, then in zip(after, before, strict=True)]


async def test_nothing_is_sent_when_the_lease_is_nearly_over(
    auth: AuthService, auth_pool: Pool, sender: Sender[AuthEmail], sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sending could outlast the lease that auth gives: the e-mail is released without an attempt."""
    await auth.register(ALICE)
    monkeypatch.setattr(channels, "SEND_SECONDS", 3600.0)

    assert 1 == await sender.send_due()

    row = await auth_pool.fetchrow("SELECT attempts, claimed_until <= clock_timestamp() FROM emails")
    assert row is not None
    assert ((0, True), []) == (tuple(row), sink.mails)


async def test_auth_unavailable(runtime: Runtime) -> None:
    """While auth is unavailable sending raises its refusal."""
    nowhere = Upstream("notification", "auth", "http://127.0.0.1:9", identity("notification-deliver"))
    with pytest.raises(Refusal):
        await Sender(AuthEmails(nowhere, None), Smtp("smtp://127.0.0.1:9", SENDER), runtime).send_due()
    await nowhere.close()


async def test_into_a_folder(auth: AuthService, upstream: Upstream, runtime: Runtime, tmp_path: Path) -> None:
    """With a file URL the e-mail is written to a folder as a file."""
    await auth.register(ALICE, name="Alice")
    await sender_to((tmp_path / "mail").as_uri(), upstream, runtime).send_due()
    [file] = (tmp_path / "mail").iterdir()
    [token] = re.findall(rb"#token=(\S+)", file.read_bytes())

    assert 204 == (await auth.call("POST", "/internal/email/verify", {"token": token.decode()})).status
