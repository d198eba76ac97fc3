"""A steady load of transfers during a drill: clients that retry with their key until they have a response."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import aiohttp

from tests.harness.api import PASSWORD, ApiClient, Person, Response

IN_FLIGHT_MAX = 64
"""The most keys without a response; beyond that no new ones are started."""

CLIENT_SECONDS = 12.0
"""Longer than the gateway's own deadline: a request is ended by the gateway or by a dead connection."""

RETRY_SECONDS = 0.25
DRAIN_SECONDS = 60.0
UNKNOWN = frozenset({408, 409, 429, 500, 502, 503, 504})
"""After these responses the same key is sent again; any other is final."""


@dataclass(slots=True)
class Payment:
    """One key and all responses to it."""

    key: str
    sender: Person
    receiver: Person
    amount: int
    responses: list[Response] = field(default_factory=list)
    finalized: bool = False

    @property
    def ids(self) -> set[UUID]:
        """The transfers returned for this key; more than one is a fault."""
        return {UUID(response.body["id"]) for response in self.responses if response.status in (200, 202)}


@dataclass(slots=True)
class Sent:
    """What the clients sent and received."""

    payments: dict[str, Payment] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    """The number of responses by status; `none` for no response."""

    slowest_seconds: float = 0.0
    """The longest duration of a single request, with or without a response."""

    @property
    def ids(self) -> set[UUID]:
        """All accepted transfers."""
        return {id_ for payment in self.payments.values() for id_ in payment.ids}

    def faults(self) -> list[str]:
        """Keys with two transfers, and keys without a final response."""
        return [
            *(f"two transfers: key {p.key} returned {sorted(p.ids)}" for p in self.payments.values() if len(p.ids) > 1),
            *(f"no response: key {p.key} after {len(p.responses)}" for p in self.payments.values() if not p.finalized),
        ]

    async def more(self, count: int, *, seconds: float = 30) -> None:
        """Wait until this many further transfers are accepted."""
        goal = len(self.ids) + count
        async with asyncio.timeout(seconds):
            while len(self.ids) < goal:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def load(
    api: ApiClient, people: Sequence[Person], *, per_second: float = 30, amount_max: int = 20, seed: int = 1
) -> AsyncIterator[Sent]:
    """Send between these users during the block; afterwards wait until every key has its response."""
    sent = Sent()
    payments = _payments(people, amount_max, random.Random(seed))
    trickle = asyncio.create_task(_trickle(api, payments, sent, per_second))
    try:
        yield sent
    finally:
        trickle.cancel()
        with suppress(asyncio.CancelledError):
            await trickle


def _payments(people: Sequence[Person], amount_max: int, rng: random.Random) -> Iterator[Payment]:
    while True:
        sender, receiver = rng.sample(people, 2)
        yield Payment(uuid4().hex, sender, receiver, rng.randint(1, amount_max))


async def _trickle(api: ApiClient, payments: Iterator[Payment], sent: Sent, per_second: float) -> None:
    clients: set[asyncio.Task[None]] = set()
    next_at = time.monotonic()
    try:
        while True:
            # Missed sends are not made up for: the rate is an upper bound.
            next_at = max(next_at + 1 / per_second, time.monotonic())
            await asyncio.sleep(next_at - time.monotonic())
            clients = {client for client in clients if not client.done()}
            if len(clients) < IN_FLIGHT_MAX:
                payment = next(payments)
                sent.payments[payment.key] = payment
                clients.add(asyncio.create_task(_pay(api, payment, sent)))
    finally:
        if clients:
            _, late = await asyncio.wait(clients, timeout=DRAIN_SECONDS)
            for client in late:
                client.cancel()


async def _pay(api: ApiClient, payment: Payment, sent: Sent) -> None:
    body = {"amount": payment.amount, "currency": "USD", "to": {"wallet_id": payment.receiver.wallet_id}}
    while not payment.finalized:
        began = time.monotonic()
        response: Response | None = None
        with suppress(aiohttp.ClientError, TimeoutError):
            response = await payment.sender.post(
                "/transfers", body, key=payment.key, timeout=aiohttp.ClientTimeout(total=CLIENT_SECONDS)
            )
        sent.slowest_seconds = max(sent.slowest_seconds, time.monotonic() - began)
        sent.statuses[str(response.status) if response else "none"] += 1
        if response is not None:
            payment.responses.append(response)
            payment.finalized = response.status not in UNKNOWN | {401}
        if not payment.finalized:
            if response is not None and response.status == 401:
                await _log_in_again(api, payment.sender)
            await asyncio.sleep(RETRY_SECONDS)


async def _log_in_again(api: ApiClient, person: Person) -> None:
    """Get a new access token: one is valid for ten minutes, and a long drill outlasts it."""
    response = await api.send("POST", "/auth/login", json={"email": person.email, "password": PASSWORD})
    if response.status == 200:
        person.token = response.body["access_token"]
