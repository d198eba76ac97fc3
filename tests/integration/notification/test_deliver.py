"""The deliver role against a real mail server, a real database and an auth service over HTTP."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session
from prometheus_client import REGISTRY

from services.chassis import health, server
from services.chassis.client import Upstream
from services.chassis.database import Pool
from services.chassis.metrics import JOB_LAST_SUCCESS
from services.chassis.roles import Runtime
from services.chassis.service_tokens import Identity, TokenVerifier
from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal
from services.notification import channels, commands, deliver, metrics
from services.notification.channels import ChannelUnavailable, Smtp
from services.notification.deliver import NotificationEmails, serve_deliver
from services.notification.sender import Sender
from services.notification.settings import DeliverSettings
from services.notification.store import Claimed
from tests.harness import job_metrics
from tests.harness.databases import TestDatabase
from tests.integration.notification.polling import until
from tests.unit.notification.events import completed

ALICE, BOB = new_id(), new_id()
PEOPLE = {ALICE: ("alice@example.com", "Alice"), BOB: ("bob@example.com", "Bob Müller")}
SECONDS = 15.0
SENDER = "PayFlow <no-reply@payflow.example>"


class Sink:
    """A mail server that accepts everything, or responds as configured."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answers: dict[str, list[str]] = {"RCPT": [], "DATA": []}
        self.port = 0

    def refuse(self, command: str, *answers: str) -> None:
        self.answers[command] += answers

    @property
    def readers(self) -> Counter[str]:
        return Counter(parseaddr(mail["To"])[1] for mail in self.mails)

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.answers["RCPT"]:
            return self.answers["RCPT"].pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.answers["DATA"]:
            answer = self.answers["DATA"].pop(0)
            if answer == "silence":
                await asyncio.sleep(SECONDS)
            if answer == "hang up":
                assert server.transport is not None
                server.transport.close()
            return answer
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


@asynccontextmanager
async def listening(sink: Sink) -> AsyncIterator[str]:
    """The sink's address while it listens."""
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: SMTP(sink, enable_SMTPUTF8=True, hostname="sink"), "127.0.0.1", sink.port
    )
    sink.port = listener.sockets[0].getsockname()[1]
    try:
        yield f"smtp://127.0.0.1:{sink.port}"
    finally:
        listener.close()
        await listener.wait_closed()


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    made = Sink()
    async with listening(made):
        yield made


@pytest.fixture
async def auth_url(public_keys: dict[str, str], seeds: dict[str, str]) -> AsyncIterator[str]:
    """An auth service that knows Alice and Bob and responds only to the deliver role."""
    keys = Identity.from_base64(seeds["auth"], public_keys).public_keys

    async def contacts(request: web.Request) -> web.Response:
        ids = [UUID(text) for text in (await request.json())["ids"]]
        found = {id_: PEOPLE[id_] for id_ in ids if id_ in PEOPLE}
        items = [{"user_id": str(id_), "email": address, "name": name} for id_, (address, name) in found.items()]
        return web.json_response({"items": items})

    async def no_emails(_request: web.Request) -> web.Response:
        return web.json_response({"lease_seconds": 60, "items": []})

    app = server.application("auth")
    guard = server.callers(TokenVerifier(keys, audience="auth"), ["notification-deliver"])
    app.router.add_post("/internal/contacts", guard(contacts))
    app.router.add_post("/internal/emails/claim", guard(no_emails))
    health.add_routes(app, health.Health())
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    await runner.cleanup()


@pytest.fixture
async def auth(auth_url: str, seeds: dict[str, str], public_keys: dict[str, str]) -> AsyncIterator[Upstream]:
    identity = Identity.from_base64(seeds["notification-deliver"], public_keys)
    upstream = Upstream("notification", "auth", auth_url, identity)
    yield upstream
    await upstream.close()


@pytest.fixture
def sender(pool: Pool, auth: Upstream, sink: Sink, runtime: Runtime) -> Sender[Claimed]:
    return sender_to(f"smtp://127.0.0.1:{sink.port}", pool, auth, runtime)


def sender_to(url: str, pool: Pool, auth: Upstream, runtime: Runtime) -> Sender[Claimed]:
    return Sender(NotificationEmails(pool, auth), Smtp(url, SENDER), runtime, retry_seconds=0.01, attempts_max=4)


async def queue(pool: Pool, **fields: Any) -> None:
    """Record a transfer of Alice to Bob, with e-mails to send."""
    event = completed(**({"sender_id": ALICE, "recipient_id": BOB} | fields))
    await commands.record_events(pool, [event], with_deliveries=True)


async def states(pool: Pool) -> Counter[str]:
    return Counter(row["state"] for row in await pool.fetch("SELECT state FROM deliveries"))


async def send_all(sender: Sender[Claimed], pool: Pool) -> None:
    """Send until no e-mail waits."""
    async with asyncio.timeout(SECONDS):
        while (await states(pool))["waiting"]:
            await sender.send_due()
            await asyncio.sleep(0.005)


async def test_sent(sender: Sender[Claimed], pool: Pool, sink: Sink) -> None:
    """Each notification is sent once to the address that auth knows, with its text."""
    await queue(pool, description="Miete für Mai")
    await sender.send_due()
    await sender.send_due()
    assert sink.readers == {"alice@example.com": 1, "bob@example.com": 1}
    [to_bob] = [mail for mail in sink.mails if "bob" in mail["To"]]
    assert to_bob["Subject"] == "Money received"
    assert parseaddr(to_bob["From"])[1] == "no-reply@payflow.example"
    assert "Hello Bob Müller,\n\nYou received 10.50 USD with the note" in text_of(to_bob)
    assert "Miete für Mai" in text_of(to_bob)
    assert await states(pool) == {"sent": 2}
    assert await pool.fetchval("SELECT bool_and(sent_at IS NOT NULL) FROM deliveries")


async def test_retried(sender: Sender[Claimed], pool: Pool, sink: Sink) -> None:
    """A temporary refusal is retried until the e-mail is accepted, under the same Message-ID."""
    await queue(pool, recipient_id=None)
    sink.refuse("RCPT", "451 greylisted")
    sink.refuse("DATA", "452 no room", "554 not today")
    await send_all(sender, pool)
    assert sink.readers == {"alice@example.com": 1}
    row = await pool.fetchrow("SELECT id, state, attempts, last_error FROM deliveries")
    assert row is not None
    assert (row["state"], row["attempts"], row["last_error"]) == ("sent", 4, None)
    assert sink.mails[0]["Message-ID"] == f"<{row['id']}@payflow.example>"


async def test_delays_grow(sender: Sender[Claimed], pool: Pool, sink: Sink) -> None:
    """The delay grows with each refused attempt."""
    await queue(pool, recipient_id=None)
    sender._retry_seconds = 100.0
    waits = []
    for _ in range(3):
        sink.refuse("DATA", "450 later")
        await sender.send_due()
        waits.append(
            await pool.fetchval("SELECT extract(epoch FROM claimed_until - clock_timestamp()) FROM deliveries")
        )
        await pool.execute("UPDATE deliveries SET claimed_until = clock_timestamp()")
    assert [45 < waits[0] <= 100, 95 < waits[1] <= 200, 195 < waits[2] <= 400] == [True] * 3
    assert sink.mails == []


async def test_attempts_are_bounded(sender: Sender[Claimed], pool: Pool, sink: Sink) -> None:
    """After the last attempt an e-mail is failed, with its reason and without the address."""
    await queue(pool, recipient_id=None)
    sink.refuse("DATA", *["450 never <alice@example.com>"] * 9)
    await send_all(sender, pool)
    row = await pool.fetchrow("SELECT state, attempts, last_error FROM deliveries")
    assert row is not None
    assert tuple(row) == ("failed", 4, "refused: 450")
    assert len(sink.answers["DATA"]) == 9 - 4


async def test_unknown_mailbox(sender: Sender[Claimed], pool: Pool, sink: Sink) -> None:
    """An unknown mailbox is not retried; the other e-mail is not delayed."""
    await queue(pool)
    sink.refuse("RCPT", "550 no such user")
    await send_all(sender, pool)
    assert await states(pool) == {"failed": 1, "sent": 1}
    assert await pool.fetchval("SELECT last_error FROM deliveries WHERE state = 'failed'") == "recipient refused: 550"


async def test_no_address(sender: Sender[Claimed], pool: Pool, sink: Sink) -> None:
    """A user without an address gets no e-mail; the other user does."""
    await queue(pool, sender_id=new_id())
    await send_all(sender, pool)
    assert await states(pool) == {"failed": 1, "sent": 1}
    assert sink.readers == {"bob@example.com": 1}


async def test_closed_connection(sender: Sender[Claimed], pool: Pool, sink: Sink) -> None:
    """A server that closes the connection gets a new conversation; the e-mail it may have read is sent again."""
    await queue(pool)
    sink.refuse("DATA", "hang up", "421 closing", "hang up")
    await send_all(sender, pool)
    assert sink.readers == {"alice@example.com": 1, "bob@example.com": 1}
    assert await states(pool) == {"sent": 2}


async def test_no_response(sender: Sender[Claimed], pool: Pool, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a timeout the conversation ends: a late response must not be taken for that to the next e-mail."""
    await queue(pool)
    sink.refuse("DATA", "silence")
    with monkeypatch.context() as patience:
        patience.setattr(channels, "SEND_SECONDS", 0.3)
        await sender.send_due()
    rows = await pool.fetch("SELECT attempts, last_error FROM deliveries ORDER BY attempts")
    assert [tuple(row) for row in rows] == [(0, None), (1, "no response: TimeoutError")]
    assert sink.mails == []
    await send_all(sender, pool)
    assert sink.readers == {"alice@example.com": 1, "bob@example.com": 1}


async def test_server_unavailable(pool: Pool, auth: Upstream, sink: Sink, runtime: Runtime) -> None:
    """While the mail server is unavailable no attempt counts; afterwards everything is sent."""
    later = Sink()
    async with listening(later) as url:
        pass
    away = sender_to(url, pool, auth, runtime)
    await queue(pool)
    for _ in range(6):
        with pytest.raises(ChannelUnavailable):
            await away.send_due()
    assert await pool.fetchval("SELECT max(attempts) FROM deliveries") == 0
    async with listening(later):
        await away.send_due()
    assert later.readers == {"alice@example.com": 1, "bob@example.com": 1}
    assert sink.mails == []


@pytest.mark.parametrize("reachable", [True, False])
async def test_success_needs_the_mail_server(
    pool: Pool, auth: Upstream, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, *, reachable: bool
) -> None:
    """A pass without an error is a success; one that did not reach the mail server is none."""

    async def stop(_runtime: Runtime, _seconds: float) -> None:
        runtime.stopping.set()

    monkeypatch.setattr(Runtime, "pause", stop)
    job_metrics.forget("delivery-notification")
    await queue(pool)
    server = Sink()
    async with AsyncExitStack() as listener:
        url = await listener.enter_async_context(listening(server))
        if not reachable:
            await listener.aclose()
        await sender_to(url, pool, auth, runtime).run()

    assert reachable == bool(job_metrics.last_success("delivery-notification"))


async def test_a_sender_without_success_is_visible(auth: Upstream, pool: Pool, runtime: Runtime) -> None:
    """Before its first success it exports the time 0, so that a mail server that is never reached is reported."""
    with suppress(KeyError):
        JOB_LAST_SUCCESS.remove("delivery-notification")

    sender_to("smtp://127.0.0.1:9", pool, auth, runtime)

    assert 0 == REGISTRY.get_sample_value(
        "payflow_job_last_success_timestamp_seconds", {"job": "delivery-notification"}
    )


async def test_auth_unavailable(
    pool: Pool, sink: Sink, runtime: Runtime, seeds: dict[str, str], public_keys: dict[str, str]
) -> None:
    """While auth is unavailable e-mails wait without an attempt."""
    identity = Identity.from_base64(seeds["notification-deliver"], public_keys)
    auth = Upstream("notification", "auth", "http://127.0.0.1:9", identity)
    sender = sender_to(f"smtp://127.0.0.1:{sink.port}", pool, auth, runtime)
    await queue(pool)
    with pytest.raises(Refusal):
        await sender.send_due()
    await auth.close()
    assert await states(pool) == {"waiting": 2}
    assert await pool.fetchval("SELECT max(attempts) FROM deliveries") == 0
    assert await pool.fetchval("SELECT bool_and(claimed_until <= clock_timestamp()) FROM deliveries")


async def test_crash_between_sending_and_marking(sender: Sender[Claimed], pool: Pool, sink: Sink) -> None:
    """E-mails claimed by a dead process are sent when its lease ends, and not before."""
    await queue(pool)
    assert len(await commands.claim_deliveries(pool, limit=50, lease_seconds=60)) == 2
    assert await sender.send_due() == 0
    assert sink.mails == []
    await pool.execute("UPDATE deliveries SET claimed_until = clock_timestamp() - interval '1 second'")
    assert await sender.send_due() == 2
    assert sink.readers == {"alice@example.com": 1, "bob@example.com": 1}


async def test_claims_do_not_wait(pool: Pool) -> None:
    """A claim takes the e-mails that no other process is claiming, without waiting."""
    await queue(pool)
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM deliveries WHERE user_id = $1 FOR UPDATE", ALICE)
        async with asyncio.timeout(30):
            claimed = await commands.claim_deliveries(pool, limit=50, lease_seconds=60)
    assert [delivery.user_id for delivery in claimed] == [BOB]


async def test_several_senders(pool: Pool, auth: Upstream, sink: Sink, runtime: Runtime) -> None:
    """Two senders at a time send nothing twice."""
    for _ in range(40):
        await queue(pool)
    both = [sender_to(f"smtp://127.0.0.1:{sink.port}", pool, auth, runtime) for _ in range(2)]
    await asyncio.gather(*(send_all(one, pool) for one in both))
    assert sink.readers == {"alice@example.com": 40, "bob@example.com": 40}
    assert len({mail["Message-ID"] for mail in sink.mails}) == 80


async def test_claims_are_bounded(pool: Pool) -> None:
    """A claim takes at most its limit, for as long as its lease; claimed e-mails are not claimed again."""
    for _ in range(3):
        await queue(pool)

    claims = [await commands.claim_deliveries(pool, limit=4, lease_seconds=1000) for _ in range(3)]

    assert [4, 2, 0] == [len(claimed) for claimed in claims]
    assert 6 == len({delivery.id for claimed in claims for delivery in claimed})
    assert {0} == {delivery.attempts for claimed in claims for delivery in claimed}
    leases = await pool.fetch("SELECT extract(epoch FROM claimed_until - clock_timestamp()) AS seconds FROM deliveries")
    assert all(900 < row["seconds"] <= 1000 for row in leases)


@pytest.mark.parametrize("why", ["the lease ends", "the role ends"])
async def test_emails_not_attempted_in_time_are_released(
    sender: Sender[Claimed], pool: Pool, sink: Sink, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, *, why: str
) -> None:
    """With too little of the lease left, or when the role stops, nothing more is sent; all is due again."""
    await queue(pool)
    if why == "the lease ends":
        monkeypatch.setattr(deliver, "LEASE_SECONDS", 2 * channels.SEND_SECONDS)
    else:
        runtime.stopping.set()

    claimed = await sender.send_due()

    assert (2, []) == (claimed, sink.mails)
    rows = await pool.fetch("SELECT state, attempts, claimed_until <= clock_timestamp() FROM deliveries")
    assert [("waiting", 0, True)] * 2 == [tuple(row) for row in rows]


async def test_each_attempt_is_counted(sender: Sender[Claimed], pool: Pool, sink: Sink) -> None:
    """Sent, retried and failed, each e-mail once for each attempt."""
    names = ("sent", "retried", "failed")
    before = [metrics.DELIVERIES.labels(name)._value.get() for name in names]
    await queue(pool)
    await queue(pool)
    sink.refuse("RCPT", "451 later", "451 later", "550 no such user")
    await send_all(sender, pool)

    after = [metrics.DELIVERIES.labels(name)._value.get() for name in names]
    assert [3, 2, 1] == [now - then for now, then in zip(after, before, strict=True)]
    assert {"sent": 3, "failed": 1} == await states(pool)


@pytest.fixture
def settings(
    notification_database: TestDatabase, auth_url: str, sink: Sink, seeds: dict[str, str], public_keys: dict[str, str]
) -> DeliverSettings:
    return DeliverSettings(
        notification_database_url=notification_database.service_url,
        auth_url=auth_url,
        smtp_url=f"smtp://127.0.0.1:{sink.port}",
        service_key=seeds["notification-deliver"],
        service_public_keys=public_keys,
    )


async def test_role(settings: DeliverSettings, pool: Pool, sink: Sink, runtime: Runtime) -> None:
    """The role sends what was queued before its start and after it, is ready, and stops when requested."""
    await queue(pool)
    role = asyncio.create_task(serve_deliver(settings, runtime))

    async def sent(count: int) -> bool:
        return len(sink.mails) == count

    await until(lambda: sent(2))
    await queue(pool)
    await until(lambda: sent(4))
    assert (await runtime.health.check())[0] == ["postgres", "schema", "auth"]
    runtime.stopping.set()
    await asyncio.wait_for(role, SECONDS)


async def test_role_without_mail_server(settings: DeliverSettings, pool: Pool, sink: Sink, runtime: Runtime) -> None:
    """Without a mail server the role is ready, sends nothing, not even queued e-mails, and stops when requested."""
    await queue(pool)
    role = asyncio.create_task(serve_deliver(settings.model_copy(update={"smtp_url": None}), runtime))
    await asyncio.sleep(0)
    assert await runtime.health.check() == ([], [])
    runtime.stopping.set()
    await asyncio.wait_for(role, SECONDS)
    assert sink.mails == []
    assert await states(pool) == {"waiting": 2}


def text_of(mail: EmailMessage) -> str:
    return str(mail.get_content()).replace("\r\n", "\n")
