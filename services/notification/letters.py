"""Letters: what auth wants its users to read. They are claimed from auth, sent, and marked there; nothing of them stays here.

Most letters carry a token that opens an account. It is known to this process while it sends it, and stands in no table and no
log line of this service. The others tell what was done to an account.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog

from services.chassis.client import Upstream
from services.chassis.roles import Runtime
from services.contracts.refusal import Refusal
from services.notification import channels, metrics, sending, templates
from services.notification.channels import Channel, Conversation, Mail, MailRefused
from services.notification.sending import ATTEMPTS_MAX, CLAIM_MAX, RETRY_SECONDS

CALL_SECONDS = 5.0

log = structlog.get_logger()


class LetterCarrier:
    """Sends auth's letters that are due, at least once each. Several may run: claims do not overlap."""

    def __init__(
        self,
        *,
        auth: Upstream,
        channel: Channel,
        runtime: Runtime,
        public_url: str | None,
        retry_seconds: float = RETRY_SECONDS,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        """`public_url` is where the web front end is; without one a letter tells only the token."""
        self._auth = auth
        self._channel = channel
        self._runtime = runtime
        self._public_url = public_url
        self._retry_seconds = retry_seconds
        self._attempts_max = attempts_max

    async def run(self) -> None:
        """Send until told to stop; wait for as long as something that is needed is away."""
        await sending.keep_sending(self._runtime, self.deliver_due)

    async def deliver_due(self) -> int:
        """One pass; how many letters it claimed.

        Raises:
            Refusal: the auth service is away. What was sent and could not be marked is sent again when its lease is over.
            ChannelUnavailable: the mail server is.
        """
        started = time.monotonic()
        answer = await self._call("claim", {"limit": CLAIM_MAX})
        left = list(answer["items"])
        if not left:
            return 0
        claimed_count = len(left)
        ends = started + float(answer["lease_seconds"]) - 2 * channels.SEND_SECONDS
        try:
            async with self._channel.conversation() as conversation:
                # The lease must outlive the last sending, else somebody else sends it too.
                while left and conversation.is_open and time.monotonic() < ends and not self._runtime.stopping.is_set():
                    await self._deliver(conversation, left.pop(0))
        finally:
            if left:
                # If even this fails, their leases end by themselves.
                with suppress(Refusal):
                    await self._call("release", {"ids": [letter["id"] for letter in left]})
        log.info("letters_delivered", claimed=claimed_count, released=len(left))
        return claimed_count

    async def _deliver(self, conversation: Conversation, letter: Mapping[str, Any]) -> None:
        if letter["token"] is None:
            words = templates.letter_without_token(letter["kind"], letter["detail"], letter["created_at"])
        else:
            words = templates.letter(letter["kind"], letter["token"], self._public_url)
        if words is None:
            await self._settle(letter, MailRefused("no words for this kind", permanent=True))
            return
        try:
            await conversation.send(Mail(UUID(letter["id"]), letter["email"], letter["name"], words.title, words.body))
        except MailRefused as refused:
            await self._settle(letter, refused)
        else:
            await self._mark(letter, "sent")

    async def _settle(self, letter: Mapping[str, Any], refused: MailRefused) -> None:
        attempts = int(letter["attempts"]) + 1
        if refused.permanent or attempts >= self._attempts_max:
            log.error("letter_failed", letter_id=letter["id"], attempts=attempts, reason=refused.reason)
            await self._mark(letter, "failed", error=refused.reason)
            return
        log.warning("letter_retried", letter_id=letter["id"], attempts=attempts, reason=refused.reason)
        seconds = sending.retry_seconds(attempts - 1, first=self._retry_seconds)
        await self._mark(letter, "retried", seconds=seconds, error=refused.reason)

    async def _mark(self, letter: Mapping[str, Any], outcome: str, **more: Any) -> None:
        await self._call("mark", {"id": letter["id"], "outcome": outcome} | more)
        metrics.LETTERS.labels(outcome).inc()

    async def _call(self, action: str, body: Mapping[str, Any]) -> Any:
        return await self._auth.call("POST", f"/internal/emails/{action}", body=body, seconds=CALL_SECONDS)
