"""The early check of funds and freezes: refuse at acceptance what the ledger would clearly reject. Only the ledger decides."""

from __future__ import annotations

from collections.abc import Container, Sequence
from uuid import UUID

from services.chassis.database import Pool
from services.contracts.refusal import Refusal
from services.contracts.refusals.transaction import InsufficientFunds, WalletFrozen
from services.contracts.transfer_kinds import KINDS
from services.transaction import affordability, commands
from services.transaction.affordability import KnownBalances
from services.transaction.store import Draft
from services.transaction.transfer import Transfer
from services.transaction.wallet_client import WalletClient


class FundsCheck:
    """Checks batches of drafts. The wallet service is called only about drafts that are not known to be affordable."""

    def __init__(self, pool: Pool, wallet: WalletClient) -> None:
        self._pool = pool
        self._wallet = wallet
        self._balances = KnownBalances()

    async def check(self, drafts: Sequence[Draft], hinted: Container[UUID] | None) -> dict[UUID, Refusal]:
        """Refusals by transfer id. Without a response from the wallet service in time nothing is refused.

        `hinted`: all wallets that may be frozen; None if they are not known.
        """
        doubtful = await self._list_doubtful([draft for draft in drafts if not draft.simulation.unchecked], hinted)
        if not doubtful:
            return {}
        transfers = [draft.transfer for draft in doubtful]
        owners = {one.from_wallet_id: one.user_id for one in transfers if KINDS[one.kind].checks_funds}
        wallet_ids = {id_ for one in transfers for id_ in (one.from_wallet_id, one.to_wallet_id)}
        pending = await commands.list_pending_amounts(self._pool, owners)
        try:
            states = await self._wallet.availability({id_: list(pending.get(id_, ())) for id_ in wallet_ids})
        except Refusal:
            return {}
        for wallet_id in owners.keys() & states.keys():
            state = states[wallet_id]
            spendable = affordability.spendable(state.available, pending[wallet_id], state.decided)
            self._balances.learn(wallet_id, spendable)
        frozen = {wallet_id for wallet_id, state in states.items() if state.frozen}
        return self._refuse(transfers, frozen, states.keys())

    def spend(self, transfer: Transfer) -> None:
        """Take an accepted transfer off the known balance of its source."""
        self._balances.spend(transfer.from_wallet_id, transfer.amount)

    def _refuse(
        self, transfers: Sequence[Transfer], frozen: Container[UUID], known: Container[UUID]
    ) -> dict[UUID, Refusal]:
        refused: dict[UUID, Refusal] = {}
        for transfer in transfers:
            if transfer.from_wallet_id in frozen:
                refused[transfer.id] = WalletFrozen("from_wallet_id", "is frozen")
            elif transfer.to_wallet_id in frozen:
                refused[transfer.id] = WalletFrozen("to", "is frozen")
            elif transfer.from_wallet_id in known and not self._is_covered(transfer):
                refused[transfer.id] = InsufficientFunds("amount", "is more than the wallet holds")
        return refused

    async def _list_doubtful(self, drafts: Sequence[Draft], hinted: Container[UUID] | None) -> list[Draft]:
        """Drafts that are not known to be affordable, or that involve a wallet which has been frozen."""
        if hinted is None:
            ids = {id_ for draft in drafts for id_ in (draft.transfer.from_wallet_id, draft.transfer.to_wallet_id)}
            hinted = await commands.list_freeze_hints(self._pool, list(ids))
        return [
            draft
            for draft in drafts
            if draft.transfer.from_wallet_id in hinted
            or draft.transfer.to_wallet_id in hinted
            or not self._is_covered(draft.transfer)
        ]

    def _is_covered(self, transfer: Transfer) -> bool:
        checks_funds = KINDS[transfer.kind].checks_funds
        return not checks_funds or self._balances.covers(transfer.from_wallet_id, transfer.amount)
