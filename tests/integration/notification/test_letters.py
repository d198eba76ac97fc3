"""Letters of the real auth service, carried by the real carrier to a real mail server or into a folder."""

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
from services.notification.letters import LetterCarrier
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
def carrier(upstream: Upstream, sink: Sink, runtime: Runtime) -> LetterCarrier:
    return carrier_to(f"smtp://127.0.0.1:{sink.port}", upstream, runtime)


def carrier_to(url: str, upstream: Upstream, runtime: Runtime) -> LetterCarrier:
    channel = open_channel(url, SENDER)
    return LetterCarrier(
        auth=upstream,
        channel=channel,
        runtime=runtime,
        public_url="https://pay.example",
        retry_seconds=30,
        attempts_max=3,
    )


async def let_leases_end(pool: Pool) -> None:
    await pool.execute("UPDATE emails SET claimed_until = clock_timestamp()")


async def test_a_letter_arrives_and_its_token_works(
    auth: AuthService, auth_pool: Pool, carrier: LetterCarrier, sink: Sink
) -> None:
    """Who registers gets one letter under the letter's own Message-ID; the token in it verifies the address."""
    await auth.register(ALICE, name="Alice")
    counts = [await carrier.deliver_due() for _ in range(2)]
    [mail] = sink.mails
    [token] = re.findall(r"#token=(\S+)", text_of(mail))
    letter_id = await auth_pool.fetchval("SELECT id FROM emails WHERE sent_at IS NOT NULL AND token_sealed IS NULL")

    assert [1, 0] == counts
    assert text_of(mail).startswith("Hello,\n\n")
    assert f"\n{token}\n" in text_of(mail)
    assert f"<{letter_id}@payflow.example>" == mail["Message-ID"]
    assert 204 == (await auth.call("POST", "/internal/email/verify", {"token": token})).status


async def test_what_was_done_to_an_account_is_told(auth: AuthService, carrier: LetterCarrier, sink: Sink) -> None:
    """Another password and a new API key are told to the owner, with the day, and without a link or a token."""
    session = await auth.register(ALICE, name="Alice")
    user_id, session_id = session["user"]["id"], claims_of(session)["sid"]
    asked = {"user_id": user_id, "session_id": session_id, "name": "server", "scopes": ["read", "transfer"]}
    asked["password"] = "correct horse"
    key = (await auth.call("POST", "/internal/api-keys", asked)).body
    change = {"user_id": user_id, "current_password": "correct horse", "new_password": "battery staple"}
    assert 200 == (await auth.call("POST", "/internal/password", change)).status
    counts = [await carrier.deliver_due() for _ in range(2)]
    told = {mail["Subject"]: text_of(mail) for mail in sink.mails}

    assert [3, 0] == counts
    made, changed = told["A new API key for your account"], told["Your password was changed"]
    assert f"begins with {key['prefix']}. What it may do: read, transfer." in made
    assert key["key"] not in made
    for text in (made, changed):
        assert f" on {key['created_at'][:10]} at " in text
        assert "://" not in text


async def test_sent_again_when_it_could_not_be_marked(
    auth: AuthService, auth_pool: Pool, carrier: LetterCarrier, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent and could not be marked goes out again when its lease is over, and not before, under the same id."""
    await auth.register(ALICE)
    with monkeypatch.context() as broken:
        broken.setattr(carrier, "_mark", _fail)
        with pytest.raises(Refusal):
            await carrier.deliver_due()
    early = await carrier.deliver_due()
    await let_leases_end(auth_pool)
    await carrier.deliver_due()

    assert (0, 2) == (early, len(sink.mails))
    assert 1 == len({mail["Message-ID"] for mail in sink.mails})


async def _fail(*_: object, **__: object) -> None:
    raise Refusal


async def test_refused_for_now_and_for_good(
    auth: AuthService, auth_pool: Pool, carrier: LetterCarrier, sink: Sink
) -> None:
    """A letter refused for now is tried again later, one refused for good never; its neighbour is not held up."""
    await auth.register(ALICE)
    await auth.register("bob@example.com")
    sink.refuse("RCPT", "451 later")
    await carrier.deliver_due()
    assert 1 == len(sink.mails)
    assert 0 == await carrier.deliver_due()
    await let_leases_end(auth_pool)
    sink.refuse("RCPT", "550 no such user")
    await carrier.deliver_due()
    row = await auth_pool.fetchrow("SELECT attempts, last_error, token_sealed FROM emails WHERE sent_at IS NULL")

    assert row is not None
    assert (2, "recipient refused: 550", None) == tuple(row)


async def test_mail_server_away(auth: AuthService, auth_pool: Pool, upstream: Upstream, runtime: Runtime) -> None:
    """While the mail server is away letters are given back untried and wait."""
    gone = Sink()
    async with listening(gone) as url:
        pass
    await auth.register(ALICE)
    with pytest.raises(ChannelUnavailable):
        await carrier_to(url, upstream, runtime).deliver_due()
    row = await auth_pool.fetchrow("SELECT attempts, claimed_until <= clock_timestamp() FROM emails")

    assert row is not None
    assert (0, True) == tuple(row)


async def test_all_that_was_not_begun_is_given_back(
    auth: AuthService, auth_pool: Pool, carrier: LetterCarrier, sink: Sink
) -> None:
    """The server hangs up at the first of four: the other three are due at once, untried; each try is counted once."""
    before = [metrics.LETTERS.labels(name)._value.get() for name in ("sent", "retried", "failed")]
    for number in range(4):
        await auth.register(f"user-{number}@example.com")
    sink.refuse("DATA", "hang up")
    counts = [await carrier.deliver_due() for _ in range(2)]
    tried = await auth_pool.fetch("SELECT attempts FROM emails WHERE sent_at IS NULL")

    after = [metrics.LETTERS.labels(name)._value.get() for name in ("sent", "retried", "failed")]
    assert ([4, 3], 3) == (counts, len(sink.mails))
    assert [1] == [row["attempts"] for row in tried]
    assert [3, 1, 0] == [now - then for now, then in zip(after, before, strict=True)]


async def test_nothing_is_begun_when_the_lease_is_nearly_over(
    auth: AuthService, auth_pool: Pool, carrier: LetterCarrier, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sending could take longer than the lease that auth gives: the letter is given back, untried."""
    await auth.register(ALICE)
    monkeypatch.setattr(channels, "SEND_SECONDS", 3600.0)

    assert 1 == await carrier.deliver_due()

    row = await auth_pool.fetchrow("SELECT attempts, claimed_until <= clock_timestamp() FROM emails")
    assert ((0, True), []) == (tuple(row), sink.mails)


async def test_auth_away(runtime: Runtime) -> None:
    """While auth is away there is nothing to send, and that is said."""
    nowhere = Upstream("notification", "auth", "http://127.0.0.1:9", identity("notification-deliver"))
    with pytest.raises(Refusal):
        await LetterCarrier(
            auth=nowhere, channel=Smtp("smtp://127.0.0.1:9", SENDER), runtime=runtime, public_url=None
        ).deliver_due()
    await nowhere.close()


async def test_into_a_folder(auth: AuthService, upstream: Upstream, runtime: Runtime, tmp_path: Path) -> None:
    """On one's own machine the letter is a file that can be opened."""
    await auth.register(ALICE, name="Alice")
    await carrier_to((tmp_path / "mail").as_uri(), upstream, runtime).deliver_due()
    [file] = (tmp_path / "mail").iterdir()
    [token] = re.findall(rb"#token=(\S+)", file.read_bytes())

    assert 204 == (await auth.call("POST", "/internal/email/verify", {"token": token.decode()})).status
