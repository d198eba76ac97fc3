"""Reading the gateway's JSON: each function takes one value and returns it as Python's own, or raises."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from payflow.errors import UnexpectedAnswer

T = TypeVar("T")


def convert(reader: Callable[[Any], T], document: Any) -> T:
    """What `reader` makes of the document.

    Raises:
        UnexpectedAnswer: it is not the document that was expected.
    """
    try:
        return reader(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnexpectedAnswer(f"the gateway's answer cannot be read: {error!r}") from error


def whole(value: Any) -> int:
    """An amount or a count: an integer, never a float or a boolean."""
    if type(value) is not int:
        raise TypeError(f"not an integer: {value!r}")
    return value


def whole_or_none(value: Any) -> int | None:
    """A count that may not be known."""
    return None if value is None else whole(value)


def moment(value: Any) -> datetime:
    """A time with its zone (RFC 3339)."""
    read = datetime.fromisoformat(value)
    if read.tzinfo is None:
        raise ValueError(f"a time without zone: {value!r}")
    return read


def moment_or_none(value: Any) -> datetime | None:
    """A time that may not have come yet."""
    return None if value is None else moment(value)


def number_or_none(value: Any) -> float | None:
    """A measured figure that may not be known."""
    return None if value is None else float(value)
