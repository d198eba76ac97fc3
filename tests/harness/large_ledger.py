"""A large, honest ledger, written by SQL: outcomes, entries and balances as the service writes them, sealed by the sealer."""

from __future__ import annotations

import asyncpg

from services.contracts.identifiers import new_id

PART = 20_000
"""Transfers of one statement: less than the time that the sealer allows between the date of a row and its commit."""

FUNDS_MINOR = 10**6

_ACCOUNTS = """
INSERT INTO accounts (id, owner_id, currency) SELECT id, gen_random_uuid(), 'USD' FROM unnest($1::uuid[]) AS id
"""
_EXTERNAL = """
WITH opened AS (INSERT INTO accounts (id, currency) VALUES ($1, 'USD') ON CONFLICT DO NOTHING RETURNING id)
SELECT id FROM opened UNION ALL SELECT id FROM accounts WHERE owner_id IS NULL AND currency = 'USD' LIMIT 1
"""
_POST = """
WITH pair AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[])
    WITH ORDINALITY AS pair (transfer_id, source_id, destination_id, number)
), moment AS MATERIALIZED (
    SELECT greatest(clock_timestamp(), max(last_entry_at)) AS at FROM accounts
), side AS (
    SELECT transfer_id, source_id AS account_id, number, -$4::bigint AS amount FROM pair
    UNION ALL
    SELECT transfer_id, destination_id, number, $4 FROM pair
), line AS MATERIALIZED (
    SELECT side.account_id, transfer_id, amount,
           accounts.seq + row_number() OVER chain AS seq, accounts.posted + sum(amount) OVER chain AS balance_after
    FROM side JOIN accounts ON accounts.id = side.account_id
    WINDOW chain AS (PARTITION BY side.account_id ORDER BY number)
), written AS (
    INSERT INTO entries (account_id, seq, transfer_id, currency, amount, balance_after, created_at)
    SELECT account_id, seq, transfer_id, 'USD', amount, balance_after, at FROM line, moment
), decided AS (
    INSERT INTO outcomes (transfer_id, outcome, request_hash, source_id, destination_id, source_seq, destination_seq, at)
    SELECT pair.transfer_id, 'posted', sha256(uuid_send(pair.transfer_id)), source_id, destination_id, debit.seq, credit.seq, at
    FROM moment, pair
    JOIN line AS debit ON debit.transfer_id = pair.transfer_id AND debit.amount < 0
    JOIN line AS credit ON credit.transfer_id = pair.transfer_id AND credit.amount > 0
)
UPDATE accounts SET posted = posted + added, seq = seq + lines, last_entry_at = at
FROM moment, (SELECT account_id, sum(amount) AS added, count(*) AS lines FROM line GROUP BY account_id) AS change
WHERE accounts.id = change.account_id
"""


async def write(owner: asyncpg.Connection, *, accounts: int, transfers: int) -> None:
    """Open so many accounts, fund each, and post so many transfers of one minor unit between them; the owner writes.

    Nothing else may post meanwhile.
    """
    wallets = [new_id() for _ in range(accounts)]
    external = await owner.fetchval(_EXTERNAL, new_id())
    await owner.execute(_ACCOUNTS, wallets)
    await owner.execute(_POST, [new_id() for _ in wallets], [external] * accounts, wallets, FUNDS_MINOR)
    await owner.execute("ANALYZE accounts")
    for first in range(0, transfers, PART):
        numbers = range(first, min(first + PART, transfers))
        # Each part pairs the accounts in another way, and an account sends as often as it receives.
        shift = 1 + first // PART % (accounts - 1)
        sources = [wallets[number % accounts] for number in numbers]
        destinations = [wallets[(number + shift) % accounts] for number in numbers]
        await owner.execute(_POST, [new_id() for _ in numbers], sources, destinations, 1)
    await owner.execute("VACUUM ANALYZE outcomes, entries, accounts")
