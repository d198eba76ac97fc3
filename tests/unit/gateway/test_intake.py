"""Admission of transfers: when a request is counted, and when it is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.contracts.refusals.transaction import Busy
from services.gateway.clients.transaction import TransferItem
from services.gateway.idempotency import Accepted, KeyedRequest, ResponseCache
from services.gateway.intake import Intake

ACCEPTED = Accepted("0192a000-0000-7000-8000-000000000001", b"{}", replayed=True)
UNUSED: Any = None
"""In place of the transaction service: every response is in the cache."""


class SlowCache(ResponseCache):
    """A cache with every response, which it returns once it may."""

    def __init__(self) -> None:
        self.lookups = 0
        self.may_respond = asyncio.Event()

    async def find(self, request: KeyedRequest) -> Accepted | None:  # noqa: ARG002 - the same for every request
        self.lookups += 1
        await self.may_respond.wait()
        return ACCEPTED


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
