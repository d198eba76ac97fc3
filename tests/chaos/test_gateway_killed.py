"""The gateway is killed between accepting and responding; a retry returns the same transfer."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from uuid import uuid4

import aiohttp
import pytest

from tests.harness import drills
from tests.harness.api import Person, Response
from tests.harness.kills import replaced
from tests.harness.stack import Stack

CLIENTS = 8
KILLS = drills.bound(5, 100)
ROUNDS_MAX = KILLS * 10

Sending = dict[str, asyncio.Task[Response]]


class Clients:
    """Clients that send one payment after another, each with its own key, so that some are always in flight."""

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

    async def responded(self, count: int) -> None:
        """Wait until this many requests have a response."""
        while sum(task.done() for task in self.sending.values()) < count:
            await asyncio.sleep(0.001)


async def recorded(stack: Stack, person: Person, keys: Sending) -> dict[str, str]:
    """The recorded transfer for each of these keys that has one."""
    rows = await stack.query(
        "transaction",
        "SELECT key, resource_id FROM idempotency_keys WHERE user_id = $1 AND key = ANY($2::text[])",
        person.user_id,
        list(keys),
    )
    return {row["key"]: str(row["resource_id"]) for row in rows}


async def freeze_after(stack: Stack, clients: Clients, responded: int) -> dict[str, str]:
    """Freeze the gateway after this many responses; return transfers that are accepted but have no response.

    A frozen gateway sends no responses, while the transaction service still records the requests it received.
    """
    await clients.responded(responded)
    os.kill(stack["pids"]["gateway"], signal.SIGSTOP)
    clients.over = True
    before = -1
    accepted: dict[str, str] = {}
    while before < len(accepted):
        before = len(accepted)
        await asyncio.sleep(0.1)
        accepted = await recorded(stack, clients.sender, clients.sending)
    return {key: id_ for key, id_ in accepted.items() if not clients.sending[key].done()}


async def retry(sender: Person, receiver: Person, key: str) -> Response:
    """Send with this key until the outcome is known."""
    async with asyncio.timeout(60):
        while (response := await sender.send_money(receiver, 1, key=key)).status in (409, 503, 504):
            await asyncio.sleep(0.1)
    return response


async def responses_of(sending: Sending) -> dict[str, str]:
    """The transfers with a response from before the kill; the other connections broke."""
    done = dict(zip(sending, await asyncio.gather(*sending.values(), return_exceptions=True), strict=True))
    assert all(isinstance(one, Response | aiohttp.ClientError) for one in done.values()), done
    return {key: one.body["id"] for key, one in done.items() if isinstance(one, Response) and one.status == 202}


@pytest.mark.timeout(drills.bound(600, 7200))
async def test_a_retry_after_a_killed_gateway_gets_the_same_transfer(stack: Stack, alice: Person, bob: Person) -> None:
    """Guarantee 22: the gateway is killed after the accepting commit and before its response: each retry gets the same id."""
    rng = random.Random(22)
    kills = without_response = 0
    ids: dict[str, str] = {}
    for _ in range(ROUNDS_MAX):
        pid = stack["pids"]["gateway"]
        clients = Clients(alice, bob)
        lost: dict[str, str] = {}
        try:
            lost = await freeze_after(stack, clients, rng.randint(1, 20))
        finally:
            # Without such a transfer the clients end their round, and the next round tries again.
            os.kill(pid, signal.SIGKILL if lost else signal.SIGCONT)
            clients.over = True
            await asyncio.gather(*clients.tasks)
        sending = clients.sending
        responded = await responses_of(sending)
        if lost:
            await replaced(stack, "gateway", pid)
        first = [await retry(alice, bob, key) for key in sending]
        again = [await retry(alice, bob, key) for key in sending]

        returned = dict(zip(sending, (response.body["id"] for response in first), strict=True))
        assert {202} == {response.status for response in first + again}
        assert lost | responded == {key: returned[key] for key in lost | responded}
        assert all(response.headers["Idempotent-Replayed"] == "true" for response in again)
        assert [response.body for response in first] == [response.body for response in again]
        ids |= returned
        kills += bool(lost)
        without_response += len(lost)
        if kills == KILLS:
            break

    print(f"{kills} kills, {without_response} transfers accepted without a response, {len(ids)} keys")
    assert KILLS == kills
    assert len(ids) == len(set(ids.values()))
    [row] = await stack.query("transaction", "SELECT count(*) FROM transfers WHERE user_id = $1", alice.user_id)
    assert len(ids) == row["count"]
    done = [await alice.finalized(id_) for id_ in ids.values()]
    assert sum(transfer["status"] == "COMPLETED" for transfer in done) == await bob.balance()
