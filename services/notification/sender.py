"""Sends e-mails, at least once each: claims them from a source under a lease, sends them, and records each result there.

A process that dies between sending and recording leaves a lease that ends; the e-mail is then sent again under the same
Message-ID.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import structlog

from services.chassis import backoff, metrics
from services.chassis.database import LockTimeout
from services.chassis.roles import Runtime
from services.contracts.refusal import Refusal
from services.notification import channels
from services.notification.channels import Channel, ChannelUnavailable, Conversation, Mail, MailRefused

CLAIM_MAX = 50
POLL_SECONDS = 1.0
PAUSE_SECONDS_MAX = 30.0

ATTEMPTS_MAX = 12
RETRY_SECONDS = 30.0
RETRY_SECONDS_MAX = 3600.0

log = structlog.get_logger()


class Claimed(Protocol):
    """An e-mail claimed from a source; `attempts` counts those that failed by the e-mail's own fault."""

    @property
    def id(self) -> UUID:
        """Stays the same on every attempt."""

    @property
    def attempts(self) -> int:
        """How many attempts failed before this one."""


Email = TypeVar("Email", bound=Claimed)


class Source(Protocol[Email]):
    """Where e-mails to send are stored. Every method may raise `Refusal` or `LockTimeout`: the source is unavailable."""

    @property
    def name(self) -> str:
        """Identifies the source in log lines."""

    async def claim(self, limit: int) -> tuple[list[Email], float]:
        """Claim e-mails that are due, for so many seconds. Nothing else gets them before this lease ends."""

    async def compose(self, emails: Sequence[Email]) -> Mapping[UUID, Mail | MailRefused]:
        """For each e-mail by its id: the e-mail as it is sent, or why it cannot be."""

    async def mark_sent(self, email_id: UUID) -> None:
        """Record that the mail server accepted the e-mail."""

    async def delay(self, email_id: UUID, *, seconds: float, error: str) -> None:
        """Record that an attempt failed; the next is due in so many seconds."""

    async def mark_failed(self, email_id: UUID, *, error: str) -> None:
        """Record that the e-mail will not be sent."""

    async def release(self, email_ids: Sequence[UUID]) -> None:
        """Return claimed e-mails that were not attempted."""


class Sender(Generic[Email]):
    """Sends the e-mails of one source. Several may run: claims do not overlap."""

    def __init__(
        self,
        source: Source[Email],
        channel: Channel,
        runtime: Runtime,
        *,
        retry_seconds: float = RETRY_SECONDS,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        """`retry_seconds` is the delay after the first failed attempt of an e-mail; it doubles with each further one."""
        self._source = source
        self._channel = channel
        self._runtime = runtime
        self._retry_seconds = retry_seconds
        self._attempts_max = attempts_max
        self._success = metrics.JOB_LAST_SUCCESS.labels(f"delivery-{source.name}")
        """At 0 until the first success: a sender that never reached its mail server is late, too."""

    async def run(self) -> None:
        """Send until the role stops; pause while the source or the mail server is unavailable."""
        failures = 0
        while not self._runtime.stopping.is_set():
            try:
                claimed_count = await self.send_due()
            except (Refusal, ChannelUnavailable, LockTimeout) as error:
                failures += 1
                reason = error.code if isinstance(error, Refusal) else str(error)
                log.warning("sending_paused", source=self._source.name, reason=reason)
                await self._runtime.pause(backoff.seconds(failures, first=0.5, longest=PAUSE_SECONDS_MAX))
                continue
            failures = 0
            self._success.set_to_current_time()
            if not claimed_count:
                await self._runtime.pause(POLL_SECONDS)

    async def send_due(self) -> int:
        """One pass; how many e-mails it claimed.

        Raises:
            Refusal, LockTimeout: the source is unavailable. An e-mail that was sent and not recorded is sent again when its
                lease ends.
            ChannelUnavailable: the mail server is unavailable.
        """
        started = time.monotonic()
        claimed, lease_seconds = await self._source.claim(CLAIM_MAX)
        if not claimed:
            return 0
        left = list(claimed)
        # The lease must outlive the last attempt, else another process sends the same e-mail.
        ends = started + lease_seconds - 2 * channels.SEND_SECONDS
        try:
            mails = await self._source.compose(claimed)
            async with self._channel.conversation() as conversation:
                while left and conversation.is_open and time.monotonic() < ends and not self._runtime.stopping.is_set():
                    email = left.pop(0)
                    await self._send(conversation, email, mails[email.id])
        finally:
            if left:
                # If this fails too, the leases end by themselves.
                with suppress(Refusal, LockTimeout):
                    await self._source.release([email.id for email in left])
        log.info("emails_sent", source=self._source.name, claimed=len(claimed), released=len(left))
        return len(claimed)

    async def _send(self, conversation: Conversation, email: Email, mail: Mail | MailRefused) -> None:
        try:
            if isinstance(mail, MailRefused):
                raise mail
            await conversation.send(mail)
        except MailRefused as refused:
            await self._record_failure(email, refused)
        else:
            await self._source.mark_sent(email.id)

    async def _record_failure(self, email: Email, refused: MailRefused) -> None:
        attempts = email.attempts + 1
        fields = {
            "source": self._source.name,
            "email_id": str(email.id),
            "attempts": attempts,
            "reason": refused.reason,
        }
        if refused.permanent or attempts >= self._attempts_max:
            log.error("email_failed", **fields)
            await self._source.mark_failed(email.id, error=refused.reason)
            return
        log.warning("email_delayed", **fields)
        await self._source.delay(email.id, seconds=self._delay_seconds(email.attempts), error=refused.reason)

    def _delay_seconds(self, attempts: int) -> float:
        longest = backoff.seconds(attempts, first=self._retry_seconds, longest=RETRY_SECONDS_MAX)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
