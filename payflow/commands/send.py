"""`payflow send`: one payment, exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from payflow import command, prose
from payflow.command import Invocation

if TYPE_CHECKING:
    from payflow.client import PayFlow
    from payflow.money import Currency
    from payflow.transfer import Transfer

WAIT_SECONDS_DEFAULT = 10
WAIT_SECONDS_MAX = 3600
NOT_PAID = 1
"""The exit code for a transfer that FAILED."""


@dataclass(frozen=True, slots=True)
class Payment:
    """What the caller typed: the amount in the currency's major unit; an e-mail address or a wallet id."""

    amount: str
    currency: str
    recipient: str
    description: str | None

    async def send(self, payflow: PayFlow, *, key: str, wait_seconds: int) -> tuple[Transfer, Currency]:
        """Send it and wait for the outcome.

        Raises:
            InvalidArgument: the amount is not exact in its currency, or the currency is not known; nothing was sent.
            PayFlowError: as `PayFlow.send`.
        """
        known = _find(await payflow.currencies(), self.currency)
        is_email = "@" in self.recipient
        transfer = await payflow.send(
            amount=known.parse(self.amount),
            currency=known.code,
            to_email=self.recipient if is_email else None,
            to_wallet_id=None if is_email else self.recipient,
            description=self.description,
            idempotency_key=key,
            wait_seconds=wait_seconds,
        )
        return transfer, known


@click.command
@click.argument("amount")
@click.argument("currency")
@click.option(
    "--to", "recipient", metavar="EMAIL", required=True, help="The recipient's e-mail address, or a wallet id."
)
@click.option("--description", metavar="TEXT", help="Shown to both sides.")
@click.option("--key", metavar="KEY", help="The idempotency key, to repeat a payment whose outcome is unknown.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.IntRange(0, WAIT_SECONDS_MAX),
    default=WAIT_SECONDS_DEFAULT,
    show_default=True,
    help="How many seconds to wait for the outcome.",
)
@command.standard
def send(
    invocation: Invocation,
    *,
    amount: str,
    currency: str,
    recipient: str,
    description: str | None,
    key: str | None,
    wait_seconds: int,
) -> int:
    """Send AMOUNT in CURRENCY, for example 12.50 USD, exactly once.

    The idempotency key is printed on standard error before anything is sent: after an interruption, or if the outcome is
    unknown, repeat the same command with --key, and it stays one payment. Exits with 1 if the transfer FAILED.
    """
    from payflow import submission  # noqa: PLC0415 - not needed for a help text

    chosen = submission.check_key(key) if key is not None else submission.new_key()
    if key is None:
        click.echo(f"idempotency key {chosen}", err=True)
    payment = Payment(amount, currency, recipient, description)
    transfer, known = invocation.call(lambda payflow: payment.send(payflow, key=chosen, wait_seconds=wait_seconds))
    if invocation.as_json:
        invocation.print_json(transfer.document)
    else:
        click.echo(prose.printable(_line(transfer, known)))
    return NOT_PAID if transfer.is_finalized and not transfer.is_completed else 0


def _find(currencies: dict[str, Currency], code: str) -> Currency:
    from payflow.errors import InvalidArgument  # noqa: PLC0415

    try:
        return currencies[code.upper()]
    except KeyError:
        raise InvalidArgument(f"{code!r} is not the code of a currency; one looks like USD") from None


def _line(transfer: Transfer, currency: Currency) -> str:
    text = f"{transfer.status} {currency.format(transfer.amount)}: transfer {transfer.id}"
    if transfer.failure is not None:
        return f"{text}: {transfer.failure.message or transfer.failure.code}"
    if not transfer.is_finalized:
        return f"{text}: accepted, and final by {transfer.final_by:%H:%M:%S} UTC; `payflow trace {transfer.id}` shows where it is"
    return text
