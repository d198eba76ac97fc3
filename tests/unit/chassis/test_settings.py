"""Which secrets and addresses are valid settings."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from services.chassis.settings import (
    BadConfiguration,
    BrokerUrls,
    Endpoint,
    EngineUrl,
    KeySeed,
    RoleSettings,
    Secret,
    load,
)

RANDOM = "kEu2-Zb9w_tQ4xHc8-Vn1r_Lm6yPd3-Gs5j"
KEYS = {"PAYFLOW_SERVICE_KEY": base64.b64encode(bytes(range(32))).decode(), "PAYFLOW_SERVICE_PUBLIC_KEYS": "{}"}


def accepts(kind: Any, text: str) -> bool:
    try:
        TypeAdapter(kind).validate_python(text)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (RANDOM[:32], True),
        (RANDOM[:31], False),
        ("12345678" * 4, True),
        ("1234567" * 5, False),
        ("secret-" + RANDOM, False),
        ("Example" + RANDOM, False),
    ],
)
def test_a_secret_is_long_and_not_a_default(text: str, good: bool) -> None:
    """At least 32 characters, 8 of them different, and not a well-known default."""
    assert good == accepts(Secret, text)


@pytest.mark.parametrize("kind", [EngineUrl, BrokerUrls])
@pytest.mark.parametrize(
    ("password", "good"), [(RANDOM[:12], True), (RANDOM[:11], False), ("guest-guest-guest", False), ("", False)]
)
def test_an_address_has_a_password(kind: Any, password: str, good: bool) -> None:
    """At least 12 characters, and not a well-known default."""
    assert good == accepts(kind, f"amqp://payflow:{password}@127.0.0.1:5672/x")


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("http://collector:4318/v1/traces", True),
        ("https://collector.example.com", True),
        ("", True),
        ("collector:4318", False),
        ("grpc://collector:4317", False),
        ("http://", False),
        ("http://[::1", False),
    ],
)
def test_an_endpoint_is_an_http_address(text: str, good: bool) -> None:
    """Without a scheme, or with that of another protocol, all spans would be lost."""
    assert good == accepts(Endpoint, text)


@pytest.mark.parametrize(
    ("raw", "good"),
    [(bytes(range(32)), True), (bytes(range(31)), False), (bytes(range(33)), False), (b"a" * 32, False)],
)
def test_a_seed_has_32_bytes(raw: bytes, good: bool) -> None:
    """A seed has the length that Ed25519 requires, and is not one repeated byte."""
    assert good == accepts(KeySeed, base64.b64encode(raw).decode())


@pytest.mark.parametrize(("demo", "good"), [("1", True), ("0", False), (None, False)])
def test_only_a_demo_ends_itself(monkeypatch: pytest.MonkeyPatch, demo: str | None, good: bool) -> None:
    """A crash point is refused outside demo mode."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PAYFLOW_CRASH_AT", "before-request:POST:/internal/post")
    monkeypatch.delenv("PAYFLOW_DEMO", raising=False)
    if demo is not None:
        monkeypatch.setenv("PAYFLOW_DEMO", demo)
    if good:
        assert load(RoleSettings).demo
    else:
        with pytest.raises(BadConfiguration, match="PAYFLOW_CRASH_AT"):
            load(RoleSettings)


def test_other_postgresql_variables_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of other PostgreSQL programs, which the driver does not read, are accepted."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for name in ("PGDATA", "PGTZ", "PGOPTIONS"):
        monkeypatch.setenv(name, "some-value")

    assert load(RoleSettings).metrics_port
