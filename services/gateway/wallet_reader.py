"""Reads of wallets and balances: requests that arrive together are sent to the wallet service as one batch."""

from __future__ import annotations

from aiohttp import web

from services.chassis.batching import Batcher
from services.chassis.deadlines import Deadlines
from services.gateway.clients.wallet import WalletClient, WalletItem, WalletRead
from services.gateway.errors import NoResponseInTime
from services.gateway.operations import REQUEST_SECONDS

BATCH_MAX = 256
CONCURRENCY_MAX = 4
"""While one batch waits for a frozen process of the wallet service, others continue."""


class WalletReader:
    """Reads wallets of users. Nothing is cached: each response comes from a query that began after its request arrived."""

    def __init__(self, wallet: WalletClient) -> None:
        self._batcher: Batcher[WalletItem, WalletRead] = Batcher(
            "wallet_reads", wallet.read_wallets, size_max=BATCH_MAX, concurrency_max=CONCURRENCY_MAX
        )

        self._waiting: Deadlines[WalletRead] = Deadlines(REQUEST_SECONDS, NoResponseInTime)

    async def read_own(self, wallet_id: str, user_id: str) -> WalletRead:
        """A wallet of this user, now.

        Raises:
            WalletNotFound: there is no such wallet, or it belongs to another user.
            NoResponseInTime, Refusal: the wallet service is unavailable.
        """
        return await self._read({"wallet_id": wallet_id, "owner_id": user_id})

    async def _read(self, item: WalletItem) -> WalletRead:
        future = self._waiting.open()
        try:
            self._batcher.put(item, future)
            return await future
        finally:
            self._waiting.close(future)


WALLET_READER: web.AppKey[WalletReader] = web.AppKey("wallet_reader")
