"""`payflow dead-letters`: what could not be done and waits for a human."""

from __future__ import annotations

from typing import Any

import click

from payflow import command, prose
from payflow.command import Invocation


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at dead letters, put them back, or discard them (for operators)."""


@dead_letters.command("list")
@click.option("--queue", metavar="NAME", help="Of this queue alone.")
@click.option(
    "--state",
    type=click.Choice(["waiting", "replayed", "discarded", "any"]),
    default="waiting",
    show_default=True,
    help="What became of them.",
)
@command.standard
def list_letters(invocation: Invocation, queue: str | None, state: str) -> None:
    """List the dead letters that wait, newest first."""
    page = invocation.ask(lambda payflow: payflow.dead_letters(queue=queue, state=state))
    if invocation.as_json:
        invocation.print_json(page)
    else:
        from payflow import tables  # noqa: PLC0415 - rich is loaded only to print a table

        tables.print_dead_letters(page)


@dead_letters.command
@click.argument("letter_id", metavar="ID", callback=command.check_letter_id)
@command.standard
def show(invocation: Invocation, letter_id: str) -> None:
    """Show the dead letter ID: why it is one, whose transfers are in it, and its body."""
    letter = invocation.ask(lambda payflow: payflow.dead_letter(letter_id))
    if invocation.as_json:
        invocation.print_json(letter)
    else:
        from payflow import tables  # noqa: PLC0415 - rich is loaded only to print a table

        tables.print_dead_letter(letter)


@dead_letters.command
@click.argument("letter_id", metavar="ID", callback=command.check_letter_id)
@click.option("--dry-run", is_flag=True, help="Do nothing; only tell what it would do to each transfer.")
@command.standard
def replay(invocation: Invocation, letter_id: str, dry_run: bool) -> None:
    """Put the dead letter ID into its queue once more.

    A replay too many does no harm: a transfer that has its outcome keeps it.
    """
    outlook: dict[str, Any] = invocation.ask(lambda payflow: payflow.replay_dead_letter(letter_id, dry_run=dry_run))
    if invocation.as_json:
        invocation.print_json(outlook)
    else:
        from payflow import tables  # noqa: PLC0415 - rich is loaded only to print a table

        tables.print_replay(outlook)


@dead_letters.command
@click.argument("letter_id", metavar="ID", callback=command.check_letter_id)
@click.option("--reason", required=True, metavar="TEXT", help="Why nobody has to look at it any more; goes on record.")
@command.standard
def discard(invocation: Invocation, letter_id: str, reason: str) -> None:
    """Let the dead letter ID wait no longer. Its record stays, and no transfer is touched."""
    letter = invocation.ask(lambda payflow: payflow.discard_dead_letter(letter_id, reason))
    if invocation.as_json:
        invocation.print_json(letter)
    else:
        click.echo(prose.printable(f"discarded {letter['id']}; no transfer was touched"))
