"""Settings of the gateway: allowed origins."""

from __future__ import annotations

import base64

import pytest

from services.chassis.settings import BadConfiguration, load
from services.gateway.settings import GatewaySettings

SEED = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("PAYFLOW_SERVICE_KEY", SEED)
    monkeypatch.setenv("PAYFLOW_SERVICE_PUBLIC_KEYS", "{}")
    monkeypatch.setenv("PAYFLOW_REDIS_URL", "redis://:9f8e7d6c5b4a3210@localhost:1/0")
    for name in ("AUTH", "WALLET", "TRANSACTION", "NOTIFICATION"):
        monkeypatch.setenv(f"PAYFLOW_{name}_URL", "http://127.0.0.1:1")
    for name in ("PAYFLOW_ALLOWED_ORIGINS", "PAYFLOW_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", set()),
        ("https://app.example.com", {"https://app.example.com"}),
        (" http://localhost:5173 , http://[::1]:8080,", {"http://localhost:5173", "http://[::1]:8080"}),
    ],
)
def test_origins(environment: pytest.MonkeyPatch, text: str, origins: set[str]) -> None:
    """None, one or several."""
    assert frozenset() == load(GatewaySettings).allowed_origins
    environment.setenv("PAYFLOW_ALLOWED_ORIGINS", text)
    assert origins == load(GatewaySettings).allowed_origins


@pytest.mark.parametrize(
    "text",
    [
        "*", "null", "https://*.example.com", "https://app.example.com/", "app.example.com", "https://App.example.com",
        "https://app.example.com:443", "http://app.example.com:80", "ftp://app.example.com", "https://a@b.example",
        "https://a.example https://b.example",
    ],
)  # fmt: skip
def test_invalid_origins_are_rejected(environment: pytest.MonkeyPatch, text: str) -> None:
    """A pattern, or an origin that no browser sends, is rejected at startup."""
    environment.setenv("PAYFLOW_ALLOWED_ORIGINS", f"https://good.example,{text}")
    with pytest.raises(BadConfiguration, match="PAYFLOW_ALLOWED_ORIGINS"):
        load(GatewaySettings)


def test_own_origin(environment: pytest.MonkeyPatch) -> None:
    """The origin of the public URL, without its path."""
    assert load(GatewaySettings).own_origin is None
    environment.setenv("PAYFLOW_PUBLIC_URL", "https://pay.example:8443/app/")
    assert "https://pay.example:8443" == load(GatewaySettings).own_origin
