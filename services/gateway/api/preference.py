"""Pure: the `Prefer` header (RFC 7240); the only supported preference is `wait`."""

from __future__ import annotations

from collections.abc import Iterable

from services.contracts import limits

_DIGITS_MAX = 9


def wait_seconds(headers: Iterable[str]) -> int | None:
    """The preferred wait in whole seconds, at most 30; None without a valid one.

    The first `wait` counts (RFC 7240); a malformed one is ignored.
    """
    for header in headers:
        for preference in header.split(","):
            name, equals, value = preference.partition(";")[0].partition("=")
            if name.strip().lower() == "wait" and equals:
                return _seconds(value.strip())
    return None


def _seconds(text: str) -> int | None:
    digits = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > _DIGITS_MAX:
        return None
    return min(int(digits), limits.PREFER_WAIT_SECONDS_MAX)
