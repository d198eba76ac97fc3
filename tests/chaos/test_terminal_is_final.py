"""A transfer that was once read as COMPLETED or FAILED never changes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import aiohttp
import pytest

from services.contracts.identifiers import new_id
from services.contracts.topology import TRANSFERS_REQUESTED
from tests.harness import drills
from tests.harness.api import ApiClient, Person, Response
from tests.harness.kills import kill
from tests.harness.outbox_items import make_item
from tests.harness.stack import Stack

READS = 1000
VICTIMS = ("transaction-worker-1", "gateway", "wallet", "transaction-worker-2", "transaction-reversal")
ROUNDS = drills.bound(1, 12)


class Page(NamedTuple):
    """A transfer as read by one user, with its ETag."""

    number: int
    reader: Person
    id: str
    body: object
    tag: str


class Readers:
    """Read the same pages repeatedly; failures (503, 504, a broken connection) are not counted as reads."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self.pages = pages
        self.reads: Counter[int] = Counter()
        self.changed: list[tuple[Page, Response]] = []
        self.failed = 0
        self.over = False

    async def read(self, page: Page) -> None:
        while not (self.over and self.reads[page.number] >= READS):
            try:
                response = await page.reader.get(f"/transfers/{page.id}")
            except aiohttp.ClientError:
                response = None
            if response is None or response.status in (503, 504):
                self.failed += 1
                await asyncio.sleep(0.05)
                continue
            self.reads[page.number] += 1
            if (200, page.body, page.tag) != (response.status, response.body, response.headers.get("ETag")):
                self.changed.append((page, response))


async def page(number: int, reader: Person, transfer_id: str) -> Page:
    response = await reader.get(f"/transfers/{transfer_id}")
    assert response.body["status"] in ("COMPLETED", "FAILED")
    return Page(number, reader, transfer_id, response.body, response.headers["ETag"])


async def make_pages(stack: Stack, alice: Person, bob: Person, carol: Person, operator: Person) -> list[Page]:
    """A COMPLETED transfer as both sides read it, a cancelled one, and one rejected because the wallet was frozen."""
    workers = [victim for victim in VICTIMS if "worker" in victim]
    completed = await alice.send_money(bob, 10, wait=30)
    for worker in workers:
        await stack.take_down(worker)
    try:
        cancelled = await alice.send_money(bob, 20)
        await alice.post(f"/transfers/{cancelled.body['id']}/cancel")
        rejected = await alice.send_money(carol, 30)
        await operator.send(
            "PUT",
            f"/ops/wallets/{carol.wallet_id}/freeze",
            headers={"Authorization": f"Bearer {operator.token}"},
        )
    finally:
        for worker in workers:
            stack.bring_up(worker)
    await asyncio.gather(*(stack.ready(worker) for worker in workers))
    assert "wallet_frozen" == (await alice.finalized(rejected.body["id"]))["failure"]["code"]
    read = [(alice, completed), (alice, cancelled), (alice, rejected), (bob, completed)]
    return [await page(number, person, one.body["id"]) for number, (person, one) in enumerate(read)]


async def try_to_change(stack: Stack, alice: Person, pages: Sequence[Page]) -> int:
    """Try to change the transfers: republish their commands and cancel them. Return the number of commands sent."""
    ids = [one.id for one in pages]
    sent = await stack.query("transaction", "SELECT * FROM transfers WHERE id = ANY($1::uuid[])", ids)
    await stack.query(
        "transaction",
        "INSERT INTO outbox (id, topic, body, subject_ids) VALUES ($1, $2, $3, $4)",
        new_id(),
        TRANSFERS_REQUESTED.type,
        ",".join(make_item(TRANSFERS_REQUESTED, transfer) for transfer in sent),
        [transfer["id"] for transfer in sent],
    )
    await stack.query("transaction", "NOTIFY outbox")
    for id_ in ids:
        with suppress(aiohttp.ClientError):
            await alice.post(f"/transfers/{id_}/cancel")
    return len(sent)


@pytest.mark.timeout(drills.bound(600, 3600))
async def test_a_terminal_transfer_never_changes(
    stack: Stack, api: ApiClient, operator: Person, alice: Person, bob: Person
) -> None:
    """Guarantee 9: read 1,000 times while workers, gateway and wallet are killed, a terminal transfer is always the same."""
    pages = await make_pages(stack, alice, bob, await api.register("Carol Test"), operator)
    readers, sent = Readers(pages), 0
    reading = [asyncio.create_task(readers.read(one)) for one in pages]

    try:
        for _ in range(ROUNDS):
            for victim in VICTIMS:
                sent += await try_to_change(stack, alice, pages)
                await kill(stack, victim)
    finally:
        readers.over = True
        await asyncio.gather(*reading)

    print(f"{sum(readers.reads.values())} reads of {len(pages)} pages, {readers.failed} failed reads")
    assert [] == readers.changed
    assert sent > 0
    assert all(readers.reads[one.number] >= READS for one in pages)
