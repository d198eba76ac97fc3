"""`payflow stuck`: transfers that take too long."""

from __future__ import annotations

import click

from payflow import command
from payflow.command import CheckFailed, Invocation

SECONDS_DEFAULT = 5
SECONDS_MAX = 10**8
LIMIT_DEFAULT = 50
LIMIT_MAX = 200


@click.command
@click.option(
    "--seconds",
    type=click.IntRange(0, SECONDS_MAX),
    default=SECONDS_DEFAULT,
    show_default=True,
    help="Only transfers that are PENDING for more than this many seconds.",
)
@click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT_DEFAULT, show_default=True, help="At most this many."
)
@command.standard
def stuck(invocation: Invocation, *, seconds: int, limit: int) -> None:
    """Find transfers that take too long, the oldest first (for operators).

    Shows for each its age, its sender and what it waits for, then how many wait for what. Exits with 3 if it finds one.
    """
    found = invocation.call(lambda payflow: payflow.operator.find_transfers(pending_seconds=seconds, limit=limit))
    if invocation.as_json:
        invocation.print_json(found.document)
    elif found.items:
        from payflow import transfer_tables  # noqa: PLC0415 - loads rich

        transfer_tables.print_stuck(found)
    else:
        click.echo(f"no transfer has been PENDING for more than {seconds} s")
    if found.items:
        more = "at least " if found.has_more else ""
        plural = "transfer has" if len(found.items) == 1 else "transfers have"
        raise CheckFailed(f"{more}{len(found.items)} {plural} been PENDING for more than {seconds} s")
