"""The gateway dies between accepting and answering; whoever asks again gets the same transfer."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from uuid import uuid4

import aiohttp
import pytest

from tests.harness import drills
from tests.harness.api import Answer, Person
from tests.harness.kills import replaced
from tests.harness.stack import Stack

CLIENTS = 8
KILLS = drills.bound(5, 100)
ROUNDS_MAX = KILLS * 10

Sending = dict[str, asyncio.Task[Answer]]


class Clients:
    """Each sends one payment after the other, each with a key of its own, so that always some are under way."""

    def __init__(self, sender: Person, receiver: Person) -> None:
        self.sender = sender
        self.receiver = receiver
        self.sending: Sending = {}
        self.over = False
        self.tasks = [asyncio.create_task(self._pay()) for _ in range(CLIENTS)]

    async def _pay(self) -> None:
        while not self.over:
            key = uuid4().hex
            self.sending[key] = asyncio.create_task(self.sender.send_money(self.receiver, 1, key=key))
            await asyncio.wait([self.sending[key]])

    async def answered(self, count: int) -> None:
        """Wait until so many have their answer."""
        while sum(task.done() for task in self.sending.values()) < count:
            await asyncio.sleep(0.001)


async def recorded(stack: Stack, person: Person, keys: Sending) -> dict[str, str]:
    """The transfer on record for each of these keys that has one."""
    rows = await stack.query(
        "transaction",
        "SELECT key, resource_id FROM idempotency_keys WHERE user_id = $1 AND key = ANY($2::text[])",
        person.user_id,
        list(keys),
    )
    return {row["key"]: str(row["resource_id"]) for row in rows}


async def stop_in_between(stack: Stack, clients: Clients, answered: int) -> dict[str, str]:
    """Freeze the gateway when so many are answered; what is accepted then and not answered, once that is finalized.

    Frozen, it answers nobody, while the service behind it goes on to record what it was handed.
    """
    await clients.answered(answered)
    os.kill(stack["pids"]["gateway"], signal.SIGSTOP)
    clients.over = True
    before, accepted = -1, {}
    while before < len(accepted):
        before = len(accepted)
        await asyncio.sleep(0.1)
        accepted = await recorded(stack, clients.sender, clients.sending)
    return {key: id_ for key, id_ in accepted.items() if not clients.sending[key].done()}


async def retry(sender: Person, receiver: Person, key: str) -> Answer:
    """Send with this key until it is known what became of it."""
    async with asyncio.timeout(60):
        while (answer := await sender.send_money(receiver, 1, key=key)).status in (409, 503, 504):
            await asyncio.sleep(0.1)
    return answer


async def answers_of(sending: Sending) -> dict[str, str]:
    """The transfers that were answered before the gateway died; the others saw their connection break."""
    done = dict(zip(sending, await asyncio.gather(*sending.values(), return_exceptions=True), strict=True))
    assert all(isinstance(one, Answer | aiohttp.ClientError) for one in done.values()), done
    return {key: one.body["id"] for key, one in done.items() if isinstance(one, Answer) and one.status == 202}


@pytest.mark.timeout(drills.bound(600, 7200))
async def test_a_retry_after_a_killed_gateway_gets_the_same_transfer(stack: Stack, alice: Person, bob: Person) -> None:
    """Guarantee 22: the gateway is killed after the accepting commit and before its answer: each retry gets the same id."""
    rng = random.Random(22)
    kills = unanswered = 0
    ids: dict[str, str] = {}
    for _ in range(ROUNDS_MAX):
        pid = stack["pids"]["gateway"]
        clients = Clients(alice, bob)
        lost: dict[str, str] = {}
        try:
            lost = await stop_in_between(stack, clients, rng.randint(1, 20))
        finally:
            # With nobody in between the clients end their round, and the next one is tried.
            os.kill(pid, signal.SIGKILL if lost else signal.SIGCONT)
            clients.over = True
            await asyncio.gather(*clients.tasks)
        sending = clients.sending
        answered = await answers_of(sending)
        if lost:
            await replaced(stack, "gateway", pid)
        first = [await retry(alice, bob, key) for key in sending]
        again = [await retry(alice, bob, key) for key in sending]

        told = dict(zip(sending, (answer.body["id"] for answer in first), strict=True))
        assert {202} == {answer.status for answer in first + again}
        assert lost | answered == {key: told[key] for key in lost | answered}
        assert all(answer.headers["Idempotent-Replayed"] == "true" for answer in again)
        assert [answer.body for answer in first] == [answer.body for answer in again]
        ids |= told
        kills += bool(lost)
        unanswered += len(lost)
        if kills == KILLS:
            break

    print(f"{kills} kills, {unanswered} transfers accepted and not answered, {len(ids)} keys")
    assert KILLS == kills
    assert len(ids) == len(set(ids.values()))
    [row] = await stack.query("transaction", "SELECT count(*) FROM transfers WHERE user_id = $1", alice.user_id)
    assert len(ids) == row["count"]
    done = [await alice.finalized(id_) for id_ in ids.values()]
    assert sum(transfer["status"] == "COMPLETED" for transfer in done) == await bob.balance()
