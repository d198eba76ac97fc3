"""Find transfers for operators, who have an id, a key, a user, a request, or nothing but the complaint."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from services.chassis import database
from services.chassis.database import Connection, Pool
from services.contracts.identifiers import first_id_at, parse_id
from services.transaction import steps, store, store_search
from services.transaction.steps import Progress
from services.transaction.store import NEWEST, Filter, Position
from services.transaction.store_search import Range
from services.transaction.transfer import Transfer

SEARCHED_MAX = 100_000
"""The transfers that one search by a request reads at most."""

SENDERS_MAX = 20_000
"""The same for a key without its user: it is looked up for each sender."""

REQUEST_SECONDS = 60.0
"""A request makes its transfer within far less, also where the clocks of two hosts differ by some seconds."""

TIME_ORDERED = 7
"""The version of UUIDs that begin with their time. The gateway makes such request ids."""


class Criteria(NamedTuple):
    """What is known about the transfer: one of the first five, a user also together with a key. `limit` is the page size."""

    transfer_id: UUID | None = None
    idempotency_key: str | None = None
    user_id: UUID | None = None
    request_id: str | None = None
    pending_seconds: float | None = None
    since: datetime | None = None
    until: datetime | None = None
    below: Position = NEWEST
    limit: int = 50


class Found(NamedTuple):
    """A transfer, the id of the request that made it, and its progress if it is PENDING."""

    transfer: Transfer
    request_id: str
    progress: Progress | None
    is_conflicted: bool


class Search(NamedTuple):
    """What was found, at most one more than the page size, and the time before which nothing was searched (None: all was)."""

    items: list[Found]
    searched_from: datetime | None


class Around(NamedTuple):
    """The ids of some minutes, and when these begin."""

    ids: Range
    since: datetime


async def search(pool: Pool, criteria: Criteria) -> Search:
    """Find transfers, newest first; those that are found by their age, oldest first."""
    async with database.connection(pool) as connection:
        ids, searched_from = await _find_ids(connection, criteria)
        transfers = await store.find_transfers(connection, ids)
        request_ids = await store_search.list_request_ids(connection, ids)
        heartbeats = await store.list_heartbeats(connection)
        items = []
        for id_ in ids:
            if (transfer := transfers.get(id_)) is None:
                continue
            row = None if transfer.terminal else await store.find_steps(connection, id_)
            progress = None if row is None else steps.describe(dict(row), heartbeats)
            is_conflicted = row is not None and row["conflicted_at"] is not None
            items.append(Found(transfer, request_ids[id_], progress, is_conflicted))
    return Search(items, searched_from)


async def _find_ids(connection: Connection, criteria: Criteria) -> tuple[list[UUID], datetime | None]:
    limit = criteria.limit + 1
    if criteria.transfer_id is not None:
        return [criteria.transfer_id], None
    if criteria.pending_seconds is not None:
        return await store_search.list_pending_for(connection, criteria.pending_seconds, limit), None
    if criteria.user_id is not None and criteria.idempotency_key is not None:
        found = await store.find_by_key(connection, criteria.user_id, criteria.idempotency_key)
        return [] if found is None else [found], None
    if criteria.user_id is not None:
        matching = Filter(since=criteria.since, until=criteria.until)
        page = await store.list_transfers(
            connection, criteria.user_id, below=criteria.below, matching=matching, limit=limit
        )
        return [transfer.id for transfer in page], None
    return await _find_in_range(connection, criteria, limit)


async def _find_in_range(connection: Connection, criteria: Criteria, limit: int) -> tuple[list[UUID], datetime | None]:
    if around := _range_of_request(criteria):
        assert criteria.request_id is not None, "the range is that of a request"
        if ids := await store_search.list_by_request(connection, around.ids, criteria.request_id, limit=limit):
            return ids, around.since
    within = Range(_id_at(criteria.since, 0.0), _id_at(criteria.until, time.time() + REQUEST_SECONDS))
    searched_from = criteria.since
    count = SENDERS_MAX if criteria.request_id is None else SEARCHED_MAX
    if floor := await store_search.find_search_floor(connection, within, count):
        lowest, searched_from = floor
        within = Range(lowest, within.end)
    if criteria.request_id is not None:
        return await store_search.list_by_request(connection, within, criteria.request_id, limit=limit), searched_from
    assert criteria.idempotency_key is not None, "nothing else is left"
    return await store_search.list_by_key(connection, within, criteria.idempotency_key, limit=limit), searched_from


def _range_of_request(criteria: Criteria) -> Around | None:
    """The minutes around the time in a request id, so that an old request is found too; None if it contains none."""
    id_ = parse_id(criteria.request_id or "")
    if id_ is None or id_.version != TIME_ORDERED or criteria.since or criteria.until:
        return None
    at = (id_.int >> 80) / 1000
    try:
        searched_from = datetime.fromtimestamp(at - REQUEST_SECONDS, UTC)
        return Around(Range(first_id_at(at - REQUEST_SECONDS), first_id_at(at + REQUEST_SECONDS)), searched_from)
    except (ValueError, OverflowError):
        return None


def _id_at(moment: datetime | None, default: float) -> UUID:
    return first_id_at(max(0.0, default if moment is None else moment.timestamp()))
