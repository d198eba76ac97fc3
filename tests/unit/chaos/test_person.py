"""What a client of a chaos run may believe: answers that cannot be true together are noted, honest ones are not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.chaos.history import History, Intent
from tests.chaos.person import Person

Reply = tuple[int, dict[str, Any]]

ACCEPTED: Reply = (202, {"id": "t1", "status": "PENDING", "amount": 5, "from_wallet_id": "mine", "to_wallet_id": "his"})
REUSED: Reply = (422, {"code": "idempotency_key_reused"})
POOR: Reply = (422, {"code": "insufficient_funds"})


@asynccontextmanager
async def somebody(*replies: Reply) -> AsyncIterator[Person]:
    """A person at a api that answers so, one reply after the other."""
    left = iter(replies)

    async def answer(_request: web.Request) -> web.Response:
        status, body = next(left)
        return web.json_response(body, status=status)

    app = web.Application()
    app.add_routes([web.post("/api/v1/transfers", answer)])
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        base = str(server.make_url("")).rstrip("/")
        person = Person(session, base, "a@example.com", History(), 0.0, user_id="me", wallet_id="mine")
        person._renew_at = float("inf")
        yield person


def payment(person: Person, amount: int = 5) -> Intent:
    made = Intent("key", "me", "transfer", "mine", "his", amount)
    person.intents.append(made)
    return made


@pytest.mark.parametrize(
    ("replies", "contradictions"),
    [
        ([ACCEPTED, ACCEPTED], 0),
        ([POOR], 0),
        ([ACCEPTED, POOR], 1),
        ([REUSED], 1),
        ([(202, ACCEPTED[1] | {"from_wallet_id": "hers"})], 1),
        ([(202, ACCEPTED[1] | {"amount": 6})], 1),
    ],
    ids=[
        "replay",
        "refusal",
        "refused after it was accepted",
        "a key never used",
        "of somebody else",
        "another amount",
    ],
)
async def test_answers(replies: list[Reply], contradictions: int) -> None:
    """A yes is for ever, a key is its user's own, and what is answered is what was asked for."""
    async with somebody(*replies) as person:
        made = payment(person)
        for _ in replies:
            await person.attempt(made, seconds=5)
        assert contradictions == len(person.history.contradictions)


async def test_concurrent_duplicates() -> None:
    """Of two requests at once one may be refused before the other gets in."""
    async with somebody(POOR, ACCEPTED) as person:
        made = payment(person)
        await person.attempt_twice(made, seconds=5)
        assert ([], "t1", None) == (person.history.contradictions, made.transfer_id, made.refusal)


async def test_a_refused_twin_of_one_without_an_answer_says_nothing() -> None:
    """It is asked again until its client knows."""
    async with somebody(POOR, (503, {"code": "unavailable"})) as person:
        made = payment(person)
        await person.attempt_twice(made, seconds=5)
        assert made.open


async def test_a_key_used_for_something_else_on_purpose() -> None:
    """That it is refused is right, and is no contradiction."""
    async with somebody(REUSED) as person:
        changed = Intent("key", "me", "transfer", "mine", "his", 6)
        await person.attempt(changed, seconds=5)
        assert [] == person.history.contradictions
