"""Channels for e-mails: SMTP, one conversation for many e-mails, or a folder on the local machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

import aiosmtplib

CONNECT_SECONDS = 5.0
SEND_SECONDS = 10.0
QUIT_SECONDS = 2.0

_PERMANENT = range(500, 600)


class Mail(NamedTuple):
    """An e-mail to one user; `id` is the same on every attempt. Without a name the greeting contains none."""

    id: UUID
    address: str
    name: str
    title: str
    body: str


class ChannelUnavailable(Exception):  # noqa: N818 - reads as what it is
    """The mail server is unreachable or rejects the connection: not the fault of an e-mail."""


class MailRefused(Exception):  # noqa: N818 - reads as what it is
    """The e-mail was not accepted. `reason` contains no personal data; `permanent`: a retry is useless."""

    def __init__(self, reason: str, *, permanent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


class Conversation(Protocol):
    """An open connection that accepts e-mails, one after another."""

    @property
    def is_open(self) -> bool:
        """Whether another e-mail can be sent."""

    async def send(self, mail: Mail) -> None:
        """Send one e-mail.

        Raises:
            MailRefused
        """


class Channel(Protocol):
    """A way to send e-mails."""

    def conversation(self) -> AbstractAsyncContextManager[Conversation]:
        """Open a conversation, and close it at the end.

        Raises:
            ChannelUnavailable
        """


class SmtpConversation:
    """A connection to the mail server."""

    def __init__(self, client: aiosmtplib.SMTP, sender: str) -> None:
        self._client = client
        self._sender = sender

    @property
    def is_open(self) -> bool:
        """Whether another e-mail can be sent."""
        return self._client.is_connected

    async def send(self, mail: Mail) -> None:
        """Send one e-mail.

        Raises:
            MailRefused
        """
        try:
            message = compose(mail, self._sender)
            async with asyncio.timeout(SEND_SECONDS):
                await self._client.send_message(message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            code = error.recipients[0].code
            raise MailRefused(f"recipient refused: {code}", permanent=code in _PERMANENT) from error
        except aiosmtplib.SMTPResponseException as error:
            raise MailRefused(f"refused: {error.code}", permanent=False) from error
        except (ValueError, IndexError, MessageError, aiosmtplib.SMTPNotSupported) as error:
            raise MailRefused(f"unusable address: {type(error).__name__}", permanent=True) from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            # What the server has read is unknown, and the next response would be that to this e-mail: open a new conversation.
            self._client.close()
            raise MailRefused(f"no response: {type(error).__name__}", permanent=False) from error


class Smtp:
    """The mail server."""

    def __init__(self, url: str, sender: str) -> None:
        """`url` is smtp://[user:password@]host[:port], or smtps for TLS from the first byte; STARTTLS is used if offered."""
        self._parts = urlsplit(url)
        self._sender = sender

    @asynccontextmanager
    async def conversation(self) -> AsyncIterator[SmtpConversation]:
        """Connect, and quit at the end.

        Raises:
            ChannelUnavailable
        """
        client = aiosmtplib.SMTP(
            hostname=self._parts.hostname,
            port=self._parts.port,
            username=unquote(self._parts.username) if self._parts.username else None,
            password=unquote(self._parts.password) if self._parts.password else None,
            use_tls=self._parts.scheme == "smtps",
            timeout=SEND_SECONDS,
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.connect()
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            client.close()
            raise ChannelUnavailable(type(error).__name__) from error
        try:
            yield SmtpConversation(client, self._sender)
        finally:
            await _quit(client)


class Folder:
    """A folder on the local machine; each e-mail is a file that mail programs open. Not for production."""

    is_open = True

    def __init__(self, path: Path, sender: str) -> None:
        """The folder is created with the first e-mail."""
        self._path = path
        self._sender = sender

    @asynccontextmanager
    async def conversation(self) -> AsyncIterator[Folder]:
        """Nothing to connect to."""
        yield self

    async def send(self, mail: Mail) -> None:
        """Write one e-mail; a second attempt of the same replaces the first.

        Raises:
            MailRefused: the address cannot be part of a header, or the file cannot be written.
        """
        try:
            message = compose(mail, self._sender).as_bytes()
            await asyncio.to_thread(self._write, f"{mail.id}.eml", message)
        except (ValueError, IndexError, MessageError) as error:
            raise MailRefused(f"unusable address: {type(error).__name__}", permanent=True) from error
        except OSError as error:
            raise MailRefused(f"not written: {type(error).__name__}", permanent=False) from error

    def _write(self, name: str, message: bytes) -> None:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path / f".{name}.{os.getpid()}"
        # E-mails contain tokens: readable by the owner only. Renamed when complete, so that no reader sees a part.
        with open(draft, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(message)
        draft.replace(self._path / name)


def open_channel(url: str, sender: str) -> Channel:
    """The channel of a URL: `smtp:`, `smtps:` or `file:`. Does not connect."""
    parts = urlsplit(url)
    return Folder(Path(unquote(parts.path)), sender) if parts.scheme == "file" else Smtp(url, sender)


def compose(mail: Mail, sender: str) -> EmailMessage:
    """The message. All attempts of an e-mail have the same Message-ID, so that mailboxes can drop copies.

    Raises:
        ValueError, IndexError, MessageError: the name or address cannot be part of a header.
    """
    message = EmailMessage()
    message["From"] = sender
    message["To"] = Address(display_name=mail.name, addr_spec=mail.address)
    message["Subject"] = mail.title
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{mail.id}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    hello = f"Hello {mail.name}" if mail.name else "Hello"
    text = f"{hello},\n\n{mail.body}\n\nPayFlow\n"
    # By default the library breaks a link that is longer than a line.
    message.set_content(text, cte="7bit" if text.isascii() else None)
    return message


async def _quit(client: aiosmtplib.SMTP) -> None:
    if client.is_connected:
        with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
            await client.quit(timeout=QUIT_SECONDS)
    client.close()
