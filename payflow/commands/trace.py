"""`payflow trace`: the timeline of one transfer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import click

from payflow import command, prose
from payflow.command import Invocation
from payflow.errors import NothingFound
from payflow.moments import read_moment
from payflow.request import timestamp

if TYPE_CHECKING:
    from payflow.client import PayFlow
    from payflow.search import SearchResult
    from payflow.transfer import Timeline

    Follow = Callable[[Callable[[], Awaitable[Timeline]], bool], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Known:
    """What the caller knows about the transfer."""

    transfer_id: str | None
    key: str | None
    user: str | None
    request_id: str | None
    until: datetime | None

    def check(self) -> None:
        """Refuse a command line that names no transfer, or names it twice.

        Raises:
            click.UsageError
        """
        ways = [self.transfer_id, self.key or self.user, self.request_id]
        if len([way for way in ways if way is not None]) != 1:
            raise click.UsageError(
                "name the transfer by its ID, or by --key (perhaps with --user), --user or --request-id"
            )


@click.command
@click.argument("transfer_id", metavar="[ID]", required=False, callback=command.check_optional_id)
@click.option("--key", metavar="KEY", help="The idempotency key of its request.")
@click.option("--user", metavar="EMAIL", help="Its sender or recipient, by e-mail address or id (for operators).")
@click.option("--request-id", metavar="ID", help="The X-Request-Id of its request (for operators).")
@click.option(
    "--until", metavar="TIME", callback=read_moment, help="Search before this time, or age such as 15m, 24h, 7d."
)
@click.option("--for-customer", is_flag=True, help="Print only the sentence for the customer.")
@click.option(
    "--follow", is_flag=True, help="Show it live until it is final. With --json: one document for each change."
)
@command.standard
def trace(
    invocation: Invocation,
    *,
    transfer_id: str | None,
    key: str | None,
    user: str | None,
    request_id: str | None,
    until: datetime | None,
    for_customer: bool,
    follow: bool,
) -> None:
    """Show the timeline of the transfer ID, step by step.

    Each step has the milliseconds since the transfer was accepted and since the step before. Below: what the transfer waits
    for and for how long, what to check, and a sentence for the customer. Operators can trace any transfer, other users their
    own. If a search finds several transfers, they are listed instead.

    A request id that a client chose is searched among the newest 100,000 transfers before --until, a key without --user among
    the newest 20,000.
    """
    known = Known(transfer_id, key, user, request_id, until)
    known.check()
    if follow and for_customer:
        raise click.UsageError("use either --follow or --for-customer")
    timeline, several, is_operator = invocation.call(
        lambda payflow: _read(payflow, known, followed=_followed(invocation) if follow else None)
    )
    if several is not None:
        _print_several(invocation, several)
    elif timeline is None:
        pass
    elif invocation.as_json:
        invocation.print_json(timeline.document)
    elif for_customer:
        click.echo(prose.printable(timeline.summary))
    else:
        from payflow import tables  # noqa: PLC0415 - loads rich

        tables.print_timeline(timeline, checks=is_operator)


def _followed(invocation: Invocation) -> Follow:
    from payflow import following  # noqa: PLC0415 - loads rich

    return lambda read, is_operator: following.follow(read, as_json=invocation.as_json, checks=is_operator)


async def _read(
    payflow: PayFlow, known: Known, *, followed: Follow | None
) -> tuple[Timeline | None, SearchResult | None, bool]:
    """The timeline, unless several transfers were found, or it was shown by `followed`."""
    is_operator = payflow.user is not None and payflow.user.is_operator
    found = await _find(payflow, known, is_operator=is_operator)
    if not isinstance(found, str):
        return None, found, is_operator
    reader = payflow.operator if is_operator else payflow
    if followed is None:
        return await reader.timeline(found), None, is_operator
    await followed(lambda: reader.timeline(found), is_operator)
    return None, None, is_operator


async def _find(payflow: PayFlow, known: Known, *, is_operator: bool) -> str | SearchResult:
    """The id of the transfer, or the transfers found if there are several."""
    if known.transfer_id is not None:
        return known.transfer_id
    if not is_operator and known.user is None and known.key is not None:
        own = await payflow.find_by_key(known.key)
        if own is None:
            raise NothingFound("no accepted request has this key; sending it again with the same key is safe")
        return own.id
    found = await payflow.operator.find_transfers(
        idempotency_key=known.key, user=known.user, request_id=known.request_id, until=known.until
    )
    return found.items[0].transfer.id if len(found.items) == 1 else _some(found)


def _some(found: SearchResult) -> SearchResult:
    if found.items:
        return found
    if found.searched_from is None:
        raise NothingFound("no transfer was found")
    at = timestamp(found.searched_from)
    raise NothingFound(f"no transfer accepted since {at} was found; search before that with --until {at}")


def _print_several(invocation: Invocation, found: SearchResult) -> None:
    if invocation.as_json:
        invocation.print_json(found.document)
        return
    from payflow import transfer_tables  # noqa: PLC0415 - loads rich

    transfer_tables.print_found(found)
    click.echo("several transfers were found: `payflow trace ID` shows one", err=True)
