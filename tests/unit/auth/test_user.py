"""The normal form of e-mail addresses, and printable names."""

from __future__ import annotations

import pytest

from services.auth import rules


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("alice@example.com", "alice@example.com"),
        ("  Alice@Example.COM \n", "alice@example.com"),
        ("a.b+tag@mail.example.co.uk", "a.b+tag@mail.example.co.uk"),
        ("o'neil_1@xn--bcher-kva.example", "o'neil_1@xn--bcher-kva.example"),
        ("x@1and1.com", "x@1and1.com"),
        ("l" * 64 + "@example.com", "l" * 64 + "@example.com"),
    ],
)
def test_address_is_normalised(typed: str, stored: str) -> None:
    """An address in any spelling is stored and compared in one form."""
    assert stored == rules.user.normalise_email(typed)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "alice",
        "@example.com",
        "alice@",
        "alice@localhost",
        "alice@example.123",
        "alice@-example.com",
        "alice@example-.com",
        "alice@example..com",
        "alice@[127.0.0.1]",
        ".alice@example.com",
        "al..ice@example.com",
        "alice@@example.com",
        "alice bob@example.com",
        '"alice"@example.com',
        "alice@example.com\r\nBcc: eve@example.com",
        "alice\x00@example.com",
        "mi\u212ae@example.com",
        "\u0430lice@example.com",
        "l" * 65 + "@example.com",
        "a@" + "b" * 64 + ".com",
        "a@" + ".".join(["b" * 60] * 5) + ".com",
    ],
)
def test_malformed_addresses(typed: str) -> None:
    """Text without a local part and a dotted domain is not an address; nor is one with characters that only look ASCII."""
    assert rules.user.normalise_email(typed) is None


@pytest.mark.parametrize(
    "name",
    [
        "Zoë",
        "Nguyễn Thị Minh Khai",
        "李小龍",
        "O'Neil-Smith 3rd",
        "محمد",
        "علی\u200cرضا",
        "क्\u200dष",
        "👩\u200d🚀",
        "!",
    ],
)
def test_names_of_users_are_printable(name: str) -> None:
    """Names of any script are accepted."""
    assert rules.user.is_printable(name)


@pytest.mark.parametrize("name", ["\u200c", "\u3164", "\u2800", "\u115f\u1160", "\uffa0", "\ufe0f", " ", ""])
def test_invisible_names_are_not_printable(name: str) -> None:
    """A payer always sees a name."""
    assert not rules.user.is_printable(name)


@pytest.mark.parametrize(
    "name",
    [
        "a\nb", "a\rb", "a\x1b[31m", "a\u202egnp.exe", "a\u2028b", "a\x7f",
        "Al\u200bice", "\ufeffAlice", "Al\u00adice", "a\u061cb", "Al\u2060ice", "a\U000e0041",
    ],
)  # fmt: skip
def test_deceptive_names_are_not_printable(name: str) -> None:
    """Line breaks, escapes, invisible characters, and marks that reverse text are rejected."""
    assert not rules.user.is_printable(name)
