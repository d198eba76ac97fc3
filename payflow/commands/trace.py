"""`payflow trace`: the timeline of one transfer."""

from __future__ import annotations

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
    timeline, several, is_operator = invocation.call(lambda payflow: _read(payflow, known))
    if timeline is None:
        _print_several(invocation, several)
    elif invocation.as_json:
        invocation.print_json(timeline.document)
    elif for_customer:
        click.echo(prose.printable(timeline.summary))
    else:
        from payflow import tables  # noqa: PLC0415 - loads rich

        tables.print_timeline(timeline, checks=is_operator)


async def _read(payflow: PayFlow, known: Known) -> tuple[Timeline | None, SearchResult | None, bool]:
    is_operator = payflow.user is not None and payflow.user.is_operator
    transfer_id = known.transfer_id
    if transfer_id is None and not is_operator and known.user is None and known.key is not None:
        own = await payflow.find_by_key(known.key)
        if own is None:
            raise NothingFound("no request with this key has arrived; sending it again with the same key is safe")
        transfer_id = own.id
    if transfer_id is None:
        found = await payflow.operator.find_transfers(
            idempotency_key=known.key, user=known.user, request_id=known.request_id, until=known.until
        )
        if len(found.items) != 1:
            return None, _some(found), is_operator
        transfer_id = found.items[0].transfer.id
    timeline = await (payflow.operator if is_operator else payflow).timeline(transfer_id)
    return timeline, None, is_operator


def _some(found: SearchResult) -> SearchResult:
    if found.items:
        return found
    if found.searched_from is None:
        raise NothingFound("no transfer was found")
    at = timestamp(found.searched_from)
    raise NothingFound(f"no transfer accepted since {at} was found; search before that with --until {at}")


def _print_several(invocation: Invocation, found: SearchResult | None) -> None:
    assert found is not None, "either one or several"
    if invocation.as_json:
        invocation.print_json(found.document)
        return
    from payflow import transfer_tables  # noqa: PLC0415 - loads rich

    transfer_tables.print_found(found)
    click.echo("several transfers were found: `payflow trace ID` shows one", err=True)
