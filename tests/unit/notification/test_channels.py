"""What an e-mail looks like."""

from __future__ import annotations

from email.errors import MessageError

import pytest

from services.contracts.identifiers import new_id
from services.notification.channels import Mail, compose

SENDER = "PayFlow <no-reply@payflow.example>"


def test_message() -> None:
    """An e-mail greets its reader by name and says what the notice says."""
    mail = Mail(new_id(), "bob@example.com", "Bób Müller", "Money received", "You received 10.50 USD.")
    message = compose(mail, SENDER)
    assert message["To"].addresses[0].addr_spec == "bob@example.com"
    assert message["To"].addresses[0].display_name == "Bób Müller"
    assert message["Subject"] == "Money received"
    assert message.get_content() == "Hello Bób Müller,\n\nYou received 10.50 USD.\n\nPayFlow\n"


def test_message_id() -> None:
    """Every attempt of one e-mail has the same Message-ID, so that mailboxes can drop the second."""
    mail = Mail(new_id(), "bob@example.com", "Bob", "Money received", "You received 10.50 USD.")
    assert compose(mail, SENDER)["Message-ID"] == compose(mail, SENDER)["Message-ID"] == f"<{mail.id}@payflow.example>"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("bob@example.com", "Bob\r\nBcc: eve@example.com"),
        ("bob@example.com\r\nBcc: eve@example.com", "Bob"),
        ("bob@example.com, eve@example.com", "Bob"),
        ("", "Bob"),
        ("bob", "Bob"),
    ],
)
def test_header_injection(address: str, name: str) -> None:
    """A name or address that would add a header or a second reader makes no message."""
    with pytest.raises((ValueError, IndexError, MessageError)):
        compose(Mail(new_id(), address, name, "Money received", "You received 10.50 USD."), SENDER)
