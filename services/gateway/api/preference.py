"""Pure: the `Prefer` header (RFC 7240), of which the gateway knows one preference: `wait`."""

from __future__ import annotations

from collections.abc import Iterable

WAIT_SECONDS_MAX = 30
_DIGITS_MAX = 9


def wait_seconds(headers: Iterable[str]) -> int | None:
    """How long the client would like to wait: whole seconds, at most 30. None when it did not say so in a way we know.

    The first `wait` counts, as the RFC has it; what is malformed is as if it had not been sent.
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
    return min(int(digits), WAIT_SECONDS_MAX)
