"""The probe accounts of the canary: their addresses, their currency, and how an operator funds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payflow.client import PayFlow
    from payflow.transfer import Transfer

EMAILS = ("canary-a@payflow.invalid", "canary-b@payflow.invalid")
"""No e-mail can reach them: the domain `invalid` is reserved (RFC 2606)."""

CURRENCY = "XTS"
"""The code that ISO 4217 reserves for tests. No report adds it to a currency of customers."""

FUND = 100
"""What is put in, in minor units. Both accounts together hold exactly this."""


async def fund(payflow: PayFlow, *, wait_seconds: float) -> Transfer | None:
    """Put the money in, as an operator; None if it was put in before. Repeating it after an error is safe.

    Returns the transfer to the first probe account, which is PENDING if it is not final in time.

    Raises:
        Problem: the user is no operator, or the canary has not registered its accounts yet (`recipient_not_found`).
    """
    sheet = await payflow.operator.balance_sheet()
    wallet = await payflow.open_wallet(CURRENCY)
    held = sum(row.customers for row in sheet.currencies if row.currency == CURRENCY)
    if held > wallet.balance:
        return None
    await payflow.operator.deposit(
        wallet_id=wallet.id,
        amount=FUND,
        currency=CURRENCY,
        reference="canary",
        idempotency_key="canary-fund-deposit",
        wait_seconds=wait_seconds,
    )
    return await payflow.send(
        amount=FUND,
        currency=CURRENCY,
        to_email=EMAILS[0],
        description="canary",
        idempotency_key="canary-fund-transfer",
        wait_seconds=wait_seconds,
    )
