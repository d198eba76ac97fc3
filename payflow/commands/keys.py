"""`payflow keys`: the keys that sign access tokens (for operators)."""

from __future__ import annotations

import click

from payflow import command
from payflow.command import Invocation


@click.group
def keys() -> None:
    """List and rotate the signing keys (for operators)."""


@keys.command("list")
@command.standard
def list_keys(invocation: Invocation) -> None:
    """List all keys with their state.

    A key is waiting, signing, verifying or retired.
    """
    found = invocation.call(lambda payflow: payflow.operator.signing_keys())
    if invocation.as_json:
        invocation.print_json(found.document)
    else:
        from payflow import tables  # noqa: PLC0415 - loads rich

        tables.print_signing_keys(found)


@keys.command
@command.standard
def rotate(invocation: Invocation) -> None:
    """Create a new key; no user is logged out.

    It is published at once, and signs as soon as every gateway has it. The previous key retires when its last token has
    expired. While a key waits to sign, no other is created.
    """
    found = invocation.call(lambda payflow: payflow.operator.rotate_signing_keys())
    if invocation.as_json:
        invocation.print_json(found.document)
        return
    waiting = found.keys[-1]
    result = "published" if found.rotated else "no key was created, this one is waiting already:"
    click.echo(f"{result} {waiting.kid}, which signs from {waiting.signs_from:%Y-%m-%d %H:%M:%S} UTC on")
