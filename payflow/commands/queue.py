"""`payflow queue`: what waits, and for how long."""

from __future__ import annotations

import click

from payflow import command
from payflow.command import Invocation


@click.command
@command.standard
def queue(invocation: Invocation) -> None:
    """Show the queues and everything that waits (for operators).

    For each queue its depth in transfers and in messages, its zone, the age of the oldest, how fast it drains and how
    many seconds of work are ahead; then outbox, pending and stale transfers, dead letters, the proof of the ledger,
    jobs and services.
    """
    overview = invocation.ask(lambda payflow: payflow.overview())
    if invocation.as_json:
        invocation.print_json(overview.document)
    else:
        from payflow import tables  # noqa: PLC0415 - rich is loaded only to print a table

        tables.print_overview(overview)
