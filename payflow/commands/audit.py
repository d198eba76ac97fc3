"""`payflow audit`: the audit log."""

from __future__ import annotations

from datetime import datetime

import click

from payflow import command
from payflow.command import Invocation
from payflow.moments import read_moment

LIMIT_DEFAULT = 50
LIMIT_MAX = 10_000


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
