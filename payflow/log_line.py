"""Which log lines are about one transfer, and which part of them. Pure.

Clients choose request ids: one may be a word of every line, or be used by several users. So a line without the id of the transfer
counts only if it has exactly this request id where request ids stand, and names no other transfer or user.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Subject(NamedTuple):
    """A transfer: its id, that of its request, and the users of both sides."""

    transfer_id: str
    request_id: str | None = None
    user_ids: frozenset[str] = frozenset()

    def pattern(self) -> str:
        """A regular expression (RE2) for the lines that may be about it."""
        if self.request_id is None:
            return self.transfer_id
        escaped = self.request_id.replace(".", "[.]")
        return f'{self.transfer_id}|"request_id": ?"{escaped}"| {escaped}"'


def read_line(source: str, text: str, subject: Subject) -> dict[str, Any] | None:
    """The fields of a line, of lists only the members about the transfer; None if the line is not about it."""
    if subject.transfer_id not in text and (subject.request_id is None or subject.request_id not in text):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return {"source": source, "line": text.strip()} if subject.transfer_id in text else None
    if subject.transfer_id not in text and not _is_of_request(document, subject):
        return None
    return {"source": source} | {name: _own(value, subject) for name, value in document.items()}


def _is_of_request(document: Mapping[str, Any], subject: Subject) -> bool:
    if document.get("transfer_id") is not None:
        return False
    if document.get("user_id") not in (None, *subject.user_ids):
        return False
    if document.get("request_id") == subject.request_id:
        return True
    members = (member for value in document.values() if isinstance(value, list) for member in value)
    return any(_is_about(member, subject) for member in members)


def _own(value: Any, subject: Subject) -> Any:
    if not isinstance(value, list):
        return value
    own = [member for member in value if _is_about(member, subject)]
    return own or [member for member in value if not _ID.search(str(member))]


def _is_about(member: Any, subject: Subject) -> bool:
    words = str(member).split()
    if subject.transfer_id in str(member):
        return True
    # An id first is that of another transfer, even if both have the same request id.
    return subject.request_id in words and not _ID.fullmatch(words[0])
