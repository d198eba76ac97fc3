"""`payflow queue`: the queues and everything that is pending."""

from __future__ import annotations

import click

from payflow import command
from payflow.command import Invocation


@click.command
@command.standard
def queue(invocation: Invocation) -> None:
    """Show the queues and all pending work (for operators).

    For each queue: its depth in transfers and in messages, its zone, the age of the oldest transfer, its drain rate and
    the seconds of work left. Then the outbox, pending and stale transfers, dead letters, the proof of the ledger, jobs
    and services.
    """
    overview = invocation.call(lambda payflow: payflow.operator.overview())
    if invocation.as_json:
        invocation.print_json(overview.document)
    else:
        from payflow import tables  # noqa: PLC0415 - loads rich

        tables.print_overview(overview)
