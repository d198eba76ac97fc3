"""The request id and the W3C trace context: bound at the gateway or from a message, then in every log line and call."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from structlog.contextvars import bind_contextvars, get_contextvars

from services.contracts import limits
from services.contracts.identifiers import new_id

REQUEST_ID = "X-Request-Id"
TRACEPARENT = "traceparent"
_REQUEST_ID = re.compile(rf"[A-Za-z0-9._:-]{{1,{limits.REQUEST_ID_LENGTH_MAX}}}")
# Ids of all zeros are invalid: a receiver must drop the whole trace.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def choose_request_id(headers: Mapping[str, str]) -> str:
    """The request id of the caller, if it is valid, else a new one."""
    request_id = headers.get(REQUEST_ID, "")
    return request_id if _REQUEST_ID.fullmatch(request_id) else str(new_id())


def bind(headers: Mapping[str, str]) -> str:
    """Bind the ids of the caller where they are valid, else new ones; return the request id."""
    request_id = choose_request_id(headers)
    traceparent = headers.get(TRACEPARENT, "")
    if not _TRACEPARENT.fullmatch(traceparent):
        traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
    bind_contextvars(request_id=request_id, traceparent=traceparent)
    return request_id


def request_id() -> str:
    """The request id bound to this task, or a new one."""
    return str(get_contextvars().get("request_id") or new_id())


def traceparent() -> str | None:
    """The trace context bound to this task."""
    return get_contextvars().get("traceparent")


def headers() -> dict[str, str]:
    """The headers that pass the bound ids to the next service."""
    bound = get_contextvars()
    carried = {REQUEST_ID: bound.get("request_id"), TRACEPARENT: bound.get("traceparent")}
    return {name: value for name, value in carried.items() if value}
