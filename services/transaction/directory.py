"""Facts about wallets that never change: read once from the wallet service, then stored in the database and in memory."""

from __future__ import annotations

from collections.abc import Iterable
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

    async def find(self, keys: Iterable[WalletKey]) -> dict[WalletKey, WalletFacts | Refusal]:
        """The facts about each wallet; unknown wallets are omitted.

        A wallet that is not stored has a Refusal as its value while the wallet service is unavailable.
        """
        requested = set(keys)
        missing = self._list_missing(requested)
        if missing:
            ids, owners, external = _by_type(missing)
            self._cache(await commands.find_wallets(self._pool, ids=ids, owners=owners, external=external))
            missing = self._list_missing(missing)
        unavailable = await self._fetch(missing) if missing else None
        found: dict[WalletKey, WalletFacts | Refusal] = {
            key: self._known[key] for key in requested if key in self._known
        }
        return found if unavailable is None else found | dict.fromkeys(missing, unavailable)

    def _list_missing(self, requested: set[WalletKey]) -> set[WalletKey]:
        # `requested - self._known.keys()` would iterate over the whole cache.
        return {key for key in requested if key not in self._known}

    async def _fetch(self, missing: set[WalletKey]) -> Refusal | None:
        ids, owners, external = _by_type(missing)
        try:
            facts = await self._wallet.find(ids=ids, owners=owners, external=external)
        except Refusal as unavailable:
            return unavailable
        if facts:
            await commands.record_wallets(self._pool, facts)
            self._cache(facts)
        return None

    def _cache(self, facts: Iterable[WalletFacts]) -> None:
        if len(self._known) > CACHED_MAX:
            self._known.clear()
        for wallet in facts:
            self._known[ById(wallet.id)] = wallet
            if wallet.owner_id is None:
                self._known[ExternalAccount(wallet.currency)] = wallet
            else:
                self._known[ByOwner(wallet.owner_id, wallet.currency)] = wallet


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
