"""Facts about wallets that never change: in memory, in the database, and learnt once from the wallet service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Pool
from services.contracts.refusal import Refusal
from services.transaction import commands
from services.transaction.store import WalletFacts
from services.transaction.wallet_client import WalletClient

REMEMBERED_MAX = 200_000


class ById(NamedTuple):
    """The wallet with this id."""

    id: UUID


class ByOwner(NamedTuple):
    """This user's wallet in this currency."""

    owner_id: UUID
    currency: str


class OfTheWorld(NamedTuple):
    """The external account of this currency."""

    currency: str


Wanted = ById | ByOwner | OfTheWorld


class Directory:
    """Finds many wallets at once. Transfers between wallets seen before need no wallet service."""

    def __init__(self, pool: Pool, wallet: WalletClient) -> None:
        self._pool = pool
        self._wallet = wallet
        self._known: dict[Wanted, WalletFacts] = {}

    async def find(self, wanted: Iterable[Wanted]) -> dict[Wanted, WalletFacts | Refusal]:
        """What is known about each; unknown wallets are left out.

        A Refusal stands where the wallet service had to be asked and is away.
        """
        asked = set(wanted)
        missing = asked - self._known.keys()
        if missing:
            ids, owners, external = _by_kind(missing)
            self._remember(await commands.find_wallets(self._pool, ids=ids, owners=owners, external=external))
            missing = asked - self._known.keys()
        away = await self._learn(missing) if missing else None
        found: dict[Wanted, WalletFacts | Refusal] = {one: self._known[one] for one in asked if one in self._known}
        return found if away is None else found | dict.fromkeys(missing, away)

    async def _learn(self, missing: set[Wanted]) -> Refusal | None:
        ids, owners, external = _by_kind(missing)
        try:
            facts = await self._wallet.find(ids=ids, owners=owners, external=external)
        except Refusal as away:
            return away
        if facts:
            await commands.remember_wallets(self._pool, facts)
            self._remember(facts)
        return None

    def _remember(self, facts: Iterable[WalletFacts]) -> None:
        if len(self._known) > REMEMBERED_MAX:
            self._known.clear()
        for wallet in facts:
            self._known[ById(wallet.id)] = wallet
            if wallet.owner_id is None:
                self._known[OfTheWorld(wallet.currency)] = wallet
            else:
                self._known[ByOwner(wallet.owner_id, wallet.currency)] = wallet


def _by_kind(wanted: Iterable[Wanted]) -> tuple[list[UUID], list[tuple[UUID, str]], list[str]]:
    ids: list[UUID] = []
    owners: list[tuple[UUID, str]] = []
    external: list[str] = []
    for one in wanted:
        match one:
            case ById(id_):
                ids.append(id_)
            case ByOwner(owner_id, currency):
                owners.append((owner_id, currency))
            case OfTheWorld(currency):
                external.append(currency)
    return ids, owners, external
