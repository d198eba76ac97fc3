"""`payflow trace`: the story of one transfer."""

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
    """Tell how the transfer ID went, hop by hop.

    With the milliseconds since it was accepted, what it waits for, and a sentence for the customer. Operators can ask
    for any transfer, others for their own.
    """

    async def ask(payflow: PayFlow) -> Timeline:
        return await payflow.timeline(transfer_id, as_operator=payflow.user is not None and payflow.user.is_operator)

    timeline = invocation.ask(ask)
    if invocation.as_json:
        invocation.print_json(timeline.document)
    else:
        from payflow import tables  # noqa: PLC0415 - rich is loaded only to print a table

        tables.print_timeline(timeline)
