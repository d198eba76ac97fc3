"""Admission of transfers: when a request is counted, and when it is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from services.contracts.refusals.transaction import Busy
from services.gateway.clients.transaction import TransferItem
from services.gateway.errors import NoResponseInTime
from services.gateway.idempotency import Accepted, KeyedRequest, ResponseCache
from services.gateway.intake import AdmissionCounter, Intake

ACCEPTED = Accepted("0192a000-0000-7000-8000-000000000001", b"{}", replayed=True)
UNUSED: Any = None
"""In place of the transaction service: every response is in the cache."""


class SlowCache(ResponseCache):
    """A cache with every response, which it returns once it may."""

    def __init__(self) -> None:
        self.lookups = 0
        self.may_respond = asyncio.Event()

    async def find_all(self, requests: Sequence[KeyedRequest]) -> list[Accepted | None]:
        self.lookups += len(requests)
        await self.may_respond.wait()
        return [ACCEPTED] * len(requests)


def transfer(key: str) -> TransferItem:
    return {
        "user_id": "u",
        "idempotency_key": key,
        "request_hash": "h",
        "kind": "transfer",
        "amount": 1,
        "currency": "USD",
        "to": {"wallet_id": "w"},
        "from_wallet_id": None,
        "description": None,
        "metadata": None,
        "request_id": "r",
        "traceparent": None,
    }


async def test_a_request_is_counted_before_the_cache_look_up() -> None:
    """A request above the limit is refused at once; an admitted one is never refused later, however slow the cache."""
    cache = SlowCache()
    intake = Intake(UNUSED, cache, requests_max=2)
    admitted = [asyncio.create_task(intake.accept(transfer(f"k-{number}"))) for number in range(2)]
    while cache.lookups < 2:
        await asyncio.sleep(0)

    with pytest.raises(Busy):
        await asyncio.wait_for(intake.accept(transfer("k-3")), 30)
    cache.may_respond.set()

    assert [ACCEPTED, ACCEPTED] == await asyncio.gather(*admitted)
    assert 2 == cache.lookups
    assert not intake.is_full


async def test_each_request_ends_at_its_own_deadline() -> None:
    """A request without a response ends with 504 after its time, also if it began later than others, and counts no longer."""
    intake = Intake(UNUSED, SlowCache(), requests_max=2, seconds=0.05)
    began = time.monotonic()
    first = asyncio.create_task(intake.accept(transfer("k-1")))
    while time.monotonic() - began < 0.02:
        await asyncio.sleep(0)
    later = asyncio.create_task(intake.accept(transfer("k-2")))

    ended = []
    async with asyncio.timeout(5):
        for request in (first, later):
            with pytest.raises(NoResponseInTime):
                await request
            ended.append(time.monotonic() - began)

    assert 0.05 <= ended[0]
    assert 0.07 <= ended[1]
    assert not intake.is_full


async def test_a_response_in_time_is_not_affected() -> None:
    """The deadline of a request that has its response affects no later request."""
    counter = AdmissionCounter(10, 0.05)
    began = time.monotonic()
    responded = counter.open()
    responded.set_result(ACCEPTED)
    counter.close(responded)
    while time.monotonic() - began < 0.02:
        await asyncio.sleep(0)

    waiting = counter.open()
    with pytest.raises(NoResponseInTime):
        await asyncio.wait_for(waiting, 30)

    assert 0.07 <= time.monotonic() - began
    assert ACCEPTED == await responded
