"""Whether a wallet clearly cannot afford a transfer. Pure. This is an early check; only the ledger decides."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from uuid import UUID

WALLETS_MAX = 100_000


class KnownBalances:
    """The spendable balance of wallets as last read, less what was accepted since. Bounded; the oldest entry is evicted first.

    It is never too high because of this process: incoming money is not seen, and then the balance is read again.
    """

    def __init__(self, wallets_max: int = WALLETS_MAX) -> None:
        self._spendable: OrderedDict[UUID, int] = OrderedDict()
        self._wallets_max = wallets_max

    def covers(self, wallet_id: UUID, amount: int) -> bool:
        """Whether the known balance covers the amount. False: read the balance."""
        return self._spendable.get(wallet_id, 0) >= amount

    def spend(self, wallet_id: UUID, amount: int) -> None:
        """Subtract the amount of an accepted transfer."""
        if wallet_id in self._spendable:
            self._spendable[wallet_id] -= amount

    def learn(self, wallet_id: UUID, spendable: int) -> None:
        """Store a balance read from the wallet service."""
        self._spendable[wallet_id] = spendable
        self._spendable.move_to_end(wallet_id)
        if len(self._spendable) > self._wallets_max:
            self._spendable.popitem(last=False)

    def forget(self, wallet_id: UUID) -> None:
        """Remove a balance that may be wrong."""
        self._spendable.pop(wallet_id, None)


def spendable(available: int, pending: Mapping[UUID, int], decided: Iterable[UUID]) -> int:
    """`available` less the amounts of all pending transfers that the ledger has not decided (minor units)."""
    undecided = pending.keys() - set(decided)
    return available - sum(pending[transfer_id] for transfer_id in undecided)
