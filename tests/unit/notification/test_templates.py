"""The texts of notifications and e-mails, word for word."""

from __future__ import annotations

import pytest

from services.auth import rules
from services.contracts.identifiers import new_id
from services.notification import templates
from services.notification.templates import NotificationText
from tests.unit.notification.events import completed, deposit, failed

ALICE, BOB, OPERATOR = new_id(), new_id(), new_id()


def test_both_users() -> None:
    """A completed transfer makes a notification for both users, the sender first."""
    texts = templates.notifications(completed(sender_id=ALICE, recipient_id=BOB))
    assert texts == [
        NotificationText(ALICE, "transfer_completed", "Money sent", "You sent 10.50 USD."),
        NotificationText(BOB, "transfer_received", "Money received", "You received 10.50 USD."),
    ]


def test_own_wallets() -> None:
    """A user who sends to an own wallet gets one notification, as the sender."""
    texts = templates.notifications(completed(sender_id=ALICE, recipient_id=ALICE))
    assert [(notification.user_id, notification.kind) for notification in texts] == [(ALICE, "transfer_completed")]


def test_unknown_recipient() -> None:
    """Without a recipient only the sender gets a notification."""
    texts = templates.notifications(completed(sender_id=ALICE, recipient_id=None))
    assert [(notification.user_id, notification.kind) for notification in texts] == [(ALICE, "transfer_completed")]


def test_failed_transfer_notifies_the_sender() -> None:
    """Only the sender of a failed transfer gets a notification, with the reason and that no money was moved."""
    texts = templates.notifications(failed("insufficient_funds", sender_id=ALICE, recipient_id=BOB))
    assert texts == [
        NotificationText(
            ALICE,
            "transfer_failed",
            "Transfer failed",
            "Your transfer of 10.50 USD did not go through: there was not enough money in your wallet. "
            "No money was moved.",
        )
    ]


def test_cancelled() -> None:
    """The notification of a cancelled transfer says that it was cancelled."""
    [notification] = templates.notifications(failed("cancelled"))
    assert notification.title == "Transfer cancelled"
    assert "you cancelled it" in notification.body


@pytest.mark.parametrize(
    "code", ["insufficient_funds", "wallet_not_found", "wallet_frozen", "currency_mismatch", "timed_out", "cancelled"]
)
def test_every_failure_code_has_a_reason(code: str) -> None:
    """Every failure code of the contract has a reason, which is not the code itself."""
    [notification] = templates.notifications(failed(code))
    assert templates.reason(code)
    assert f": {templates.reason(code)}." in notification.body
    assert code not in notification.body or code == "cancelled"


def test_unknown_failure_code() -> None:
    """An unknown failure code gives no reason."""
    [notification] = templates.notifications(failed("limit_reached"))
    assert notification.body == "Your transfer of 10.50 USD did not go through. No money was moved."


def test_deposit() -> None:
    """The owner of the wallet gets a notification of a deposit; the operator gets only its live event."""
    texts = templates.notifications(deposit(OPERATOR, BOB))
    assert texts == [
        NotificationText(BOB, "transfer_received", "Deposit received", "10.50 USD was added to your wallet.")
    ]


def test_deposit_into_own_wallet() -> None:
    """An operator who deposits to an own wallet gets the notification of its owner."""
    assert [notification.kind for notification in templates.notifications(deposit(BOB, BOB))] == ["transfer_received"]


def test_failed_deposit() -> None:
    """A window without notifications is recorded too."""
    assert templates.notifications(failed("wallet_frozen", kind="deposit", sender_id=OPERATOR, recipient_id=BOB)) == []


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [(1234, "JPY", "1,234 JPY"), (1234, "BHD", "1.234 BHD"), (10**15, "USD", "10,000,000,000,000.00 USD")],
)
def test_amount(amount: int, currency: str, shown: str) -> None:
    """Amounts have as many decimals as their currency."""
    sent, received = templates.notifications(completed(amount=amount, currency=currency))
    assert sent.body == f"You sent {shown}."
    assert received.body == f"You received {shown}."


def test_note() -> None:
    """Both users see the description, as a note."""
    sent, received = templates.notifications(completed(description="rent"))
    assert sent.body == 'You sent 10.50 USD with the note "rent".'
    assert received.body == 'You received 10.50 USD with the note "rent".'


def test_note_stays_quoted() -> None:
    """Neither quotes nor line breaks let the note leave its quotation marks."""
    _, received = templates.notifications(completed(description='x".\r\n\nPayFlow: call "us"'))
    assert received.body == "You received 10.50 USD with the note \"x'. PayFlow: call 'us'\"."


def test_blank_note() -> None:
    """A note of only spaces is omitted."""
    sent, _ = templates.notifications(completed(description=" \n "))
    assert sent.body == "You sent 10.50 USD."


def test_email_with_token() -> None:
    """The token is on a line of its own, and in a link that does not send it to a server."""
    text = templates.token_email("verify_email", "the-token", "https://pay.example/")
    assert text is not None
    assert text.title == "Verify your e-mail address"
    assert "\nhttps://pay.example/verify-email#token=the-token\n" in text.body
    assert "\nthe-token\n" in text.body
    assert "within 24 hours" in text.body


def test_email_without_front_end() -> None:
    """Without a page to open the e-mail contains the token alone; an unknown kind has no text."""
    text = templates.token_email("reset_password", "the-token", None)
    assert text is not None
    assert "://" not in text.body
    assert "\nthe-token\n" in text.body
    assert templates.token_email("unknown", "the-token", None) is None


def test_email_about_an_account() -> None:
    """It says what changed and when; an unknown kind has no text."""
    text = templates.account_email("api_key_created", "pfk_abc read transfer", "2026-11-21T17:05:09.123456Z")
    assert text is not None
    assert "on 2026-11-21 at 17:05 UTC. It starts with pfk_abc. Its permissions: read, transfer." in text.body
    assert templates.account_email("unknown", "", "2026-11-21T17:05:09.123456Z") is None


@pytest.mark.parametrize("kind", sorted(rules.emails.WITHOUT_TOKEN))
def test_every_account_email_has_a_text(kind: str) -> None:
    """Each kind that auth sends has a text: when it happened, what to do, and no link."""
    text = templates.account_email(kind, "first read transfer", "2026-11-21T17:05:09.123456Z")
    assert text is not None
    assert " on 2026-11-21 at 17:05 UTC" in text.body
    assert "If you did not, " in text.body
    assert "{" not in text.body
    assert "://" not in text.body
