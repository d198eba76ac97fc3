"""`payflow trace`: the timeline of one transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from payflow import command
from payflow.command import Invocation

if TYPE_CHECKING:
    from payflow.client import PayFlow
    from payflow.transfer import Timeline


@click.command
@click.argument("transfer_id", metavar="ID", callback=command.check_id)
@command.standard
def trace(invocation: Invocation, transfer_id: str) -> None:
    """Show the timeline of the transfer ID, step by step.

    Also the milliseconds since it was accepted, what it waits for, and a sentence for the customer. Operators can trace
    any transfer, other users their own.
    """

    async def read(payflow: PayFlow) -> Timeline:
        if payflow.user is not None and payflow.user.is_operator:
            return await payflow.operator.timeline(transfer_id)
        return await payflow.timeline(transfer_id)

    timeline = invocation.call(read)
    if invocation.as_json:
        invocation.print_json(timeline.document)
    else:
        from payflow import tables  # noqa: PLC0415 - loads rich

        tables.print_timeline(timeline)
