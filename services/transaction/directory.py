"""Facts about wallets that never change: read once from the wallet service, then stored in the database and in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Pool
from services.contracts.refusal import Refusal
from services.transaction import commands
from services.transaction.store import WalletFacts
from services.transaction.wallet_client import WalletClient

CACHED_MAX = 200_000


class ById(NamedTuple):
    """The wallet with this id."""

    id: UUID


class ByOwner(NamedTuple):
    """This user's wallet in this currency."""

    owner_id: UUID
    currency: str


class ExternalAccount(NamedTuple):
    """The external account of this currency."""

    currency: str


WalletKey = ById | ByOwner | ExternalAccount


class Directory:
    """Finds many wallets at once. Transfers between stored wallets do not depend on the wallet service."""

    def __init__(self, pool: Pool, wallet: WalletClient) -> None:
        self._pool = pool
        self._wallet = wallet
        self._known: dict[WalletKey, WalletFacts] = {}

    async def find(self, keys: Collection[WalletKey]) -> dict[WalletKey, WalletFacts | Refusal]:
        """The facts about each wallet; unknown wallets are omitted.

        A wallet that is not stored has a Refusal as its value while the wallet service is unavailable.
        """
        # `found` and not the cache is read after a query: the cache may be cleared meanwhile.
        found: dict[WalletKey, WalletFacts | Refusal] = {
            key: wallet for key in keys if (wallet := self._known.get(key)) is not None
        }
        missing = {key for key in keys if key not in found}
        if missing:
            ids, owners, external = _by_type(missing)
            found |= self._cache(await commands.find_wallets(self._pool, ids=ids, owners=owners, external=external))
            missing = {key for key in missing if key not in found}
        if missing:
            found |= await self._fetch(missing)
        return found

    async def _fetch(self, missing: set[WalletKey]) -> Mapping[WalletKey, WalletFacts | Refusal]:
        ids, owners, external = _by_type(missing)
        try:
            facts = await self._wallet.find(ids=ids, owners=owners, external=external)
        except Refusal as unavailable:
            return dict.fromkeys(missing, unavailable)
        if facts:
            await commands.record_wallets(self._pool, facts)
        return self._cache(facts)

    def _cache(self, facts: Iterable[WalletFacts]) -> dict[WalletKey, WalletFacts]:
        """Add wallets to the cache; returns them by each key that finds them."""
        found: dict[WalletKey, WalletFacts] = {}
        for wallet in facts:
            found[ById(wallet.id)] = wallet
            if wallet.owner_id is None:
                found[ExternalAccount(wallet.currency)] = wallet
            else:
                found[ByOwner(wallet.owner_id, wallet.currency)] = wallet
        if len(self._known) > CACHED_MAX:
            self._known.clear()
        self._known |= found
        return found


def _by_type(keys: Iterable[WalletKey]) -> tuple[list[UUID], list[tuple[UUID, str]], list[str]]:
    ids: list[UUID] = []
    owners: list[tuple[UUID, str]] = []
    external: list[str] = []
    for key in keys:
        match key:
            case ById(id_):
                ids.append(id_)
            case ByOwner(owner_id, currency):
                owners.append((owner_id, currency))
            case ExternalAccount(currency):
                external.append(currency)
    return ids, owners, external
