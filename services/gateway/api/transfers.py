"""Routes of transfers, and the one way in for all that moves money."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog
from aiohttp import web

from services.chassis import problems, tracing
from services.chassis.body import InvalidRequest
from services.contracts.api_keys import Scope
from services.contracts.refusal import FieldError, Refusal
from services.gateway import errors, idempotency, metrics, operations, responses, schemas, upstreams
from services.gateway.api import preference, timeline
from services.gateway.api.waiting import WAITING
from services.gateway.idempotency import Accepted, Question
from services.gateway.intake import INTAKE, Submission
from services.gateway.operations import BODY, QUERY, SENT, Answer, Operation, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.rate_limit import LIMITER
from services.gateway.upstreams import UPSTREAMS, call

BASE = f"{operations.BASE}/transfers"

PENDING = "PENDING"
WAIT_MARGIN_SECONDS = 0.5
"""How much later than it asked for a client that waits may be answered."""

WRONG_RECIPIENT = "wrong_recipient"
"""The limit of payments to e-mail addresses that nobody has."""

SIMULATE = "PayFlow-Simulate"
"""The header by which a client simulates (simulation.py, in demo mode)."""

SIMULATED: web.RequestKey[dict[str, Any]] = web.RequestKey("simulated", dict)
"""What a simulation adds to the item of a transfer; there, though it may be empty, when the header was taken."""

log = structlog.get_logger()


async def create_transfer(request: web.Request) -> web.Response:
    """Send money.

    Accepted means durable: it will be COMPLETED or FAILED by `final_by`, as long as the ledger is reachable. The same
    key and body again are answered with the first answer again. With `Prefer: wait=N` the answer is held until then.
    """
    asked: schemas.transfers.NewTransfer = request[BODY]
    fields = {
        "kind": "transfer",
        "amount": asked.amount,
        "currency": asked.currency,
        "to": asked.to.named(),
        "from_wallet_id": asked.from_wallet_id,
        "description": asked.description,
        "metadata": asked.metadata,
    }
    if asked.to.email is None:
        return await accept(request, fields)
    return await _accept_by_email(request, fields)


async def _accept_by_email(request: web.Request, fields: dict[str, Any]) -> web.Response:
    # Paying addresses at random must not tell faster than /recipients who is registered.
    limiter, who = request.app[LIMITER], request[PRINCIPAL].user_id
    limiter.check(WRONG_RECIPIENT, who)
    try:
        return await accept(request, fields)
    except Refusal as refusal:
        if refusal.code == errors.RecipientNotFound.code:
            await limiter.take(WRONG_RECIPIENT, who)
        raise


async def accept(request: web.Request, fields: dict[str, Any]) -> web.Response:
    """Hand a transfer over by the key of the request, or answer what was answered before.

    Raises:
        Refusal: the key is missing or malformed, or what the transaction service says.
    """
    if SIMULATE in request.headers and SIMULATED not in request:
        # Whoever wants to simulate does not mean to pay.
        raise InvalidRequest(errors=[FieldError(SIMULATE, "this gateway does not simulate")])
    started = time.monotonic()
    question = Question(
        user_id=request[PRINCIPAL].user_id,
        key=idempotency.read_key(request.headers),
        request_hash=idempotency.hash_request(request.method, problems.route_of(request), request[SENT]),
    )
    accepted = await _accept(request, question, fields)
    metrics.IDEMPOTENCY.labels("replayed" if accepted.replayed else "new").inc()
    log.info(
        "transfer_accepted", transfer_id=accepted.transfer_id, user_id=question.user_id, replayed=accepted.replayed
    )
    headers = {"Location": f"{BASE}/{accepted.transfer_id}"} | (
        {idempotency.REPLAYED: "true"} if accepted.replayed else {}
    )
    seconds = preference.wait_seconds(request.headers.getall("Prefer", ()))
    if seconds is not None:
        finalized = await _wait(request, accepted.transfer_id, seconds, until=started + seconds + WAIT_MARGIN_SECONDS)
        if finalized is not None:
            return responses.document(finalized, headers=headers | {"Preference-Applied": f"wait={seconds}"})
    return responses.encoded(accepted.body, status=202, headers=headers)


async def list_transfers(request: web.Request) -> web.Response:
    """Your transfers, newest first: those you sent, and those that reached you."""
    asked: schemas.transfers.TransferQuery = request[QUERY]
    params = asked.parameters() | {"viewer": request[PRINCIPAL].user_id}
    return responses.document(
        await call(request.app[UPSTREAMS].transaction, "GET", "/internal/transfers", params=params)
    )


async def get_transfer(request: web.Request) -> web.Response:
    """One transfer of yours."""
    transfer_id = path_id(request, errors.TransferNotFound)
    transfer = await call(
        request.app[UPSTREAMS].transaction,
        "GET",
        f"/internal/transfers/{transfer_id}",
        params={"viewer": request[PRINCIPAL].user_id},
        missing=errors.TransferNotFound,
    )
    return responses.tagged(request, responses.encode(transfer))


async def cancel_transfer(request: web.Request) -> web.Response:
    """Call a transfer back that has not been carried out.

    Only its sender can. A transfer that was cancelled before is answered as it is.
    """
    transfer_id = path_id(request, errors.TransferNotFound)
    transfer = await call(
        request.app[UPSTREAMS].transaction,
        "POST",
        f"/internal/transfers/{transfer_id}/cancel",
        body={"viewer": request[PRINCIPAL].user_id},
        missing=errors.TransferNotFound,
    )
    return responses.document(transfer)


async def get_timeline(request: web.Request) -> web.Response:
    """What happened to a transfer of yours, step by step, and what it waits for."""
    return responses.document(await read_timeline(request, viewer=request[PRINCIPAL].user_id))


async def read_timeline(request: web.Request, *, viewer: str | None) -> dict[str, Any]:
    """The merged timeline, as one user or (without viewer) as an operator may see it.

    Raises:
        TransferNotFound, Refusal
    """
    transfer_id = path_id(request, errors.TransferNotFound)
    behind = request.app[UPSTREAMS]
    known = await call(
        behind.transaction,
        "GET",
        f"/internal/transfers/{transfer_id}/steps",
        params=None if viewer is None else {"viewer": viewer},
        missing=errors.TransferNotFound,
    )
    outcome, notifications = await asyncio.gather(_outcome(behind, transfer_id), _notifications(behind, transfer_id))
    missing = {"wallet": outcome, "notification": notifications}
    return timeline.merge(
        known,
        outcome=outcome or None,
        notifications=notifications["items"] if notifications else (),
        viewer=viewer,
        unavailable=[name for name, answer in missing.items() if answer is None],
    )


async def _accept(request: web.Request, question: Question, fields: dict[str, Any]) -> Accepted:
    item = {
        "user_id": question.user_id,
        "idempotency_key": question.key,
        "request_hash": question.request_hash,
        **fields,
        **request.get(SIMULATED, {}),
        "request_id": tracing.request_id(),
        "traceparent": tracing.traceparent(),
    }
    try:
        async with asyncio.timeout(operations.REQUEST_SECONDS):
            return await request.app[INTAKE].accept(Submission(question, item))
    except TimeoutError:
        raise errors.NoResponseInTime from None
    except Refusal as refusal:
        if result := _RESULTS.get(refusal.code):
            metrics.IDEMPOTENCY.labels(result).inc()
        raise


_RESULTS = {errors.IdempotencyKeyInUse.code: "in_use", errors.IdempotencyKeyReused.code: "reused"}


async def _wait(request: web.Request, transfer_id: str, seconds: int, *, until: float) -> dict[str, Any] | None:
    # It is accepted, whatever happens now: trouble while waiting is answered by 202.
    remaining = until - time.monotonic()
    if remaining <= 0:
        return None
    outcome = call(
        request.app[UPSTREAMS].waiting_for(transfer_id),
        "GET",
        f"/internal/transfers/{transfer_id}",
        params={"viewer": request[PRINCIPAL].user_id, "wait": str(seconds)},
        seconds=remaining,
    )
    transfer = await request.app[WAITING].within(remaining, upstreams.attempt(outcome))
    return transfer if transfer is not None and transfer["status"] != PENDING else None


async def _outcome(behind: upstreams.Upstreams, transfer_id: str) -> dict[str, Any] | None:
    """The ledger's word: empty when it has none, None when it gave no answer."""
    path = f"/internal/outcomes/{transfer_id}"
    try:
        outcome: dict[str, Any] = await call(behind.wallet, "GET", path, seconds=upstreams.SIDE_SECONDS)
    except Refusal as refusal:
        return {} if refusal.status == upstreams.NOT_FOUND else None
    return outcome


async def _notifications(behind: upstreams.Upstreams, transfer_id: str) -> dict[str, Any] | None:
    path = f"/internal/transfers/{transfer_id}/notifications"
    notifications: dict[str, Any] | None = await upstreams.attempt(
        call(behind.notification, "GET", path, seconds=upstreams.SIDE_SECONDS)
    )
    return notifications


ACCEPTED = Answer(
    202,
    "Accepted: PENDING, or (a replay) the first answer again.",
    schemas.transfers.Transfer,
    headers=("Location", "Idempotent-Replayed"),
)
FINALIZED = Answer(
    200,
    "The client preferred to wait: COMPLETED or FAILED.",
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
        (Answer(200, "A page of transfers.", schemas.transfers.TransferPage),),
        query=schemas.transfers.TransferQuery,
        key_scope=Scope.READ,
    ),
    Operation(
        "GET",
        f"{BASE}/{{id}}",
        get_transfer,
        (
            Answer(200, "The transfer.", schemas.transfers.Transfer, headers=("ETag",)),
            Answer(304, "It is as the client knows it.", headers=("ETag",)),
        ),
        headers=("If-None-Match",),
        refusals=(errors.TransferNotFound,),
        key_scope=Scope.READ,
    ),
    Operation(
        "POST",
        f"{BASE}/{{id}}/cancel",
        cancel_transfer,
        (Answer(200, "Cancelled.", schemas.transfers.Transfer),),
        body=schemas.types.Nothing,
        body_required=False,
        refusals=(errors.TransferNotFound, errors.TransferNotCancellable),
        key_scope=Scope.TRANSFER,
    ),
    Operation(
        "GET",
        f"{BASE}/{{id}}/timeline",
        get_timeline,
        (Answer(200, "The timeline.", schemas.transfers.Timeline),),
        refusals=(errors.TransferNotFound,),
        key_scope=Scope.READ,
    ),
)
