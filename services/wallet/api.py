"""The internal routes of the wallet service: parse, command, render."""

from __future__ import annotations

import time
from collections.abc import Sequence
from uuid import UUID

from aiohttp import web

from services.chassis import audit, telemetry
from services.chassis.body import path_id, validate, validate_json
from services.chassis.database import Pool
from services.chassis.encoding import respond
from services.chassis.replica import Reader
from services.chassis.server import callers
from services.chassis.service_tokens import TokenVerifier
from services.contracts.messages import format_time
from services.contracts.refusals.wallet import OutcomeNotFound, ProofRunNotFound, WalletNotFound
from services.wallet import (
    commands,
    commands_admission,
    commands_proof_run,
    commands_statement,
    ledger,
    schemas,
    store_audit,
)
from services.wallet.ledger import Result
from services.wallet.proof import verify
from services.wallet.proof_runner import ProofRunner

POOL: web.AppKey[Pool] = web.AppKey("pool")
READ_POOL: web.AppKey[Pool] = web.AppKey("read_pool")
"""For reads of users and operators: posting, voiding and the funds checks do not wait for its connections."""
READER: web.AppKey[Reader] = web.AppKey("reader")
"""For statements, which a standby may serve."""
PROOF_POOL: web.AppKey[Pool] = web.AppKey("proof_pool")
PROOF_RUNNER: web.AppKey[ProofRunner] = web.AppKey("proof_runner")

POST_SECONDS = 4.0
"""Shorter than the deadline of the worker for the call (5 s): items not done by then get the result `retry`."""


def add_routes(app: web.Application, verifier: TokenVerifier) -> None:
    """Add the routes, each with the identities that may call it."""
    worker = callers(verifier, ["transaction-worker"])
    voiders = callers(verifier, ["transaction-worker", "transaction-reversal", "transaction"])
    transaction = callers(verifier, ["transaction"])
    gateway = callers(verifier, ["gateway"])
    app.add_routes(
        [
            web.post("/internal/post", worker(post)),
            web.post("/internal/void", voiders(void)),
            web.post("/internal/wallets/find", transaction(find)),
            web.post("/internal/availability", transaction(availability)),
            web.post("/internal/wallets", gateway(open_wallet)),
            web.get("/internal/wallets", gateway(list_wallets)),
            web.post("/internal/balances", gateway(read_wallets)),
            web.get("/internal/wallets/{id}", gateway(get_wallet)),
            web.get("/internal/wallets/{id}/balance", gateway(get_balance)),
            web.get("/internal/wallets/{id}/statement", gateway(get_statement)),
            web.put("/internal/wallets/{id}/freeze", gateway(freeze)),
            web.delete("/internal/wallets/{id}/freeze", gateway(unfreeze)),
            web.get("/internal/outcomes/{id}", gateway(get_outcome)),
            web.get("/internal/balance-sheet", gateway(get_balance_sheet)),
            web.get("/internal/proof", gateway(get_proof)),
            web.post("/internal/proof-runs", gateway(start_proof)),
            web.get("/internal/proof-runs/{id}", gateway(get_proof_run)),
            web.put("/internal/admissions/{id}", gateway(admit)),
            web.get("/internal/audit", gateway(list_entries)),
        ]
    )


list_entries = audit.reader(READ_POOL, store_audit.LIST, parse_row_id=audit.read_whole_number, lowest_id=0)
"""The audit log: who froze or unfroze which wallet, or admitted which outcome."""


async def post(request: web.Request) -> web.Response:
    """Post a batch of transfers."""
    deadline = time.monotonic() + POST_SECONDS
    batch = validate_json(schemas.POST, await request.read())
    postings = [item.posting() for item in batch.items]
    started_ns = time.time_ns()
    results = await commands.post_transfers(request.app[POOL], postings, deadline=deadline)
    if telemetry.recorder is not None:
        _record_spans(batch.items, results, started_ns)
    return respond(schemas.results(results))


def _record_spans(items: Sequence[schemas.PostItem], results: Sequence[Result], started_ns: int) -> None:
    """A span of each decision, and below that of a posting one of each of its two entries."""
    decided = [
        telemetry.Item(
            item.traceparent, {telemetry.TRANSFER_ID: str(item.transfer_id), "payflow.outcome": result.outcome}
        )
        for item, result in zip(items, results, strict=True)
    ]
    contexts = telemetry.record("post transfer", decided, kind=telemetry.INTERNAL, started_ns=started_ns)
    for item, result, context in zip(items, results, contexts, strict=True):
        if result.outcome == ledger.POSTED:
            for side, account_id in (("debit", item.source_id), ("credit", item.destination_id)):
                entry = telemetry.Item(
                    context, {telemetry.TRANSFER_ID: str(item.transfer_id), "payflow.wallet_id": str(account_id)}
                )
                telemetry.record(f"{side} entry", [entry], kind=telemetry.INTERNAL, started_ns=started_ns)


async def void(request: web.Request) -> web.Response:
    """Void a batch of transfers, or return the outcomes that they have."""
    batch = validate_json(schemas.VOID, await request.read())
    voids = [item.void() for item in batch.items]
    return respond(schemas.results(await commands.void_transfers(request.app[POOL], voids)))


async def open_wallet(request: web.Request) -> web.Response:
    """Open a wallet, or return the open one."""
    body = validate_json(schemas.OPEN, await request.read())
    wallet, opened = await commands.open_wallet(request.app[POOL], owner_id=body.owner_id, currency=body.currency)
    return respond(schemas.wallet(wallet), status=201 if opened else 200)


async def list_wallets(request: web.Request) -> web.Response:
    """The wallets of one owner."""
    query = validate(schemas.OWNER, dict(request.query))
    wallets = await commands.list_wallets(request.app[POOL], request.app[READ_POOL], query.owner_id)
    return respond({"items": [schemas.wallet(wallet) for wallet in wallets]})


async def find(request: web.Request) -> web.Response:
    """Accounts by id, by owner and currency, or external ones by currency."""
    body = validate_json(schemas.FIND, await request.read())
    found = await commands.find_accounts(
        request.app[POOL],
        ids=body.ids,
        owners=[(owner.owner_id, owner.currency) for owner in body.owners],
        external=body.external,
    )
    return respond({"items": [schemas.account(row) for row in found]})


async def get_wallet(request: web.Request) -> web.Response:
    """One wallet."""
    return respond(schemas.wallet(await commands.get_wallet(request.app[READ_POOL], _wallet_id(request))))


async def read_wallets(request: web.Request) -> web.Response:
    """Several wallets with their balances now, each for a user: null if it is not a wallet of this user."""
    body = validate_json(schemas.READ, await request.read())
    wanted = [(item.wallet_id, item.owner_id) for item in body.items]
    found = await commands.find_wallets(request.app[READ_POOL], wanted)
    return respond({"items": [schemas.read(item) for item in found]})


async def get_balance(request: web.Request) -> web.Response:
    """The balance now, or the final balance `at` a moment."""
    query = validate(schemas.BALANCE, dict(request.query))
    balance = await commands.get_balance(request.app[READ_POOL], _wallet_id(request), query.at)
    return respond(schemas.balance(*balance))


async def get_statement(request: web.Request) -> web.Response:
    """A page of entries, newest first."""
    query = validate(schemas.STATEMENT, dict(request.query))
    lines = await commands_statement.list_statement(
        request.app[READER],
        _wallet_id(request),
        below=schemas.decode_cursor(query.cursor),
        period=query.period,
        limit=query.limit + 1,
    )
    return respond(schemas.statement(lines, query.limit))


async def availability(request: web.Request) -> web.Response:
    """The available balances of several wallets, and which of the given transfers have an outcome, at one instant."""
    body = validate_json(schemas.AVAILABILITY, await request.read())
    available, decided = await commands.read_availability(
        request.app[POOL],
        wallet_ids=[item.wallet_id for item in body.items],
        transfer_ids=[id_ for item in body.items for id_ in item.transfer_ids],
    )
    items = [
        {
            "wallet_id": str(item.wallet_id),
            "available": available[item.wallet_id][0] if item.wallet_id in available else None,
            "frozen": item.wallet_id in available and available[item.wallet_id][1],
            "finalized": [str(id_) for id_ in item.transfer_ids if id_ in decided],
        }
        for item in body.items
    ]
    return respond({"items": items})


async def get_outcome(request: web.Request) -> web.Response:
    """The outcome of a transfer."""
    row = await commands.get_outcome(request.app[READ_POOL], path_id(request, OutcomeNotFound))
    return respond(
        {
            "transfer_id": str(row["transfer_id"]),
            "outcome": row["outcome"],
            "reason": row["reason"],
            "at": format_time(row["at"]),
        }
    )


async def freeze(request: web.Request) -> web.Response:
    """Freeze the wallet: it accepts neither debits nor credits."""
    return await _set_frozen(request, frozen=True)


async def unfreeze(request: web.Request) -> web.Response:
    """Unfreeze the wallet."""
    return await _set_frozen(request, frozen=False)


async def get_balance_sheet(request: web.Request) -> web.Response:
    """The balances of customers and of external accounts, per currency."""
    moment, rows = await commands.read_balance_sheet(request.app[READ_POOL], request.app[PROOF_POOL])
    return respond({"as_of": format_time(moment), "currencies": [dict(row.items()) for row in rows]})


async def get_proof(request: web.Request) -> web.Response:
    """The last run of the proof; a new one with `?full=1`, `?new=1` or `?head=`, or if there is none."""
    query = validate(schemas.PROOF, dict(request.query))
    is_new = query.full or query.new or query.head is not None
    proof = None if is_new else await commands.find_last_proof(request.app[READ_POOL])
    if proof is None:
        proof = await verify(request.app[PROOF_POOL], query.head, whole=query.full or not query.new)
        # Whether the head of one caller is found concerns that caller, not the state of the ledger.
        if proof.is_stored(query.head):
            await commands.record_proof(request.app[POOL], proof)
    return respond(schemas.proof(proof))


async def start_proof(request: web.Request) -> web.Response:
    """Start a run of the proof, or return the one in progress."""
    body = validate_json(schemas.START_PROOF, await request.read())
    run, is_new = await request.app[PROOF_RUNNER].start(whole=body.full, required=body.head)
    return respond(schemas.proof_run(run), status=201 if is_new else 200)


async def get_proof_run(request: web.Request) -> web.Response:
    """The progress of a requested run of the proof, and its result when it has ended."""
    run = await commands_proof_run.get_run(request.app[READ_POOL], path_id(request, ProofRunNotFound))
    return respond(schemas.proof_run(run))


async def admit(request: web.Request) -> web.Response:
    """Admit a late outcome."""
    body = validate_json(schemas.ADMIT, await request.read())
    admission = await commands_admission.admit_outcome(
        request.app[POOL],
        path_id(request, OutcomeNotFound),
        reason=body.reason,
        operator_id=body.operator_id,
        request_id=body.request_id,
    )
    return respond(schemas.admission(admission))


async def _set_frozen(request: web.Request, *, frozen: bool) -> web.Response:
    body = validate_json(schemas.FREEZE, await request.read())
    wallet = await commands.set_frozen(
        request.app[POOL],
        _wallet_id(request),
        frozen=frozen,
        operator_id=body.operator_id,
        request_id=body.request_id,
    )
    return respond(schemas.wallet(wallet))


def _wallet_id(request: web.Request) -> UUID:
    return path_id(request, WalletNotFound)
