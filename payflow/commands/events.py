"""`payflow events`: what happens, as it happens."""

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
@click.option("--after", type=click.IntRange(min=0), metavar="ID", help="Begin after this event; else with what comes.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many; else when interrupted.")
@command.standard
def events(invocation: Invocation, after: int | None, count: int | None) -> None:
    """Follow what happens to your transfers, live; with --json one document a line.

    A connection that breaks is made again, and nothing is missing then.
    """

    async def follow(payflow: PayFlow) -> None:
        left = count
        async for event in payflow.events(last_event_id=after):
            click.echo(json.dumps(event.document) if invocation.as_json else _line(event))
            left = None if left is None else left - 1
            if left == 0:
                return

    invocation.ask(follow)


def _line(event: Event) -> str:
    said = event.data.get("title") or event.data.get("id") or event.data.get("reason") or ""
    return printable(f"{event.id}  {event.type}  {said}")
