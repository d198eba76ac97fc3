"""The form of an e-mail."""

from __future__ import annotations

import email
from datetime import UTC, datetime
from email.errors import MessageError
from pathlib import Path

import pytest

from services.contracts.identifiers import new_id
from services.notification.channels import Mail, MailRefused, compose, open_channel

SENDER = "PayFlow <no-reply@payflow.example>"


def test_message() -> None:
    """An e-mail greets its reader by name and contains the text of the notification."""
    mail = Mail(new_id(), "bob@example.com", "Bób Müller", "Money received", "You received 10.50 USD.")
    message = compose(mail, SENDER)
    assert message["To"].addresses[0].addr_spec == "bob@example.com"
    assert message["To"].addresses[0].display_name == "Bób Müller"
    assert message["Subject"] == "Money received"
    assert message.get_content() == "Hello Bób Müller,\n\nYou received 10.50 USD.\n\nPayFlow\n"
    assert message["From"] == SENDER
    assert message["Auto-Submitted"] == "auto-generated"
    assert abs((datetime.now(UTC) - message["Date"].datetime).total_seconds()) < 3600


def test_long_lines_are_not_broken() -> None:
    """A link that is longer than a line is not broken or encoded."""
    link = "https://pay.example/verify-email#token=" + "x" * 100
    message = compose(Mail(new_id(), "bob@example.com", "Bob", "Verify", link), SENDER)
    assert f"\n{link}\n" in message.as_string()


async def test_folder(tmp_path: Path) -> None:
    """In a folder each e-mail is one file, for its owner's eyes; another attempt of the same takes its place."""
    folder = tmp_path / "mail with space"
    channel = open_channel(folder.as_uri(), SENDER)
    mail = Mail(new_id(), "bob@example.com", "Bob", "Verify", "the-token")
    async with channel.conversation() as conversation:
        await conversation.send(mail)
        await conversation.send(mail)
        with pytest.raises(MailRefused):
            await conversation.send(mail._replace(address="no address"))
    [file] = folder.iterdir()

    assert file.name == f"{mail.id}.eml"
    assert [0o700, 0o600] == [path.stat().st_mode & 0o777 for path in (folder, file)]
    assert "\n\nthe-token\n" in email.message_from_bytes(file.read_bytes()).get_payload()


async def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that cannot be written is a temporary refusal."""
    (tmp_path / "mail").write_text("in the way")
    async with open_channel((tmp_path / "mail").as_uri(), SENDER).conversation() as conversation:
        with pytest.raises(MailRefused, match="not written") as refused:
            await conversation.send(Mail(new_id(), "bob@example.com", "Bob", "Verify", "t"))
    assert refused.value.permanent is False


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
    """A name or address that would add a header or a second recipient makes no message."""
    with pytest.raises((ValueError, IndexError, MessageError)):
        compose(Mail(new_id(), address, name, "Money received", "You received 10.50 USD."), SENDER)
