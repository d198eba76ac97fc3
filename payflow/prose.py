"""Text for a terminal."""

from __future__ import annotations

import json
from typing import Any


def printable(text: str) -> str:
    """The text on one line and without control characters: text written by users must not control a terminal."""
    return "".join(character if character.isprintable() else " " for character in " ".join(text.split()))


def phrase(detail: Any) -> str:
    """The detail of a step or a check on one line: `number 2, worker transaction-worker-1`."""
    if detail is None:
        return ""
    if isinstance(detail, dict):
        return ", ".join(f"{name} {phrase(value)}" for name, value in detail.items() if value is not None)
    return detail if isinstance(detail, str) else json.dumps(detail)
