"""The directory of wallets: facts in memory need no query, however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from services.contracts.identifiers import new_id
from services.transaction import commands
from services.transaction import directory as wallet_directory
from services.transaction.directory import ById, ByOwner, Directory, WalletKey
from services.transaction.store import WalletFacts


class LookedUpOnly(dict[Any, Any]):
    """A dictionary that only gives single values: to iterate over hundreds of thousands costs milliseconds."""

    def keys(self) -> NoReturn:
        raise AssertionError("iterates over all wallets")

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("iterates over all wallets")


async def test_known_wallets_are_looked_up() -> None:
    """Neither a query nor an iteration over the other wallets."""
    directory = Directory(None, None)  # type: ignore[arg-type]
    wallet = WalletFacts(new_id(), new_id(), "USD")
    directory._known = LookedUpOnly()
    directory._cache([wallet])
    assert wallet.owner_id is not None
    keys: list[WalletKey] = [ById(wallet.id), ByOwner(wallet.owner_id, "USD")]

    assert dict.fromkeys(keys, wallet) == await directory.find(keys)


async def test_a_full_cache_loses_no_wallet_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query for one wallet clears a full cache; the others of the same request are found all the same."""
    known, stored = WalletFacts(new_id(), new_id(), "USD"), WalletFacts(new_id(), new_id(), "USD")

    async def find_wallets(_pool: object, **_keys: object) -> list[WalletFacts]:
        return [stored]

    monkeypatch.setattr(commands, "find_wallets", find_wallets)
    monkeypatch.setattr(wallet_directory, "CACHED_MAX", 1)
    directory = Directory(None, None)  # type: ignore[arg-type]
    directory._cache([known])

    found = await directory.find([ById(known.id), ById(stored.id)])

    assert {known.id, stored.id} == {wallet.id for wallet in found.values() if isinstance(wallet, WalletFacts)}
