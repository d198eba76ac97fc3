"""`payflow audit`: the audit log."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

from payflow import command
from payflow.command import Invocation

LIMIT_DEFAULT = 50
LIMIT_MAX = 10_000

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def read_moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    """A time (RFC 3339 with its zone), or an age: 90s, 15m, 24h, 7d."""
    if value is None:
        return None
    try:
        if ago := re.fullmatch(r"(\d{1,6})([smhd])", value):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    message = f"{value!r} is neither a time with its zone, as in 2030-01-31T12:00:00Z, nor an age, as in 24h"
    raise click.BadParameter(message, ctx=context, param=parameter)


@click.command
@click.option(
    "--since",
    metavar="TIME",
    callback=read_moment,
    help="Start of the period (inclusive): a time with its zone, or an age such as 90s, 15m, 24h, 7d.",
)
@click.option(
    "--until", metavar="TIME", callback=read_moment, help="End of the period (exclusive), in the same formats."
)
@click.option("--actor", "actor_id", metavar="ID", callback=command.check_user_id, help="Actions by this user.")
@click.option("--user", "user_id", metavar="ID", callback=command.check_user_id, help="Actions that concern this user.")
@click.option("--action", metavar="NAME", help="Only this action, for instance login_failed.")
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=LIMIT_DEFAULT,
    show_default=True,
    help="At most this many entries.",
)
@command.standard
def audit(
    invocation: Invocation,
    *,
    since: datetime | None,
    until: datetime | None,
    actor_id: str | None,
    user_id: str | None,
    action: str | None,
    limit: int,
) -> None:
    """Show the audit log, newest first (for operators).

    Services that did not respond are named below the table; their entries are missing.
    """
    log = invocation.call(
        lambda payflow: payflow.operator.audit(
            since=since, until=until, actor_id=actor_id, user_id=user_id, action=action, limit=limit
        )
    )
    if invocation.as_json:
        invocation.print_json(log.document)
    else:
        from payflow import tables  # noqa: PLC0415 - loads rich

        tables.print_audit(log)
