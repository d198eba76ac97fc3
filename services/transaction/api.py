"""Internal routes of the transaction service: parse, run a command, render."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import UUID

from aiohttp import web

from services.chassis import audit, dead_letters, telemetry
from services.chassis.body import path_id, validate, validate_json
from services.chassis.database import Pool
from services.chassis.encoding import respond
from services.chassis.server import callers
from services.chassis.service_tokens import TokenVerifier
from services.contracts.identifiers import parse_id
from services.contracts.messages import format_time
from services.contracts.refusal import Refusal
from services.contracts.refusals.transaction import TransferNotCancellable, TransferNotFound
from services.contracts.topology import REQUESTED_QUEUE
from services.transaction import (
    commands,
    commands_heartbeats,
    commands_search,
    overview,
    reversal,
    schemas,
    schemas_search,
    steps,
)
from services.transaction.backlog import Backlog
from services.transaction.intake import Intake, Request, Result
from services.transaction.transfer import CANCELLED, FAILED, Transfer
from services.transaction.waiting import Waiting
from services.transaction.wallet_client import WalletClient

POOL: web.AppKey[Pool] = web.AppKey("pool")
READ_POOL: web.AppKey[Pool] = web.AppKey("read_pool")
"""For reads of users and operators: payments do not wait for these connections, however slow the reads are."""
INTAKE: web.AppKey[Intake] = web.AppKey("intake")
WALLET: web.AppKey[WalletClient] = web.AppKey("wallet")
WAITING: web.AppKey[Waiting] = web.AppKey("waiting")
BACKLOG: web.AppKey[Backlog] = web.AppKey("backlog")
SIMULATES: web.AppKey[bool] = web.AppKey("simulates")
"""Demo mode: requests may contain a simulation."""


def add_routes(app: web.Application, verifier: TokenVerifier) -> None:
    """Each route with the identities that may call it."""
    gateway = callers(verifier, ["gateway"])
    notifier = callers(verifier, ["notification-worker"])
    app.add_routes(
        [
            web.post("/internal/transfers", gateway(create_transfers)),
            web.get("/internal/transfers", gateway(list_transfers)),
            web.get("/internal/transfers/{id}", gateway(get_transfer)),
            web.post("/internal/transfers/{id}/cancel", gateway(cancel_transfer)),
            web.get("/internal/transfers/{id}/steps", gateway(get_steps)),
            web.put("/internal/wallets/{id}/freeze-hint", gateway(put_freeze_hint)),
            web.get("/internal/search", gateway(search)),
            web.get("/internal/overview", gateway(get_overview)),
            web.get("/internal/audit", gateway(audit.reader(READ_POOL, audit.statements.list_audit))),
            web.get("/internal/finalized", notifier(list_finalized)),
            web.get("/internal/pending", notifier(list_pending)),
            web.get("/internal/late", notifier(list_late)),
            web.post("/internal/events", notifier(list_events)),
        ]
    )


async def create_transfers(request: web.Request) -> web.Response:
    """Accept a batch; each item has its own result, also one that is malformed."""
    items = schemas.read_requests(await request.read(), simulates=request.app[SIMULATES])
    requests = [item for item in items if not isinstance(item, Refusal)]
    started_ns = time.time_ns()
    accepted = iter(
        await request.app[INTAKE].accept(requests, refuse_new=request.app[BACKLOG].refusal) if requests else ()
    )
    results = [item if isinstance(item, Refusal) else next(accepted) for item in items]
    if telemetry.recorder is not None:
        _record_spans(items, results, started_ns)
    return respond({"items": [schemas.result(result) for result in results]})


def _record_spans(items: Sequence[Request | Refusal], results: Sequence[Result], started_ns: int) -> None:
    accepted = [
        telemetry.Item(item.traceparent, {telemetry.TRANSFER_ID: str(result.transfer.id)})
        for item, result in zip(items, results, strict=True)
        if not isinstance(item, Refusal) and not isinstance(result, Refusal)
    ]
    telemetry.record("accept transfer", accepted, kind=telemetry.INTERNAL, started_ns=started_ns)


async def get_transfer(request: web.Request) -> web.Response:
    """A transfer as its viewer may see it; with `wait`, the response waits up to that many seconds for its outcome."""
    query = validate(schemas.GET, dict(request.query))
    # A client that waits for an outcome is making a payment: it does not share connections with reads.
    pool = request.app[POOL if query.wait else READ_POOL]
    transfer = await commands.get_transfer(pool, _transfer_id(request), query.viewer)
    if query.wait and transfer.terminal:
        transfer = await commands.get_replicated_transfer(pool, transfer.id, query.viewer)
    elif query.wait and await request.app[WAITING].until_terminal(transfer.id, query.wait):
        transfer = await commands.get_transfer(pool, transfer.id, query.viewer)
    return web.json_response(schemas.transfer(transfer))


async def list_transfers(request: web.Request) -> web.Response:
    """A page of the viewer's transfers, newest first; or the transfer of an idempotency key."""
    query = validate(schemas.LIST, dict(request.query))
    if query.idempotency_key is not None:
        found = await commands.find_by_key(request.app[READ_POOL], query.viewer, query.idempotency_key)
        return web.json_response(schemas.page([found] if found else [], 1))
    transfers = await commands.list_transfers(
        request.app[READ_POOL],
        query.viewer,
        below=schemas.decode_cursor(query.cursor),
        matching=query.matching,
        limit=query.limit + 1,
    )
    return web.json_response(schemas.page(transfers, query.limit))


async def cancel_transfer(request: web.Request) -> web.Response:
    """Void a transfer for its sender: 200 when it is cancelled, also on repeat; otherwise 409 with the transfer."""
    body = validate_json(schemas.CANCEL, await request.read())
    pool = request.app[POOL]
    transfer = await _own(pool, _transfer_id(request), body.viewer)
    if not transfer.terminal:
        await reversal.void_transfers(pool, request.app[WALLET], [(transfer.id, transfer.request_hash)], CANCELLED)
    transfer = await commands.get_replicated_transfer(pool, transfer.id, body.viewer)
    if transfer.status != FAILED or transfer.failure_code != CANCELLED:
        raise TransferNotCancellable(extra={"transfer": schemas.transfer(transfer)})
    return web.json_response(schemas.transfer(transfer))


async def get_steps(request: web.Request) -> web.Response:
    """The progress of a transfer."""
    query = validate(schemas.STEPS, dict(request.query))
    pool, transfer_id = request.app[READ_POOL], _transfer_id(request)
    row, heartbeats = await commands.find_steps(pool, transfer_id)
    transfer = (await commands.find_transfers(pool, [transfer_id]))[transfer_id]
    visible = transfer if query.viewer is None else transfer.visible_to(query.viewer)
    if visible is None:
        raise TransferNotFound
    progress = steps.describe(dict(row), heartbeats)
    return web.json_response(
        {
            "transfer": schemas.transfer(visible),
            "steps": progress.steps,
            "waiting_for": progress.waiting_for,
            "summary": progress.summary,
            "as_of": format_time(row["now"]),
        }
    )


async def search(request: web.Request) -> web.Response:
    """Transfers of any user, found by what an operator knows."""
    criteria = validate(schemas_search.SEARCH, dict(request.query)).criteria
    found = await commands_search.search(request.app[READ_POOL], criteria)
    return web.json_response(schemas_search.search(found, criteria))


async def put_freeze_hint(request: web.Request) -> web.Response:
    """Record that a wallet may be frozen, so that the funds check reads its state; or remove the record."""
    body = validate_json(schemas.FREEZE_HINT, await request.read())
    wallet_id = parse_id(request.match_info["id"])
    if wallet_id is not None:
        await commands.set_freeze_hint(request.app[POOL], wallet_id, frozen=body.frozen)
    return web.Response(status=204)


async def get_overview(request: web.Request) -> web.Response:
    """Queues, outbox, pending transfers, dead letters and jobs."""
    pool = request.app[READ_POOL]
    row, heartbeats = await commands_heartbeats.measure(pool)
    outbox = await commands.measure_outbox(pool)
    kept = await dead_letters.count(pool, REQUESTED_QUEUE)
    return web.json_response(overview.describe(dict(row), dict(outbox), heartbeats, dead_letters_kept=kept))


async def list_finalized(request: web.Request) -> web.Response:
    """Transfers finalized after a position, in order, for a consumer that may have missed their events."""
    query = validate(schemas.FINALIZED, dict(request.query))
    return web.json_response(
        schemas.finalized(await commands.list_finalized(request.app[POOL], query.after, query.limit))
    )


async def list_pending(request: web.Request) -> web.Response:
    """Transfers that have been PENDING for a moment, for the notification of their senders."""
    query = validate(schemas.PENDING, dict(request.query))
    found = await commands.list_pending(request.app[POOL], query.expires_after, query.limit)
    return web.json_response(schemas.pending(found))


async def list_late(request: web.Request) -> web.Response:
    """PENDING transfers that are later than expected, for the notification of their senders."""
    query = validate(schemas.LATE, dict(request.query))
    return web.json_response(
        schemas.late(await commands.list_late(request.app[POOL], query.expected_after, query.limit))
    )


async def list_events(request: web.Request) -> web.Response:
    """The events of these transfers again."""
    body = validate_json(schemas.EVENTS, await request.read())
    events = await commands.list_events(request.app[POOL], body.transfer_ids)
    return web.Response(text=schemas.events(events), content_type="application/json")


async def _own(pool: Pool, transfer_id: UUID, viewer: UUID) -> Transfer:
    transfer = await commands.get_transfer(pool, transfer_id, viewer)
    if transfer.user_id != viewer:
        raise TransferNotFound
    return transfer


def _transfer_id(request: web.Request) -> UUID:
    return path_id(request, TransferNotFound)
