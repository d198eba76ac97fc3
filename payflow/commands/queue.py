"""`payflow queue`: the queues and everything that is pending."""

from __future__ import annotations

import click

from payflow import command
from payflow.command import Invocation

SECONDS_DEFAULT = 1.0


@click.command
@click.option("--watch", is_flag=True, help="Show it live, until Ctrl-C. With --json: one document per line.")
@click.option(
    "--every",
    "seconds",
    type=click.FloatRange(0.1, 3600),
    default=SECONDS_DEFAULT,
    show_default=True,
    help="With --watch: the seconds between two readings.",
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="With --watch: stop after N readings.")
@command.standard
def queue(invocation: Invocation, *, watch: bool, seconds: float, count: int | None) -> None:
    """Show the queues and all pending work (for operators).

    For each queue: its depth in transfers and in messages, its zone, the age of the oldest transfer, its drain rate and
    the seconds of work left. Then the outbox, pending and stale transfers, dead letters, the proof of the ledger, jobs,
    firing alerts and services.
    """
    if watch:
        from payflow import watching  # noqa: PLC0415 - loads rich

        watching.follow(invocation, seconds=seconds, count=count)
        return
    overview = invocation.call(lambda payflow: payflow.operator.overview())
    if invocation.as_json:
        invocation.print_json(overview.document)
    else:
        from payflow import tables  # noqa: PLC0415 - loads rich

        tables.print_overview(overview)
