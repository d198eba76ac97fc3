"""Operator routes for dead letters of all services."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from services.chassis import tracing
from services.chassis.dead_letters import (
    BrokerUnavailable,
    DeadLetterNotFound,
    DeadLetterNotReplayable,
    DeadLetterResolved,
)
from services.contracts import limits
from services.contracts.api_keys import Scope
from services.contracts.refusal import Refusal
from services.contracts.topology import FINALIZED_QUEUE, REQUESTED_QUEUE
from services.gateway import operations, responses, schemas
from services.gateway.api import merged_page
from services.gateway.clients.dead_letters import DeadLetterClient
from services.gateway.clients.service import NOT_FOUND
from services.gateway.clients.wallet import WalletClient
from services.gateway.operations import BODY, QUERY, Access, Operation, Response, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.upstreams import UPSTREAMS, Upstreams

BASE = f"{operations.BASE}/ops/dead-letters"
ANY = "any"


async def list_dead_letters(request: web.Request) -> web.Response:
    """List dead letters, newest first.

    By default those that wait for an operator; `state` selects others. A service that does not respond within 1 s is listed in
    `unavailable`; its dead letters come with a later page.
    """
    query: schemas.dead_letters.DeadLetterQuery = request[QUERY]
    filters: dict[str, str] = {"queue": query.queue} if query.queue is not None else {}
    if query.state != ANY:
        filters["state"] = query.state
    owners = _owners(request.app[UPSTREAMS])
    wanted = owners if query.queue is None else {query.queue: owners[query.queue]}
    sources = {service.name: partial(_list, service, filters) for service in wanted.values()}
    limit = query.limit or limits.PAGE_DEFAULT
    page = await merged_page.read(sources, limit=limit, cursor=query.cursor, time_field="first_seen_at")
    return responses.document(page)


async def get_dead_letter(request: web.Request) -> web.Response:
    """Get a dead letter with its body."""
    _, dead_letter = await _find(request)
    return responses.document(dead_letter)


async def replay_dead_letter(request: web.Request) -> web.Response:
    """Replay a dead letter.

    The message is published to its queue with a reset count of attempts, confirmed by the broker and then marked. Replaying
    twice is harmless: a transfer keeps its outcome. A message that fails again waits again. With `dry_run=true` nothing is
    published; the response previews the replay.
    """
    query: schemas.dead_letters.ReplayQuery = request[QUERY]
    service, dead_letter = await _find(request)
    result, outcomes = await asyncio.gather(
        service.replay_dead_letter(
            dead_letter["id"],
            operator_id=request[PRINCIPAL].user_id,
            request_id=tracing.request_id(),
            dry_run=query.dry_run == "true",
        ),
        _outcomes(request.app[UPSTREAMS].wallet, dead_letter["transfer_ids"]),
    )
    for transfer in result["transfers"]:
        transfer.update(outcomes.get(transfer["transfer_id"], {"outcome": None, "outcome_known": None}))
    return responses.document(result)


async def discard_dead_letter(request: web.Request) -> web.Response:
    """Discard a dead letter.

    The record stays. The transfer is not touched: it gets its outcome in another way, or already has it. A discarded conflict
    leaves its transfer PENDING.
    """
    body: schemas.dead_letters.Discard = request[BODY]
    service, dead_letter = await _find(request)
    discarded = await service.discard_dead_letter(
        dead_letter["id"],
        operator_id=request[PRINCIPAL].user_id,
        request_id=tracing.request_id(),
        reason=body.reason,
    )
    return responses.document(discarded)


def _owners(upstreams: Upstreams) -> dict[str, DeadLetterClient]:
    """The service that consumes each queue."""
    return {REQUESTED_QUEUE.name: upstreams.transaction, FINALIZED_QUEUE.name: upstreams.notification}


async def _list(service: DeadLetterClient, filters: Mapping[str, str], paging: Mapping[str, str]) -> Any:
    return await service.list_dead_letters({**filters, **paging})


async def _find(request: web.Request) -> tuple[DeadLetterClient, dict[str, Any]]:
    """The dead letter, and the service that has it.

    Raises:
        DeadLetterNotFound: no service has it.
        Refusal: it was not found, and not every service responded.
    """
    dead_letter_id = path_id(request, DeadLetterNotFound)
    services = list(_owners(request.app[UPSTREAMS]).values())
    found = await asyncio.gather(*(each.get_dead_letter(dead_letter_id) for each in services), return_exceptions=True)
    for service, result in zip(services, found, strict=True):
        if isinstance(result, dict):
            return service, result
    failures = [result for result in found if isinstance(result, BaseException)]
    raise next((failure for failure in failures if not isinstance(failure, DeadLetterNotFound)), failures[0])


async def _outcomes(wallet: WalletClient, transfer_ids: list[str]) -> dict[str, dict[str, Any]]:
    """The ledger's outcome of each transfer; `outcome_known` is null if the wallet service did not respond."""
    shown = transfer_ids[: schemas.dead_letters.OUTCOMES_MAX]
    return dict(zip(shown, await asyncio.gather(*(_outcome(wallet, id_) for id_ in shown)), strict=True))


async def _outcome(wallet: WalletClient, transfer_id: str) -> dict[str, Any]:
    try:
        found = await wallet.get_outcome(transfer_id)
    except Refusal as refusal:
        return {"outcome": None, "outcome_known": False if refusal.status == NOT_FOUND else None}
    return {"outcome": found["outcome"], "outcome_known": True}


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        list_dead_letters,
        (Response(200, "A page of dead letters.", schemas.dead_letters.DeadLetterPage),),
        access=Access.OPERATOR,
        query=schemas.dead_letters.DeadLetterQuery,
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "GET",
        f"{BASE}/{{id}}",
        get_dead_letter,
        (Response(200, "The dead letter.", schemas.dead_letters.DeadLetterDetail),),
        access=Access.OPERATOR,
        refusals=(DeadLetterNotFound,),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "POST",
        f"{BASE}/{{id}}/replay",
        replay_dead_letter,
        (Response(200, "The result of the replay, or its preview.", schemas.dead_letters.ReplayResult),),
        access=Access.OPERATOR,
        query=schemas.dead_letters.ReplayQuery,
        body=schemas.types.Empty,
        body_required=False,
        refusals=(DeadLetterNotFound, DeadLetterResolved, DeadLetterNotReplayable, BrokerUnavailable),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "POST",
        f"{BASE}/{{id}}/discard",
        discard_dead_letter,
        (Response(200, "The discarded dead letter.", schemas.dead_letters.DeadLetter),),
        access=Access.OPERATOR,
        body=schemas.dead_letters.Discard,
        refusals=(DeadLetterNotFound, DeadLetterResolved),
        key_scope=Scope.OPERATE,
    ),
)
