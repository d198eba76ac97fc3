"""Reads of wallets in batches: what is shared, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from services.gateway.clients.wallet import WalletClient, WalletItem, WalletRead
from services.gateway.wallet_reader import CONCURRENCY_MAX, WalletReader


class SlowWallet:
    """A wallet service that reads at once, and returns what it has read when the test allows it."""

    def __init__(self) -> None:
        self.balance = 1
        self.batches: list[list[str]] = []
        self.may_return = asyncio.Event()

    async def read_wallets(self, wanted: Sequence[WalletItem]) -> list[WalletRead]:
        self.batches.append([item["wallet_id"] for item in wanted])
        balance = self.balance
        await self.may_return.wait()
        return [{"wallet": {"id": item["wallet_id"], "balance": balance}, "as_of": ""} for item in wanted]


def open_reader() -> tuple[SlowWallet, WalletReader]:
    wallet = SlowWallet()
    return wallet, WalletReader(cast("WalletClient", wallet))


async def start(wallet: SlowWallet, reader: WalletReader, wallet_id: str) -> asyncio.Task[Any]:
    """Start a read; return when its request is under way."""
    batches = len(wallet.batches)
    task = asyncio.create_task(reader.read_own(wallet_id, "user"))
    while len(wallet.batches) == batches:
        await asyncio.sleep(0)
    return task


async def test_a_read_rests_on_a_later_query() -> None:
    """A balance is read by a query that began after its request arrived, also while the same wallet is being read."""
    wallet, reader = open_reader()

    first = await start(wallet, reader, "w")
    wallet.balance = 2
    second = asyncio.create_task(reader.read_own("w", "user"))
    await asyncio.sleep(0)
    wallet.may_return.set()

    assert [1, 2] == [read["wallet"]["balance"] for read in await asyncio.gather(first, second)]


async def test_reads_that_wait_share_one_request() -> None:
    """While as many requests as allowed are under way, the reads that arrive form one; each gets its own wallet."""
    wallet, reader = open_reader()

    under_way = [await start(wallet, reader, f"first-{number}") for number in range(CONCURRENCY_MAX)]
    waiting = [asyncio.create_task(reader.read_own(f"w-{number}", "user")) for number in range(20)]
    await asyncio.sleep(0)
    wallet.may_return.set()
    reads = await asyncio.gather(*under_way, *waiting)

    assert [1] * CONCURRENCY_MAX + [20] == [len(batch) for batch in wallet.batches]
    assert [id_ for batch in wallet.batches for id_ in batch] == [read["wallet"]["id"] for read in reads]
