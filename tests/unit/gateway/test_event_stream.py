"""The format of Server-Sent Events."""

from __future__ import annotations

import pytest

from services.gateway import event_stream


def test_an_event_is_one_block() -> None:
    """Id, type and data, each on a line, and an empty line at the end."""
    block = event_stream.event("notification", '{"title":"Grüße"}', seq=7)

    assert 'id: 7\nevent: notification\ndata: {"title":"Grüße"}\n\n'.encode() == block


def test_the_opening_has_the_position() -> None:
    """The reconnection delay and the position are sent before the first event, without an event of their own."""
    assert b"retry: 2000\nid: 41\n\n" == event_stream.opening(41)


def test_a_reset_has_the_next_position() -> None:
    """A client that resumes after a reset continues from there."""
    assert b'id: 9\nevent: reset\ndata: {"reason":"too_old"}\n\n' == event_stream.reset("too_old", seq=9)


def test_an_ending_has_no_id() -> None:
    """It does not change the position from which the client resumes."""
    assert b"id:" not in event_stream.ending("token_expired", {"code": "token_expired"})


@pytest.mark.parametrize("text", ["0", "7", "0007", "9223372036854775807"])
def test_valid_last_event_ids(text: str) -> None:
    """A whole number that fits the database is accepted."""
    assert int(text) == event_stream.parse_last_event_id(text)


@pytest.mark.parametrize(
    "text", ["", " ", "-1", "+1", "1.0", "1e3", "٣", "1 2", "9223372036854775808", "1" * 5000, "abc"]
)
def test_invalid_last_event_ids(text: str) -> None:
    """Everything else is refused."""
    assert event_stream.parse_last_event_id(text) is None
