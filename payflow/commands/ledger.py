"""`payflow ledger`: does it hold, and what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from payflow import command, prose
from payflow.command import Invocation, Wrong

if TYPE_CHECKING:
    from payflow.client import PayFlow
    from payflow.money import Currency
    from payflow.operations import BalanceSheet, Check


@click.group
def ledger() -> None:
    """Prove the ledger and read its books (for operators)."""


@ledger.command
@click.option(
    "--head", metavar="NUMBER:HASH", callback=command.check_head, help="A head noted earlier; it must be there."
)
@command.standard
def verify(invocation: Invocation, head: str | None) -> None:
    """Check every entry of the ledger and every sealed block, now.

    Prints each check, and the head: the newest sealed block. Note it down outside of the system and give it with --head
    later: history that was sealed by then cannot have been rewritten unnoticed. Exits 3, naming the checks that fail and
    what they found, when the ledger does not hold.
    """
    proof = invocation.ask(lambda payflow: payflow.proof(full=True, head=head))
    if invocation.as_json:
        invocation.print_json(proof.document)
    else:
        from payflow import tables  # noqa: PLC0415 - rich is loaded only to print a table

        tables.print_proof(proof)
    if not proof.ok:
        named = "; ".join(_named(check) for check in proof.failing) or "no check was named"
        raise Wrong(f"the ledger does not hold: {named}", exit_code=command.EXIT_NOT_PROVEN)


@ledger.command("balance-sheet")
@command.standard
def balance_sheet(invocation: Invocation) -> None:
    """Show what customers have and what the outside world gave, by currency.

    Exits 3, naming the currency, when the two do not add up to zero.
    """
    sheet, currencies = invocation.ask(_read_books)
    if invocation.as_json:
        invocation.print_json(sheet.document)
    else:
        from payflow import tables  # noqa: PLC0415 - rich is loaded only to print a table

        tables.print_balance_sheet(sheet, currencies)
    unbalanced = [row.currency for row in sheet.currencies if row.sum != 0]
    if unbalanced:
        raise Wrong(f"the books do not balance in {', '.join(unbalanced)}", exit_code=command.EXIT_NOT_PROVEN)


async def _read_books(payflow: PayFlow) -> tuple[BalanceSheet, dict[str, Currency]]:
    return await payflow.balance_sheet(), await payflow.currencies()


def _named(check: Check) -> str:
    found = prose.phrase(check.detail)
    return f"{check.name} ({found})" if found else check.name
