"""Simulations for front ends: a header by which a client makes happen on purpose what hardly ever happens. Demo mode only.

What happens is real. A lost answer is a connection that is closed after the commit; a transfer that fails is failed by the
ledger. Only demo mode loads this file; otherwise requests that move money are refused with the header.
See docs/simulated-failures.md.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

import structlog
from aiohttp import web

from services.chassis.body import InvalidRequest
from services.chassis.client import UpstreamUnavailable
from services.chassis.problems import Handler
from services.contracts.refusal import FieldError, Refusal
from services.gateway import api, errors, openapi, responses
from services.gateway.api.transfers import SIMULATE, SIMULATED
from services.gateway.api.waiting import WAITING
from services.gateway.operations import BODY_SECONDS, Operation, of
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.upstreams import UPSTREAMS, call

REVERSAL_MARGIN_SECONDS = 15
"""So much longer than its life is a command held back that shall be reversed: the reversal looks every 5 s."""

_SAID = re.compile(r"([a-z-]{1,40})(?:=([0-9]{1,3}))?")

log = structlog.get_logger()

Action = Callable[[web.Request, Handler, int], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Seconds:
    """The number that a word may carry."""

    default: int
    greatest: int


@dataclass(frozen=True, slots=True)
class Word:
    """One thing that can be simulated."""

    meaning: str
    act: Action
    suits: Callable[[Operation], bool]
    seconds: Seconds | None = None


def install(app: web.Application) -> None:
    """Let clients of this gateway simulate, and say so in its OpenAPI document."""
    app.middlewares.append(middleware)
    document = json.loads(app[api.reference.DOCUMENT])
    app[api.reference.DOCUMENT] = responses.encode(document | {"x-simulation": describe()})


def describe() -> dict[str, Any]:
    """The header and its words, for machines."""
    words = [
        {
            "word": name,
            "meaning": word.meaning,
            "seconds": None if word.seconds is None else word.seconds.default,
            "seconds_max": None if word.seconds is None else word.seconds.greatest,
        }
        for name, word in WORDS.items()
    ]
    return {"header": SIMULATE, "words": words}


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Do what the header of this request asks for; without one, nothing."""
    values = request.headers.getall(SIMULATE, ())
    operation = of(request)
    if not values or operation is None:
        return await handler(request)
    name, seconds = _read(values, operation)
    log.info("failure_simulated", word=name)
    request[SIMULATED] = {}
    return await WORDS[name].act(request, handler, seconds)


def _read(values: list[str] | tuple[str, ...], operation: Operation) -> tuple[str, int]:
    said = _SAID.fullmatch(values[0].strip()) if len(values) == 1 else None
    suiting = [name for name, word in WORDS.items() if word.suits(operation)]
    if said is None or said[1] not in suiting:
        _refuse(SIMULATE, f"must be one of these here: {', '.join(suiting)}")
    limits = WORDS[said[1]].seconds
    if limits is None:
        if said[2] is not None:
            _refuse(SIMULATE, f"{said[1]} takes no number")
        return said[1], 0
    seconds = limits.default if said[2] is None else int(said[2])
    if not 1 <= seconds <= limits.greatest:
        _refuse(SIMULATE, f"{said[1]} takes 1 to {limits.greatest} seconds")
    return said[1], seconds


def _refuse(field: str, message: str) -> NoReturn:
    raise InvalidRequest(errors=[FieldError(field, message)])


# --- What happens to the answer --------------------------------------------------------------------------------------


async def _lose_answer(request: web.Request, handler: Handler, _: int) -> web.StreamResponse:
    try:
        return await handler(request)
    finally:
        if request.transport is not None:
            request.transport.close()


async def _hold_answer_back(request: web.Request, handler: Handler, seconds: int) -> web.StreamResponse:
    try:
        answer = await handler(request)
    except Refusal:
        await _pause(request, seconds)
        raise
    await _pause(request, seconds)
    return answer


async def _pause(request: web.Request, seconds: int) -> None:
    # Whoever waits here goes when the gateway closes.
    await request.app[WAITING].within(seconds, asyncio.Event().wait())


async def _forget_outcome(request: web.Request, handler: Handler, _: int) -> web.StreamResponse:
    await handler(request)
    raise errors.NoResponseInTime


async def _be_the_twin(request: web.Request, handler: Handler, _: int) -> web.StreamResponse:
    # The request is accepted as the first of two, and answered as the second.
    await handler(request)
    raise errors.IdempotencyKeyInUse


# --- What is refused before anything is done -------------------------------------------------------------------------


async def _be_unavailable(_request: web.Request, _handler: Handler, seconds: int) -> web.StreamResponse:
    raise UpstreamUnavailable("this is a simulation: nothing was done", retry_after_seconds=seconds)


async def _limit(_request: web.Request, _handler: Handler, seconds: int) -> web.StreamResponse:
    raise errors.RateLimited(
        headers={
            "Retry-After": str(seconds),
            "RateLimit": f'"simulation";r=0;t={seconds}',
            "RateLimit-Policy": f'"simulation";q=1;w={seconds}',
        }
    )


# --- What happens to the transfer ------------------------------------------------------------------------------------


async def _leave_to_the_ledger(request: web.Request, handler: Handler, _: int) -> web.StreamResponse:
    await _refuse_what_is_covered(request)
    request[SIMULATED] = {"simulation": {"unchecked": True}}
    return await handler(request)


async def _let_expire(request: web.Request, handler: Handler, seconds: int) -> web.StreamResponse:
    held_seconds = seconds + REVERSAL_MARGIN_SECONDS
    request[SIMULATED] = {"simulation": {"held_seconds": held_seconds, "expires_seconds": seconds}}
    return await handler(request)


async def _hold_transfer_back(request: web.Request, handler: Handler, seconds: int) -> web.StreamResponse:
    request[SIMULATED] = {"simulation": {"held_seconds": seconds}}
    return await handler(request)


async def _refuse_what_is_covered(request: web.Request) -> None:
    """A transfer that the ledger would carry out is none that fails for want of money."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            sent = json.loads(await request.read())
        amount, currency = int(sent["amount"]), sent["currency"]
    except (TimeoutError, ValueError, TypeError, KeyError, RecursionError):
        return  # It is refused for what it is.
    params = {"owner_id": request[PRINCIPAL].user_id}
    wallets = (await call(request.app[UPSTREAMS].wallet, "GET", "/internal/wallets", params=params))["items"]
    if any(wallet["currency"] == currency and wallet["available"] >= amount for wallet in wallets):
        _refuse("amount", f"is what the wallet holds: to simulate {INSUFFICIENT_FUNDS}, send more than that")


# --- The words -------------------------------------------------------------------------------------------------------


def _answers_once(operation: Operation) -> bool:
    return all(answer.media_type != "text/event-stream" for answer in operation.answers)


def _may_refuse(refusal: type[Refusal]) -> Callable[[Operation], bool]:
    """Nothing is simulated that the document does not name."""
    return lambda operation: refusal in openapi.refusals(operation)


def _sends_money(operation: Operation) -> bool:
    return operation.handler is api.transfers.create_transfer


INSUFFICIENT_FUNDS = "insufficient-funds"

WORDS = MappingProxyType(
    {
        "answer-lost": Word("Carried out, then the connection is closed.", _lose_answer, _answers_once),
        "slow": Word("Carried out, then the answer is held back.", _hold_answer_back, _answers_once, Seconds(20, 60)),
        "unavailable": Word(
            "503 with Retry-After, before anything is done.",
            _be_unavailable,
            _may_refuse(UpstreamUnavailable),
            Seconds(1, 60),
        ),
        "rate-limited": Word(
            "429 with Retry-After, before anything is done.", _limit, _may_refuse(errors.RateLimited), Seconds(1, 60)
        ),
        "outcome-unknown": Word("Carried out, then 504.", _forget_outcome, _may_refuse(errors.NoResponseInTime)),
        "in-use": Word(
            "Accepted for a twin, then 409 for this one.", _be_the_twin, _may_refuse(errors.IdempotencyKeyInUse)
        ),
        INSUFFICIENT_FUNDS: Word(
            "Accepted unchecked, then FAILED by the ledger; the amount must be more than the wallet holds.",
            _leave_to_the_ledger,
            _sends_money,
        ),
        "reversed-late": Word(
            "Accepted, PENDING until it expires, then FAILED timed_out by the reversal.",
            _let_expire,
            _sends_money,
            Seconds(10, 60),
        ),
        "slow-pending": Word(
            "Accepted, PENDING for so long, then carried out.", _hold_transfer_back, _sends_money, Seconds(8, 45)
        ),
    }
)
