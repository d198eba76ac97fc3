"""How often e-mails are sent."""

from __future__ import annotations

import pytest

from services.auth import rules
from services.auth.rules.emails import LIFE_SECONDS, PAUSE_SECONDS_MAX


@pytest.mark.parametrize(
    ("day_count", "pause_seconds"), [(1, 60), (2, 120), (3, 240), (4, 480), (5, 900), (6, 900), (10_000, 900)]
)
def test_the_pause_grows(day_count: int, pause_seconds: float) -> None:
    """While a token is valid, the next e-mail waits a minute, then twice as long each time, up to a quarter of an hour."""
    assert not rules.emails.is_due(day_count=day_count, live_age_seconds=pause_seconds - 0.1)
    assert rules.emails.is_due(day_count=day_count, live_age_seconds=pause_seconds)


def test_no_user_is_locked_out() -> None:
    """Without a valid token an e-mail is always sent; otherwise the token stays valid for long enough."""
    assert rules.emails.is_due(day_count=10_000, live_age_seconds=None)
    assert all(life_seconds - PAUSE_SECONDS_MAX >= PAUSE_SECONDS_MAX for life_seconds in LIFE_SECONDS.values())


def test_tokens_are_long_and_unique() -> None:
    """No two are equal, and none is short."""
    tokens = {rules.emails.new_token() for _ in range(1000)}

    assert 1000 == len(tokens) == len({rules.emails.hash_token(token) for token in tokens})
    assert 43 == min(map(len, tokens))
