"""Texts of notifications and e-mails: an event becomes a title and a body for the customer. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from services.contracts.messages import TransferEvent
from services.contracts.money import format_amount
from services.contracts.transfer_kinds import KINDS, Source

COMPLETED = "transfer.completed"
FAILED = "transfer.failed"

TRANSFER_COMPLETED = "transfer_completed"
TRANSFER_RECEIVED = "transfer_received"
TRANSFER_FAILED = "transfer_failed"
TRANSFER_LATE = "transfer_late"

REASONS = MappingProxyType(
    {
        "insufficient_funds": "there was not enough money in your wallet",
        "wallet_not_found": "the recipient's wallet does not exist",
        "wallet_frozen": "one of the two wallets is frozen",
        "currency_mismatch": "the two wallets hold different currencies",
        "balance_limit": "a wallet cannot hold that much",
        "timed_out": "it took too long and was stopped",
        "cancelled": "you cancelled it",
    }
)
"""Why a transfer failed, as the end of a sentence. An unknown code gives no reason."""


TOKEN_EMAILS = MappingProxyType(
    {
        "verify_email": (
            "Verify your e-mail address",
            "verify-email",
            "Please confirm that this e-mail address is yours.",
            "The code works once, within 24 hours. If you did not register with PayFlow, ignore this e-mail.",
        ),
        "reset_password": (
            "Reset your password",
            "reset-password",
            "We received a request to reset your password.",
            "The code works once, within 30 minutes, and ends all sessions. If you did not request it, ignore this e-mail.",
        ),
    }
)
"""Title, page of the web front end, reason for the e-mail, and advice, by kind of e-mail."""

IF_NOT_YOU = "If you did this, you need not do anything. If you did not, "
CHANGE_PASSWORD = f"{IF_NOT_YOU}change your password, which ends all sessions and revokes all API keys."

ACCOUNT_EMAILS = MappingProxyType(
    {
        "password_changed": (
            "Your password was changed",
            "Your password was changed on {when}. You were signed out everywhere, and all your API keys were revoked.",
            f'{IF_NOT_YOU}reset your password: choose "forgot password" and follow the e-mail that we send you.',
        ),
        "api_key_created": (
            "A new API key was created",
            "An API key was created for your account on {when}. It starts with {first}. Its permissions: {rest}.",
            CHANGE_PASSWORD,
        ),
        "totp_removed": (
            "Two-factor authentication is off",
            "Two-factor authentication was turned off for your account on {when}. Your password alone now signs you in.",
            f"{CHANGE_PASSWORD} Then turn two-factor authentication on again.",
        ),
        "recovery_codes_renewed": (
            "New recovery codes were created",
            "New recovery codes were created for your account on {when}. The previous codes no longer work.",
            f"{CHANGE_PASSWORD} Then create new recovery codes.",
        ),
        "recovery_code_used": (
            "A recovery code was used",
            "A recovery code was used on {when} instead of a code from your authenticator app. Unused codes left: {first}.",
            f"{CHANGE_PASSWORD} Then create new recovery codes.",
        ),
    }
)
"""Title, what happened, and advice, by kind of e-mail."""


class EmailText(NamedTuple):
    """A title and a body: of an e-mail, below the greeting, or of a notification."""

    title: str
    body: str


class NotificationText(NamedTuple):
    """The notification of one user about one transfer."""

    user_id: UUID
    kind: str
    title: str
    body: str


def notifications(event: TransferEvent) -> list[NotificationText]:
    """Both sides of a completed transfer, the sender of a failed one, the owner of the wallet of a deposit."""
    notifies_sender = KINDS[event.kind].notifies_sender
    amount, note = format_amount(event.amount, event.currency), _note(event.description)
    if event.type != COMPLETED:
        return [_failed(event, amount, note)] if notifies_sender else []
    texts = [_sent(event, amount, note)] if notifies_sender else []
    if event.recipient_id is not None and not (notifies_sender and event.recipient_id == event.sender_id):
        texts.append(_received(event, amount, note))
    return texts


def token_email(kind: str, token: str, public_url: str | None) -> EmailText | None:
    """An e-mail with a token, and a link if there is a web front end; None for an unknown kind.

    The token follows `#`: browsers do not send that part to servers, so it is in no access log and no `Referer`.
    """
    if kind not in TOKEN_EMAILS:
        return None
    title, page, why, advice = TOKEN_EMAILS[kind]
    link = f"Open this page:\n\n{public_url.rstrip('/')}/{page}#token={token}\n\nOr e" if public_url else "E"
    return EmailText(title, f"{why}\n\n{link}nter this code:\n\n{token}\n\n{advice}")


def account_email(kind: str, detail: str, created_at: str) -> EmailText | None:
    """An e-mail that reports a change of an account at a time (RFC 3339, UTC); None for an unknown kind.

    It contains no link: unexpected e-mails with links to click are how accounts are stolen.
    """
    if kind not in ACCOUNT_EMAILS:
        return None
    title, what, advice = ACCOUNT_EMAILS[kind]
    first, _, rest = detail.partition(" ")
    happened = what.format(when=_moment(created_at), first=first, rest=", ".join(rest.split()))
    return EmailText(title, f"{happened}\n\n{advice}")


def late(amount: int, currency: str, description: str | None) -> EmailText:
    """The title and body of the notification that a transfer takes longer than expected."""
    body = (
        f"Your transfer of {format_amount(amount, currency)}{_note(description)} is taking longer than usual. "
        "Your money is safe: the transfer is recorded, and you will not be charged twice. We will notify you of the outcome."
    )
    return EmailText("Your transfer is taking longer", body)


def reason(failure_code: str | None) -> str | None:
    """Why a transfer failed, as the end of a sentence; None for an unknown code."""
    return REASONS.get(failure_code or "")


def _sent(event: TransferEvent, amount: str, note: str) -> NotificationText:
    body = f"You sent {amount}{note}."
    return NotificationText(event.sender_id, TRANSFER_COMPLETED, "Money sent", body)


def _received(event: TransferEvent, amount: str, note: str) -> NotificationText:
    assert event.recipient_id is not None, "notifications() calls this only with a known recipient"
    if KINDS[event.kind].source is Source.EXTERNAL_ACCOUNT:
        body = f"{amount} was added to your wallet{note}."
        return NotificationText(event.recipient_id, TRANSFER_RECEIVED, "Deposit received", body)
    body = f"You received {amount}{note}."
    return NotificationText(event.recipient_id, TRANSFER_RECEIVED, "Money received", body)


def _failed(event: TransferEvent, amount: str, note: str) -> NotificationText:
    because = reason(event.failure_code)
    why = f": {because}" if because else ""
    title = "Transfer cancelled" if event.failure_code == "cancelled" else "Transfer failed"
    body = f"Your transfer of {amount}{note} did not go through{why}. No money was moved."
    return NotificationText(event.sender_id, TRANSFER_FAILED, title, body)


def _moment(text: str) -> str:
    return f"{text[:10]} at {text[11:16]} UTC"


def _note(description: str | None) -> str:
    """The description, quoted on one line: it must not pass for text of PayFlow."""
    note = " ".join((description or "").replace('"', "'").split())
    return f' with the note "{note}"' if note else ""
