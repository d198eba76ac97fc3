"""What the client of a chaos run records: contradictory responses are recorded, consistent ones are not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.chaos.client import Client
from tests.chaos.history import History, Intent

Canned = tuple[int, dict[str, Any]]

ACCEPTED: Canned = (
    202,
    {"id": "t1", "status": "PENDING", "amount": 5, "from_wallet_id": "mine", "to_wallet_id": "his"},
)
REUSED: Canned = (422, {"code": "idempotency_key_reused"})
POOR: Canned = (422, {"code": "insufficient_funds"})


@asynccontextmanager
async def client_of(*responses: Canned) -> AsyncIterator[Client]:
    """A client of a server that returns these responses in order."""
    left = iter(responses)

    async def respond(_request: web.Request) -> web.Response:
        status, body = next(left)
        return web.json_response(body, status=status)

    app = web.Application()
    app.add_routes([web.post("/api/v1/transfers", respond)])
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        base = str(server.make_url("")).rstrip("/")
        client = Client(session, base, "a@example.com", History(), 0.0, user_id="me", wallet_id="mine")
        client._renew_at = float("inf")
        yield client


def payment(client: Client, amount: int = 5) -> Intent:
    made = Intent("key", "me", "transfer", "mine", "his", amount)
    client.intents.append(made)
    return made


@pytest.mark.parametrize(
    ("responses", "contradictions"),
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
        "another wallet",
        "another amount",
    ],
)
async def test_contradictory_responses(responses: list[Canned], contradictions: int) -> None:
    """An acceptance is final, a key belongs to its user, and the response must match the request."""
    async with client_of(*responses) as client:
        made = payment(client)
        for _ in responses:
            await client.attempt(made, seconds=5)
        assert contradictions == len(client.history.contradictions)


async def test_concurrent_duplicates() -> None:
    """Of two concurrent requests one may be refused before the other is accepted."""
    async with client_of(POOR, ACCEPTED) as client:
        made = payment(client)
        await client.attempt_twice(made, seconds=5)
        assert ([], "t1", None) == (client.history.contradictions, made.transfer_id, made.refusal)


async def test_a_refused_duplicate_of_an_unresolved_request_proves_nothing() -> None:
    """The client retries until it knows the outcome."""
    async with client_of(POOR, (503, {"code": "unavailable"})) as client:
        made = payment(client)
        await client.attempt_twice(made, seconds=5)
        assert made.open


async def test_a_key_used_for_something_else_on_purpose() -> None:
    """A refusal of a reused key is correct and no contradiction."""
    async with client_of(REUSED) as client:
        changed = Intent("key", "me", "transfer", "mine", "his", 6)
        await client.attempt(changed, seconds=5)
        assert [] == client.history.contradictions
