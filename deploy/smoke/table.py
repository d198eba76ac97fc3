"""The steps of a smoke run as a table."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.smoke.record import Record
from payflow.prose import printable

PIPE_WIDTH = 200


def show(record: Record) -> None:
    """Print a row for each step; the line of the error has the reason of a failure."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("step")
    table.add_column("result")
    table.add_column("ms", justify="right")
    table.add_column("detail", overflow="fold")
    for step in record.steps:
        result = Text("ok", "green") if step.ok else Text("FAILED", "bold red")
        table.add_row(step.name, result, f"{step.ms:.0f}", Text(printable(step.detail) if step.ok else ""))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    console.print(table)
