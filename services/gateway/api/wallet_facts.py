"""What never changes about a wallet, its owner and currency: fetched once, then cached."""

from __future__ import annotations

from typing import Any, NamedTuple

from aiohttp import web

from services.contracts.refusals.wallet import WalletNotFound
from services.gateway.clients.wallet import WalletClient

CACHED_MAX = 100_000


class Facts(NamedTuple):
    """Owner and currency."""

    owner_id: str | None
    currency: str


class WalletFacts:
    """Facts by wallet id; the oldest are evicted first. An unknown wallet is not cached: it may be opened later."""

    def __init__(self, wallet: WalletClient) -> None:
        self._wallet = wallet
        self._cached: dict[str, Facts] = {}

    async def find_own(self, wallet_id: str, user_id: str) -> Facts:
        """The facts of a wallet of this user.

        Raises:
            WalletNotFound: there is no such wallet, or it belongs to another user.
        """
        facts = self._cached.get(wallet_id)
        if facts is None:
            facts = self.add(await self._wallet.get_wallet(wallet_id))
        if facts.owner_id != user_id:
            raise WalletNotFound
        return facts

    def add(self, wallet: dict[str, Any]) -> Facts:
        """Cache the facts of a wallet."""
        if len(self._cached) >= CACHED_MAX:
            del self._cached[next(iter(self._cached))]
        facts = self._cached[wallet["id"]] = Facts(wallet["owner_id"], wallet["currency"])
        return facts


WALLET_FACTS: web.AppKey[WalletFacts] = web.AppKey("wallet_facts")
