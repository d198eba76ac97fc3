"""The validity period of an access token, to the second."""

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
def test_token_validity_period(changes: dict[str, Any], seconds: float | None) -> None:
    """At most ten minutes, until the second of its expiry, and from five seconds before its issue."""
    claims = CLAIMS | changes
    if seconds is None:
        with pytest.raises(InvalidToken):
            authentication._seconds_left(claims, NOW)
    else:
        assert seconds == authentication._seconds_left(claims, NOW)


def test_without_nbf_the_token_starts_at_iat() -> None:
    """A token without `nbf` starts at `iat`, from which the maximum lifetime is counted as well."""
    assert 600 == authentication._seconds_left({"iat": NOW, "exp": NOW + 600}, NOW)
    with pytest.raises(InvalidToken):
        authentication._seconds_left({"iat": NOW + 6, "exp": NOW + 600}, NOW)
    with pytest.raises(InvalidToken):
        authentication._seconds_left({"iat": NOW - 100, "exp": NOW + 501}, NOW)


def test_validity_has_fractions_of_a_second() -> None:
    """The clock of the database has fractions; a token is valid until the last one before its expiry."""
    assert 0.25 == pytest.approx(authentication._seconds_left(CLAIMS | {"iat": NOW - 1, "exp": NOW + 1}, NOW + 0.75))
