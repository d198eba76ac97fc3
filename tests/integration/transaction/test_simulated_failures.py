"""Simulations in the money path: unlikely paths taken on purpose, which can neither double nor lose money."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import aiohttp
import pytest

from deploy.local.ports import find_free
from services.chassis.client import Upstream
from services.chassis.roles import Runtime
from services.contracts.refusal import Refusal
from services.transaction import schemas
from services.transaction.app import serve_api
from services.transaction.commands import Accepted
from services.transaction.intake import Request, Result
from services.transaction.settings import ApiSettings
from services.transaction.simulation import Simulation
from tests.harness.databases import TestDatabase
from tests.harness.services import MoneyPath, accept, request

UNCHECKED = Simulation(unchecked=True)


async def accepted(path: MoneyPath, *requests: Request) -> list[UUID]:
    results: list[Result] = await accept(path.intake(), *requests)
    assert not [result for result in results if isinstance(result, Refusal)], results
    return [result.transfer.id for result in results if isinstance(result, Accepted)]


async def balances(path: MoneyPath, *wallets: UUID) -> list[int]:
    rows = await path.wallet_pool.fetch("SELECT id, posted FROM accounts WHERE id = ANY($1::uuid[])", wallets)
    posted = {row["id"]: row["posted"] for row in rows}
    return [posted[wallet] for wallet in wallets]


async def test_ledger_rejects_an_unchecked_transfer(path: MoneyPath) -> None:
    """Unchecked: more than the balance is accepted and the ledger rejects it; what is covered is posted."""
    [(alice, alice_wallet), (_, bob_wallet)] = await path.users([300, 0])
    path.start_relay()
    path.start_worker()

    ids = await accepted(
        path,
        request(alice, bob_wallet, 301, simulation=UNCHECKED),
        request(alice, bob_wallet, 300, simulation=UNCHECKED),
        request(alice, bob_wallet, 1, simulation=UNCHECKED),
    )
    finalized = await path.finalized(ids)

    assert ["insufficient_funds", None, "insufficient_funds"] == [finalized[id_].failure_code for id_ in ids]
    assert [0, 300] == await balances(path, alice_wallet, bob_wallet)


async def test_other_items_of_the_batch_are_checked(path: MoneyPath) -> None:
    """In one batch with an unchecked item an ordinary request for too much is refused at acceptance."""
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])

    results = await accept(
        path.intake(),
        request(alice, bob_wallet, 301, simulation=UNCHECKED),
        request(alice, bob_wallet, 301),
    )

    assert [None, "insufficient_funds"] == [getattr(result, "code", None) for result in results]


async def test_delayed_command_is_carried_out(path: MoneyPath) -> None:
    """Delayed: PENDING and unpublished for so long, beside others that are published at once; then COMPLETED."""
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])
    path.start_relay()
    path.start_worker()

    [held, free] = await accepted(
        path, request(alice, bob_wallet, 1, simulation=Simulation(delay_seconds=1)), request(alice, bob_wallet, 2)
    )
    await path.finalized([free])
    [early] = await path.pool.fetch("SELECT status FROM transfers WHERE id = $1", held)
    done = (await path.finalized([held]))[held]

    assert "PENDING" == early["status"]
    assert "COMPLETED" == done.status
    assert done.completed_at is not None
    assert 1 <= (done.completed_at - done.created_at).total_seconds()


async def test_command_after_the_reversal_moves_nothing(path: MoneyPath) -> None:
    """Delayed beyond its expiry: the reversal voids it, and the command that comes afterwards moves nothing."""
    [(alice, alice_wallet), (_, bob_wallet)] = await path.users([300, 0])
    late = Simulation(delay_seconds=1.5, expires_seconds=0.2)

    [id_] = await accepted(path, request(alice, bob_wallet, 300, simulation=late))
    async with asyncio.timeout(30):
        while not await path.sweep():
            await asyncio.sleep(0.05)
    reversed_ = (await path.finalized([id_]))[id_]
    path.start_relay()
    path.start_worker()
    async with asyncio.timeout(30):
        while not await path.pool.fetchval("SELECT published_at FROM outbox WHERE id = $1", id_):
            await asyncio.sleep(0.05)
    [after] = await accepted(path, request(alice, bob_wallet, 300))
    # The late command is in the queue before this one.
    finalized = await path.finalized([after])

    assert ("FAILED", "timed_out") == (reversed_.status, reversed_.failure_code)
    assert "COMPLETED" == finalized[after].status
    assert [0, 300] == await balances(path, alice_wallet, bob_wallet)


async def test_many_simulations_lose_and_double_nothing(path: MoneyPath) -> None:
    """Everything simulated at once, each key twice, for more than there is: one outcome each, and only what was there moves.

    The fixture proves the ledger afterwards, and holds every status against its outcome.
    """
    [(alice, alice_wallet), (bob, bob_wallet)] = await path.users([1000, 1000])
    kinds = (UNCHECKED, Simulation(delay_seconds=0.3), Simulation(True, 0.9, 0.3), Simulation(expires_seconds=0.01))
    path.start_relay()
    path.start_worker()
    path.start_worker("worker-2")

    requests = [
        request(
            *((alice, bob_wallet) if n % 2 else (bob, alice_wallet)),
            50 + n,
            key=f"burst-{n}",
            simulation=kinds[n // 2 % len(kinds)],
        )
        for n in range(80)
    ]
    intakes = [path.intake(), path.intake()]
    batches = await asyncio.gather(accept(intakes[0], *requests[:40]), accept(intakes[1], *requests[40:]))
    first = [result for batch in batches for result in batch]
    again = await accept(intakes[0], *(one._replace(simulation=Simulation()) for one in requests))
    ids = {result.transfer.id for result in first if isinstance(result, Accepted)}
    sweeping = asyncio.create_task(sweep(path))
    finalized = await path.finalized(list(ids))
    sweeping.cancel()

    # Checked requests were refused at acceptance: nothing was recorded, so the second request of a key was a first one.
    recorded = {result.transfer.id for result in again if isinstance(result, Accepted)}
    assert ids <= recorded
    finalized |= await path.finalized(list(recorded))
    moved = Counter({alice_wallet: 1000, bob_wallet: 1000})
    for transfer in finalized.values():
        if transfer.status == "COMPLETED":
            moved[transfer.from_wallet_id] -= transfer.amount
            moved[transfer.to_wallet_id] += transfer.amount
    assert {"COMPLETED", "FAILED"} == {transfer.status for transfer in finalized.values()}
    assert [moved[alice_wallet], moved[bob_wallet]] == await balances(path, alice_wallet, bob_wallet)
    assert 2000 == sum(moved.values())


async def sweep(path: MoneyPath) -> None:
    while True:
        await path.sweep()
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("demo", [True, False])
async def test_outside_demo_mode_the_field_is_unknown(
    path: MoneyPath, transaction_database: TestDatabase, demo: bool
) -> None:
    """A transaction service that is not in demo mode refuses an item with a simulation, alone, and records nothing."""
    [(alice, _), (_, bob_wallet)] = await path.users([300, 0])
    ordinary = {
        "user_id": str(alice),
        "idempotency_key": "ordinary",
        "request_hash": "0" * 64,
        "kind": "transfer",
        "amount": 1,
        "currency": "USD",
        "to": {"wallet_id": str(bob_wallet)},
        "request_id": "request",
    }
    simulated = ordinary | {"idempotency_key": "simulated", "simulation": {"delay_seconds": 3}}

    async with service(path, transaction_database, demo=demo) as gateway:
        response = await gateway.call("POST", "/internal/transfers", body={"items": [ordinary, simulated]}, seconds=8)

    recorded = await path.pool.fetch("SELECT key FROM idempotency_keys ORDER BY key")
    assert "transfer" in response["items"][0]
    if demo:
        assert "transfer" in response["items"][1]
    else:
        assert ["simulation"] == [error["field"] for error in response["items"][1]["problem"]["errors"]]
    assert (["ordinary", "simulated"] if demo else ["ordinary"]) == [row["key"] for row in recorded]


@asynccontextmanager
async def service(path: MoneyPath, database: TestDatabase, *, demo: bool) -> AsyncIterator[Upstream]:
    """The api role as it is composed, called by the gateway."""
    identity, port = path.keys["transaction"], find_free()
    settings = ApiSettings(
        demo=demo,
        host="127.0.0.1",
        transaction_port=port,
        transaction_database_url=database.service_url,
        wallet_url=path.wallet_url,
        rabbitmq_url=path.rabbitmq_url,
        auth_url="http://127.0.0.1:9",
        service_key=base64.b64encode(identity.key.private_bytes_raw()).decode(),
        service_public_keys={
            name: base64.b64encode(key.public_bytes_raw()).decode() for name, key in identity.public_keys.items()
        },
    )
    runtime = Runtime(service="transaction", role="api", instance="transaction")
    serving = asyncio.create_task(serve_api(settings, runtime))
    upstream = Upstream("gateway", "transaction", f"http://127.0.0.1:{port}", path.keys["gateway"])
    try:
        async with asyncio.timeout(20):
            while not await is_reachable(upstream):
                assert not serving.done(), serving
                await asyncio.sleep(0.02)
        yield upstream
    finally:
        await upstream.close()
        runtime.stopping.set()
        await serving


async def is_reachable(upstream: Upstream) -> bool:
    try:
        await upstream.ping()
    except aiohttp.ClientError:
        return False
    return True


@pytest.mark.parametrize(
    "simulation",
    [{"delay_seconds": 121}, {"delay_seconds": -1}, {"expires_seconds": 0}, {"expires_seconds": 61}, {"free": 1}],
)
def test_simulations_are_bounded(simulation: dict[str, float]) -> None:
    """No command is delayed, and no transfer kept pending, for longer than the limits."""
    read = schemas.read_requests(json.dumps({"items": [{"simulation": simulation}]}).encode(), simulates=True)

    assert isinstance(read[0], Refusal)
    assert [f"simulation.{next(iter(simulation))}"] == [
        e.field for e in read[0].errors if e.field.startswith("simulation")
    ]
