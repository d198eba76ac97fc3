"""The search through logs finds secrets, and only secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness import leaks

INNOCENT = json.dumps(
    {"event": "transfers_accepted", "service": "gateway", "transfer_id": "0196f0c0-0000-7000-8000-000000000001"}
)


@pytest.mark.parametrize(
    "planted",
    [
        "a password that was typed",
        "token=W8kq-3_zuQ.",
        "the token eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLWl0",
        "Authorization: Bearer abcdefghijklmnop.qrs",
        "login of alice@example.com",
        "connecting to amqp://payflow:hunter2hunter2@127.0.0.1:5672/",
        "hash $argon2id$v=19$m=19456",
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_a_planted_secret_is_found(tmp_path: Path, planted: str) -> None:
    """Guarantee 54: in any line of any log a secret is found, by file and line, and is not repeated."""
    (tmp_path / "gateway.log").write_text(f"{INNOCENT}\n{json.dumps({'event': 'x', 'said': planted})}\n")
    (tmp_path / "auth.log").write_text(INNOCENT)
    found = leaks.search(tmp_path, {"a password that was typed", "W8kq-3_zuQ"})

    assert {("gateway.log", 2)} == {(leak.file, leak.line) for leak in found}
    assert planted not in str(found)


def test_an_innocent_log_is_clean(tmp_path: Path) -> None:
    """Identifiers, redacted addresses and node names are not secrets."""
    lines = [INNOCENT, json.dumps({"event": "x", "url": "amqp://[redacted]@127.0.0.1:5672/", "email": "[redacted]"})]
    (tmp_path / "gateway.log").write_text("\n".join(lines))
    (tmp_path / "rabbitmq.log").write_text("node payflow-1@localhost.localdomain started\n")

    assert [] == leaks.search(tmp_path, {"a password that was typed"})


def test_a_forged_line_is_found(tmp_path: Path) -> None:
    """Guarantee 54: a line created by line breaks in the input is not one written by its service."""
    own = json.dumps({"event": "x", "service": "gateway"})
    (tmp_path / "gateway.log").write_text(f'{own}\n{{"event": "operator_authorized", "service": "auth"}}\n{{"broken\n')

    assert [2, 3] == [leak.line for leak in leaks.forged(tmp_path)]


@pytest.mark.parametrize(
    "labels",
    [
        'route="/x",user="0196f0c0-0000-7000-8000-000000000001"',
        'wallet="0196f0c0-0000-7000-8000-00000000000a"',
        'to="a@b.example"',
    ],
)
def test_a_label_with_an_id_is_found(labels: str) -> None:
    """An id or an e-mail address in any label, by the name of the series."""
    page = f'# HELP x Text.\nplain 1.0\nseconds_bucket{{route="/transfers/{{id}}",le="0.5"}} 2.0\nbad_total{{{labels}}} 1.0\n'

    assert ["bad_total"] == leaks.labeled_with_ids(page)
