"""Simulated failures for front ends: a header by which a client triggers rare failures on purpose. Demo mode only.

What happens is real. A lost response is a connection that is closed after the commit; a transfer that fails is failed by the
ledger. Outside demo mode this module is not loaded, and requests that move money refuse the header.
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

from services.chassis.body import InvalidParameter
from services.chassis.client import UpstreamUnavailable
from services.chassis.encoding import encode
from services.chassis.problems import Handler
from services.contracts.refusal import Refusal
from services.gateway import api, errors, openapi
from services.gateway.api.transfers import SIMULATE, SIMULATED
from services.gateway.api.waiting import LONG_POLLS
from services.gateway.operations import BODY_SECONDS, Operation, of
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.upstreams import UPSTREAMS

REVERSAL_MARGIN_SECONDS = 15
"""How much longer than its lifetime a command is delayed that shall be reversed: the reversal runs every 5 s."""

_VALUE = re.compile(r"([a-z-]{1,40})(?:=([0-9]{1,3}))?")

log = structlog.get_logger()

Run = Callable[[web.Request, Handler, int], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Seconds:
    """The number that a word may have."""

    default: int
    greatest: int


@dataclass(frozen=True, slots=True)
class Word:
    """One failure that can be simulated."""

    meaning: str
    run: Run
    applies_to: Callable[[Operation], bool]
    seconds: Seconds | None = None


def install(app: web.Application) -> None:
    """Accept the header at this gateway, and list its words in the OpenAPI document."""
    app.middlewares.append(middleware)
    document = json.loads(app[api.reference.DOCUMENT])
    app[api.reference.DOCUMENT] = encode(document | {"x-simulation": describe()})


def describe() -> dict[str, Any]:
    """The header and its words, as JSON."""
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
    """Simulate the failure that the header of this request names, if it has one."""
    if SIMULATE not in request.headers or (operation := of(request)) is None:
        return await handler(request)
    name, seconds = _read(request.headers.getall(SIMULATE), operation)
    log.info("failure_simulated", word=name)
    request[SIMULATED] = {}
    return await WORDS[name].run(request, handler, seconds)


def _read(values: list[str], operation: Operation) -> tuple[str, int]:
    value = _VALUE.fullmatch(values[0].strip()) if len(values) == 1 else None
    applicable = [name for name, word in WORDS.items() if word.applies_to(operation)]
    if value is None or value[1] not in applicable:
        _refuse(SIMULATE, f"must be one of these here: {', '.join(applicable)}")
    limits = WORDS[value[1]].seconds
    if limits is None:
        if value[2] is not None:
            _refuse(SIMULATE, f"{value[1]} takes no number")
        return value[1], 0
    seconds = limits.default if value[2] is None else int(value[2])
    if not 1 <= seconds <= limits.greatest:
        _refuse(SIMULATE, f"{value[1]} takes 1 to {limits.greatest} seconds")
    return value[1], seconds


def _refuse(field: str, message: str) -> NoReturn:
    raise InvalidParameter(field, message)


# --- Failures of the response ----------------------------------------------------------------------------------------


async def _lose_response(request: web.Request, handler: Handler, _: int) -> web.StreamResponse:
    try:
        return await handler(request)
    finally:
        if request.transport is not None:
            request.transport.close()


async def _delay_response(request: web.Request, handler: Handler, seconds: int) -> web.StreamResponse:
    try:
        response = await handler(request)
    except Refusal:
        await _pause(request, seconds)
        raise
    await _pause(request, seconds)
    return response


async def _pause(request: web.Request, seconds: int) -> None:
    # Ends at shutdown, as a long poll does.
    await request.app[LONG_POLLS].within(seconds, asyncio.Event().wait())


async def _hide_outcome(request: web.Request, handler: Handler, _: int) -> web.StreamResponse:
    await handler(request)
    raise errors.NoResponseInTime


async def _respond_as_duplicate(request: web.Request, handler: Handler, _: int) -> web.StreamResponse:
    # The request is accepted as the first of two, and gets the response of the second.
    await handler(request)
    raise errors.IdempotencyKeyInUse


# --- Refusals before anything is done --------------------------------------------------------------------------------


async def _be_unavailable(_request: web.Request, _handler: Handler, seconds: int) -> web.StreamResponse:
    raise UpstreamUnavailable("this failure is simulated: nothing was done", retry_after_seconds=seconds)


async def _limit(_request: web.Request, _handler: Handler, seconds: int) -> web.StreamResponse:
    raise errors.RateLimited(
        headers={
            "Retry-After": str(seconds),
            "RateLimit": f'"simulation";r=0;t={seconds}',
            "RateLimit-Policy": f'"simulation";q=1;w={seconds}',
        }
    )


# --- Failures of the transfer ----------------------------------------------------------------------------------------


async def _skip_funds_check(request: web.Request, handler: Handler, _: int) -> web.StreamResponse:
    await _refuse_if_covered(request)
    request[SIMULATED] = {"unchecked": True}
    return await handler(request)


async def _expire(request: web.Request, handler: Handler, seconds: int) -> web.StreamResponse:
    request[SIMULATED] = {"delay_seconds": seconds + REVERSAL_MARGIN_SECONDS, "expires_seconds": seconds}
    return await handler(request)


async def _delay_transfer(request: web.Request, handler: Handler, seconds: int) -> web.StreamResponse:
    request[SIMULATED] = {"delay_seconds": seconds}
    return await handler(request)


async def _refuse_if_covered(request: web.Request) -> None:
    """Refuse a transfer that the ledger would post: it cannot fail for lack of funds."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            sent = json.loads(await request.read())
        amount, currency = int(sent["amount"]), sent["currency"]
    except (TimeoutError, ValueError, TypeError, KeyError, RecursionError):
        return  # The handler refuses it.
    wallets = await request.app[UPSTREAMS].wallet.list_wallets(request[PRINCIPAL].user_id)
    if any(wallet["currency"] == currency and wallet["available"] >= amount for wallet in wallets):
        _refuse("amount", f"is covered by the wallet: to simulate {INSUFFICIENT_FUNDS}, send more than it holds")


# --- The words -------------------------------------------------------------------------------------------------------


def _responds_once(operation: Operation) -> bool:
    return all(response.media_type != "text/event-stream" for response in operation.responses)


def _may_refuse(refusal: type[Refusal]) -> Callable[[Operation], bool]:
    """Only refusals that the document lists are simulated."""
    return lambda operation: refusal in openapi.refusals(operation)


def _creates_transfer(operation: Operation) -> bool:
    return operation.handler is api.transfers.create_transfer


INSUFFICIENT_FUNDS = "insufficient-funds"

WORDS = MappingProxyType(
    {
        "response-lost": Word("Carried out, then the connection is closed.", _lose_response, _responds_once),
        "slow": Word("Carried out, then the response is delayed.", _delay_response, _responds_once, Seconds(20, 60)),
        "unavailable": Word(
            "503 with Retry-After, before anything is done.",
            _be_unavailable,
            _may_refuse(UpstreamUnavailable),
            Seconds(1, 60),
        ),
        "rate-limited": Word(
            "429 with Retry-After, before anything is done.", _limit, _may_refuse(errors.RateLimited), Seconds(1, 60)
        ),
        "outcome-unknown": Word("Carried out, then 504.", _hide_outcome, _may_refuse(errors.NoResponseInTime)),
        "in-use": Word(
            "Accepted as if sent twice at once, then 409 as the second.",
            _respond_as_duplicate,
            _may_refuse(errors.IdempotencyKeyInUse),
        ),
        INSUFFICIENT_FUNDS: Word(
            "Accepted unchecked, then FAILED by the ledger; the amount must exceed what the wallet holds.",
            _skip_funds_check,
            _creates_transfer,
        ),
        "reversed-late": Word(
            "Accepted, PENDING until it expires, then FAILED timed_out by the reversal.",
            _expire,
            _creates_transfer,
            Seconds(10, 60),
        ),
        "slow-pending": Word(
            "Accepted, PENDING for so long, then carried out.", _delay_transfer, _creates_transfer, Seconds(8, 45)
        ),
    }
)
