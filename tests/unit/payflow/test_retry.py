"""Retries and their pauses."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from payflow.errors import GatewayUnreachable, NoResponse, PayFlowError, Problem, SessionEnded
from payflow.limits import Limits
from payflow.retry import BACKOFF_JITTER_MAX, RETRY_AFTER_JITTER_SECONDS_MAX, RetryPolicy, read_retry_after

UNAVAILABLE = GatewayUnreachable("http://h", "connection refused")


def refused(status: int, code: str = "x", *, retry_after_seconds: float | None = None) -> Problem:
    return Problem(status, {"code": code}, retry_after_seconds=retry_after_seconds, request_id=None)


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (UNAVAILABLE, True),
        (NoResponse("silence"), True),
        (refused(408), True),
        (refused(429), True),
        (refused(502), True),
        (refused(503), True),
        (refused(504), True),
        (refused(409, "idempotency_key_in_use"), True),
        (refused(409, "moment_not_final"), True),
        (refused(409, "email_taken"), False),
        (refused(400), False),
        (refused(401), False),
        (refused(403), False),
        (refused(404), False),
        (refused(422), False),
        (refused(500), False),
        (SessionEnded("http://h"), False),
    ],
)
async def test_retried_errors(error: PayFlowError, helps: bool) -> None:
    """A transient error is retried, a refusal is not."""
    patience = RetryPolicy(Limits(backoff_seconds_min=0))

    if helps:
        await patience.pause(error)
    else:
        with pytest.raises(type(error)):
            await patience.pause(error)


async def test_attempts_are_bounded() -> None:
    """After `attempts_max` failures the last error is raised."""
    patience = RetryPolicy(Limits(attempts_max=3, backoff_seconds_min=0))
    await patience.pause(UNAVAILABLE)
    await patience.pause(UNAVAILABLE)

    with pytest.raises(GatewayUnreachable):
        await patience.pause(UNAVAILABLE)


async def test_time_is_bounded() -> None:
    """No pause begins that would end after `retry_seconds`."""
    patience = RetryPolicy(Limits(retry_seconds=5))
    began_at = time.monotonic()

    with pytest.raises(Problem):
        await patience.pause(refused(503, retry_after_seconds=6))

    assert time.monotonic() - began_at < 1


def test_pause_doubles_up_to_a_limit() -> None:
    """The pauses double from the shortest to the longest, each lengthened by at most half of it."""
    patience = RetryPolicy(Limits(backoff_seconds_min=0.1, backoff_seconds_max=5))

    for least in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5):
        patience._failed += 1
        pauses = [patience.pause_seconds(UNAVAILABLE) for _ in range(50)]
        assert least <= min(pauses) <= max(pauses) <= least * (1 + BACKOFF_JITTER_MAX)
        assert len(set(pauses)) > 1


def test_pause_is_never_shorter_than_retry_after() -> None:
    """The pause is the longer one of `Retry-After` and backoff."""
    patience = RetryPolicy(Limits(backoff_seconds_min=2, backoff_seconds_max=2))
    patience._failed = 1

    for _ in range(50):
        assert 7 <= patience.pause_seconds(refused(429, retry_after_seconds=7)) <= 7 + RETRY_AFTER_JITTER_SECONDS_MAX
        assert 2 <= patience.pause_seconds(refused(429, retry_after_seconds=1)) <= 2 + RETRY_AFTER_JITTER_SECONDS_MAX


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0), ("17", 17), (None, None), ("", None), ("soon", None), ("-1", None), ("1.5", None)]
)
def test_retry_after_as_a_number(value: str | None, seconds: float | None) -> None:
    """Whole seconds are read; a malformed value is None."""
    assert read_retry_after(value) == seconds


def test_retry_after_as_a_date() -> None:
    """A date is a pause until then; a past one is a pause of zero."""
    now = datetime.now(UTC)

    assert read_retry_after(format_datetime(now + timedelta(seconds=60))) == pytest.approx(60, abs=2)
    assert read_retry_after(format_datetime(now - timedelta(seconds=60))) == 0
