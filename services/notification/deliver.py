"""The deliver role: sends what the `deliveries` table holds, at least once each; beside it, auth's letters.

A delivery is claimed (a lease, committed), sent, and marked. A process that dies in between leaves a lease that runs out,
and the e-mail goes out again under the same Message-ID.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import NamedTuple
from uuid import UUID

import structlog

from services.chassis import database, readiness
from services.chassis.client import Upstream
from services.chassis.database import Pool
from services.chassis.roles import Runtime
from services.notification import channels, commands, sending, store
from services.notification.channels import Channel, Conversation, Mail, MailRefused
from services.notification.letters import LetterCarrier
from services.notification.sending import ATTEMPTS_MAX, CLAIM_MAX, RETRY_SECONDS
from services.notification.settings import DeliverSettings
from services.notification.store import Claimed

LEASE_SECONDS = 60.0
CONTACTS_SECONDS = 3.0

POOL_SIZE_MAX = 2

log = structlog.get_logger()


class Contact(NamedTuple):
    """Where a user is reached."""

    address: str
    name: str


async def serve_deliver(settings: DeliverSettings, runtime: Runtime) -> None:
    """The deliver role. Without a mail server there is nothing to do, and nothing that could be missing."""
    if settings.smtp_url is None:
        log.info("deliver_idle")
        await runtime.until_stopped()
        return
    async with AsyncExitStack() as stack:
        pool = await database.open_pool(
            settings.notification_database_url.get_secret_value(),
            name=runtime.instance,
            size_max=POOL_SIZE_MAX,
            server_settings=store.PLANNER,
        )
        stack.push_async_callback(database.close_pool, pool)
        auth = Upstream(runtime.service, "auth", settings.auth_url, settings.identity_keys)
        stack.push_async_callback(auth.close)
        runtime.health.register("postgres", readiness.Readiness(pool).ping)
        runtime.health.register("auth", auth.ping)
        channel = channels.open_channel(settings.smtp_url.get_secret_value(), settings.smtp_sender)
        letters = LetterCarrier(auth=auth, channel=channel, runtime=runtime, public_url=settings.public_url)
        # Beside one another: letters go out while this service's database is away.
        runtime.run_beside(stack, letters.run())
        await Deliverer(pool=pool, auth=auth, smtp=channel, runtime=runtime).run()


class Deliverer:
    """Sends e-mails that are due. Several may run: claims do not overlap."""

    def __init__(
        self,
        *,
        pool: Pool,
        auth: Upstream,
        smtp: Channel,
        runtime: Runtime,
        retry_seconds: float = RETRY_SECONDS,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        """`retry_seconds` is the pause after the first refusal of an e-mail; it doubles with each further one."""
        self._pool = pool
        self._auth = auth
        self._smtp = smtp
        self._runtime = runtime
        self._retry_seconds = retry_seconds
        self._attempts_max = attempts_max

    async def run(self) -> None:
        """Send until told to stop; wait for as long as something that is needed is away."""
        await sending.keep_sending(self._runtime, self.deliver_due)

    async def deliver_due(self) -> int:
        """One pass; how many e-mails it claimed.

        Raises:
            Refusal: the database or the auth service is away.
            ChannelUnavailable: the mail server is.
            LockTimeout
        """
        started = time.monotonic()
        claimed = await commands.claim_deliveries(self._pool, limit=CLAIM_MAX, lease_seconds=LEASE_SECONDS)
        if not claimed:
            return 0
        left = list(claimed)
        try:
            contacts = await self._contacts({delivery.user_id for delivery in claimed})
            async with self._smtp.conversation() as conversation:
                # The lease must outlive the last sending, else somebody else sends it too.
                while left and conversation.is_open and not self._is_over(started):
                    delivery = left.pop(0)
                    await self._deliver(conversation, delivery, contacts.get(delivery.user_id))
        finally:
            if left:
                await commands.release_deliveries(self._pool, [delivery.id for delivery in left])
        log.info("deliveries_made", claimed=len(claimed), released=len(left))
        return len(claimed)

    def _is_over(self, started: float) -> bool:
        late = time.monotonic() - started > LEASE_SECONDS - 2 * channels.SEND_SECONDS
        return late or self._runtime.stopping.is_set()

    async def _contacts(self, user_ids: set[UUID]) -> dict[UUID, Contact]:
        body = {"ids": [str(user_id) for user_id in sorted(user_ids)]}
        answer = await self._auth.call("POST", "/internal/contacts", body=body, seconds=CONTACTS_SECONDS)
        return {UUID(item["user_id"]): Contact(item["email"], item["name"]) for item in answer["items"]}

    async def _deliver(self, conversation: Conversation, delivery: Claimed, contact: Contact | None) -> None:
        if contact is None:
            await self._finalize(delivery, MailRefused("no address", permanent=True))
            return
        try:
            await conversation.send(Mail(delivery.id, contact.address, contact.name, delivery.title, delivery.body))
        except MailRefused as refused:
            await self._finalize(delivery, refused)
        else:
            await commands.mark_delivery_sent(self._pool, delivery.id)

    async def _finalize(self, delivery: Claimed, refused: MailRefused) -> None:
        attempts = delivery.attempts + 1
        if refused.permanent or attempts >= self._attempts_max:
            log.error("delivery_failed", delivery_id=str(delivery.id), attempts=attempts, reason=refused.reason)
            await commands.mark_delivery_failed(self._pool, delivery.id, error=refused.reason)
            return
        seconds = sending.retry_seconds(delivery.attempts, first=self._retry_seconds)
        log.warning("delivery_retried", delivery_id=str(delivery.id), attempts=attempts, reason=refused.reason)
        await commands.delay_delivery(self._pool, delivery.id, seconds=seconds, error=refused.reason)
