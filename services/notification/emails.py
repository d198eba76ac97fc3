"""E-mails of the auth service. They are claimed from auth, sent, and marked there; this service stores nothing of them.

Most carry a token that gives access to an account. This process knows the token while it sends the e-mail, and writes it to no
table and no log line. The others report a change of an account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from services.chassis.client import Upstream
from services.notification import metrics, templates
from services.notification.channels import Mail, MailRefused

CALL_SECONDS = 5.0


class AuthEmail(NamedTuple):
    """An e-mail claimed from auth; `attempts` counts those that failed by the e-mail's own fault."""

    id: UUID
    attempts: int
    kind: str
    address: str
    name: str
    token: str | None
    detail: str
    created_at: str


class AuthEmails:
    """The e-mails of the auth service, as a source for the sender."""

    name = "auth"

    def __init__(self, auth: Upstream, public_url: str | None) -> None:
        """`public_url` is the address of the web front end; without it an e-mail contains only the token, not a link."""
        self._auth = auth
        self._public_url = public_url

    async def claim(self, limit: int) -> tuple[list[AuthEmail], float]:
        """Claim e-mails that are due, and the seconds of their lease. Raises as `Upstream.call` does, as all methods do."""
        response = await self._call("claim", {"limit": limit})
        return [_email(item) for item in response["items"]], float(response["lease_seconds"])

    async def compose(self, emails: Sequence[AuthEmail]) -> dict[UUID, Mail | MailRefused]:
        """Compose each e-mail from its template."""
        return {email.id: self._compose(email) for email in emails}

    async def mark_sent(self, email_id: UUID) -> None:
        """Record that the mail server accepted the e-mail."""
        await self._mark(email_id, "sent")

    async def delay(self, email_id: UUID, *, seconds: float, error: str) -> None:
        """Record that an attempt failed; the next is due in so many seconds."""
        await self._mark(email_id, "retried", seconds=seconds, error=error)

    async def mark_failed(self, email_id: UUID, *, error: str) -> None:
        """Record that the e-mail will not be sent."""
        await self._mark(email_id, "failed", error=error)

    async def release(self, email_ids: Sequence[UUID]) -> None:
        """Return claimed e-mails that were not attempted."""
        await self._call("release", {"ids": [str(email_id) for email_id in email_ids]})

    def _compose(self, email: AuthEmail) -> Mail | MailRefused:
        if email.token is None:
            text = templates.account_email(email.kind, email.detail, email.created_at)
        else:
            text = templates.token_email(email.kind, email.token, self._public_url)
        if text is None:
            return MailRefused("no template for this kind", permanent=True)
        return Mail(email.id, email.address, email.name, text.title, text.body)

    async def _mark(self, email_id: UUID, outcome: str, **details: Any) -> None:
        await self._call("mark", {"id": str(email_id), "outcome": outcome} | details)
        metrics.AUTH_EMAILS.labels(outcome).inc()

    async def _call(self, action: str, body: Mapping[str, Any]) -> Any:
        return await self._auth.call("POST", f"/internal/emails/{action}", body=body, seconds=CALL_SECONDS)


def _email(item: Mapping[str, Any]) -> AuthEmail:
    return AuthEmail(
        id=UUID(item["id"]),
        attempts=item["attempts"],
        kind=item["kind"],
        address=item["email"],
        name=item["name"],
        token=item["token"],
        detail=item["detail"],
        created_at=item["created_at"],
    )
