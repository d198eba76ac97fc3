"""Transfers through the published port while parts of the system are killed: each must end COMPLETED, once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from deploy.programs import DeployError
from deploy.smoke.settings import Operator
from payflow.client import PayFlow
from payflow.limits import Limits
from payflow.submission import new_key
from payflow.transfer import COMPLETED, Transfer

CURRENCY = "USD"
MONEY = 1_000
FINAL_SECONDS_MAX = 150.0
"""After a transfer was accepted: its expiry of 60 s, the start of a broker on a busy machine, and a margin."""

LIMITS = Limits(attempts_max=30, retry_seconds=90.0)
"""A client that retries with the same key for longer than a restart takes."""


@dataclass(slots=True)
class Payments:
    """Two users; the first has money and sends it to the second, one cent at a time."""

    sender: PayFlow
    receiver: PayFlow
    operator: PayFlow
    email: str
    received: int = 0

    async def during(self, disturbance: Callable[[], Awaitable[None]], *, count: int) -> float:
        """Accept `count` transfers while `disturbance` runs, then wait until all are COMPLETED.

        Returns:
            The seconds from the first request to the last outcome.

        Raises:
            DeployError: a transfer ended otherwise, or the receiver did not get exactly the sum.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        accepted, _ = await asyncio.gather(asyncio.gather(*(self._send() for _ in range(count))), disturbance())
        final = await asyncio.gather(*(self.sender.wait(it, wait_seconds=FINAL_SECONDS_MAX) for it in accepted))
        self.received += count
        others = [f"{it.id} is {it.status}" for it in final if it.status != COMPLETED]
        if others:
            raise DeployError(f"{len(others)} of {count} transfers are not COMPLETED: {others[0]}")
        balance = (await self.receiver.balance()).balance
        if balance != self.received:
            raise DeployError(f"the receiver has {balance} cents, and must have {self.received}")
        return loop.time() - started

    async def check_ledger(self) -> int:
        """Verify the whole ledger; returns how many entries were read.

        Raises:
            DeployError: a check failed.
        """
        proof = await self.operator.operator.proof(full=True)
        if proof.failing:
            raise DeployError(f"the ledger is not in order: {proof.failing[0]}")
        return len(proof.checks)

    async def _send(self) -> Transfer:
        return await self.sender.send(
            amount=1, currency=CURRENCY, to_email=self.email, idempotency_key=new_key(), wait_seconds=0
        )


@asynccontextmanager
async def opened(gateway: str, operator: Operator) -> AsyncIterator[Payments]:
    """Register two users and give the first one money."""
    async with AsyncExitStack() as clients:
        sender, receiver, funder = [
            await clients.enter_async_context(client)
            for client in (
                PayFlow(gateway, limits=LIMITS),
                PayFlow(gateway, limits=LIMITS),
                PayFlow(gateway, email=operator.email, password=operator.password, limits=LIMITS),
            )
        ]
        emails = [f"rehearsal-{secrets.token_hex(8)}@example.com" for _ in range(2)]
        for client, email in zip((sender, receiver), emails, strict=True):
            await client.register(email, secrets.token_urlsafe(24), "Rehearsal")
        wallet = next(it for it in await sender.wallets() if it.currency == CURRENCY)
        await funder.operator.deposit(
            wallet_id=wallet.id, amount=MONEY, currency=CURRENCY, reference="rehearsal", wait_seconds=FINAL_SECONDS_MAX
        )
        yield Payments(sender, receiver, funder, emails[1])
