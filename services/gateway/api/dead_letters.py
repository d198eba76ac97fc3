"""Dead letters: what could not be done and waits for a human, from the services that own the queues."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from services.chassis import tracing
from services.chassis.client import Upstream
from services.chassis.dead_letters import (
    BrokerUnavailable,
    DeadLetterNotFound,
    DeadLetterNotReplayable,
    DeadLetterResolved,
)
from services.contracts.api_keys import Scope
from services.contracts.refusal import Refusal
from services.contracts.topology import FINALIZED_QUEUE, REQUESTED_QUEUE
from services.gateway import operations, responses, schemas, upstreams
from services.gateway.api import merged_page
from services.gateway.operations import BODY, QUERY, Access, Answer, Operation, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.upstreams import UPSTREAMS, Upstreams, call

BASE = f"{operations.BASE}/ops/dead-letters"
PATH = "/internal/dead-letters"
ANY = "any"


async def list_dead_letters(request: web.Request) -> web.Response:
    """What waits for a human, newest first; with `state` also what was dealt with.

    A service that does not answer within 1 s is listed in `unavailable`; what it has to tell comes with a later page.
    """
    asked: schemas.dead_letters.DeadLetterQuery = request[QUERY]
    matching: dict[str, str] = {"queue": asked.queue} if asked.queue is not None else {}
    if asked.state != ANY:
        matching["state"] = asked.state
    owners = _owners(request.app[UPSTREAMS])
    wanted = owners if asked.queue is None else {asked.queue: owners[asked.queue]}
    sources = {service.name: partial(_list, service, matching) for service in wanted.values()}
    limit = asked.limit or schemas.types.PAGE_LIMIT
    page = await merged_page.read(sources, limit=limit, cursor=asked.cursor, time_field="first_seen_at")
    return responses.document(page)


async def get_dead_letter(request: web.Request) -> web.Response:
    """One dead letter with its body."""
    _, letter = await _find(request)
    return responses.document(letter)


async def replay_dead_letter(request: web.Request) -> web.Response:
    """Put a dead letter into its queue once more, or with `dry_run=true` only tell what that would do.

    It is published with a fresh count of attempts, confirmed by the broker and then marked. Twice does no harm: what has its
    outcome keeps it. A letter that fails again by then goes on waiting, else it waits anew.
    """
    asked: schemas.dead_letters.ReplayQuery = request[QUERY]
    service, letter = await _find(request)
    by = _by(request) | {"dry_run": asked.dry_run == "true"}
    outlook, outcomes = await asyncio.gather(
        call(service, "POST", f"{PATH}/{letter['id']}/replay", body=by, missing=DeadLetterNotFound),
        _outcomes(request.app[UPSTREAMS].wallet, letter["transfer_ids"]),
    )
    for transfer in outlook["transfers"]:
        transfer.update(outcomes.get(transfer["transfer_id"], {"outcome": None, "outcome_known": None}))
    return responses.document(outlook)


async def discard_dead_letter(request: web.Request) -> web.Response:
    """Let a dead letter wait no longer. Its transfer is not touched: it gets its outcome in another way, or has it.

    The record stays. A conflict that is discarded leaves its transfer PENDING.
    """
    asked: schemas.dead_letters.Discard = request[BODY]
    service, letter = await _find(request)
    body = _by(request) | {"reason": asked.reason}
    path = f"{PATH}/{letter['id']}/discard"
    return responses.document(await call(service, "POST", path, body=body, missing=DeadLetterNotFound))


def _owners(behind: Upstreams) -> dict[str, Upstream]:
    """Who owns each queue."""
    return {REQUESTED_QUEUE.name: behind.transaction, FINALIZED_QUEUE.name: behind.notification}


async def _list(service: Upstream, matching: Mapping[str, str], paging: Mapping[str, str]) -> Any:
    params = {**matching, **paging}
    return await call(service, "GET", PATH, params=params, seconds=upstreams.SIDE_SECONDS)


async def _find(request: web.Request) -> tuple[Upstream, dict[str, Any]]:
    """The dead letter, and the service that has it.

    Raises:
        DeadLetterNotFound: no service has it.
        Refusal: it was not found, and not every service answered.
    """
    letter_id = path_id(request, DeadLetterNotFound)
    services = list(_owners(request.app[UPSTREAMS]).values())
    asked = (call(service, "GET", f"{PATH}/{letter_id}", missing=DeadLetterNotFound) for service in services)
    found = await asyncio.gather(*asked, return_exceptions=True)
    for service, answer in zip(services, found, strict=True):
        if isinstance(answer, dict):
            return service, answer
    missing = [answer for answer in found if isinstance(answer, BaseException)]
    raise next((answer for answer in missing if not isinstance(answer, DeadLetterNotFound)), missing[0])


async def _outcomes(wallet: Upstream, transfer_ids: list[str]) -> dict[str, dict[str, Any]]:
    """The ledger's word on each of them; `outcome_known` is null where it gave no answer."""
    shown = transfer_ids[: schemas.dead_letters.OUTCOMES_MAX]
    return dict(zip(shown, await asyncio.gather(*(_outcome(wallet, id_) for id_ in shown)), strict=True))


async def _outcome(wallet: Upstream, transfer_id: str) -> dict[str, Any]:
    try:
        found = await call(wallet, "GET", f"/internal/outcomes/{transfer_id}", seconds=upstreams.SIDE_SECONDS)
    except Refusal as refusal:
        return {"outcome": None, "outcome_known": False if refusal.status == upstreams.NOT_FOUND else None}
    return {"outcome": found["outcome"], "outcome_known": True}


def _by(request: web.Request) -> dict[str, Any]:
    return {"operator_id": request[PRINCIPAL].user_id, "request_id": tracing.request_id()}


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        list_dead_letters,
        (Answer(200, "A page of dead letters.", schemas.dead_letters.DeadLetterPage),),
        access=Access.OPERATOR,
        query=schemas.dead_letters.DeadLetterQuery,
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "GET",
        f"{BASE}/{{id}}",
        get_dead_letter,
        (Answer(200, "The dead letter.", schemas.dead_letters.DeadLetterDetail),),
        access=Access.OPERATOR,
        refusals=(DeadLetterNotFound,),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "POST",
        f"{BASE}/{{id}}/replay",
        replay_dead_letter,
        (Answer(200, "What it did, or would do.", schemas.dead_letters.Replay),),
        access=Access.OPERATOR,
        query=schemas.dead_letters.ReplayQuery,
        body=schemas.types.Nothing,
        body_required=False,
        refusals=(DeadLetterNotFound, DeadLetterResolved, DeadLetterNotReplayable, BrokerUnavailable),
        key_scope=Scope.OPERATE,
    ),
    Operation(
        "POST",
        f"{BASE}/{{id}}/discard",
        discard_dead_letter,
        (Answer(200, "Discarded.", schemas.dead_letters.DeadLetter),),
        access=Access.OPERATOR,
        body=schemas.dead_letters.Discard,
        refusals=(DeadLetterNotFound, DeadLetterResolved),
        key_scope=Scope.OPERATE,
    ),
)
