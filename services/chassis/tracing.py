"""The request id and the W3C trace context: bound at the gateway or from a message, then in every call and message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import NamedTuple

from services.contracts import limits
from services.contracts.identifiers import new_id, new_id_text

REQUEST_ID = "X-Request-Id"
TRACEPARENT = "traceparent"
_REQUEST_ID = re.compile(rf"[A-Za-z0-9._:-]{{1,{limits.REQUEST_ID_LENGTH_MAX}}}")
# Ids of all zeros are invalid: a receiver must drop the whole trace.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class _Ids(NamedTuple):
    request_id: str
    traceparent: str


_bound: ContextVar[_Ids | None] = ContextVar("ids", default=None)
"""The ids of what this task works on."""


def choose_request_id(headers: Mapping[str, str]) -> str:
    """The request id of the caller, if it is valid, else a new one."""
    return _valid(headers.get(REQUEST_ID), _REQUEST_ID) or new_id_text()


def bind(headers: Mapping[str, str]) -> str:
    """Bind the ids of the caller where they are valid, else new ones; return the request id."""
    request_id, traceparent = (
        _valid(headers.get(REQUEST_ID), _REQUEST_ID),
        _valid(headers.get(TRACEPARENT), _TRACEPARENT),
    )
    if request_id is None or traceparent is None:
        new = new_id_text()
        request_id = request_id or new
        traceparent = traceparent or _traceparent_of(new)
    _bound.set(_Ids(request_id, traceparent))
    return request_id


def bind_traceparent(traceparent: str) -> None:
    """Replace the trace context that is bound; the request id stays."""
    _bound.set(_Ids(request_id(), traceparent))


def unbind() -> None:
    """Forget the ids bound to this task."""
    _bound.set(None)


def request_id() -> str:
    """The request id bound to this task, or a new one."""
    ids = _bound.get()
    return str(new_id()) if ids is None else ids.request_id


def bound_request_id() -> str | None:
    """The request id bound to this task; None if there is none."""
    ids = _bound.get()
    return None if ids is None else ids.request_id


def traceparent() -> str | None:
    """The trace context bound to this task."""
    ids = _bound.get()
    return None if ids is None else ids.traceparent


def headers() -> dict[str, str]:
    """The headers that pass the bound ids to the next service."""
    ids = _bound.get()
    return {} if ids is None else {REQUEST_ID: ids.request_id, TRACEPARENT: ids.traceparent}


def _valid(text: str | None, pattern: re.Pattern[str]) -> str | None:
    return text if text is not None and pattern.fullmatch(text) else None


def _traceparent_of(new_id: str) -> str:
    digits = new_id.replace("-", "")
    return f"00-{digits}-{digits[-16:]}-00"
