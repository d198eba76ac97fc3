"""The overview of the system, read again and again: drawn in place on a terminal, one after another in a pipe."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from payflow import console, tables
from payflow.client import PayFlow
from payflow.command import Invocation
from payflow.errors import PayFlowError
from payflow.operations import Overview
from payflow.prose import printable

READINGS_SHOWN = 60
_BARS = "▁▂▃▄▅▆▇█"

Reading = Overview | PayFlowError
"""The overview, or why it could not be read."""


def follow(invocation: Invocation, *, seconds: float, count: int | None) -> None:
    """Show a reading every `seconds`, `count` times or without end.

    A gateway that is unreachable for a while is reported and tried again.

    Raises:
        PayFlowError: trying again does not help, for instance without a session.
    """
    if invocation.as_json:
        invocation.call(lambda payflow: _read(payflow, _print_json, seconds=seconds, count=count))
    elif not sys.stdout.isatty():
        invocation.call(lambda payflow: _read(payflow, _print, seconds=seconds, count=count))
    else:
        with Live(console=Console(highlight=False), auto_refresh=False) as live:
            screen = Screen(live, seconds)
            invocation.call(lambda payflow: _read(payflow, screen.show, seconds=seconds, count=count))


class Screen:
    """The last overview in place, with the depth of the first queue over time."""

    def __init__(self, live: Live, seconds: float) -> None:
        """`seconds` lie between two readings."""
        self._live = live
        self._seconds = seconds
        self._depths: deque[int] = deque(maxlen=READINGS_SHOWN)
        self._last: Overview | None = None

    def show(self, reading: Reading) -> None:
        """Draw a reading; an error above the last overview."""
        heading = Text(f"{datetime.now(UTC):%H:%M:%S} UTC, every {self._seconds:g} s; Ctrl-C ends", "dim")
        if isinstance(reading, Overview):
            self._last = reading
            self._depths += [queue.transfers or 0 for queue in reading.queues[:1]]
        else:
            heading = Text(printable(f"{heading.plain}: {reading}"), "bold red")
        parts = [heading]
        if self._depths:
            parts.append(Text(f"depth {sparkline(self._depths)}  at most {max(self._depths):,}"))
        body = tables.overview_tables(self._last) if self._last is not None else ()
        self._live.update(Group(*parts, "", *body), refresh=True)


def sparkline(figures: deque[int]) -> str:
    """One bar for each figure; the highest is a full one."""
    highest = max(figures, default=0)
    if highest <= 0:
        return _BARS[0] * len(figures)
    return "".join(_BARS[figure * (len(_BARS) - 1) // highest] for figure in figures)


async def _read(payflow: PayFlow, show: Callable[[Reading], None], *, seconds: float, count: int | None) -> None:
    left = count
    while True:
        try:
            reading: Reading = await payflow.operator.overview()
        except PayFlowError as error:
            if not error.retry_helps:
                raise
            reading = error
        show(reading)
        left = None if left is None else left - 1
        if left == 0:
            return
        await asyncio.sleep(seconds)


def _print_json(reading: Reading) -> None:
    if isinstance(reading, Overview):
        click.echo(json.dumps(reading.document))
    else:
        _report(reading)


def _print(reading: Reading) -> None:
    if isinstance(reading, Overview):
        console.show(*tables.overview_tables(reading), console.facts([("read at", console.moment(datetime.now(UTC)))]))
        click.echo()
    else:
        _report(reading)


def _report(error: PayFlowError) -> None:
    click.echo(f"payflow: {printable(str(error))}", err=True)
