"""Pure: the format of Server-Sent Events (WHATWG HTML, 9.2): blocks of lines, each block ended by an empty line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from services.contracts import limits

MEDIA_TYPE = "text/event-stream"
LAST_EVENT_ID = "Last-Event-ID"

RETRY_MILLISECONDS = 2000
"""The delay after which a browser reconnects by itself."""

HEARTBEAT = b": still here\n\n"
"""A comment: clients ignore it, but it keeps the connection alive for everything in between."""

_SEQ = re.compile(r"[0-9]{1,19}")

_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def opening(seq: int) -> bytes:
    """The first block: the reconnection delay and the position, so that a client can resume before its first event."""
    return f"retry: {RETRY_MILLISECONDS}\nid: {seq}\n\n".encode()


def event(type_: str, data: str, *, seq: int) -> bytes:
    """An event with its number in the feed; `data` is JSON on one line."""
    return f"id: {seq}\nevent: {type_}\ndata: {data}\n\n".encode()


def reset(reason: str, *, seq: int) -> bytes:
    """The feed cannot be resumed at the client's position and continues after `seq`: the client must reload."""
    return event("reset", _json({"reason": reason}), seq=seq)


def ending(type_: str, detail: Mapping[str, Any]) -> bytes:
    """Why the stream ends. It has no number: the client resumes after the last event that had one."""
    return f"event: {type_}\ndata: {_json(detail)}\n\n".encode()


def parse_last_event_id(text: str) -> int | None:
    """The number in the header; None if no stream of ours can have sent it."""
    if not _SEQ.fullmatch(text) or int(text) > limits.BIGINT_MAX:
        return None
    return int(text)
