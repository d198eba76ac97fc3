"""Whether a wallet can clearly not afford a transfer, pure. A courtesy: only the ledger decides."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from uuid import UUID

WALLETS_MAX = 100_000


class KnownBalances:
    """What each wallet could still spend when it was last asked, less what was accepted since. Bounded, oldest out first.

    It errs to one side only: money that came in meanwhile is not seen, and then the wallet service is asked again.
    """

    def __init__(self, wallets_max: int = WALLETS_MAX) -> None:
        self._spendable: OrderedDict[UUID, int] = OrderedDict()
        self._wallets_max = wallets_max

    def covers(self, wallet_id: UUID, amount: int) -> bool:
        """Whether the amount is covered by what is known; False means: ask."""
        return self._spendable.get(wallet_id, 0) >= amount

    def spend(self, wallet_id: UUID, amount: int) -> None:
        """A transfer of this amount was accepted."""
        if wallet_id in self._spendable:
            self._spendable[wallet_id] -= amount

    def learn(self, wallet_id: UUID, spendable: int) -> None:
        """The wallet service was asked."""
        self._spendable[wallet_id] = spendable
        self._spendable.move_to_end(wallet_id)
        if len(self._spendable) > self._wallets_max:
            self._spendable.popitem(last=False)

    def forget(self, wallet_id: UUID) -> None:
        """What was known may be wrong."""
        self._spendable.pop(wallet_id, None)


def spendable(available: int, pending: Mapping[UUID, int], decided: Iterable[UUID]) -> int:
    """What remains of `available` when every transfer under way that is not yet decided takes its amount (minor units)."""
    undecided = pending.keys() - set(decided)
    return available - sum(pending[transfer_id] for transfer_id in undecided)
