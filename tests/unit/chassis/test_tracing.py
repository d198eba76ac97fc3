"""Which request ids and trace contexts are accepted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.chassis import tracing


@pytest.fixture(autouse=True)
def _nothing_bound() -> Iterator[None]:
    """Clear the context before and after each test."""
    tracing.unbind()
    yield
    tracing.unbind()


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_valid_trace_is_passed_on() -> None:
    """A trace context that W3C Trace Context allows is passed on unchanged."""
    sent = f"00-{TRACE}-{SPAN}-01"
    tracing.bind({tracing.TRACEPARENT: sent})

    assert sent == tracing.traceparent()


@pytest.mark.parametrize(
    "sent",
    [
        "",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_an_invalid_trace_is_replaced(sent: str) -> None:
    """Ids of all zeros are invalid (W3C Trace Context, 3.2.2): a receiver would drop the trace."""
    tracing.bind({tracing.TRACEPARENT: sent})

    made = tracing.traceparent()

    assert made is not None
    assert sent.strip() != made
    assert not {"0" * 32, "0" * 16} & set(made.split("-"))


def test_bound_ids_are_sent_to_the_next_service() -> None:
    """Request id and trace context are passed on together."""
    sent = {tracing.REQUEST_ID: "the-request-1", tracing.TRACEPARENT: f"00-{TRACE}-{SPAN}-01"}
    assert "the-request-1" == tracing.bind(sent)

    assert sent == tracing.headers()
    assert "the-request-1" == tracing.request_id()


@pytest.mark.parametrize("sent", ["", "a" * 65, "a b", "a\n", "\u00e4", "../x"])
def test_an_invalid_request_id_is_replaced(sent: str) -> None:
    """At most 64 letters or digits or a few signs; anything else is replaced by a new id, which is passed on."""
    made = tracing.bind({tracing.REQUEST_ID: sent})

    assert 36 == len(made)
    assert made == tracing.headers()[tracing.REQUEST_ID] == tracing.request_id()


def test_the_longest_request_id_is_kept() -> None:
    """An id of 64 characters is accepted."""
    assert "a" * 64 == tracing.bind({tracing.REQUEST_ID: "a" * 64})


def test_without_a_request_there_are_no_headers() -> None:
    """A background process sends no headers, and creates an id where it needs one."""
    assert {} == tracing.headers()
    assert None is tracing.traceparent()
    assert tracing.request_id() != tracing.request_id()
