"""The routes of the transaction service on the real database and the real wallet: permissions and responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from services.chassis import server
from services.chassis.client import Upstream
from services.chassis.service_tokens import TokenVerifier
from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal
from services.transaction import api, commands
from services.transaction.commands import Accepted
from services.transaction.store import WalletResult
from services.transaction.transfer import Transfer
from services.transaction.waiting import Waiting
from tests.harness.services import MoneyPath, accept, request

SECONDS = 60.0


@pytest.fixture
async def gateway(path: MoneyPath) -> AsyncIterator[Upstream]:
    """The service as the gateway calls it."""
    app = server.application("transaction")
    app[api.POOL] = app[api.READ_POOL] = path.pool
    app[api.WALLET] = path.wallet("transaction")
    app[api.WAITING] = Waiting(path.pool)
    api.add_routes(app, TokenVerifier(path.keys["transaction"].public_keys, audience="transaction"))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    upstream = Upstream("gateway", "transaction", f"http://127.0.0.1:{runner.addresses[0][1]}", path.keys["gateway"])
    yield upstream
    await upstream.close()
    await runner.cleanup()


async def accepted(path: MoneyPath, amount: int = 10) -> Transfer:
    [(alice, _), (_, bob_wallet)] = await path.users([100, 0])
    [result] = await accept(path.intake(), request(alice, bob_wallet, amount))
    assert isinstance(result, Accepted)
    return result.transfer


async def cancel(gateway: Upstream, transfer: Transfer, viewer: UUID | None) -> Any:
    return await gateway.call(
        "POST", f"/internal/transfers/{transfer.id}/cancel", body={"viewer": str(viewer)}, seconds=SECONDS
    )


async def get(gateway: Upstream, transfer: Transfer, *, wait: float) -> Any:
    params = {"viewer": str(transfer.user_id), "wait": str(wait)}
    return await gateway.call("GET", f"/internal/transfers/{transfer.id}", params=params, seconds=SECONDS)


async def finalize(path: MoneyPath, transfer: Transfer) -> None:
    """As the reversal does."""
    [result] = await path.wallet("transaction-reversal").void([(transfer.id, transfer.request_hash)], "timed_out")
    assert result.at is not None
    await commands.finalize_transfers(
        path.pool, [WalletResult(transfer.id, result.outcome, result.reason, result.at, None)]
    )  # fmt: skip


async def test_only_the_sender_cancels(path: MoneyPath, gateway: Upstream) -> None:
    """To the recipient and other users the transfer does not exist; the sender cancels it, also twice."""
    transfer = await accepted(path)
    refused = []
    for viewer in (transfer.recipient_id, new_id()):
        with pytest.raises(Refusal) as refusal:
            await cancel(gateway, transfer, viewer)
        refused.append((refusal.value.status, refusal.value.code))
    pending = (await commands.find_transfers(path.pool, [transfer.id]))[transfer.id].status

    cancelled = [await cancel(gateway, transfer, transfer.user_id) for _ in range(2)]

    assert ([(404, "transfer_not_found")] * 2, "PENDING") == (refused, pending)
    assert [("FAILED", "cancelled")] * 2 == [(one["status"], one["failure"]["code"]) for one in cancelled]
    assert "cancelled" == await path.wallet_pool.fetchval(
        "SELECT reason FROM outcomes WHERE transfer_id = $1", transfer.id
    )


async def test_other_outcome_is_not_cancelled(path: MoneyPath, gateway: Upstream) -> None:
    """A completed transfer: 409 with the transfer for the sender, 404 for the recipient, who can see it."""
    transfer = await accepted(path)
    path.start_relay()
    path.start_worker()
    await path.finalized([transfer.id])

    with pytest.raises(Refusal) as sender:
        await cancel(gateway, transfer, transfer.user_id)
    with pytest.raises(Refusal) as recipient:
        await cancel(gateway, transfer, transfer.recipient_id)

    assert (409, "transfer_not_cancellable") == (sender.value.status, sender.value.code)
    assert (str(transfer.id), "COMPLETED") == tuple(sender.value.extra["transfer"][name] for name in ("id", "status"))
    assert (404, "transfer_not_found") == (recipient.value.status, recipient.value.code)


async def test_waiting_requests_get_the_outcome(path: MoneyPath, gateway: Upstream) -> None:
    """Several requests wait for one transfer: one that ends early gets it PENDING, the others get its outcome."""
    transfer = await accepted(path)
    patient = [asyncio.create_task(get(gateway, transfer, wait=30)) for _ in range(2)]
    impatient = await get(gateway, transfer, wait=0.05)
    at_once = await get(gateway, transfer, wait=0)

    await finalize(path, transfer)

    assert ["PENDING", "PENDING"] == [impatient["status"], at_once["status"]]
    assert ["FAILED"] * 2 == [one["status"] for one in await asyncio.gather(*patient)]
    assert "FAILED" == (await get(gateway, transfer, wait=30))["status"]
