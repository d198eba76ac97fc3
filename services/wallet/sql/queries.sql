-- name: lock_accounts
-- In id order, always: two batches that share accounts wait for each other and never deadlock. One row of arrays: a
-- driver reads those three times faster than a row per account.
WITH locked AS MATERIALIZED (
    SELECT id, owner_id IS NULL AS external, currency, frozen, posted, held, seq, last_entry_at
    FROM accounts WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
)
SELECT array_agg(id), array_agg(external), array_agg(currency), array_agg(frozen), array_agg(posted), array_agg(held),
       array_agg(seq), max(last_entry_at) AS last_entry_at
FROM locked;

-- name: read_outcomes
-- A statement of its own after the locks: one that had waited for a lock would see the new balance and the old outcomes.
-- Its start is the ledger's clock; where nothing is recorded, one row with the clock alone comes back.
SELECT transfer_id, outcome, reason, request_hash, source_id, destination_id, source_seq, destination_seq, description, at,
       now
FROM (SELECT statement_timestamp() AS now) AS clock LEFT JOIN outcomes ON transfer_id = ANY($1::uuid[]);

-- name: insert_outcomes
-- Sorted by the caller. What is counted was won; the rest was decided by somebody else meanwhile.
WITH won AS (
    INSERT INTO outcomes (transfer_id, outcome, reason, request_hash, source_id, destination_id, source_seq,
                          destination_seq, description, at)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::uuid[], $6::uuid[], $7::bigint[],
                         $8::bigint[], $9::text[], $10::timestamptz[])
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM won;

-- name: write_entries
-- Both sides of every posting and the balances they lead to, in one statement.
WITH written AS (
    INSERT INTO entries (account_id, seq, transfer_id, currency, amount, balance_after, created_at)
    SELECT *, $7 FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[])
)
UPDATE accounts SET posted = changed.posted, seq = changed.seq, last_entry_at = $7
FROM unnest($8::uuid[], $9::bigint[], $10::bigint[]) AS changed(id, posted, seq)
WHERE accounts.id = changed.id;

-- name: insert_voids
-- Void, or leave what is there. Sorted; locks no account, so that a hot account cannot hold it up.
INSERT INTO outcomes (transfer_id, outcome, reason, request_hash, at)
SELECT id, 'voided', reason, request_hash, clock_timestamp()
FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS given(id, reason, request_hash)
ON CONFLICT DO NOTHING;

-- name: insert_account
INSERT INTO accounts (id, owner_id, currency) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id;

-- name: insert_accounts
-- Sorted by the caller: many at once, opened on demand.
INSERT INTO accounts (id, owner_id, currency)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[])
ON CONFLICT DO NOTHING;

-- name: find_account
SELECT id, owner_id, currency, frozen, posted, held, created_at FROM accounts WHERE id = $1;

-- name: find_account_of
SELECT id, owner_id, currency, frozen, posted, held, created_at FROM accounts WHERE owner_id = $1 AND currency = $2;

-- name: list_accounts_of
SELECT id, owner_id, currency, frozen, posted, held, created_at FROM accounts WHERE owner_id = $1 ORDER BY currency;

-- name: find_accounts
-- By id, by owner and currency, and the world's by currency; each once.
SELECT id, owner_id, currency FROM accounts WHERE id = ANY($1::uuid[])
UNION
SELECT id, owner_id, accounts.currency FROM accounts
JOIN unnest($2::uuid[], $3::text[]) AS asked(owner, currency)
  ON accounts.owner_id = asked.owner AND accounts.currency = asked.currency
UNION
SELECT id, owner_id, currency FROM accounts WHERE owner_id IS NULL AND currency = ANY($4::text[]);

-- name: read_balance
SELECT posted, held, clock_timestamp() AS as_of FROM accounts WHERE id = $1;

-- name: read_balance_at
-- The balance after the last entry at or before that moment. Holds leave no trace here yet: held is the present one's 0.
SELECT coalesce((SELECT balance_after FROM entries WHERE account_id = $1 AND seq = last_seq_at($1, $2)), 0) AS posted;

-- name: list_entries
-- Newest first, below a seq, between two moments.
SELECT entries.seq, entries.transfer_id, entries.amount, entries.balance_after, entries.created_at, outcomes.description,
       counterparty.id AS counterparty_id, counterparty.owner_id AS counterparty_owner_id
FROM entries
JOIN outcomes ON outcomes.transfer_id = entries.transfer_id
JOIN accounts AS counterparty
  ON counterparty.id = CASE WHEN outcomes.source_id = entries.account_id THEN outcomes.destination_id ELSE outcomes.source_id END
WHERE entries.account_id = $1 AND entries.seq < $2 AND entries.seq > $3 AND entries.seq <= $4
ORDER BY entries.seq DESC LIMIT $5;

-- name: last_seq_at
SELECT last_seq_at($1, $2);

-- name: read_available
SELECT id, posted - held AS available, frozen FROM accounts WHERE id = ANY($1::uuid[]);

-- name: list_decided
SELECT transfer_id FROM outcomes WHERE transfer_id = ANY($1::uuid[]);

-- name: find_outcome
SELECT transfer_id, outcome, reason, at FROM outcomes WHERE transfer_id = $1;

-- name: set_frozen
UPDATE accounts SET frozen = $2 WHERE id = $1 AND owner_id IS NOT NULL
RETURNING id, owner_id, currency, frozen, posted, held, created_at;

-- name: insert_audit
INSERT INTO audit_log (actor_id, act, account_id, request_id) VALUES ($1, $2, $3, $4);

-- name: read_balance_sheet
SELECT currency,
       coalesce(sum(posted) FILTER (WHERE owner_id IS NOT NULL), 0)::bigint AS customers,
       coalesce(sum(posted) FILTER (WHERE owner_id IS NULL), 0)::bigint AS external,
       sum(posted)::bigint AS sum
FROM accounts GROUP BY currency ORDER BY currency;

-- name: prove_entries_sum_to_zero
SELECT currency, sum(amount)::bigint AS drift FROM entries GROUP BY currency HAVING sum(amount) <> 0 ORDER BY currency;

-- name: prove_transfers_balance
-- Two entries, summing to zero, in one currency.
SELECT transfer_id FROM entries GROUP BY transfer_id
HAVING count(*) <> 2 OR sum(amount) <> 0 OR count(DISTINCT currency) <> 1 LIMIT 20;

-- name: prove_balances_equal_entries
SELECT accounts.id FROM accounts
LEFT JOIN (
    SELECT account_id, sum(amount) AS total, count(*) AS count, max(seq) AS last FROM entries GROUP BY account_id
) AS history ON history.account_id = accounts.id
WHERE accounts.posted <> coalesce(history.total, 0)
   OR accounts.seq <> coalesce(history.count, 0)
   OR accounts.seq <> coalesce(history.last, 0)
LIMIT 20;

-- name: prove_chains_unbroken
-- Each entry continues the one before: no gap, the balance adds up, the clock never runs backwards, nobody overdrawn.
SELECT account_id, seq FROM (
    SELECT entries.account_id, entries.seq, amount, balance_after, entries.created_at, entries.currency,
           accounts.owner_id, accounts.currency AS held_in,
           lag(entries.seq, 1, 0::bigint) OVER chain AS seq_before,
           lag(balance_after, 1, 0::bigint) OVER chain AS balance_before,
           lag(entries.created_at) OVER chain AS created_before
    FROM entries LEFT JOIN accounts ON accounts.id = entries.account_id
    WINDOW chain AS (PARTITION BY entries.account_id ORDER BY entries.seq)
) AS line
WHERE seq <> seq_before + 1 OR balance_after <> balance_before + amount OR created_at < created_before
   OR held_in IS DISTINCT FROM currency OR (owner_id IS NOT NULL AND balance_after < 0)
LIMIT 20;

-- name: prove_outcomes_equal_entries
-- A posted outcome points at its two entries; every entry is pointed at by one.
SELECT coalesce(outcomes.transfer_id, line.transfer_id) AS transfer_id
FROM (SELECT transfer_id, source_id, source_seq, destination_id, destination_seq FROM outcomes WHERE outcome = 'posted') AS outcomes
FULL JOIN (
    SELECT transfer_id, array_agg((account_id, seq) ORDER BY amount) AS sides FROM entries GROUP BY transfer_id
) AS line ON line.transfer_id = outcomes.transfer_id
WHERE outcomes.transfer_id IS NULL OR line.transfer_id IS NULL
   OR line.sides IS DISTINCT FROM ARRAY[(outcomes.source_id, outcomes.source_seq), (outcomes.destination_id, outcomes.destination_seq)]
LIMIT 20;
