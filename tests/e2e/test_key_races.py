"""Concurrent use of idempotency keys while Redis is flushed and the transaction service is killed."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence

import aiohttp
import pytest
import redis.asyncio as redis

from tests.harness import drills
from tests.harness.api import ApiClient, Person, Response
from tests.harness.kills import kill
from tests.harness.stack import Stack
from tests.simulation import naive_keys
from tests.simulation.naive_keys import Call, Recorded

CLIENTS = 8
KILLS = drills.bound(2, 20)
RESPONSE_SECONDS_MAX = 60
"""Longer than any response may take; a client without a response fails the test."""


class Race:
    """Clients that send the same few keys concurrently, and all their responses."""

    def __init__(self, users: Sequence[Person], receiver: Person) -> None:
        self.users = users
        self.receiver = receiver
        self.rng = random.Random(29)
        self.ticks = itertools.count()
        self.history: list[Call] = []
        self.over = False

    async def client(self) -> None:
        while not self.over:
            key = f"key-{len(self.history) // 12 + self.rng.randint(0, 2)}"
            await self.send(self.rng.choice(self.users), key, self.rng.choice([1, 1, 1, 2]))

    async def finalize(self, person: Person, key: str) -> None:
        """After recovery: retry until the outcome of this key is known."""
        async with asyncio.timeout(RESPONSE_SECONDS_MAX):
            while (await self.send(person, key, 1)).kind == naive_keys.UNKNOWN:
                await asyncio.sleep(0.1)

    async def send(self, person: Person, key: str, amount: int) -> Call:
        began = next(self.ticks)
        kind, response = naive_keys.UNKNOWN, None
        try:
            async with asyncio.timeout(RESPONSE_SECONDS_MAX):
                response = await person.send_money(self.receiver, amount, key=key)
        except aiohttp.ClientError:
            pass
        else:
            kind = kind_of(response)
        call = Call(person.user_id, key, amount, began, next(self.ticks), kind)
        if response is not None and response.status == 202:
            call = call._replace(transfer=response.body["id"], body=repr(response.body))
        self.history.append(call)
        return call


def kind_of(response: Response) -> str:
    """The response in terms of the model."""
    if response.status == 202:
        return naive_keys.REPLAYED if response.headers.get("Idempotent-Replayed") == "true" else naive_keys.ACCEPTED
    return naive_keys.UNKNOWN if response.status in (503, 504) else response.code


async def flush(stack: Stack, race: Race) -> None:
    """Flush Redis at random intervals."""
    cache = redis.from_url(stack["redis"])
    while not race.over:
        await cache.flushall()
        await asyncio.sleep(race.rng.uniform(0.01, 0.3))
    await cache.aclose()


@pytest.mark.timeout(drills.bound(600, 1800))
async def test_one_transfer_for_each_user_and_key(stack: Stack, api: ApiClient, alice: Person, bob: Person) -> None:
    """Guarantees 17, 18, 20, 23: Redis flushed, the transaction service killed: each user and key make exactly one transfer."""
    poor = await api.register("Poor Test")
    await alice.send_money(poor, 5, wait=30)
    race = Race([alice, poor], bob)
    tasks = [asyncio.create_task(race.client()) for _ in range(CLIENTS)]
    tasks.append(asyncio.create_task(flush(stack, race)))
    try:
        for _ in range(KILLS):
            goal = len(race.history) + 150
            while len(race.history) < goal:
                await asyncio.sleep(0.01)
            await kill(stack, "transaction")
    finally:
        race.over = True
        await asyncio.gather(*tasks)
    used = {(call.user, call.key) for call in race.history}
    users = {person.user_id: person for person in race.users}
    for user, key in sorted(used):
        await race.finalize(users[user], key)

    rows = await stack.query(
        "transaction",
        "SELECT keys.user_id, key, resource_id, amount FROM idempotency_keys AS keys JOIN transfers ON id = resource_id "
        "WHERE keys.user_id = ANY($1::uuid[]) AND key LIKE 'key-%'",
        list(users),
    )
    recorded = {(str(row["user_id"]), row["key"]): Recorded(str(row["resource_id"]), row["amount"]) for row in rows}
    transfers = await stack.query(
        "transaction",
        "SELECT id FROM transfers WHERE user_id = ANY($1::uuid[]) AND to_wallet_id = $2",
        list(users),
        bob.wallet_id,
    )
    assert [] == naive_keys.contradictions(race.history, recorded)
    assert {made.transfer for made in recorded.values()} == {str(row["id"]) for row in transfers}
    kinds = Counter(call.kind for call in race.history)
    assert {"accepted", "replayed", "idempotency_key_reused", "insufficient_funds"} <= kinds.keys(), kinds
    done = [await users[user].finalized(made.transfer) for (user, _), made in recorded.items()]
    assert sum(one["amount"] for one in done if one["status"] == "COMPLETED") == await bob.balance()
