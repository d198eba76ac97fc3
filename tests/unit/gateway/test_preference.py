"""The `Prefer` header."""

from __future__ import annotations

import pytest

from services.gateway.api.preference import wait_seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["wait=5"], 5),
        (["wait=0"], 0),
        (["wait=30"], 30),
        (["wait=31"], 30),
        (["wait=999999999"], 30),
        (["WAIT=5"], 5),
        ([" wait = 5 "], 5),
        (['wait="5"'], 5),
        (["wait=5; foo=bar"], 5),
        (["respond-async, wait=10"], 10),
        (["respond-async", "wait=10"], 10),
        (["wait=1, wait=2"], 1),
        (["handling=lenient, wait=007"], 7),
    ],
)
def test_valid_waits(headers: list[str], seconds: int) -> None:
    """Whole seconds, at most 30, among other preferences; the first `wait` counts."""
    assert seconds == wait_seconds(headers)


@pytest.mark.parametrize(
    "header",
    ["", "wait", "wait=", "wait=-1", "wait=1.5", "wait=1s", "wait=soon", 'wait="', 'wait=""', "wait=٣", "wait=1e1",
     "waiting=5", "wait=9999999999", "return=minimal", ",,;=", "wait==5"],
)  # fmt: skip
def test_invalid_preferences_are_ignored(header: str) -> None:
    """A malformed or unknown preference is ignored."""
    assert wait_seconds([header]) is None


def test_no_header_means_no_wait() -> None:
    """Without the header there is no preference."""
    assert wait_seconds([]) is None
