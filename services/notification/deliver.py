"""The deliver role: sends the e-mails of notifications, which the table `deliveries` holds, and those of the auth service."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from uuid import UUID

import structlog

from services.chassis import database, readiness
from services.chassis.client import Upstream
from services.chassis.database import Pool
from services.chassis.roles import Runtime
from services.notification import channels, commands, store
from services.notification.channels import Mail, MailRefused
from services.notification.emails import AuthEmails
from services.notification.sender import Sender
from services.notification.settings import DELIVER_POOL_SIZE_MAX, DeliverSettings
from services.notification.store import Claimed

LEASE_SECONDS = 60.0
CONTACTS_SECONDS = 3.0


log = structlog.get_logger()


async def serve_deliver(settings: DeliverSettings, runtime: Runtime) -> None:
    """The deliver role: sends e-mails. Without a mail server it is idle and ready."""
    if settings.smtp_url is None:
        log.info("sending_disabled")
        runtime.health.starting = False
        await runtime.until_stopped()
        return
    async with AsyncExitStack() as stack:
        pool = await database.open_pool(
            settings.notification_database_url.get_secret_value(),
            name=runtime.instance,
            size_max=DELIVER_POOL_SIZE_MAX,
            server_settings=store.PLANNER,
        )
        stack.push_async_callback(database.close_pool, pool)
        auth = Upstream(runtime.service, "auth", settings.auth_url, settings.identity_keys)
        stack.push_async_callback(auth.close)
        schema = readiness.register(runtime, pool)
        runtime.health.register("auth", auth.ping)
        channel = channels.open_channel(settings.smtp_url.get_secret_value(), settings.smtp_sender)
        # Two loops: the e-mails of auth are sent while this service's database is unavailable.
        runtime.run_beside(stack, Sender(AuthEmails(auth, settings.public_url), channel, runtime).run())
        await schema.wait(runtime)
        runtime.health.starting = False
        await Sender(NotificationEmails(pool, auth), channel, runtime).run()


class NotificationEmails:
    """The e-mails of notifications, as a source for the sender."""

    name = "notification"

    def __init__(self, pool: Pool, auth: Upstream) -> None:
        self._pool = pool
        self._auth = auth

    async def claim(self, limit: int) -> tuple[list[Claimed], float]:
        """Claim e-mails that are due, and the seconds of their lease."""
        return await commands.claim_deliveries(self._pool, limit=limit, lease_seconds=LEASE_SECONDS), LEASE_SECONDS

    async def compose(self, emails: Sequence[Claimed]) -> dict[UUID, Mail | MailRefused]:
        """Address each e-mail to its user, whose name and address auth knows."""
        user_ids = sorted({email.user_id for email in emails})
        body = {"ids": [str(user_id) for user_id in user_ids]}
        response = await self._auth.call("POST", "/internal/contacts", body=body, seconds=CONTACTS_SECONDS)
        contacts = {UUID(item["user_id"]): (item["email"], item["name"]) for item in response["items"]}
        return {
            email.id: Mail(email.id, *contacts[email.user_id], email.title, email.body)
            if email.user_id in contacts
            else MailRefused("no address", permanent=True)
            for email in emails
        }

    async def mark_sent(self, email_id: UUID) -> None:
        """Record that the mail server accepted the e-mail."""
        await commands.mark_delivery_sent(self._pool, email_id)

    async def delay(self, email_id: UUID, *, seconds: float, error: str) -> None:
        """Record that an attempt failed; the next is due in so many seconds."""
        await commands.delay_delivery(self._pool, email_id, seconds=seconds, error=error)

    async def mark_failed(self, email_id: UUID, *, error: str) -> None:
        """Record that the e-mail will not be sent."""
        await commands.mark_delivery_failed(self._pool, email_id, error=error)

    async def release(self, email_ids: Sequence[UUID]) -> None:
        """Return claimed e-mails that were not attempted."""
        await commands.release_deliveries(self._pool, email_ids)
