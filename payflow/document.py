"""Reads the gateway's JSON: each function takes one value and returns it as Python's own, or raises."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from payflow.errors import UnexpectedResponse

T = TypeVar("T")


def convert(reader: Callable[[Any], T], document: Any) -> T:
    """The document as `reader` reads it.

    Raises:
        UnexpectedResponse: it is not the expected document.
    """
    try:
        return reader(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnexpectedResponse(f"the gateway's response cannot be read: {error!r}") from error


def items(document: Any) -> list[Any]:
    """The items of a list that has one page."""
    return list(document["items"])


def page(document: Any) -> tuple[list[Any], str | None]:
    """The items of a page, and the cursor of the next page."""
    return items(document), document["next_cursor"]


def nothing(_document: Any) -> None:
    """A response without content."""


def integer(value: Any) -> int:
    """An amount or a count: an integer, never a float or a boolean."""
    if type(value) is not int:
        raise TypeError(f"not an integer: {value!r}")
    return value


def integer_or_none(value: Any) -> int | None:
    """A count that may be unknown."""
    return None if value is None else integer(value)


def moment(value: Any) -> datetime:
    """A time with its zone (RFC 3339)."""
    read = datetime.fromisoformat(value)
    if read.tzinfo is None:
        raise ValueError(f"a time without zone: {value!r}")
    return read


def moment_or_none(value: Any) -> datetime | None:
    """A time that may be absent."""
    return None if value is None else moment(value)


def number_or_none(value: Any) -> float | None:
    """A measured figure that may be unknown."""
    return None if value is None else float(value)
