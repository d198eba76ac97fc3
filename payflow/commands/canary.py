"""`payflow canary`: fund the probe accounts (for operators)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from payflow import command
from payflow.command import Invocation

if TYPE_CHECKING:
    from payflow.client import PayFlow
    from payflow.transfer import Transfer

WAIT_SECONDS = 30.0


@click.group
def canary() -> None:
    """The canary, which measures payments from the outside (for operators)."""


@canary.command
@command.standard
def fund(invocation: Invocation) -> None:
    """Fund the canary with its test money, once.

    Until then the canary makes no transfers. The money is in XTS, the code that ISO 4217 reserves for tests.
    """
    transfer = invocation.call(_fund)
    if invocation.as_json:
        invocation.print_json({"transfer": None if transfer is None else dict(transfer.document)})
    elif transfer is None:
        click.echo("the canary is already funded")
    else:
        click.echo(f"transfer {transfer.id} to the canary: {transfer.status}")


async def _fund(payflow: PayFlow) -> Transfer | None:
    from payflow import canary  # noqa: PLC0415 - loaded when it is used

    return await canary.fund(payflow, wait_seconds=WAIT_SECONDS)
