"""`payflow transfers`: your transfers."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from payflow import command
from payflow.command import Invocation
from payflow.moments import read_moment

if TYPE_CHECKING:
    from payflow.client import PayFlow
    from payflow.money import Currency
    from payflow.transfer import Transfer

LIMIT_DEFAULT = 20
LIMIT_MAX = 10_000


@click.command
@click.option(
    "--status", type=click.Choice(["PENDING", "COMPLETED", "FAILED"]), help="Only transfers with this status."
)
@click.option("--wallet", "wallet_id", metavar="ID", help="Only transfers from or to this wallet.")
@click.option(
    "--since", metavar="TIME", callback=read_moment, help="From this time on, or an age such as 15m, 24h, 7d."
)
@click.option("--until", metavar="TIME", callback=read_moment, help="Before this time, in the same formats.")
@click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT_DEFAULT, show_default=True, help="At most this many."
)
@command.standard
def transfers(
    invocation: Invocation,
    *,
    status: str | None,
    wallet_id: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> None:
    """List your transfers, sent and received, newest first."""

    async def read(payflow: PayFlow) -> tuple[list[Transfer], dict[str, Currency]]:
        listed: list[Transfer] = []
        pages = payflow.transfers(status=status, wallet_id=wallet_id, since=since, until=until)
        async for transfer in pages:
            listed.append(transfer)
            if len(listed) == limit:
                break
        return listed, {} if invocation.as_json else await payflow.currencies()

    found, currencies = invocation.call(read)
    if invocation.as_json:
        invocation.print_json({"items": [transfer.document for transfer in found]})
    else:
        from payflow import transfer_tables  # noqa: PLC0415 - loads rich

        transfer_tables.print_transfers(found, currencies)
