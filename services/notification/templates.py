"""What is told to whom: an event becomes a title and a body in the customer's words. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from services.contracts.messages import TransferEvent
from services.contracts.money import format_amount
from services.contracts.transfer_kinds import KINDS, Source

COMPLETED = "transfer.completed"

TRANSFER_COMPLETED = "transfer_completed"
TRANSFER_RECEIVED = "transfer_received"
TRANSFER_FAILED = "transfer_failed"

REASONS = MappingProxyType(
    {
        "insufficient_funds": "there was not enough money in your wallet",
        "wallet_not_found": "the wallet it was meant for does not exist",
        "wallet_frozen": "one of the two wallets is frozen",
        "currency_mismatch": "the two wallets hold different currencies",
        "balance_limit": "a wallet cannot hold that much",
        "timed_out": "it took too long and was stopped",
        "cancelled": "you cancelled it",
    }
)
"""Why a transfer failed, as the end of a sentence; a code that is missing here is told without a reason."""


LETTERS = MappingProxyType(
    {
        "verify_email": (
            "Verify your e-mail address",
            "verify-email",
            "Please show that this address is yours.",
            "It works once, within 24 hours. If you did not register with PayFlow, ignore this letter.",
        ),
        "reset_password": (
            "Choose a new password",
            "reset-password",
            "Somebody, hopefully you, asked to replace the password of your account.",
            "It works once, within 30 minutes, and logs you out everywhere. If it was not you, ignore this letter.",
        ),
    }
)
"""Title, page of the web front end, why it was written, and what to know, by kind of letter."""

NOT_YOU = "If it was you, there is nothing to do. If it was not you: "

LETTERS_WITHOUT_TOKEN = MappingProxyType(
    {
        "password_changed": (
            "Your password was changed",
            "The password of your account was changed on {when}. Everybody was logged out, and every API key was revoked.",
            f"{NOT_YOU}say that you have forgotten your password, and choose another one by the letter that comes then.",
        ),
        "api_key_created": (
            "A new API key for your account",
            "An API key was made for your account on {when}. It begins with {first}. What it may do: {rest}.",
            f"{NOT_YOU}revoke the key, and change your password. That ends every session and every other API key as well.",
        ),
        "totp_removed": (
            "The second factor of your account is off",
            "The second factor of your account was turned off on {when}. From now on the password alone opens it.",
            f"{NOT_YOU}change your password, which ends every session and every API key, and turn the second factor on again.",
        ),
        "recovery_codes_renewed": (
            "New recovery codes for your account",
            "The recovery codes of your account were made anew on {when}. Those from before open nothing any more.",
            f"{NOT_YOU}change your password, which ends every session and every API key, and make the codes anew yourself.",
        ),
        "recovery_code_used": (
            "A recovery code of your account was used",
            "A recovery code was used on {when} in place of a code of your authenticator. So many are left: {first}.",
            f"{NOT_YOU}change your password, which ends every session and every API key, and make other recovery codes.",
        ),
    }
)
"""Title, what was done, and what to do about it, by kind of letter."""


class Words(NamedTuple):
    """What a letter says, below the greeting."""

    title: str
    body: str


class NotificationText(NamedTuple):
    """What one user is told about one transfer."""

    user_id: UUID
    kind: str
    title: str
    body: str


def notifications(event: TransferEvent) -> list[NotificationText]:
    """Both sides of a completed transfer, the sender of a failed one, the owner of the wallet of a deposit."""
    notifies_sender = KINDS[event.kind].notifies_sender
    if event.type != COMPLETED:
        return [_failed(event)] if notifies_sender else []
    texts = [_sent(event)] if notifies_sender else []
    if event.recipient_id is not None and not (notifies_sender and event.recipient_id == event.sender_id):
        texts.append(_received(event))
    return texts


def letter(kind: str, token: str, public_url: str | None) -> Words | None:
    """A letter with its token, and a link if there is a front end to follow it to; None for a kind without words.

    The token stands behind `#`: browsers send that part to no server, so it is in no access log and no `Referer`.
    """
    if kind not in LETTERS:
        return None
    title, page, why, advice = LETTERS[kind]
    link = f"Open this page:\n\n{public_url.rstrip('/')}/{page}#token={token}\n\nor e" if public_url else "E"
    return Words(title, f"{why}\n\n{link}nter this code where you are asked for it:\n\n{token}\n\n{advice}")


def letter_without_token(kind: str, detail: str, written_at: str) -> Words | None:
    """A letter that tells what was done to an account, and when (RFC 3339, UTC); None for a kind without words.

    There is no link in it: a letter that nobody asked for and that wants to be clicked on is what thieves write.
    """
    if kind not in LETTERS_WITHOUT_TOKEN:
        return None
    title, what, advice = LETTERS_WITHOUT_TOKEN[kind]
    first, _, rest = detail.partition(" ")
    done = what.format(when=_moment(written_at), first=first, rest=", ".join(rest.split()))
    return Words(title, f"{done}\n\n{advice}")


def reason(failure_code: str | None) -> str | None:
    """Why a transfer failed, as the end of a sentence; None when there are no words for the code."""
    return REASONS.get(failure_code or "")


def _sent(event: TransferEvent) -> NotificationText:
    body = f"You sent {_amount(event)}{_note(event)}."
    return NotificationText(event.sender_id, TRANSFER_COMPLETED, "Money sent", body)


def _received(event: TransferEvent) -> NotificationText:
    assert event.recipient_id is not None, "asked by notifications() alone, for a recipient that is known"
    if KINDS[event.kind].source is Source.EXTERNAL_ACCOUNT:
        body = f"{_amount(event)} was added to your wallet{_note(event)}."
        return NotificationText(event.recipient_id, TRANSFER_RECEIVED, "Deposit received", body)
    body = f"You received {_amount(event)}{_note(event)}."
    return NotificationText(event.recipient_id, TRANSFER_RECEIVED, "Money received", body)


def _failed(event: TransferEvent) -> NotificationText:
    because = reason(event.failure_code)
    why = f": {because}" if because else ""
    title = "Transfer cancelled" if event.failure_code == "cancelled" else "Transfer failed"
    body = f"Your transfer of {_amount(event)}{_note(event)} did not go through{why}. No money was moved."
    return NotificationText(event.sender_id, TRANSFER_FAILED, title, body)


def _moment(text: str) -> str:
    return f"{text[:10]} at {text[11:16]} UTC"


def _amount(event: TransferEvent) -> str:
    return format_amount(event.amount, event.currency)


def _note(event: TransferEvent) -> str:
    """The sender's words, on one line and visibly somebody else's: they may not pass for ours."""
    words = " ".join((event.description or "").replace('"', "'").split())
    return f' with the note "{words}"' if words else ""
