"""Routes of operators."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from services.chassis import tracing
from services.contracts.api_keys import Scope
from services.contracts.refusal import FieldError, Refusal
from services.gateway import errors, operations, responses, schemas, upstreams
from services.gateway.api import transfers
from services.gateway.operations import BODY, QUERY, Access, Answer, Operation, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.upstreams import UPSTREAMS, call

BASE = f"{operations.BASE}/ops"

PROOF_SECONDS = 120.0
"""A full round reads the whole ledger."""

_UNKNOWN: dict[str, Any] = {
    "queues": [],
    "outbox": None,
    "pending": None,
    "stale_pending": None,
    "dead_letters": None,
    "jobs": [],
}

_SENT_AS = {"to": "wallet_id", "to.wallet_id": "wallet_id", "description": "reference"}
"""What the fields of a transfer are called in a deposit."""


async def get_overview(request: web.Request) -> web.Response:
    """How the system is: what waits and where, whether the books were proven, which services answer.

    What cannot be told, because the service that knows is away, is null or empty.
    """
    behind = request.app[UPSTREAMS]
    seconds = upstreams.SIDE_SECONDS
    overview, notifications, proof, *ready = await asyncio.gather(
        upstreams.attempt(call(behind.transaction, "GET", "/internal/overview", seconds=seconds)),
        upstreams.attempt(call(behind.notification, "GET", "/internal/dead-letters/waiting", seconds=seconds)),
        upstreams.attempt(call(behind.wallet, "GET", "/internal/proof", seconds=seconds)),
        *(upstreams.is_ready(service) for service in behind.services()),
    )
    services = [
        {"name": service.name, "ready": is_ready} for service, is_ready in zip(behind.services(), ready, strict=True)
    ]
    last_proof = None if proof is None else {"ok": proof["ok"], "at": proof["at"]}
    known = overview or _UNKNOWN
    counts = known["dead_letters"], notifications["waiting"] if notifications is not None else None
    dead_letters = None if None in counts else sum(counts)
    return responses.document({**known, "dead_letters": dead_letters, "proof": last_proof, "services": services})


async def get_timeline(request: web.Request) -> web.Response:
    """What happened to anybody's transfer, step by step, and what it waits for."""
    return responses.document(await transfers.read_timeline(request, viewer=None))


async def create_deposit(request: web.Request) -> web.Response:
    """Let money in that came from outside.

    It is a transfer of kind `deposit` from the currency's external account, answered like any other.
    """
    asked: schemas.transfers.NewDeposit = request[BODY]
    fields = {
        "kind": "deposit",
        "amount": asked.amount,
        "currency": asked.currency,
        "to": {"wallet_id": asked.wallet_id},
        "from_wallet_id": None,
        "description": asked.reference,
        "metadata": None,
    }
    try:
        return await transfers.accept(request, fields)
    except Refusal as refusal:
        refusal.errors = tuple(
            FieldError(_SENT_AS.get(each.field, each.field), each.message.replace("`to`", "`wallet_id`"))
            for each in refusal.errors
        )
        raise


async def get_balance_sheet(request: web.Request) -> web.Response:
    """What customers hold and what came from outside, per currency.

    All figures are those of `as_of`, and final. While a payment that is being posted may still change them, the request waits
    for up to 2 s; then it is refused with 409.
    """
    return responses.document(await call(request.app[UPSTREAMS].wallet, "GET", "/internal/balance-sheet"))


async def get_proof(request: web.Request) -> web.Response:
    """The last round of the ledger's proof, or a new one."""
    asked: schemas.ops.ProofQuery = request[QUERY]
    wallet = request.app[UPSTREAMS].wallet
    if asked.full == "1" or asked.head is not None:
        params = {"full": "1"} | ({"head": asked.head} if asked.head is not None else {})
        proof = await call(wallet, "GET", "/internal/proof", params=params, seconds=PROOF_SECONDS)
    else:
        proof = await call(wallet, "GET", "/internal/proof")
    return responses.document(proof)


async def freeze(request: web.Request) -> web.Response:
    """Freeze a wallet: neither debit nor credit."""
    return await _set_frozen(request)


async def unfreeze(request: web.Request) -> web.Response:
    """Open a frozen wallet again."""
    return await _set_frozen(request)


async def _set_frozen(request: web.Request) -> web.Response:
    wallet_id = path_id(request, errors.WalletNotFound)
    behind = request.app[UPSTREAMS]
    wallet: dict[str, Any] = await call(
        behind.wallet,
        request.method,
        f"/internal/wallets/{wallet_id}/freeze",
        body={"operator_id": request[PRINCIPAL].user_id, "request_id": tracing.request_id()},
        missing=errors.WalletNotFound,
    )
    # The ledger refuses from now on whatever this says; with the hint, transfers are refused at the gateway already.
    hint = {"frozen": wallet["status"] == "frozen"}
    path = f"/internal/wallets/{wallet_id}/freeze-hint"
    await upstreams.attempt(call(behind.transaction, "PUT", path, body=hint, seconds=upstreams.SIDE_SECONDS))
    return responses.document(wallet)


OPERATIONS = (
    Operation(
        "GET",
        f"{BASE}/overview",
        get_overview,
        (Answer(200, "The overview.", schemas.ops.Overview),),
        access=Access.OPERATOR,
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "GET",
        f"{BASE}/transfers/{{id}}/timeline",
        get_timeline,
        (Answer(200, "The timeline.", schemas.transfers.Timeline),),
        access=Access.OPERATOR,
        refusals=(errors.TransferNotFound,),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "POST",
        f"{BASE}/deposits",
        create_deposit,
        (transfers.ACCEPTED, transfers.FINALIZED),
        access=Access.OPERATOR,
        body=schemas.transfers.NewDeposit,
        headers=("Idempotency-Key", "Prefer"),
        refusals=errors.ON_TRANSFER,
        seconds=None,
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "GET",
        f"{BASE}/ledger/balance-sheet",
        get_balance_sheet,
        (Answer(200, "The balance sheet.", schemas.ops.BalanceSheet),),
        access=Access.OPERATOR,
        refusals=errors.ON_MOMENT,
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "GET",
        f"{BASE}/ledger/proof",
        get_proof,
        (Answer(200, "The round.", schemas.ops.Proof),),
        access=Access.OPERATOR,
        query=schemas.ops.ProofQuery,
        seconds=PROOF_SECONDS + operations.REQUEST_SECONDS,
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "PUT",
        f"{BASE}/wallets/{{id}}/freeze",
        freeze,
        (Answer(200, "Frozen.", schemas.wallets.Wallet),),
        access=Access.OPERATOR,
        body=schemas.types.Nothing,
        body_required=False,
        refusals=(errors.WalletNotFound,),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "DELETE",
        f"{BASE}/wallets/{{id}}/freeze",
        unfreeze,
        (Answer(200, "Open.", schemas.wallets.Wallet),),
        access=Access.OPERATOR,
        body=schemas.types.Nothing,
        body_required=False,
        refusals=(errors.WalletNotFound,),
        key_scope=Scope.OPERATE,
    ),
)
