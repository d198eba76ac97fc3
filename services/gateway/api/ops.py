"""Operator routes: overview, deposits, the ledger and frozen wallets."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from services.chassis import tracing
from services.contracts.api_keys import Scope
from services.contracts.money import TEST_CURRENCY
from services.contracts.refusal import FieldError, Refusal
from services.gateway import errors, operations, responses, schemas
from services.gateway.api import transfers
from services.gateway.clients import service
from services.gateway.clients.alertmanager import ALERTS
from services.gateway.clients.service import attempt
from services.gateway.operations import BODY, QUERY, Access, Operation, Response, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.upstreams import UPSTREAMS

BASE = f"{operations.BASE}/ops"

PROOF_SECONDS = 120.0
"""A new run reads all entries."""

_UNKNOWN: dict[str, Any] = {
    "queues": [],
    "outbox": None,
    "pending": None,
    "stale_pending": None,
    "dead_letters": None,
    "jobs": [],
}

_DEPOSIT_FIELDS = {"to": "wallet_id", "to.wallet_id": "wallet_id", "description": "reference"}
"""The fields of a transfer by their names in a deposit."""


async def get_overview(request: web.Request) -> web.Response:
    """Get the state of the system.

    Queues, pending transfers, the last proof of the ledger, the readiness of each service and the firing alerts. What is
    unknown, because its service is unavailable, is null or empty.
    """
    upstreams = request.app[UPSTREAMS]
    (overview, waiting, proof, alerts), ready = await asyncio.gather(
        asyncio.gather(
            attempt(upstreams.transaction.get_overview()),
            attempt(upstreams.notification.count_dead_letters()),
            attempt(upstreams.wallet.get_last_proof(seconds=service.SIDE_SECONDS)),
            request.app[ALERTS].list_firing(),
        ),
        asyncio.gather(*(service.is_ready() for service in upstreams.all())),
    )
    services = [
        {"name": service.name, "ready": is_ready} for service, is_ready in zip(upstreams.all(), ready, strict=True)
    ]
    last_proof = None if proof is None else {"ok": proof["ok"], "at": proof["at"]}
    known = overview or _UNKNOWN
    counts = known["dead_letters"], waiting
    dead_letters = None if None in counts else sum(counts)
    merged = {"dead_letters": dead_letters, "proof": last_proof, "services": services, "alerts": alerts}
    return responses.document({**known, **merged})


async def get_timeline(request: web.Request) -> web.Response:
    """Get the timeline of any transfer: its steps, and what it waits for."""
    return responses.document(await transfers.read_timeline(request, viewer=None))


async def create_deposit(request: web.Request) -> web.Response:
    """Deposit money that came from outside.

    A deposit is a transfer of kind `deposit` from the currency's external account; the response is that of a transfer.
    """
    body: schemas.transfers.NewDeposit = request[BODY]
    try:
        item = transfers.new_item(
            request,
            kind="deposit",
            amount=body.amount,
            currency=body.currency,
            to={"wallet_id": body.wallet_id},
            description=body.reference,
        )
        return await transfers.submit(request, item)
    except Refusal as refusal:
        refusal.errors = tuple(
            FieldError(_DEPOSIT_FIELDS.get(each.field, each.field), each.message.replace("`to`", "`wallet_id`"))
            for each in refusal.errors
        )
        raise


async def get_balance_sheet(request: web.Request) -> web.Response:
    """Get the balance sheet: what customers hold and what came from outside, per currency.

    All figures are those of `as_of`, and final. If a payment being posted could still change them, the request waits up to 2 s
    and then returns 409.
    """
    sheet = await request.app[UPSTREAMS].wallet.get_balance_sheet()
    rows = [row | {"test": row["currency"] == TEST_CURRENCY} for row in sheet["currencies"]]
    return responses.document(sheet | {"currencies": rows})


async def get_proof(request: web.Request) -> web.Response:
    """Get the last proof of the ledger, or run a new one.

    A new run checks all accounts and entries. With `full` it compares every sealed block with its rows; with `new` only those
    since the last run that passed, and the newest of the others. The request waits for it, at most 120 s; a run that is started
    with `POST /ops/ledger/proof-runs` has no time limit.
    """
    query: schemas.ops.ProofQuery = request[QUERY]
    wallet = request.app[UPSTREAMS].wallet
    if "1" in (query.full, query.new) or query.head is not None:
        whole = query.full == "1" or query.new == "0"
        proof = await wallet.run_proof(whole=whole, head=query.head, seconds=PROOF_SECONDS)
    else:
        proof = await wallet.get_last_proof()
    return responses.document(proof)


async def start_proof(request: web.Request) -> web.Response:
    """Start a run of the proof of the ledger.

    It has no time limit: poll `GET /ops/ledger/proof-runs/{id}` until its state is not `running`. Only one runs at a time: if one
    that checks at least as much is in progress, it is returned.
    """
    body: schemas.ops.NewProofRun = request[BODY]
    run = await request.app[UPSTREAMS].wallet.start_proof(full=body.full, head=body.head)
    return responses.document(run, status=202)


async def get_proof_run(request: web.Request) -> web.Response:
    """Get the progress of a run of the proof, and its result when it has ended."""
    return responses.document(
        await request.app[UPSTREAMS].wallet.get_proof_run(path_id(request, errors.ProofRunNotFound))
    )


async def admit_outcome(request: web.Request) -> web.Response:
    """Admit a late outcome of the ledger.

    A late outcome appeared after its time was sealed: the proof names it, and it is in no block. If a person found it to be
    genuine, the next block seals it. Repeating the request returns the first admission.
    """
    body: schemas.ops.NewAdmission = request[BODY]
    admission = await request.app[UPSTREAMS].wallet.admit_outcome(
        path_id(request, errors.OutcomeNotFound),
        reason=body.reason,
        operator_id=request[PRINCIPAL].user_id,
        request_id=tracing.request_id(),
    )
    return responses.document(admission)


async def freeze(request: web.Request) -> web.Response:
    """Freeze a wallet.

    A frozen wallet can be neither debited nor credited.
    """
    wallet_id = path_id(request, errors.WalletNotFound)
    wallet = await request.app[UPSTREAMS].wallet.freeze(
        wallet_id, operator_id=request[PRINCIPAL].user_id, request_id=tracing.request_id()
    )
    return await _announce_status(request, wallet)


async def unfreeze(request: web.Request) -> web.Response:
    """Unfreeze a wallet."""
    wallet_id = path_id(request, errors.WalletNotFound)
    wallet = await request.app[UPSTREAMS].wallet.unfreeze(
        wallet_id, operator_id=request[PRINCIPAL].user_id, request_id=tracing.request_id()
    )
    return await _announce_status(request, wallet)


async def _announce_status(request: web.Request, wallet: dict[str, Any]) -> web.Response:
    # The ledger enforces the status in any case; the hint lets new transfers be refused before they are accepted.
    transaction = request.app[UPSTREAMS].transaction
    await attempt(transaction.set_freeze_hint(wallet["id"], frozen=wallet["status"] == "frozen"))
    return responses.document(wallet)


OPERATIONS = (
    Operation(
        "GET",
        f"{BASE}/overview",
        get_overview,
        (Response(200, "The overview.", schemas.ops.Overview),),
        access=Access.OPERATOR,
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "GET",
        f"{BASE}/transfers/{{id}}/timeline",
        get_timeline,
        (Response(200, "The timeline.", schemas.transfers.Timeline),),
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
        (Response(200, "The balance sheet.", schemas.ops.BalanceSheet),),
        access=Access.OPERATOR,
        refusals=errors.ON_MOMENT,
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "GET",
        f"{BASE}/ledger/proof",
        get_proof,
        (Response(200, "The proof.", schemas.ops.Proof),),
        access=Access.OPERATOR,
        query=schemas.ops.ProofQuery,
        seconds=PROOF_SECONDS + operations.REQUEST_SECONDS,
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "POST",
        f"{BASE}/ledger/proof-runs",
        start_proof,
        (Response(202, "The run.", schemas.ops.ProofRun),),
        access=Access.OPERATOR,
        body=schemas.ops.NewProofRun,
        refusals=(errors.ProofRunning,),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "GET",
        f"{BASE}/ledger/proof-runs/{{id}}",
        get_proof_run,
        (Response(200, "The run.", schemas.ops.ProofRun),),
        access=Access.OPERATOR,
        refusals=(errors.ProofRunNotFound,),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "PUT",
        f"{BASE}/ledger/admissions/{{id}}",
        admit_outcome,
        (Response(200, "The admission.", schemas.ops.Admission),),
        access=Access.OPERATOR,
        body=schemas.ops.NewAdmission,
        refusals=(errors.OutcomeNotFound, errors.OutcomeNotLate),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "PUT",
        f"{BASE}/wallets/{{id}}/freeze",
        freeze,
        (Response(200, "The frozen wallet.", schemas.wallets.Wallet),),
        access=Access.OPERATOR,
        body=schemas.types.Empty,
        body_required=False,
        refusals=(errors.WalletNotFound,),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "DELETE",
        f"{BASE}/wallets/{{id}}/freeze",
        unfreeze,
        (Response(200, "The open wallet.", schemas.wallets.Wallet),),
        access=Access.OPERATOR,
        body=schemas.types.Empty,
        body_required=False,
        refusals=(errors.WalletNotFound,),
        key_scope=Scope.OPERATE,
    ),
)
