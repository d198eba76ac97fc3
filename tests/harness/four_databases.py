"""The databases of all services with transfers that agree, written by the services' own commands; and dumps of them."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import asyncpg

from deploy.backup.compare import Comparison
from deploy.backup.findings import Finding
from deploy.local.engines.postgres import CLEAN_ENVIRONMENT, find_programs
from services.chassis.database import Pool, close_pool
from services.contracts.identifiers import new_id
from services.notification import commands as notification
from services.notification.store import Finalized
from services.transaction import commands as transaction
from services.transaction.commands import Accepted
from services.transaction.store import Draft, WalletFacts, WalletResult
from services.transaction.transfer import Transfer, request_hash
from services.wallet import commands as wallet
from services.wallet.ledger import Posting
from tests.harness.databases import TestDatabase

INSERT_USER = "INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, 'Test User', '$argon2id$none')"
CURRENCY = "USD"


@dataclass
class FourDatabases:
    """One database per service, with a pool for each that moves money."""

    databases: dict[str, TestDatabase]
    wallet: Pool
    transaction: Pool
    notification: Pool

    @property
    def urls(self) -> dict[str, str]:
        """As the owners see them."""
        return {name: database.owner_url for name, database in self.databases.items()}

    async def findings(self) -> set[Finding]:
        """What a comparison finds."""
        return {finding async for finding in Comparison(self.urls).findings()}

    async def user(self) -> WalletFacts:
        """The wallet of a new user."""
        user_id = new_id()
        await self.execute("auth", INSERT_USER, user_id, f"{user_id}@example.com")
        opened, _ = await wallet.open_wallet(self.wallet, owner_id=user_id, currency=CURRENCY)
        facts = WalletFacts(opened.id, user_id, CURRENCY)
        await transaction.record_wallets(self.transaction, [facts])
        return facts

    async def external(self) -> WalletFacts:
        """The external account, which funds the others."""
        [found] = await wallet.find_accounts(self.wallet, ids=[], owners=[], external=[CURRENCY])
        facts = WalletFacts(found[0], None, CURRENCY)
        await transaction.record_wallets(self.transaction, [facts])
        return facts

    async def accept(self, source: WalletFacts, destination: WalletFacts, amount: int, *, key: str = "") -> UUID:
        """Accept a transfer with a key of its own, or with this one; returns its id."""
        [accepted] = await transaction.accept_transfers(self.transaction, [draft(source, destination, amount, key=key)])
        assert isinstance(accepted, Accepted)
        return accepted.transfer.id

    async def post(self, *transfer_ids: UUID) -> list[WalletResult]:
        """Have the ledger decide these transfers; the transaction database does not learn of it."""
        found = await transaction.find_transfers(self.transaction, transfer_ids)
        results = await wallet.post_transfers(self.wallet, [posting(found[id_]) for id_ in transfer_ids], deadline=1e12)
        return [
            WalletResult(one.transfer_id, one.outcome, one.reason, one.at or datetime.now(UTC), None) for one in results
        ]

    async def finalize(self, *transfer_ids: UUID, notified: bool = True) -> None:
        """Post these transfers and record their outcomes, and their events."""
        await transaction.finalize_transfers(self.transaction, await self.post(*transfer_ids))
        if notified:
            await self.notify(*transfer_ids)

    async def notify(self, *transfer_ids: UUID) -> None:
        """Record the events of these transfers."""
        events = await transaction.list_events(self.transaction, transfer_ids)
        await notification.record_events(self.notification, events, with_deliveries=False)

    async def advance(self) -> None:
        """Let the notification service pass everything that is finalized."""
        await notification.advance_position(self.notification, Finalized(datetime.now(UTC), UUID(int=0)))

    async def balance(self, owner: WalletFacts) -> int:
        """The posted balance of a wallet."""
        return (await wallet.get_balance(self.wallet, owner.id, None))[0]

    async def execute(self, name: str, statement: str, *arguments: object) -> None:
        """Run a statement as a superuser, past all triggers."""
        connection = await asyncpg.connect(self.databases[name].superuser_url)
        try:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()

    def with_older(self, name: str, older: TestDatabase) -> FourDatabases:
        """The same databases with one of them replaced by a dump of it."""
        return replace(self, databases=self.databases | {name: older})


def draft(source: WalletFacts, destination: WalletFacts, amount: int, *, key: str = "") -> Draft:
    """A transfer to be accepted; a deposit if it comes from the external account."""
    now = datetime.now(UTC)
    hashed = request_hash(source.id, destination.id, amount, CURRENCY)
    transfer = Transfer(
        id=new_id(),
        user_id=source.owner_id or UUID(int=1),
        recipient_id=destination.owner_id,
        kind="transfer" if source.owner_id else "deposit",
        status="PENDING",
        amount=amount,
        currency=CURRENCY,
        from_wallet_id=source.id,
        to_wallet_id=destination.id,
        description=None,
        metadata=None,
        request_hash=hashed,
        created_at=now,
        expires_at=now + timedelta(minutes=1),
        completed_at=None,
        failed_at=None,
        failure_code=None,
    )
    return Draft(transfer, key or str(transfer.id), sha256(hashed).digest(), f"request-{transfer.id}", None)


def posting(transfer: Transfer) -> Posting:
    """What the worker sends to the ledger."""
    return Posting(
        transfer.id,
        transfer.from_wallet_id,
        transfer.to_wallet_id,
        transfer.amount,
        transfer.currency,
        transfer.expires_at,
        transfer.description,
        transfer.request_hash,
    )


@asynccontextmanager
async def opened(databases: Sequence[tuple[str, TestDatabase]]) -> AsyncIterator[FourDatabases]:
    """Pools of these databases during the block."""
    made = dict(databases)
    pools = {name: await made[name].pool() for name in ("wallet", "transaction", "notification")}
    try:
        yield FourDatabases(made, **pools)
    finally:
        for pool in pools.values():
            await close_pool(pool)


async def dump(source: TestDatabase, target: TestDatabase) -> None:
    """Replace the content of `target` by a dump of `source`, as `pg_dump` and `psql` make it."""
    programs = find_programs()
    assert programs is not None, "the server runs"
    pipeline = '"$0/pg_dump" --clean --if-exists "$1" | "$0/psql" -X -q -v ON_ERROR_STOP=1 "$2" >/dev/null'
    command = ["sh", "-ec", pipeline, str(programs), source.superuser_url, target.superuser_url]
    await asyncio.to_thread(subprocess.run, command, check=True, env=CLEAN_ENVIRONMENT)
