"""What the database of the wallet service refuses by itself, whatever the client."""

from __future__ import annotations

from uuid import UUID

import asyncpg
import pytest

from services.chassis.database import Pool, close_pool
from services.contracts.identifiers import new_id
from tests.harness.databases import TestDatabase
from tests.harness.ledgers import fund, post, posting

ENTRY = """INSERT INTO entries (account_id, seq, transfer_id, currency, amount, balance_after, created_at)
           SELECT account, 1000, $1, currency, amount, 0, now()
           FROM unnest($2::uuid[], $3::text[], $4::bigint[]) AS given(account, currency, amount)"""


@pytest.mark.parametrize("role", ["service", "owner"])
@pytest.mark.parametrize(
    ("currencies", "amounts"),
    [(["USD"], [5]), (["USD", "EUR"], [5, -5]), (["USD", "USD"], [5, -4]), (["EUR", "EUR"], [5, -5])],
    ids=["one-sided", "cross-currency", "unequal", "not the accounts' currency"],
)
async def test_unbalanced_entries_are_refused(
    pool: Pool, wallet_database: TestDatabase, role: str, currencies: list[str], amounts: list[int]
) -> None:
    """Guarantee 14: one-sided, unequal or cross-currency entries are refused."""
    wallets = (await fund(pool, [0, 0]))[: len(amounts)]
    as_role = await wallet_database.pool(wallet_database.owner_url if role == "owner" else None)

    with pytest.raises(asyncpg.CheckViolationError):
        await as_role.execute(ENTRY, new_id(), wallets, currencies, amounts)

    await close_pool(as_role)


@pytest.mark.parametrize("role", ["service", "owner"])
@pytest.mark.parametrize("table", ["entries", "outcomes", "audit_log"])
@pytest.mark.parametrize("action", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
async def test_history_cannot_be_rewritten(
    pool: Pool, wallet_database: TestDatabase, role: str, table: str, action: str
) -> None:
    """Guarantee 15: UPDATE, DELETE and TRUNCATE of the history are refused to the service and to the owner."""
    alice, bob = await fund(pool, [100, 0])
    await post(pool, posting(alice, bob, 1))
    as_role = await wallet_database.pool(wallet_database.owner_url if role == "owner" else None)
    column = {"entries": "amount", "outcomes": "outcome", "audit_log": "action"}[table]

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_role.execute(action.format(table, column, column))

    await close_pool(as_role)


async def test_accounts_cannot_go_below_zero(pool: Pool) -> None:
    """The last line of defence: a customer's balance below zero is refused by the table itself."""
    [alice] = await fund(pool, [100])

    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute("UPDATE accounts SET posted = -1 WHERE id = $1", alice)


@pytest.mark.parametrize("role", ["service", "owner"])
async def test_users_accounts_cannot_exceed_the_limit(pool: Pool, wallet_database: TestDatabase, role: str) -> None:
    """The last line of defence: a user's balance above 2^53 - 1 is refused by the table; an external account may have more."""
    [alice] = await fund(pool, [100])
    as_role = await wallet_database.pool(wallet_database.owner_url if role == "owner" else None)
    update = "UPDATE accounts SET posted = $2 WHERE id = $1"

    async with as_role.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        assert "UPDATE 1" == await connection.execute(update, alice, 2**53 - 1)
        outside = await connection.fetchval("SELECT id FROM accounts WHERE owner_id IS NULL LIMIT 1")
        assert "UPDATE 1" == await connection.execute(update, outside, -9 * 10**18)
        with pytest.raises(asyncpg.CheckViolationError, match="accounts_balance_limit"):
            await connection.execute(update, alice, 2**53)
        await transaction.rollback()

    await close_pool(as_role)


async def test_services_cannot_reach_each_others_databases(pool: Pool, wallet_database: TestDatabase) -> None:
    """The service role can neither create objects nor read what it has no grant for."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute("CREATE TABLE mine (id int)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute("UPDATE accounts SET owner_id = $1", UUID(int=1))
