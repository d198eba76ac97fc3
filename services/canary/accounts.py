"""The two probe accounts, as clients of the gateway."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from payflow import PayFlow
from payflow.canary import CURRENCY, EMAILS
from payflow.errors import Problem
from payflow.limits import Limits
from services.contracts import probes

LIMITS = Limits(attempts_max=4, retry_seconds=8.0)
NAME = "Canary"
EMAIL_TAKEN = "email_taken"


@dataclass(frozen=True, slots=True)
class Account:
    """A probe account: its client, which is logged in, and its wallet."""

    payflow: PayFlow
    wallet_id: str

    async def balance(self, at: datetime | None = None) -> int:
        """The balance in minor units, now or at a past instant."""
        return (await self.payflow.balance(self.wallet_id, at=at)).balance


async def open_accounts(gateway: str, secret: str, stack: AsyncExitStack) -> tuple[Account, Account]:
    """Register the accounts if they are missing, log in, and open their wallets. The clients are closed with `stack`.

    Raises:
        PayFlowError: the gateway did not respond, or refused.
    """
    async with AsyncExitStack() as opening:
        first, second = [await _open(gateway, email, probes.password(secret, email), stack=opening) for email in EMAILS]
        stack.push_async_exit(opening.pop_all())
    return first, second


async def _open(gateway: str, email: str, secret: str, *, stack: AsyncExitStack) -> Account:
    payflow = await stack.enter_async_context(PayFlow(gateway, email=email, password=secret, limits=LIMITS))
    try:
        await payflow.register(email, secret, NAME)
    except Problem as problem:
        if problem.code != EMAIL_TAKEN:
            raise
    return Account(payflow, (await payflow.open_wallet(CURRENCY)).id)
