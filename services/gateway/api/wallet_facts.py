"""What never changes about a wallet: whose it is and in which currency. Asked once, then remembered."""

from __future__ import annotations

from typing import Any, NamedTuple

from aiohttp import web

from services.chassis.client import Upstream
from services.contracts.refusals.wallet import WalletNotFound
from services.gateway.upstreams import call

REMEMBERED_MAX = 100_000


class Facts(NamedTuple):
    """Owner and currency."""

    owner_id: str | None
    currency: str


class WalletFacts:
    """Facts by wallet id, the oldest forgotten first. An unknown wallet is not remembered: it may be opened yet."""

    def __init__(self, wallet: Upstream) -> None:
        self._wallet = wallet
        self._remembered: dict[str, Facts] = {}

    async def find_own(self, wallet_id: str, user_id: str) -> Facts:
        """The facts of a wallet of this user.

        Raises:
            WalletNotFound: there is no such wallet, or it is another's: the same answer.
        """
        facts = self._remembered.get(wallet_id)
        if facts is None:
            facts = self.learn(
                await call(self._wallet, "GET", f"/internal/wallets/{wallet_id}", missing=WalletNotFound)
            )
        if facts.owner_id != user_id:
            raise WalletNotFound
        return facts

    def learn(self, wallet: dict[str, Any]) -> Facts:
        """Remember what an answer of the wallet service says."""
        if len(self._remembered) >= REMEMBERED_MAX:
            del self._remembered[next(iter(self._remembered))]
        facts = self._remembered[wallet["id"]] = Facts(wallet["owner_id"], wallet["currency"])
        return facts


WALLET_FACTS: web.AppKey[WalletFacts] = web.AppKey("wallet_facts")
