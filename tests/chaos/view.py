"""Reads, through the public api alone, everything the people of a run can see when all is quiet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tests.chaos.crowd import Crowd
from tests.chaos.judge import View
from tests.chaos.person import Person

PAGE = 200


async def read(crowd: Crowd) -> View:
    """All transfers as their senders see them, all lines and balances of all wallets; each body also goes to the history.

    Raises:
        TimeoutError: the system does not answer although nothing is broken any more.
    """
    view = View()
    await asyncio.gather(*(_read_person(crowd, person, view) for person in crowd.people))
    for intent in crowd.operator.intents:
        for transfer_id in intent.answered_ids:
            view.transfers[transfer_id] = await crowd.operator.insist(f"/transfers/{transfer_id}")
    for body in view.transfers.values():
        crowd.history.saw(body)
    return view


async def _read_person(crowd: Crowd, person: Person, view: View) -> None:
    async for transfer in _pages(person, f"/transfers?kind=transfer&wallet_id={person.wallet_id}"):
        if transfer["from_wallet_id"] == person.wallet_id:
            view.transfers[transfer["id"]] = transfer
    wallet = person.wallet_id
    view.statements[wallet] = [line async for line in _pages(person, f"/wallets/{wallet}/statement?")]
    view.balances[wallet] = (await person.insist(f"/wallets/{wallet}/balance"))["balance"]


async def _pages(person: Person, path: str) -> AsyncIterator[dict[str, Any]]:
    cursor = ""
    while True:
        page = await person.insist(f"{path}&limit={PAGE}{cursor}")
        for item in page["items"]:
            yield item
        if page["next_cursor"] is None:
            return
        cursor = f"&cursor={page['next_cursor']}"
