"""The directory of wallets: facts in memory need no query, however many there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from services.contracts.identifiers import new_id
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
