"""`payflow keys`: the keys that sign access tokens (for operators)."""

from __future__ import annotations

import click

from payflow import command
from payflow.command import Invocation


@click.group
def keys() -> None:
    """List and rotate the keys that sign access tokens (for operators)."""


@keys.command("list")
@command.standard
def list_keys(invocation: Invocation) -> None:
    """Show every key: which one signs, which wait, which only verify, and until when."""
    found = invocation.ask(lambda payflow: payflow.signing_keys())
    if invocation.as_json:
        invocation.print_json(found.document)
    else:
        from payflow import tables  # noqa: PLC0415 - rich is loaded only to print a table

        tables.print_signing_keys(found)


@keys.command
@command.standard
def rotate(invocation: Invocation) -> None:
    """Make a new key, without logging anyone out.

    It is published at once and signs when every gateway must have learned it. The one before retires by itself when its last
    token has expired. While a key waits to sign, no further one is made.
    """
    found = invocation.ask(lambda payflow: payflow.rotate_signing_keys())
    if invocation.as_json:
        invocation.print_json(found.document)
        return
    waiting = found.keys[-1]
    made = "published" if found.rotated else "was waiting already, no other was made:"
    click.echo(f"{made} {waiting.kid}, which signs from {waiting.signs_from:%Y-%m-%d %H:%M:%S} UTC on")
