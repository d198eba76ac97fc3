"""The times of an access token, to the second."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.errors import InvalidToken
from services.gateway.security import authentication

NOW = 1_800_000_000
CLAIMS = {"iat": NOW, "nbf": NOW, "exp": NOW + 600}


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 600),
        ({"iat": NOW - 600, "nbf": NOW - 600, "exp": NOW}, None),
        ({"iat": NOW - 599, "nbf": NOW - 599, "exp": NOW + 1}, 1),
        ({"exp": NOW + 601}, None),
        ({"iat": NOW - 1, "exp": NOW + 600}, None),
        ({"iat": NOW + 5, "nbf": NOW + 5, "exp": NOW + 605}, 605),
        ({"iat": NOW + 6, "nbf": NOW, "exp": NOW + 600}, None),
        ({"iat": NOW, "nbf": NOW + 6}, None),
        ({"nbf": None}, None),
    ],
)
def test_a_token_lives_from_its_beginning_to_its_end(changes: dict[str, Any], seconds: float | None) -> None:
    """Ten minutes at most, until the second in which it expires, and from five seconds before it was issued."""
    claims = CLAIMS | changes
    if seconds is None:
        with pytest.raises(InvalidToken):
            authentication._seconds_left(claims, NOW)
    else:
        assert seconds == authentication._seconds_left(claims, NOW)


def test_without_a_beginning_it_begins_when_it_was_issued() -> None:
    """A token without `nbf` is judged by `iat`, from which its longest life is counted too."""
    assert 600 == authentication._seconds_left({"iat": NOW, "exp": NOW + 600}, NOW)
    with pytest.raises(InvalidToken):
        authentication._seconds_left({"iat": NOW + 6, "exp": NOW + 600}, NOW)
    with pytest.raises(InvalidToken):
        authentication._seconds_left({"iat": NOW - 100, "exp": NOW + 501}, NOW)


def test_a_fraction_of_a_second_is_still_life() -> None:
    """The clock of the database has fractions; the last one before the end counts."""
    assert 0.25 == pytest.approx(authentication._seconds_left(CLAIMS | {"iat": NOW - 1, "exp": NOW + 1}, NOW + 0.75))
