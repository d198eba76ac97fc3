"""Read everything the clients of a run can see, through the public API, once the system is quiet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tests.chaos.checks import FinalState
from tests.chaos.client import Client
from tests.chaos.load import Load

PAGE = 200


async def read(load: Load) -> FinalState:
    """All transfers as their senders see them, all lines and balances of all wallets; also record each body in the history.

    Raises:
        TimeoutError: no response although no fault is active.
    """
    state = FinalState()
    await asyncio.gather(*(_read_client(load, client, state) for client in load.clients))
    for intent in load.operator.intents:
        for transfer_id in intent.accepted_ids:
            state.transfers[transfer_id] = await load.operator.get_until_ok(f"/transfers/{transfer_id}")
    for body in state.transfers.values():
        load.history.record_body(body)
    return state


async def _read_client(load: Load, client: Client, state: FinalState) -> None:
    async for transfer in _pages(client, f"/transfers?kind=transfer&wallet_id={client.wallet_id}"):
        if transfer["from_wallet_id"] == client.wallet_id:
            state.transfers[transfer["id"]] = transfer
    wallet = client.wallet_id
    state.statements[wallet] = [line async for line in _pages(client, f"/wallets/{wallet}/statement?")]
    state.balances[wallet] = (await client.get_until_ok(f"/wallets/{wallet}/balance"))["balance"]


async def _pages(client: Client, path: str) -> AsyncIterator[dict[str, Any]]:
    cursor = ""
    while True:
        page = await client.get_until_ok(f"{path}&limit={PAGE}{cursor}")
        for item in page["items"]:
            yield item
        if page["next_cursor"] is None:
            return
        cursor = f"&cursor={page['next_cursor']}"
