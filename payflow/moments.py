"""Times on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def read_moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """A time (RFC 3339 with its zone), or an age: 90s, 15m, 24h, 7d."""
    if value is None:
        return None
    try:
        if ago := re.fullmatch(r"(\d{1,6})([smhd])", value):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    message = f"{value!r} is neither a time with its zone, as in 2030-01-31T12:00:00Z, nor an age, as in 24h"
    raise click.BadParameter(message, ctx=context, param=parameter)
