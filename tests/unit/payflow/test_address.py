"""The address of the gateway, and its sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from payflow import settings
from payflow.address import parse_address
from payflow.errors import Misconfigured


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        (" HTTPS://Pay.Example.COM ", "https://pay.example.com"),
        ("https://example.com/payflow/", "https://example.com/payflow"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_normal_form(text: str, address: str) -> None:
    """Every spelling of an address has the same normal form."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1:8000", "ftp://h", "http://", "http://h:port", "http://h:70000", "http://u@h", "http://h?a=b"],
)
def test_malformed(text: str) -> None:
    """A malformed address raises, and is quoted."""
    with pytest.raises(Misconfigured, match="is not the address of a gateway"):
        parse_address(text)


@pytest.fixture
def working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAYFLOW_GATEWAY", raising=False)
    monkeypatch.delenv("PAYFLOW_HOME", raising=False)
    (tmp_path / ".payflow").mkdir()
    return tmp_path


def test_order(working: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option overrides the variable, the variable the running stack, the stack the default."""
    assert settings.find_gateway(None) == "http://127.0.0.1:8000"

    (working / ".payflow" / "stack.json").write_text(json.dumps({"gateway": "http://127.0.0.1:3"}))
    assert settings.find_gateway(None) == "http://127.0.0.1:3"

    monkeypatch.setenv("PAYFLOW_GATEWAY", "http://127.0.0.1:2")
    assert settings.find_gateway(None) == "http://127.0.0.1:2"
    assert settings.find_gateway("http://127.0.0.1:1") == "http://127.0.0.1:1"

    monkeypatch.setenv("PAYFLOW_GATEWAY", "")
    with pytest.raises(Misconfigured):
        settings.find_gateway(None)


def test_stack_of_another_folder(working: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PAYFLOW_HOME names the folder of the stack, as for `make run`; the sources of a ticket are there, too."""
    (working / ".payflow" / "stack.json").write_text(json.dumps({"gateway": "http://127.0.0.1:3"}))
    (working / "other").mkdir()
    (working / "other" / "stack.json").write_text(json.dumps({"gateway": "http://127.0.0.1:4"}))
    monkeypatch.setenv("PAYFLOW_HOME", str(working / "other"))

    assert settings.find_gateway(None) == "http://127.0.0.1:4"
    assert settings.find_sources("http://127.0.0.1:4").logs == working / "other" / "logs"

    monkeypatch.setenv("PAYFLOW_HOME", "")
    with pytest.raises(Misconfigured, match="PAYFLOW_HOME is empty"):
        settings.find_gateway(None)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"gateway": 5}'])
def test_stack_that_names_no_gateway(working: Path, text: str) -> None:
    """A malformed stack.json raises: no other gateway is used instead."""
    (working / ".payflow" / "stack.json").write_text(text)

    with pytest.raises(Misconfigured):
        settings.find_gateway(None)


def test_stack_that_is_not_a_file(working: Path) -> None:
    """A stack.json that cannot be read is named."""
    (working / ".payflow" / "stack.json").mkdir()

    with pytest.raises(Misconfigured, match="cannot read"):
        settings.find_gateway(None)
