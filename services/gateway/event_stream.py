"""How Server-Sent Events are written (WHATWG HTML, 9.2): blocks of lines, each block ended by an empty one. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

MEDIA_TYPE = "text/event-stream"
LAST_EVENT_ID = "Last-Event-ID"

RETRY_MILLISECONDS = 2000
"""After this long a browser connects again by itself."""

HEARTBEAT = b": still here\n\n"
"""A comment: nobody is told, but everything in between sees that the connection lives."""

_SEQ = re.compile(r"[0-9]{1,19}")
_SEQ_MAX = 2**63 - 1

_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def opening(seq: int) -> bytes:
    """The first block: when to come back, and the place. A client that is cut off before its first event resumes, too."""
    return f"retry: {RETRY_MILLISECONDS}\nid: {seq}\n\n".encode()


def event(type_: str, data: str, *, seq: int) -> bytes:
    """An event with a place in the feed; `data` is JSON on one line."""
    return f"id: {seq}\nevent: {type_}\ndata: {data}\n\n".encode()


def reset(reason: str, *, seq: int) -> bytes:
    """The feed cannot be resumed where the client was, and goes on after `seq`: read anew what you show."""
    return event("reset", _json({"reason": reason}), seq=seq)


def ending(type_: str, detail: Mapping[str, Any]) -> bytes:
    """Why the stream ends. It has no place in the feed: the client resumes from the last one that had."""
    return f"event: {type_}\ndata: {_json(detail)}\n\n".encode()


def parse_last_event_id(text: str) -> int | None:
    """The place that a client names; None for what no stream of ours ever sent."""
    if not _SEQ.fullmatch(text) or int(text) > _SEQ_MAX:
        return None
    return int(text)
