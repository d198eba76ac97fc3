"""The users of a run: senders who are registered through the gateway and funded, and further wallets that only receive."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from uuid import uuid4

import aiohttp

from deploy.local.seed import OPERATOR, PASSWORD
from deploy.local.user import User
from services.contracts.identifiers import new_id
from tests.performance.system import System

SENDERS = 64
DEPOSIT_MINOR = 10**12
REGISTRATIONS_AT_ONCE = 2
TOKEN_SECONDS = 240.0
"""Tokens older than this are renewed before a stretch; they are valid for ten minutes."""


@dataclass(slots=True)
class Sender:
    """A registered user with money."""

    user: User
    refresh_token: str
    wallet_id: str

    @property
    def login(self) -> dict[str, str]:
        """What the load generator needs."""
        return {"token": self.user.token, "wallet": self.wallet_id}


@dataclass(slots=True)
class Users:
    """All wallets of a run."""

    senders: list[Sender]
    receivers: list[str]
    renewed_at: float

    async def renew(self) -> None:
        """Renew the access tokens that would expire during a stretch."""
        if time.monotonic() - self.renewed_at < TOKEN_SECONDS:
            return
        for sender in self.senders:
            pair = await sender.user.post("/auth/refresh", {"refresh_token": sender.refresh_token})
            sender.user.token, sender.refresh_token = pair["access_token"], pair["refresh_token"]
        self.renewed_at = time.monotonic()

    async def open_wallets(self, system: System, count: int) -> None:
        """Open wallets of users who never log in, and enter them in the directory: through the API each costs a password hash."""
        columns = ["id", "owner_id", "currency"]
        records = [(new_id(), new_id(), "USD") for _ in range(count)]
        await system.copy("wallet", "accounts", records, columns)
        await system.copy("transaction", "wallets", records, columns)
        self.receivers += [str(id_) for id_, _, _ in records]


async def register(system: System, session: aiohttp.ClientSession, *, accounts: int) -> Users:
    """Register and fund the senders, and open wallets until there are `accounts` of them."""
    gateway = system.stack["gateway"]
    slots = asyncio.Semaphore(REGISTRATIONS_AT_ONCE)
    senders = await asyncio.gather(*(_register(session, gateway, slots) for _ in range(SENDERS)))
    operator = User(session, gateway, OPERATOR, PASSWORD)
    await operator.log_in()
    await asyncio.gather(*(_fund(operator, sender) for sender in senders))
    users = Users(senders, [sender.wallet_id for sender in senders], time.monotonic())
    await users.open_wallets(system, accounts - SENDERS)
    await system.finalized(seconds=60)
    return users


async def _register(session: aiohttp.ClientSession, gateway: str, slots: asyncio.Semaphore) -> Sender:
    email, password = f"sender-{uuid4().hex}@example.com", uuid4().hex
    user = User(session, gateway, email, password)
    async with slots:
        pair = await user.post("/auth/register", {"email": email, "password": password, "name": "Load Sender"})
    user.token = pair["access_token"]
    [wallet] = (await user.get("/wallets"))["items"]
    return Sender(user, pair["refresh_token"], wallet["id"])


async def _fund(operator: User, sender: Sender) -> None:
    body = {"wallet_id": sender.wallet_id, "amount": DEPOSIT_MINOR, "currency": "USD", "reference": "load"}
    await operator.post("/ops/deposits", body, **{"Idempotency-Key": uuid4().hex})
