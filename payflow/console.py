"""Text and tables on a terminal, and plain text in a pipe."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from payflow.prose import printable
from payflow.transfer import FAILED, PENDING

PIPE_WIDTH = 400
"""The width of a table in a file or a pipe: wide enough not to wrap text that a program may search for."""

NARROW = 120
"""The columns of a terminal below which a table leaves out what is not needed to go on."""

UNKNOWN = "-"
SECONDS_SHOWN_MAX = 100
MINUTES_SHOWN_MAX = 100

_WHOLE = frozenset({"id", "sender"})
"""Columns that are never folded: their values are copied into the next command."""

_COLOURS = {
    "normal": "green",
    "busy": "yellow",
    "delayed": "red",
    PENDING: "yellow",
    FAILED: "red",
    "waiting": "yellow",
    "signing": "green",
}


def table(*headings: str) -> Table:
    """A table with these headings; `>` in front of one aligns its column to the right."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        made.add_column(
            heading.lstrip(">"),
            justify="right" if heading.startswith(">") else "left",
            overflow="fold",
            no_wrap=heading in _WHOLE,
        )
    return made


def is_narrow() -> bool:
    """Whether the output is a terminal with few columns."""
    console = Console()
    return console.is_terminal and console.width < NARROW


def facts(rows: Iterable[tuple[str, Text]]) -> Table:
    """Names and values, one per line."""
    made = Table.grid(padding=(0, 2))
    for name, value in rows:
        made.add_row(Text(printable(name), "bold"), value)
    return made


def show(*tables: Table) -> None:
    """Print tables with an empty line between them; without a terminal in plain text, not wrapped."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    with console.capture() as captured:
        for number, shown in enumerate(tables):
            console.print(*([""] if number else []), shown, sep="\n")
    for line in captured.get().splitlines():
        click.echo(line.rstrip(), color=console.is_terminal)


def plain(text: str) -> Text:
    """Text, not markup: a description may contain [brackets]."""
    return Text(printable(text))


def coloured(word: str) -> Text:
    """A word in its colour, if it has one."""
    return Text(printable(word), _COLOURS.get(word, ""))


def clock(moment: datetime) -> str:
    """The time of the day in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[11:23]


def moment(at: datetime | None) -> Text:
    """A time in UTC, to the second."""
    return Text(at.astimezone(UTC).isoformat(sep=" ", timespec="seconds")[:19] + " UTC" if at else UNKNOWN)


def count(number: int | None) -> str:
    """A count with grouped thousands; unknown ones are a hyphen."""
    return UNKNOWN if number is None else f"{number:,}"


def figure(number: float | None) -> str:
    """A measured figure with one decimal place."""
    return UNKNOWN if number is None else f"{number:,.1f}"


def duration(seconds: float | None) -> str:
    """Seconds in a readable unit."""
    if seconds is None:
        return UNKNOWN
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < SECONDS_SHOWN_MAX:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < MINUTES_SHOWN_MAX * 60 else f"{seconds / 3600:.1f} h"
