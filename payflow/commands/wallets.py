"""`payflow wallets`: your wallets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from payflow import command
from payflow.command import Invocation

if TYPE_CHECKING:
    from payflow.client import PayFlow
    from payflow.money import Currency
    from payflow.wallet import Wallet


@click.command
@command.standard
def wallets(invocation: Invocation) -> None:
    """List your wallets with their balances, one for each currency."""

    async def read(payflow: PayFlow) -> tuple[list[Wallet], dict[str, Currency]]:
        return await payflow.wallets(), {} if invocation.as_json else await payflow.currencies()

    found, currencies = invocation.call(read)
    if invocation.as_json:
        invocation.print_json({"items": [wallet.document for wallet in found]})
    else:
        from payflow import transfer_tables  # noqa: PLC0415 - loads rich

        transfer_tables.print_wallets(found, currencies)
