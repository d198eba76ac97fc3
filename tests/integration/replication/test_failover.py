"""Guarantee 33b: a failover: the primary dies, and the standby takes over with what it has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from deploy.local.engines import Postgres
from services.auth import commands as auth_commands
from services.auth.keyring import Keyring
from services.auth.passwords import Hashing
from services.auth.rules.probes import Probes
from services.chassis.client import Upstream
from services.chassis.database import Pool, close_pool, open_pool
from services.contracts.identifiers import new_id
from services.contracts.refusals.auth import EmailTaken
from services.transaction import commands
from services.transaction.app import INTAKE_SETTINGS
from services.transaction.commands import Accepted
from services.transaction.intake import Intake
from services.transaction.store import WalletFacts
from services.transaction.wallet_client import WalletClient
from services.wallet import commands as wallet_commands
from services.wallet.commands import Void
from services.wallet.ledger import Posting
from tests.harness.ledgers import post, posting
from tests.harness.services import Recipients, identities, request
from tests.harness.standby import Pair

NOWHERE = "http://127.0.0.1:9"
PAYER, RECIPIENT = (WalletFacts(new_id(), new_id(), "USD") for _ in range(2))


class Services(NamedTuple):
    """Three services on one server, by their pools."""

    pools: Mapping[str, Pool]
    keyring: Keyring
    hashing: Hashing

    async def pay(self, key: str) -> bool:
        """Whether the payment with this key is acknowledged as a replay."""
        upstream = Upstream("transaction", "wallet", NOWHERE, identities()["transaction"])
        wallet = WalletClient(upstream)
        intake = Intake(
            self.pools["transaction"], wallet=wallet, auth=Recipients(), reversal_after=timedelta(minutes=1)
        )
        try:
            assert PAYER.owner_id is not None
            [result] = await intake.accept([request(PAYER.owner_id, RECIPIENT.id, 10, key=key)])
        finally:
            await upstream.close()
        assert isinstance(result, Accepted)
        return result.replayed

    async def post(self, item: Posting) -> None:
        assert ["rejected:wallet_not_found"] == await post(self.pools["wallet"], item)

    async def void(self, transfer_id: UUID) -> None:
        [result] = await wallet_commands.void_transfers(
            self.pools["wallet"], [Void(transfer_id, "timed_out", b"h" * 32)]
        )
        assert "voided" == result.outcome

    async def register(self, email: str) -> None:
        """An address that is taken is one whose registration is confirmed."""
        with suppress(EmailTaken):
            await auth_commands.accounts.register(
                self.pools["auth"],
                self.keyring,
                self.hashing,
                probes=Probes(None),
                email=email,
                password="correct horse",
                name="Alice",
            )

    async def recorded(self) -> dict[str, set[Any]]:
        """What is recorded: keys of payments, transfers with their outcome, addresses."""
        transaction, wallet, auth = (self.pools[name] for name in ("transaction", "wallet", "auth"))
        keys = await transaction.fetch("SELECT key FROM idempotency_keys WHERE user_id = $1", PAYER.owner_id)
        outcomes = await wallet.fetch("SELECT transfer_id FROM outcomes")
        users = await auth.fetch("SELECT email FROM users")
        return {"keys": {r[0] for r in keys}, "outcomes": {r[0] for r in outcomes}, "users": {r[0] for r in users}}


@asynccontextmanager
async def services_on(server: Postgres, keyring: Keyring, hashing: Hashing) -> AsyncIterator[Services]:
    pools = {
        name: await open_pool(
            server.dsn(name, f"payflow_{name}"), name="test", size_max=4, server_settings=INTAKE_SETTINGS
        )
        for name in ("auth", "wallet", "transaction")
    }
    try:
        yield Services(pools, keyring, hashing)
    finally:
        for pool in pools.values():
            await close_pool(pool)


@pytest.fixture
async def failing_pair(pair: Pair) -> AsyncIterator[Pair]:
    yield pair
    await pair.rebuild()


async def test_nothing_acknowledged_is_lost(failing_pair: Pair, keyring: Keyring, hashing: Hashing) -> None:
    """Guarantee 33b: everything acknowledged, at first or by a repeat, exists after a failover; what is lost was never confirmed.

    Payments, outcomes of the ledger and registrations: one of each acknowledged while the standby follows, one committed on the
    primary alone. That one is repeated, and then the primary dies.
    """
    pair = failing_pair
    safe, lost = (Work() for _ in range(2))
    async with services_on(pair.primary, keyring, hashing) as services:
        await commands.record_wallets(services.pools["transaction"], [PAYER, RECIPIENT])
        for action in safe.actions(services):
            await action()
        for action in lost.actions(services):
            await pair.leave_unknown(action)
        assert not lost.missing(await services.recorded()), "the primary has all of it"
        repeats = [asyncio.ensure_future(action()) for action in lost.actions(services)]
        await pair.until_decided(repeats)
        acknowledged = {number for number, repeat in enumerate(repeats) if repeat.done()}
        await pair.fail_over()
        await asyncio.gather(*repeats, return_exceptions=True)

    async with services_on(pair.standby, keyring, hashing) as services:
        recorded = await services.recorded()
        assert not safe.missing(recorded)
        assert not acknowledged & lost.missing(recorded)
        assert {0, 1, 2, 3} == lost.missing(recorded), (
            "what the primary alone had is lost: this is what the wait is for"
        )
        # A client that repeats an unknown request succeeds.
        for action in lost.actions(services):
            await action()
        assert not lost.missing(await services.recorded())
        assert await services.pay(lost.key)


class Work:
    """One payment, one posting, one void and one registration."""

    def __init__(self) -> None:
        self.key = str(new_id())
        self.item = posting(new_id(), new_id(), 10)
        self.voided = new_id()
        self.email = f"{new_id()}@example.com"

    def actions(self, services: Services) -> list[Callable[[], Awaitable[object]]]:
        return [
            partial(services.pay, self.key),
            partial(services.post, self.item),
            partial(services.void, self.voided),
            partial(services.register, self.email),
        ]

    def missing(self, recorded: Mapping[str, set[Any]]) -> set[int]:
        """The numbers of the actions that are not recorded."""
        parts = (
            self.key in recorded["keys"],
            self.item.transfer_id in recorded["outcomes"],
            self.voided in recorded["outcomes"],
            self.email in recorded["users"],
        )
        return {number for number, is_recorded in enumerate(parts) if not is_recorded}
