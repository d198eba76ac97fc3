"""Races for keys: random duplicates, other bodies, other users, over two intakes that are restarted."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import pytest

from services.chassis.database import DatabaseUnavailable, LockTimeout
from services.contracts.refusal import Refusal
from services.transaction import commands, reversal
from services.transaction.commands import Accepted
from services.transaction.intake import Intake, Request, Result
from services.transaction.wallet_client import Availability, WalletClient
from tests.harness import drills
from tests.harness.services import MoneyPath, request
from tests.simulation import naive_keys
from tests.simulation.naive_keys import Call, Recorded

CLIENTS = 12
CALLS = drills.bound(25, 60)
"""The calls of each client."""


class Race:
    """Clients that send the same few keys at the same time, and the history of their results."""

    def __init__(self, path: MoneyPath, users: Sequence[UUID], receiver: UUID, seed: int) -> None:
        self.path = path
        self.users = users
        self.receiver = receiver
        self.rng = random.Random(seed)
        self.intakes = [path.intake(), path.intake()]
        self.ticks = itertools.count()
        self.history: list[Call] = []
        self.accepted: list[Accepted] = []

    async def run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)), self._cancel(), self._restart())

    async def _client(self, number: int) -> None:
        for turn in range(CALLS):
            requests = [self._next_request(turn) for _ in range(self.rng.randint(1, 4))]
            began = next(self.ticks)
            results = await self._send(self.intakes[number % 2], requests)
            ended = next(self.ticks)
            self.history += [
                self._entry(one, began, ended, result) for one, result in zip(requests, results, strict=True)
            ]

    async def _send(self, intake: Intake, requests: Sequence[Request]) -> Sequence[Result | None]:
        try:
            return await intake.accept(requests)
        except DatabaseUnavailable:
            return [None] * len(requests)

    def _next_request(self, turn: int) -> Request:
        """A request with one of a few keys of about this turn, one of two bodies, by one of the users."""
        user = self.rng.choice(self.users)
        key = f"key {turn + self.rng.randint(0, 2)}"
        return request(user, self.receiver, self.rng.choice([1, 1, 1, 2]), key=key)

    def _entry(self, one: Request, began: int, ended: int, result: Result | None) -> Call:
        said = Call(str(one.user_id), one.idempotency_key, one.amount, began, ended, naive_keys.UNKNOWN)
        if result is None:
            return said
        if isinstance(result, Refusal):
            # From 500 the outcome is unknown or the service is busy: a client repeats the request.
            return said if result.status >= 500 else said._replace(kind=result.code)
        self.accepted.append(result)
        kind = naive_keys.REPLAYED if result.replayed else naive_keys.ACCEPTED
        return said._replace(kind=kind, transfer=str(result.transfer.id), body=repr(result.transfer))

    async def _cancel(self) -> None:
        """Cancel accepted transfers now and then."""
        wallet = self.path.wallet("transaction-reversal")
        for _ in range(CALLS):
            await asyncio.sleep(0.02)
            if self.accepted:
                transfer = self.rng.choice(self.accepted).transfer
                voided = [(transfer.id, transfer.request_hash)]
                with suppress(Refusal, LockTimeout):
                    await reversal.void_transfers(self.path.pool, wallet, voided, "cancelled")

    async def _restart(self) -> None:
        """Replace an intake by a new one now and then."""
        for _ in range(CALLS):
            await asyncio.sleep(0.02)
            self.intakes[self.rng.randint(0, 1)] = self.path.intake()


async def read_record(path: MoneyPath) -> dict[naive_keys.Name, Recorded]:
    """What is recorded for each key."""
    rows = await path.pool.fetch(
        "SELECT keys.user_id, key, resource_id, amount FROM idempotency_keys AS keys JOIN transfers ON id = resource_id"
    )
    return {(str(row["user_id"]), row["key"]): Recorded(str(row["resource_id"]), row["amount"]) for row in rows}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(drills.bound(3, 40)))
async def test_one_transfer_for_each_user_and_key(path: MoneyPath, seed: int) -> None:
    """Guarantees 17, 18, 23: in any race each user and key make one transfer, and every response agrees."""
    path.reversal_after = timedelta(seconds=60)
    path.start_relay()
    path.start_worker()
    [(rich, _), (other, _), (poor, _), (_, receiver)] = await path.users([10_000, 10_000, 6, 0])
    race = Race(path, [rich, other, poor], receiver, seed)

    await race.run()
    recorded = await read_record(path)
    await path.finalized([UUID(made.transfer) for made in recorded.values()], seconds=300)

    assert [] == naive_keys.contradictions(race.history, recorded)
    assert len(recorded) == await path.pool.fetchval("SELECT count(*) FROM transfers")
    by_kind = {
        kind: {(s.user, s.key) for s in race.history if s.kind == kind} for kind in {s.kind for s in race.history}
    }
    assert recorded.keys() - by_kind["accepted"] <= by_kind.get("unknown", set()), (
        "accepted as new, unless the response was lost"
    )
    assert {"accepted", "replayed", "idempotency_key_reused"} <= by_kind.keys()
    # The early check refuses when it has the balance in time; else the ledger rejects.
    broke = await path.pool.fetchval("SELECT count(*) FROM transfers WHERE failure_code = 'insufficient_funds'")
    assert broke > 0 or "insufficient_funds" in by_kind


async def test_key_finds_its_transfer_at_any_moment(path: MoneyPath) -> None:
    """Guarantee 24: during a race a look-up by key finds nothing before its transfer and always that one after."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    intakes = [path.intake(), path.intake()]
    for number in range(20):
        key = f"key {number}"
        sending = [
            asyncio.create_task(intakes[n % 2].accept([request(alice, bob_wallet, 1, key=key)])) for n in range(6)
        ]
        seen = []
        while not all(task.done() for task in sending):
            seen.append(await commands.find_by_key(path.pool, alice, key))
            await asyncio.sleep(0)
        accepted_ids = {result.transfer.id for task in sending for result in await task if isinstance(result, Accepted)}

        found = [None if transfer is None else transfer.id for transfer in seen]
        first = next((index for index, one in enumerate(found) if one is not None), len(found))
        assert 1 == len(accepted_ids)
        assert [None] * first + [*accepted_ids] * (len(found) - first) == found
        kept = await commands.find_by_key(path.pool, alice, key)
        assert kept is not None
        assert accepted_ids == {kept.id}


class Meanwhile(WalletClient):
    """The wallet; an action runs before it returns what is available."""

    def __init__(self, wallet: WalletClient, action: Callable[[], Awaitable[None]]) -> None:
        super().__init__(wallet._upstream)
        self._act = action

    async def availability(self, pending: Mapping[UUID, Sequence[UUID]]) -> dict[UUID, Availability]:
        await self._act()
        return await super().availability(pending)


async def test_duplicate_posted_meanwhile_is_replayed(path: MoneyPath) -> None:
    """Guarantee 17: a duplicate accepted and posted after the look-up of its key is replayed, not refused for missing funds."""
    path.start_relay()
    path.start_worker()
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])
    duplicate = request(alice, bob_wallet, 300, key="same")
    firsts: list[Result] = []

    async def spend() -> None:
        firsts.extend(await path.intake().accept([duplicate]))
        assert isinstance(firsts[0], Accepted)
        await path.finalized([firsts[0].transfer.id])

    late = Intake(
        path.pool,
        wallet=Meanwhile(path.wallet("transaction"), spend),
        auth=path.people,
        reversal_after=path.reversal_after,
    )
    [again] = await late.accept([duplicate])

    assert isinstance(firsts[0], Accepted)
    assert [Accepted(firsts[0].transfer, replayed=True)] == [again]
