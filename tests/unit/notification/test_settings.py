"""Settings of the mail server."""

from __future__ import annotations

import base64

import pytest

from services.chassis.settings import BadConfiguration, load
from services.notification.settings import DeliverSettings

SEED = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("PAYFLOW_SERVICE_KEY", SEED)
    monkeypatch.setenv("PAYFLOW_SERVICE_PUBLIC_KEYS", "{}")
    monkeypatch.setenv("PAYFLOW_NOTIFICATION_DATABASE_URL", "postgresql://someone:9f8e7d6c5b4a3210@localhost:1/x")
    monkeypatch.setenv("PAYFLOW_AUTH_URL", "http://127.0.0.1:1")
    for name in ("PAYFLOW_SMTP_URL", "PAYFLOW_SMTP_SENDER"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_no_mail_server(environment: pytest.MonkeyPatch) -> None:
    """Without a mail server, or with an empty one, there are no e-mails."""
    assert load(DeliverSettings).smtp_url is None
    environment.setenv("PAYFLOW_SMTP_URL", "")
    assert load(DeliverSettings).smtp_url is None


@pytest.mark.parametrize("url", ["smtp://localhost:2525", "smtps://user:p%40ss@mail.example.com"])
def test_mail_server(environment: pytest.MonkeyPatch, url: str) -> None:
    """A mail server can be without a password, on a private network."""
    environment.setenv("PAYFLOW_SMTP_URL", url)
    smtp_url = load(DeliverSettings).smtp_url
    assert smtp_url is not None
    assert smtp_url.get_secret_value() == url
    assert url not in repr(load(DeliverSettings))


@pytest.mark.parametrize("url", ["localhost:25", "http://localhost", "smtp://", "smtp://host:port", "smtp://h:99999"])
def test_no_smtp_url(environment: pytest.MonkeyPatch, url: str) -> None:
    """A malformed address of a mail server names the faulty variable."""
    environment.setenv("PAYFLOW_SMTP_URL", url)
    with pytest.raises(BadConfiguration, match="PAYFLOW_SMTP_URL"):
        load(DeliverSettings)


@pytest.mark.parametrize("sender", ["no-address", "a@example.com\nBcc: b@example.com"])
def test_no_sender(environment: pytest.MonkeyPatch, sender: str) -> None:
    """A sender that cannot be part of a header is refused at the start, not at the first e-mail."""
    environment.setenv("PAYFLOW_SMTP_SENDER", sender)
    with pytest.raises(BadConfiguration, match="PAYFLOW_SMTP_SENDER"):
        load(DeliverSettings)


def test_folder(environment: pytest.MonkeyPatch) -> None:
    """E-mails are written to a folder on a machine of one's own, and nowhere else: it holds tokens."""
    environment.setenv("PAYFLOW_SMTP_URL", "file:///tmp/mail")
    with pytest.raises(BadConfiguration, match=r"PAYFLOW_SMTP_URL: .*PAYFLOW_DEMO"):
        load(DeliverSettings)
    environment.setenv("PAYFLOW_DEMO", "1")
    assert load(DeliverSettings).smtp_url is not None


@pytest.mark.parametrize("url", ["file://mail", "file:mail", "file:///mail?x", "file://host/mail"])
def test_no_folder(environment: pytest.MonkeyPatch, url: str) -> None:
    """A malformed folder URL names the faulty variable."""
    environment.setenv("PAYFLOW_DEMO", "1")
    environment.setenv("PAYFLOW_SMTP_URL", url)
    with pytest.raises(BadConfiguration, match="PAYFLOW_SMTP_URL"):
        load(DeliverSettings)


@pytest.mark.parametrize(
    ("url", "good"), [("https://pay.example", True), ("", True), ("pay.example", False), ("http://a@b", False)]
)
def test_public_url(environment: pytest.MonkeyPatch, url: str, good: bool) -> None:
    """The web front end: an address that an e-mail can contain, or none."""
    environment.setenv("PAYFLOW_PUBLIC_URL", url)
    if good:
        assert load(DeliverSettings).public_url == (url or None)
    else:
        with pytest.raises(BadConfiguration, match="PAYFLOW_PUBLIC_URL"):
            load(DeliverSettings)
