"""`payflow events`: live events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from payflow import command
from payflow.command import Invocation
from payflow.prose import printable

if TYPE_CHECKING:
    from payflow.client import PayFlow
    from payflow.events import Event


@click.command
@click.option("--after", type=click.IntRange(min=0), metavar="ID", help="Start after this event; default: now.")
@click.option(
    "--count", type=click.IntRange(min=1), metavar="N", help="Stop after this many events; default: when interrupted."
)
@command.standard
def events(invocation: Invocation, after: int | None, count: int | None) -> None:
    """Follow the events of your transfers live.

    With --json: one document per line. A broken connection is reopened, and no event is missing.
    """

    async def follow(payflow: PayFlow) -> None:
        left = count
        async for event in payflow.events(last_event_id=after):
            click.echo(json.dumps(event.document) if invocation.as_json else _line(event))
            left = None if left is None else left - 1
            if left == 0:
                return

    invocation.call(follow)


def _line(event: Event) -> str:
    text = event.data.get("title") or event.data.get("id") or event.data.get("reason") or ""
    return printable(f"{event.id}  {event.type}  {text}")
