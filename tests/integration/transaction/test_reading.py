"""Reading transfers: pages, filters and visibility."""

from __future__ import annotations

import asyncio
from uuid import UUID

from services.contracts.identifiers import new_id
from services.transaction import commands, schemas
from services.transaction.commands import Accepted
from services.transaction.store import NEWEST, Filter
from tests.harness.services import MoneyPath, accept, request


async def pages(path: MoneyPath, viewer: UUID, *, limit: int, between: asyncio.Event | None = None) -> list[UUID]:
    """Read all pages, as the api does; returns the ids in order."""
    seen: list[UUID] = []
    cursor: str | None = None
    while True:
        page = await commands.list_transfers(
            path.pool, viewer, below=schemas.decode_cursor(cursor), matching=Filter(), limit=limit + 1
        )
        rendered = schemas.page(page, limit)
        seen += [UUID(item["id"]) for item in rendered["items"]]
        cursor = rendered["next_cursor"]
        if between is not None:
            between.set()
        if cursor is None:
            return seen


async def test_pages_are_stable_while_rows_are_inserted(path: MoneyPath) -> None:
    """Guarantee 59: of 1,000 rows paged while 200 more are inserted none is skipped or repeated, newest first."""
    [(alice, _), (_, bob_wallet)] = await path.users([10_000, 0])
    intake = path.intake()
    old: list[UUID] = []
    for _ in range(10):
        results = await accept(intake, *(request(alice, bob_wallet, 1) for _ in range(100)))
        old += [result.transfer.id for result in results if isinstance(result, Accepted)]
    started = asyncio.Event()

    async def insert() -> None:
        await started.wait()
        for _ in range(20):
            await accept(intake, *(request(alice, bob_wallet, 1) for _ in range(10)))

    inserting = asyncio.create_task(insert())
    seen = await pages(path, alice, limit=37, between=started)
    await inserting

    assert sorted(old, reverse=True) == [id_ for id_ in seen if id_ in set(old)]
    assert len(seen) == len(set(seen))
    assert 1200 == len(await pages(path, alice, limit=200))


async def test_recipient_sees_completed_transfers(path: MoneyPath) -> None:
    """A recipient's list has completed transfers only, without the sender's metadata; that of another user is empty."""
    [(alice, _), (bob, bob_wallet)] = await path.users([100, 0])
    intake = path.intake()
    path.start_relay()
    path.start_worker()
    [done] = await accept(intake, request(alice, bob_wallet, 1, metadata={"secret": "hers"}))
    assert isinstance(done, Accepted)
    await path.finalized([done.transfer.id])
    await path.stop_all()
    await accept(intake, request(alice, bob_wallet, 2))

    page = await commands.list_transfers(path.pool, bob, below=NEWEST, matching=Filter(), limit=10)

    assert [(done.transfer.id, None)] == [(transfer.id, transfer.metadata) for transfer in page]
    assert 2 == len(await pages(path, alice, limit=10))
    assert [] == await pages(path, new_id(), limit=10)
