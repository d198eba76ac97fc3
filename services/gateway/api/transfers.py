"""Routes for transfers, and the one path by which all money moves."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttp import web

from services.chassis import problems, tracing
from services.chassis.body import InvalidParameter
from services.chassis.encoding import encode
from services.contracts.api_keys import Scope
from services.contracts.refusal import Refusal
from services.gateway import errors, idempotency, operations, responses, schemas
from services.gateway.api import preference, timeline
from services.gateway.api.waiting import LONG_POLLS
from services.gateway.clients.notification import NotificationClient
from services.gateway.clients.service import FAULT, NOT_FOUND, attempt
from services.gateway.clients.transaction import TransferItem
from services.gateway.clients.wallet import WalletClient
from services.gateway.intake import INTAKE
from services.gateway.operations import BODY, QUERY, SENT, Operation, Response, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.rate_limit import LIMITER
from services.gateway.upstreams import UPSTREAMS

BASE = f"{operations.BASE}/transfers"

PENDING = "PENDING"
WAIT_MARGIN_SECONDS = 0.5
"""How much later than requested a waiting client may get its response."""

WRONG_RECIPIENT = "wrong_recipient"
"""The limit for transfers to unregistered e-mail addresses."""

SIMULATE = "PayFlow-Simulate"
"""The header that simulates a failure (simulation.py, demo mode only)."""

SIMULATED: web.RequestKey[dict[str, Any]] = web.RequestKey("simulated", dict)
"""What a simulation adds to the transfer, perhaps nothing; present if the header was accepted."""


async def create_transfer(request: web.Request) -> web.Response:
    """Create a transfer.

    Accepted means durable: it will be COMPLETED or FAILED by `final_by`, as long as the ledger is reachable. Repeating the
    request with the same key and body returns the first response. With `Prefer: wait=N` the response waits for the outcome.
    """
    body: schemas.transfers.NewTransfer = request[BODY]
    by_email = body.to.email is not None
    limiter, user_id = request.app[LIMITER], request[PRINCIPAL].user_id
    if by_email:
        # Transfers to random addresses must not reveal faster than /recipients which of them are registered.
        limiter.check(WRONG_RECIPIENT, user_id)
    item = new_item(
        request,
        kind="transfer",
        amount=body.amount,
        currency=body.currency,
        to=body.to.as_dict(),
        from_wallet_id=body.from_wallet_id,
        description=body.description,
        metadata=body.metadata,
    )
    try:
        return await submit(request, item)
    except Refusal as refusal:
        if by_email and refusal.code == errors.RecipientNotFound.code:
            await limiter.take(WRONG_RECIPIENT, user_id)
        raise


def new_item(
    request: web.Request,
    *,
    kind: str,
    amount: int,
    currency: str,
    to: dict[str, str],
    from_wallet_id: str | None = None,
    description: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> TransferItem:
    """The transfer of this request, as the transaction service takes it.

    Raises:
        InvalidRequest: the request asks for a simulated failure, and this gateway is not in demo mode.
        IdempotencyKeyMissing, IdempotencyKeyInvalid
    """
    simulation: dict[str, Any] = {}
    if SIMULATE in request.headers:
        if SIMULATED not in request:
            # A request that expects a simulated failure must not move real money.
            raise InvalidParameter(SIMULATE, "is accepted in demo mode only")
        simulation = request[SIMULATED]
    item: TransferItem = {
        "user_id": request[PRINCIPAL].user_id,
        "idempotency_key": idempotency.read_key(request.headers),
        "request_hash": idempotency.hash_request(request.method, problems.route_of(request), request[SENT]),
        "kind": kind,
        "amount": amount,
        "currency": currency,
        "to": to,
        "from_wallet_id": from_wallet_id,
        "description": description,
        "metadata": metadata,
        "request_id": tracing.request_id(),
        "traceparent": tracing.traceparent(),
    }
    if simulation:
        item["simulation"] = simulation
    return item


async def submit(request: web.Request, item: TransferItem) -> web.Response:
    """The response to a request that moves money: the accepted transfer, or its outcome if the client prefers to wait.

    Raises:
        Refusal: whatever the transaction service refuses.
    """
    started = time.monotonic()
    accepted = await request.app[INTAKE].accept(item)
    headers = {"Location": f"{BASE}/{accepted.transfer_id}"}
    if accepted.replayed:
        headers[idempotency.REPLAYED] = "true"
    seconds = preference.wait_seconds(request.headers.getall("Prefer", ()))
    if seconds is not None:
        final = await _wait(request, accepted.transfer_id, seconds, until=started + seconds + WAIT_MARGIN_SECONDS)
        if final is not None:
            return responses.document(final, headers=headers | {"Preference-Applied": f"wait={seconds}"})
    return responses.encoded(accepted.body, status=202, headers=headers)


async def list_transfers(request: web.Request) -> web.Response:
    """List transfers, newest first.

    Both sent and received transfers are included.
    """
    query: schemas.transfers.TransferQuery = request[QUERY]
    transaction = request.app[UPSTREAMS].transaction
    return responses.document(await transaction.list_transfers(request[PRINCIPAL].user_id, query.parameters()))


async def get_transfer(request: web.Request) -> web.Response:
    """Get a transfer."""
    transfer_id = path_id(request, errors.TransferNotFound)
    transaction = request.app[UPSTREAMS].transaction
    transfer = await transaction.get_transfer(transfer_id, viewer=request[PRINCIPAL].user_id)
    return responses.tagged(request, encode(transfer))


async def cancel_transfer(request: web.Request) -> web.Response:
    """Cancel a transfer.

    Only its sender can, and only before it is COMPLETED or FAILED. Cancelling a cancelled transfer returns it unchanged.
    """
    transfer_id = path_id(request, errors.TransferNotFound)
    transaction = request.app[UPSTREAMS].transaction
    return responses.document(await transaction.cancel_transfer(transfer_id, viewer=request[PRINCIPAL].user_id))


async def get_timeline(request: web.Request) -> web.Response:
    """Get the timeline of a transfer: its steps, and what it waits for."""
    return responses.document(await read_timeline(request, viewer=request[PRINCIPAL].user_id))


async def read_timeline(request: web.Request, *, viewer: str | None) -> dict[str, Any]:
    """The merged timeline, as one user or (without viewer) as an operator may see it.

    Without the transaction service an operator gets what the ledger decided. A user does not: only that service knows whose
    transfer it is.

    Raises:
        TransferNotFound, Refusal
    """
    transfer_id = path_id(request, errors.TransferNotFound)
    upstreams = request.app[UPSTREAMS]
    known, missing = None, None
    try:
        known = await upstreams.transaction.get_steps(transfer_id, viewer=viewer)
    except Refusal as refusal:
        if viewer is not None or refusal.status < FAULT:
            raise
        missing = refusal
    outcome, notifications = await asyncio.gather(
        _outcome(upstreams.wallet, transfer_id), _notifications(upstreams.notification, transfer_id)
    )
    if known is None:
        if not outcome:
            assert missing is not None, "either the steps or why there are none"
            raise missing
        known = timeline.of_outcome(transfer_id, outcome)
    optional = {
        "transaction": known if missing is None else None,
        "wallet": outcome,
        "notification": notifications,
    }
    return timeline.merge(
        known,
        outcome=outcome or None,
        notifications=notifications["items"] if notifications else (),
        viewer=viewer,
        unavailable=[name for name, result in optional.items() if result is None],
    )


async def _wait(request: web.Request, transfer_id: str, seconds: int, *, until: float) -> dict[str, Any] | None:
    # The transfer is accepted, whatever happens now: any trouble while waiting results in 202.
    remaining = until - time.monotonic()
    if remaining <= 0:
        return None
    outcome = request.app[UPSTREAMS].transaction.wait_for_outcome(
        transfer_id, viewer=request[PRINCIPAL].user_id, wait_seconds=seconds, seconds=remaining
    )
    transfer = await request.app[LONG_POLLS].within(remaining, attempt(outcome))
    return transfer if transfer is not None and transfer["status"] != PENDING else None


async def _outcome(wallet: WalletClient, transfer_id: str) -> dict[str, Any] | None:
    """The ledger's outcome: empty when there is none yet, None when the wallet service did not respond."""
    try:
        return await wallet.get_outcome(transfer_id)
    except Refusal as refusal:
        return {} if refusal.status == NOT_FOUND else None


async def _notifications(notification: NotificationClient, transfer_id: str) -> dict[str, Any] | None:
    return await attempt(notification.list_of_transfer(transfer_id))


ACCEPTED = Response(
    202,
    "The accepted transfer, PENDING; for a replay, the first response again.",
    schemas.transfers.Transfer,
    headers=("Location", "Idempotent-Replayed"),
)
FINALIZED = Response(
    200,
    "The client preferred to wait: the transfer, COMPLETED or FAILED.",
    schemas.transfers.Transfer,
    headers=("Location", "Idempotent-Replayed", "Preference-Applied"),
)

OPERATIONS = (
    Operation(
        "POST",
        BASE,
        create_transfer,
        (ACCEPTED, FINALIZED),
        body=schemas.transfers.NewTransfer,
        headers=("Idempotency-Key", "Prefer"),
        refusals=errors.ON_TRANSFER,
        seconds=None,
        key_scope=Scope.TRANSFER,
    ),
    Operation(
        "GET",
        BASE,
        list_transfers,
        (Response(200, "A page of transfers.", schemas.transfers.TransferPage),),
        query=schemas.transfers.TransferQuery,
        key_scope=Scope.READ,
    ),
    Operation(
        "GET",
        f"{BASE}/{{id}}",
        get_transfer,
        (
            Response(200, "The transfer.", schemas.transfers.Transfer, headers=("ETag",)),
            Response(304, "The transfer has not changed.", headers=("ETag",)),
        ),
        headers=("If-None-Match",),
        refusals=(errors.TransferNotFound,),
        key_scope=Scope.READ,
    ),
    Operation(
        "POST",
        f"{BASE}/{{id}}/cancel",
        cancel_transfer,
        (Response(200, "The cancelled transfer.", schemas.transfers.Transfer),),
        body=schemas.types.Empty,
        body_required=False,
        refusals=(errors.TransferNotFound, errors.TransferNotCancellable),
        key_scope=Scope.TRANSFER,
    ),
    Operation(
        "GET",
        f"{BASE}/{{id}}/timeline",
        get_timeline,
        (Response(200, "The timeline.", schemas.transfers.Timeline),),
        refusals=(errors.TransferNotFound,),
        key_scope=Scope.READ,
    ),
)
