"""What is taken over of somebody's trace."""

from __future__ import annotations

import pytest
from structlog.contextvars import bound_contextvars

from services.chassis import tracing

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_trace_goes_on() -> None:
    """What W3C Trace Context allows is carried as it came."""
    sent = f"00-{TRACE}-{SPAN}-01"
    with bound_contextvars():
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
def test_what_is_no_trace_is_replaced(sent: str) -> None:
    """All zeros are an id of nothing (W3C Trace Context, 3.2.2): whoever got them would have to drop the trace."""
    with bound_contextvars():
        tracing.bind({tracing.TRACEPARENT: sent})

        made = tracing.traceparent()

    assert made is not None
    assert sent.strip() != made
    assert not {"0" * 32, "0" * 16} & set(made.split("-"))
