"""`payflow ledger`: verify the ledger, show its balance sheet, admit late outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from payflow import command, prose
from payflow.command import CheckFailed, Invocation

if TYPE_CHECKING:
    from payflow.client import PayFlow
    from payflow.money import Currency
    from payflow.operations import BalanceSheet, Check


@click.group
def ledger() -> None:
    """Verify the ledger, show the balance sheet, admit late outcomes (for operators)."""


@ledger.command
@click.option(
    "--head", metavar="NUMBER:HASH", callback=command.check_head, help="A head recorded earlier, which must be found."
)
@click.option("--full", is_flag=True, help="Compare every sealed block again.")
@command.standard
def verify(invocation: Invocation, head: str | None, *, full: bool) -> None:
    """Check every entry and the sealed blocks, now.

    Continues from the last verified block: of the blocks before it only the newest are compared with their rows again.
    Shows the progress on a terminal; the run goes on if you interrupt the command. If a run that checks at least as much
    is in progress, shows its result.

    Prints each check, and the head: the newest sealed block. Record it outside of the system and pass it with --head
    later, to detect any change of the history that was sealed by then. Exits with 3 and names the failed checks if the
    ledger does not pass.
    """
    from payflow import verification  # noqa: PLC0415 - loads the HTTP client

    proof = invocation.call(lambda payflow: verification.verify(payflow, full=full, head=head))
    if invocation.as_json:
        invocation.print_json(proof.document)
    else:
        from payflow import tables  # noqa: PLC0415 - loads rich

        tables.print_proof(proof)
    if not proof.ok:
        named = "; ".join(_named(check) for check in proof.failing) or "no check is named"
        raise CheckFailed(f"the ledger failed verification: {named}")


@ledger.command
@click.argument("transfer_id", metavar="TRANSFER")
@click.option("--reason", required=True, help="Why the outcome is genuine; stored in the audit log.")
@command.standard
def admit(invocation: Invocation, transfer_id: str, reason: str) -> None:
    """Admit the late outcome of TRANSFER.

    Only for an outcome that `payflow ledger verify` names under nothing_came_late, and that a person found to be genuine.
    The next block seals it. Repeating the command returns the first admission.
    """
    admission = invocation.call(lambda payflow: payflow.operator.admit_outcome(transfer_id, reason))
    if invocation.as_json:
        invocation.print_json(admission.document)
        return
    sealed = "the next block seals it" if admission.block is None else f"block {admission.block} seals it"
    click.echo(prose.printable(f"{admission.transfer_id} is admitted ({admission.reason}): {sealed}."))


@ledger.command("balance-sheet")
@command.standard
def balance_sheet(invocation: Invocation) -> None:
    """Show the balance sheet: customer and external accounts.

    One row of sums per currency. Exits with 3 and names the currency if the sums do not add up to zero.
    """
    sheet, currencies = invocation.call(_read_sheet)
    if invocation.as_json:
        invocation.print_json(sheet.document)
    else:
        from payflow import tables  # noqa: PLC0415 - loads rich

        tables.print_balance_sheet(sheet, currencies)
    unbalanced = [row.currency for row in sheet.currencies if row.sum != 0]
    if unbalanced:
        raise CheckFailed(f"the books do not balance in {', '.join(unbalanced)}")


async def _read_sheet(payflow: PayFlow) -> tuple[BalanceSheet, dict[str, Currency]]:
    return await payflow.operator.balance_sheet(), await payflow.currencies()


def _named(check: Check) -> str:
    found = prose.phrase(check.detail)
    return f"{check.name} ({found})" if found else check.name
