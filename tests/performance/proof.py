"""The proof after each stretch: the books agree. A figure without it is void."""

from __future__ import annotations

from tests.performance.system import System

CHECKS = ("conserved", "balances_equal_entries", "statuses_equal_outcomes")

_CONSERVED = """
SELECT NOT EXISTS (SELECT FROM accounts GROUP BY currency HAVING sum(posted) <> 0)
   AND NOT EXISTS (SELECT FROM entries GROUP BY currency HAVING sum(amount) <> 0) AS ok
"""
_BALANCES = """
SELECT NOT EXISTS (
    SELECT FROM accounts
    LEFT JOIN (SELECT account_id, sum(amount) AS total, count(*) AS lines FROM entries GROUP BY account_id) AS written
        ON written.account_id = accounts.id
    WHERE accounts.posted <> coalesce(total, 0) OR accounts.seq <> coalesce(lines, 0) OR (owner_id IS NOT NULL AND posted < 0)
) AS ok
"""
# Equal counts and equal sums of hashes: the same ids with the same status on both sides, without moving them.
_STATUSES = """
SELECT status, count(*) AS transfers, sum(hashtextextended(id::text, 0)::numeric) AS digest
FROM transfers GROUP BY status ORDER BY status
"""
_OUTCOMES = """
SELECT status, count(*) AS transfers, sum(hashtextextended(transfer_id::text, 0)::numeric) AS digest
FROM (SELECT transfer_id, CASE outcome WHEN 'posted' THEN 'COMPLETED' ELSE 'FAILED' END AS status FROM outcomes) AS decided
GROUP BY status ORDER BY status
"""


async def check(system: System) -> dict[str, bool]:
    """The result of each check. No transfer may be PENDING."""
    statuses = await system.query("transaction", _STATUSES)
    outcomes = await system.query("wallet", _OUTCOMES)
    return await check_ledger(system, "wallet") | {"statuses_equal_outcomes": statuses == outcomes}


async def check_ledger(system: System, database: str) -> dict[str, bool]:
    """The checks of a ledger by itself."""
    [conserved] = await system.query(database, _CONSERVED)
    [balances] = await system.query(database, _BALANCES)
    return {"conserved": conserved["ok"], "balances_equal_entries": balances["ok"]}
