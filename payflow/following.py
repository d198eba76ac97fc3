"""One transfer, read again and again until it is final: drawn in place on a terminal, one change after another in a pipe."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from payflow import console, tables
from payflow.errors import PayFlowError
from payflow.prose import phrase, printable
from payflow.transfer import PENDING, Timeline

SECONDS_BETWEEN = 0.5

Read = Callable[[], Awaitable[Timeline]]
Show = Callable[[Timeline], None]
Report = Callable[[PayFlowError], None]


async def follow(read: Read, *, as_json: bool, checks: bool) -> None:
    """Show a timeline until its transfer is final. An error that may go away is shown, and the timeline read again.

    With `checks` also what an operator should look at.

    Raises:
        PayFlowError: trying again does not help, for instance without such a transfer.
    """
    if as_json:
        await _until_final(read, Changes(lambda timeline, _: click.echo(json.dumps(timeline.document))).show, _report)
    elif not sys.stdout.isatty():
        await _until_final(read, Changes(_print).show, _report)
    else:
        with Live(console=Console(highlight=False), auto_refresh=False) as live:
            screen = Screen(live, checks=checks)
            await _until_final(read, screen.show, screen.report)


class Screen:
    """The last timeline in place."""

    def __init__(self, live: Live, *, checks: bool) -> None:
        """`checks`: also what an operator should look at."""
        self._live = live
        self._checks = checks
        self._tables: list[object] = []

    def show(self, timeline: Timeline) -> None:
        """Draw a timeline."""
        steps, facts = tables.timeline_tables(timeline, checks=self._checks)
        self._tables = [steps, "", facts]
        self._draw()

    def report(self, error: PayFlowError) -> None:
        """Draw an error below the last timeline."""
        self._draw(Text(printable(str(error)), "bold red"))

    def _draw(self, *below: Text) -> None:
        self._live.update(Group(*self._tables, *below), refresh=True)  # type: ignore[arg-type]


class Changes:
    """Passes on a timeline that differs from the last one."""

    def __init__(self, print_: Callable[[Timeline, Timeline | None], None]) -> None:
        """`print_` gets the timeline and the one before it."""
        self._print = print_
        self._last: Timeline | None = None

    def show(self, timeline: Timeline) -> None:
        """Print what is new."""
        if self._last is None or _seen(timeline) != _seen(self._last):
            self._print(timeline, self._last)
            self._last = timeline


async def _until_final(read: Read, show: Show, report: Report) -> None:
    while True:
        try:
            timeline = await read()
        except PayFlowError as error:
            if not error.retry_helps:
                raise
            report(error)
        else:
            show(timeline)
            if timeline.status != PENDING:
                return
        await asyncio.sleep(SECONDS_BETWEEN)


def _seen(timeline: Timeline) -> tuple[object, ...]:
    return timeline.status, timeline.steps, timeline.waiting_for, timeline.unavailable, timeline.summary


def _print(timeline: Timeline, before: Timeline | None) -> None:
    known = () if before is None else before.steps
    for step in timeline.steps:
        if step not in known:
            words = (console.clock(step.at), step.service, step.step, phrase(step.detail))
            click.echo(printable(" ".join(words)))
    if timeline.waiting_for is not None and (before is None or before.waiting_for != timeline.waiting_for):
        click.echo(printable(f"waits for {timeline.waiting_for}"))
    if timeline.unavailable and (before is None or before.unavailable != timeline.unavailable):
        click.echo(printable(f"unavailable: {', '.join(timeline.unavailable)} (steps may be missing)"))
    if timeline.status != PENDING:
        click.echo(printable(f"{timeline.status}: {timeline.summary}"))


def _report(error: PayFlowError) -> None:
    click.echo(f"payflow: {printable(str(error))}", err=True)
