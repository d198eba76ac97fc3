"""The circle: one transfer after another between the probe accounts, each checked, and the sum of both accounts."""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from payflow import new_key
from payflow.canary import CURRENCY, FUND
from payflow.errors import OutcomeUnknown, PayFlowError
from payflow.transfer import Transfer
from services.canary import metrics
from services.canary.accounts import Account
from services.chassis.metrics import JOB_LAST_SUCCESS

AMOUNT = 1
OUTCOME_SECONDS_MAX = 30.0
"""How long a transfer may take. Later it counts as late, whatever becomes of it."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Attempt:
    """A transfer to make: its key, and its direction."""

    key: str
    source: Account
    target: Account

    async def send(self) -> Transfer:
        """Send it, or send it again, and wait for its outcome."""
        return await self.source.payflow.send(
            amount=AMOUNT,
            currency=CURRENCY,
            to_wallet_id=self.target.wallet_id,
            from_wallet_id=self.source.wallet_id,
            description="canary",
            idempotency_key=self.key,
            wait_seconds=OUTCOME_SECONDS_MAX,
        )


class Circle:
    """Moves the money. One pass is one transfer."""

    def __init__(self, accounts: tuple[Account, Account]) -> None:
        self.accounts = accounts
        self.unknown: Attempt | None = None
        """The last transfer, if it is not known whether it was accepted: it is sent again with the same key."""
        self._warned = False
        self.is_funded = False

    async def run_once(self) -> None:
        """Check the sum, then make one transfer and check it. Without money there is only the check."""
        try:
            await self._run_once()
        except PayFlowError as error:
            metrics.TRANSFERS.labels("error").inc()
            log.warning("canary_failed", reason=str(error))

    async def _run_once(self) -> None:
        balances = await self.balances()
        if not await self._check_sum(balances):
            return
        result, transfer_id = await self._transfer(balances)
        metrics.TRANSFERS.labels(result).inc()
        if result != "completed":
            log.warning("canary_transfer_failed", result=result, transfer_id=transfer_id)
        elif await self._check_sum(await self.balances()):
            JOB_LAST_SUCCESS.labels(metrics.JOB).set_to_current_time()

    async def balances(self) -> list[int]:
        """Both balances at one instant, which no payment can change any more."""
        first, second = self.accounts
        at = (await first.payflow.balance(first.wallet_id)).as_of
        return [await first.balance(at), await second.balance(at)]

    async def _check_sum(self, balances: list[int]) -> bool:
        """Measure the sum; return whether there is money, and exactly as much as was put in."""
        if not self.is_funded:
            self.is_funded = sum(balances) != 0 or await self._has_history()
            metrics.FUNDED.set(self.is_funded)
        if not self.is_funded:
            self._warn_unfunded()
            return False
        difference = sum(balances) - FUND
        metrics.DIFFERENCE.set(difference)
        if difference:
            log.error("canary_sum_changed", difference=difference)
        return not difference

    def _warn_unfunded(self) -> None:
        if not self._warned:
            log.warning("canary_not_funded", advice="run `payflow canary fund` as an operator")
        self._warned = True

    async def _has_history(self) -> bool:
        first = self.accounts[0]
        async for _ in first.payflow.statement(first.wallet_id):
            return True
        return False

    async def _transfer(self, balances: list[int]) -> tuple[str, str]:
        """Make one transfer, from the account that has more; its result and its id."""
        first, second = self.accounts
        source, target = (first, second) if balances[0] >= balances[1] else (second, first)
        attempt = self.unknown or Attempt(new_key(), source, target)
        self.unknown = None
        started = time.monotonic()
        try:
            transfer = await attempt.send()
            seconds = time.monotonic() - started
            repeated = await attempt.send()
        except OutcomeUnknown:
            self.unknown = attempt
            raise
        if not transfer.is_finalized:
            return "late", transfer.id
        metrics.DURATION.observe(seconds)
        if repeated.id != transfer.id:
            return "repeated", repeated.id
        return ("completed" if transfer.is_completed else "failed"), transfer.id
