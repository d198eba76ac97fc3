"""Redaction of log lines."""

from __future__ import annotations

import asyncpg
import pytest

from services.chassis import logs

SECRET_FIELDS = (
    "password", "token", "access_token", "refresh_token", "authorization", "secret", "key", "email", "dsn", "url",
)  # fmt: skip


@pytest.mark.parametrize("name", SECRET_FIELDS)
def test_secret_fields_are_redacted(name: str) -> None:
    """Whatever its value; the event and its identifiers stay."""
    for value in ("hunter2", 7, None, {"a": "b"}):
        assert {"event": "tried", name: "[redacted]", "user_id": "u-1"} == logs.redact(
            None, "info", {"event": "tried", name: value, "user_id": "u-1"}
        )


@pytest.mark.parametrize(
    ("text", "logged"),
    [
        (
            "no connection to amqp://payflow:p%40ss@10.0.0.1:5672/x",
            "no connection to amqp://[redacted]@10.0.0.1:5672/x",
        ),
        (
            "postgresql://owner:secret@db/x and redis://:secret@r:1",
            "postgresql://[redacted]@db/x and redis://[redacted]@r:1",
        ),
        ("written to alice.b+c@example.co.uk today", "written to [redacted] today"),
        ("nothing to hide", "nothing to hide"),
        ("10 @ 20", "10 @ 20"),
    ],
)
def test_credentials_and_addresses_in_texts_are_redacted(text: str, logged: str) -> None:
    """Also in the text of an exception: a driver may quote the URL."""
    assert {"exception": logged, "reason": logged} == logs.redact(None, "info", {"exception": text, "reason": text})


def test_rows_in_a_traceback_are_redacted() -> None:
    """PostgreSQL quotes the row or key that it refuses, with what a customer wrote; the constraint and the rest stay."""
    cause = 'asyncpg.exceptions.CheckViolationError: new row violates check constraint "posted"\nDETAIL:  {}'
    follows = "\n\nThe above exception was the direct cause of the following exception:\n\nTraceback: Unavailable"
    row = "Failing row contains (1, rent\nfor Anna)."

    logged = logs.redact(None, "error", {"exception": cause.format(row) + follows + "\n" + cause.format(row)})

    removed = cause.replace("  {}", " [redacted]")
    assert {"exception": removed + follows + "\n" + removed} == logged


def test_rows_that_a_database_refuses_are_not_logged() -> None:
    """The text of the driver's error has the part that is redacted."""
    error = asyncpg.CheckViolationError("new row violates a constraint")
    error.detail = "Failing row contains (rent for Anna)."

    logged = logs.redact(None, "error", {"exception": f"asyncpg.CheckViolationError: {error}"})

    assert "violates a constraint" in logged["exception"]
    assert "Anna" not in logged["exception"]
