"""`payflow dead-letters`: messages that could not be processed."""

from __future__ import annotations

import click

from payflow import command, prose
from payflow.command import Invocation


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show, replay and discard dead letters (for operators)."""


@dead_letters.command("list")
@click.option("--queue", metavar="NAME", help="Only dead letters of this queue.")
@click.option(
    "--state",
    type=click.Choice(["waiting", "replayed", "discarded", "any"]),
    default="waiting",
    show_default=True,
    help="Only dead letters in this state.",
)
@command.standard
def list_dead_letters(invocation: Invocation, queue: str | None, state: str) -> None:
    """List dead letters, newest first."""
    found = invocation.call(lambda payflow: payflow.operator.dead_letters(queue=queue, state=state))
    if invocation.as_json:
        invocation.print_json(found.document)
    else:
        from payflow import tables  # noqa: PLC0415 - loads rich

        tables.print_dead_letters(found)


@dead_letters.command
@click.argument("dead_letter_id", metavar="ID", callback=command.check_dead_letter_id)
@command.standard
def show(invocation: Invocation, dead_letter_id: str) -> None:
    """Show the dead letter ID: its reason, its transfers and its body."""
    found = invocation.call(lambda payflow: payflow.operator.dead_letter(dead_letter_id))
    if invocation.as_json:
        invocation.print_json(found.document)
    else:
        from payflow import tables  # noqa: PLC0415 - loads rich

        tables.print_dead_letter(found)


@dead_letters.command
@click.argument("dead_letter_id", metavar="ID", callback=command.check_dead_letter_id)
@click.option("--dry-run", is_flag=True, help="Only show the effect on each transfer; change nothing.")
@command.standard
def replay(invocation: Invocation, dead_letter_id: str, dry_run: bool) -> None:
    """Publish the dead letter ID to its queue again.

    An extra replay does no harm: a transfer that has its outcome keeps it.
    """
    done = invocation.call(lambda payflow: payflow.operator.replay_dead_letter(dead_letter_id, dry_run=dry_run))
    if invocation.as_json:
        invocation.print_json(done.document)
    else:
        from payflow import tables  # noqa: PLC0415 - loads rich

        tables.print_replay(done)


@dead_letters.command
@click.argument("dead_letter_id", metavar="ID", callback=command.check_dead_letter_id)
@click.option("--reason", required=True, metavar="TEXT", help="Why it needs no action; stored in its record.")
@command.standard
def discard(invocation: Invocation, dead_letter_id: str, reason: str) -> None:
    """Discard the dead letter ID. Its record stays, and no transfer is changed."""
    found = invocation.call(lambda payflow: payflow.operator.discard_dead_letter(dead_letter_id, reason))
    if invocation.as_json:
        invocation.print_json(found.document)
    else:
        click.echo(prose.printable(f"discarded {found.id}; no transfer was changed"))
