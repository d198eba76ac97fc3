-- name: lock_accounts
-- Always in id order: two batches that share accounts wait for each other and never deadlock. One row of arrays, because the
-- driver reads it three times faster than one row per account.
WITH locked AS MATERIALIZED (
    SELECT id, owner_id IS NULL AS external, currency, frozen, posted, held, seq, last_entry_at
    FROM accounts WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
)
SELECT array_agg(id), array_agg(external), array_agg(currency), array_agg(frozen), array_agg(posted), array_agg(held),
       array_agg(seq), max(last_entry_at) AS last_entry_at
FROM locked;

-- name: read_outcomes
-- A separate statement after the locks: a statement that waited for a lock sees the new balance and the old outcomes.
-- Its start is the clock of the ledger. If nothing is recorded, it returns one row with the clock alone.
SELECT transfer_id, outcome, reason, request_hash, source_id, destination_id, source_seq, destination_seq, description, at,
       now
FROM (SELECT statement_timestamp() AS now) AS clock LEFT JOIN outcomes ON transfer_id = ANY($1::uuid[]);

-- name: write_decision
-- The outcomes (sorted by the caller), both entries of every posting and the new balances: all or nothing. It fails if a concurrent
-- transaction has recorded an outcome of one of the transfers. Each value of a posting is sent once: the driver needs a third of the
-- wallet's time for the arrays.
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::uuid[], $7::uuid[], $8::bigint[], $9::bigint[],
                         $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[])
    AS row (transfer_id, outcome, reason, request_hash, source_id, destination_id, source_seq, destination_seq, description,
            currency, amount, source_balance, destination_balance)
), decided AS (
    INSERT INTO outcomes (transfer_id, outcome, reason, request_hash, source_id, destination_id, source_seq,
                          destination_seq, description, at)
    SELECT transfer_id, outcome, reason, request_hash, source_id, destination_id, source_seq, destination_seq, description, $1
    FROM given
), written AS (
    INSERT INTO entries (account_id, seq, transfer_id, currency, amount, balance_after, created_at)
    SELECT source_id, source_seq, transfer_id, currency, -amount, source_balance, $1 FROM given WHERE amount IS NOT NULL
    UNION ALL
    SELECT destination_id, destination_seq, transfer_id, currency, amount, destination_balance, $1 FROM given
    WHERE amount IS NOT NULL
)
UPDATE accounts SET posted = changed.posted, seq = changed.seq, last_entry_at = $1
FROM unnest($15::uuid[], $16::bigint[], $17::bigint[]) AS changed(id, posted, seq)
WHERE accounts.id = changed.id;

-- name: insert_voids
-- Void, or leave the recorded outcome. Sorted. It locks no account, so a hot account cannot delay it.
INSERT INTO outcomes (transfer_id, outcome, reason, request_hash, at)
SELECT id, 'voided', reason, request_hash, clock_timestamp()
FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS given(id, reason, request_hash)
ON CONFLICT DO NOTHING
RETURNING transfer_id;

-- name: insert_account
INSERT INTO accounts (id, owner_id, currency) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id;

-- name: insert_accounts
-- Sorted by the caller: many at once, opened on demand.
INSERT INTO accounts (id, owner_id, currency)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[])
ON CONFLICT DO NOTHING;

-- name: find_account
SELECT id, owner_id, currency, frozen, posted, held, created_at FROM accounts WHERE id = $1;

-- name: list_accounts
SELECT id, owner_id, currency, frozen, posted, held, created_at, clock_timestamp() AS as_of
FROM accounts WHERE id = ANY($1::uuid[]);

-- name: find_account_of
SELECT id, owner_id, currency, frozen, posted, held, created_at FROM accounts WHERE owner_id = $1 AND currency = $2;

-- name: list_accounts_of
SELECT id, owner_id, currency, frozen, posted, held, created_at FROM accounts WHERE owner_id = $1 ORDER BY currency;

-- name: find_accounts
-- By id, by owner and currency, and external accounts by currency; each account once.
SELECT id, owner_id, currency FROM accounts WHERE id = ANY($1::uuid[])
UNION
SELECT id, owner_id, accounts.currency FROM accounts
JOIN unnest($2::uuid[], $3::text[]) AS wanted(owner, currency)
  ON accounts.owner_id = wanted.owner AND accounts.currency = wanted.currency
UNION
SELECT id, owner_id, currency FROM accounts WHERE owner_id IS NULL AND currency = ANY($4::text[]);

-- name: read_balance
SELECT posted, held, clock_timestamp() AS as_of FROM accounts WHERE id = $1;

-- name: read_balance_at
-- The balance after the last entry at or before the moment. Past holds are not recorded yet, so `held` is 0.
SELECT coalesce((SELECT balance_after FROM entries WHERE account_id = $1 AND seq = last_seq_at($1, $2)), 0) AS posted, 0 AS held
FROM accounts WHERE id = $1;

-- name: list_entries
-- Newest first, below a seq, between two seqs.
SELECT entries.seq, entries.transfer_id, entries.amount, entries.balance_after, entries.created_at, outcomes.description,
       counterparty.id AS counterparty_id, counterparty.owner_id AS counterparty_owner_id
FROM entries
JOIN outcomes ON outcomes.transfer_id = entries.transfer_id
JOIN accounts AS counterparty
  ON counterparty.id = CASE WHEN outcomes.source_id = entries.account_id THEN outcomes.destination_id ELSE outcomes.source_id END
WHERE entries.account_id = $1 AND entries.seq < $2 AND entries.seq > $3 AND entries.seq <= $4
ORDER BY entries.seq DESC LIMIT $5;

-- name: last_seq_before
-- Times are whole microseconds: before a moment means at or before the preceding microsecond.
SELECT last_seq_at($1, $2::timestamptz - interval '1 microsecond');

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
INSERT INTO audit_log (actor_id, action, account_id, request_id) VALUES ($1, $2, $3, $4);

-- name: read_balance_sheet
-- Now, or at a moment. Most accounts have no later entry, so their balance is that of the account row.
SELECT currency,
       coalesce(sum(posted) FILTER (WHERE owner_id IS NOT NULL), 0)::bigint AS customers,
       coalesce(sum(posted) FILTER (WHERE owner_id IS NULL), 0)::bigint AS external,
       sum(posted)::bigint AS sum
FROM (
    SELECT currency, owner_id,
           CASE WHEN last_entry_at > $1 THEN coalesce(
               (SELECT balance_after FROM entries WHERE account_id = accounts.id AND seq = last_seq_at(accounts.id, $1)), 0
           ) ELSE posted END AS posted
    FROM accounts
) AS balances GROUP BY currency ORDER BY currency;

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

-- name: prove_held_equals_holds
-- There are no holds yet, so nothing is held.
SELECT id, held FROM accounts WHERE held <> 0 LIMIT 20;

-- name: prove_chains_unbroken
-- Each entry continues the entry before: no gap, the balance adds up, times never decrease, no account is overdrawn.
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
-- A posted outcome references its two entries; every entry is referenced by one outcome.
SELECT coalesce(outcomes.transfer_id, line.transfer_id) AS transfer_id
FROM (SELECT transfer_id, source_id, source_seq, destination_id, destination_seq FROM outcomes WHERE outcome = 'posted') AS outcomes
FULL JOIN (
    SELECT transfer_id, array_agg((account_id, seq) ORDER BY amount) AS sides FROM entries GROUP BY transfer_id
) AS line ON line.transfer_id = outcomes.transfer_id
WHERE outcomes.transfer_id IS NULL OR line.transfer_id IS NULL
   OR line.sides IS DISTINCT FROM ARRAY[(outcomes.source_id, outcomes.source_seq), (outcomes.destination_id, outcomes.destination_seq)]
LIMIT 20;

-- name: prove_admissions_audited
-- Each admission has its entry in the audit log, by the same operator, for the same reason, of the same request; and each entry its
-- admission.
SELECT coalesce(admissions.transfer_id, entry.transfer_id) AS transfer_id
FROM admissions
FULL JOIN (
    SELECT transfer_id, actor_id, detail ->> 'reason' AS reason, request_id FROM audit_log WHERE action = 'outcome_admitted'
) AS entry
  ON entry.transfer_id = admissions.transfer_id AND entry.actor_id = admissions.operator_id
 AND entry.reason = admissions.reason AND entry.request_id = admissions.request_id
WHERE admissions.transfer_id IS NULL OR entry.transfer_id IS NULL
LIMIT 20;

-- name: read_seal_state
-- The clock of this statement is read before its snapshot is taken. A block whose transaction number is at most that of the oldest
-- running transaction was written before all running transactions began: rows dated before that block can be read now.
-- Prepared transactions and those of other databases count as running. Only the clock of the rows is used.
SELECT statement_timestamp() AS now, head.number, head.hash, head.sealed_at, head.frontier,
       (SELECT sealed_at FROM blocks WHERE xid <= pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        ORDER BY number DESC LIMIT 1) AS finalized_at
FROM (VALUES (1)) AS always LEFT JOIN (SELECT number, hash, sealed_at, frontier FROM blocks ORDER BY number DESC LIMIT 1) AS head ON true;

-- name: prefer_indexes
-- For the rest of the transaction. These tables only grow, and a small, known part of them is read; for an array, or a table without
-- statistics, the planner would choose a scan of everything.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true);

-- name: list_unsealed
-- Unsealed outcomes, oldest first. Only blocks that reach that time can contain one of them. Grouped, not joined: no estimate of the
-- planner can make it quadratic.
SELECT array_agg(id ORDER BY at, id), max(at)
FROM (
    SELECT id, max(at) AS at
    FROM (
        SELECT transfer_id AS id, at, false AS sealed FROM outcomes WHERE at >= coalesce($1, '-infinity'::timestamptz)
        UNION ALL
        SELECT unnest(outcomes), null, true FROM blocks WHERE latest_at >= coalesce($1, '-infinity'::timestamptz)
    ) AS either
    GROUP BY id HAVING NOT bool_or(sealed) ORDER BY 2, 1 LIMIT $2
) AS unsealed;

-- name: list_unsealed_accounts
SELECT array_agg(id)
FROM (
    SELECT id
    FROM (
        SELECT id, false AS sealed FROM accounts
        UNION ALL
        SELECT unnest(accounts), true FROM blocks WHERE length(account_digests) > 0
    ) AS either
    GROUP BY id HAVING NOT bool_or(sealed) LIMIT $1
) AS unsealed;

-- name: digest_outcomes
-- One digest for each id, in order; zeros where there is no outcome. The binary form of a row includes the type and length of
-- every column and depends on no setting. This is version 1 and never changes: a new version gets a new name.
SELECT string_agg(
    CASE WHEN outcomes.transfer_id IS NULL THEN decode(repeat('00', 32), 'hex') ELSE sha256(record_send(ROW(
        outcomes.transfer_id, outcomes.outcome, outcomes.reason, outcomes.request_hash, outcomes.source_id,
        outcomes.destination_id, outcomes.source_seq, outcomes.destination_seq, outcomes.description, outcomes.at,
        debit.account_id, debit.seq, debit.transfer_id, debit.currency, debit.amount, debit.balance_after, debit.created_at,
        credit.account_id, credit.seq, credit.transfer_id, credit.currency, credit.amount, credit.balance_after,
        credit.created_at
    ))) END, ''::bytea ORDER BY position
)
FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted (id, position)
LEFT JOIN outcomes ON outcomes.transfer_id = wanted.id
LEFT JOIN entries AS debit ON debit.account_id = outcomes.source_id AND debit.seq = outcomes.source_seq
LEFT JOIN entries AS credit ON credit.account_id = outcomes.destination_id AND credit.seq = outcomes.destination_seq;

-- name: digest_accounts
-- The immutable columns of an account. Version 1, as above.
SELECT string_agg(
    CASE WHEN accounts.id IS NULL THEN decode(repeat('00', 32), 'hex')
    ELSE sha256(record_send(ROW(accounts.id, owner_id, currency, created_at))) END, ''::bytea ORDER BY position
)
FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted (id, position) LEFT JOIN accounts ON accounts.id = wanted.id;

-- name: number_transaction
SELECT pg_current_xact_id()::text::bigint;

-- name: insert_block
-- The first insert of a number wins; a concurrent sealer inserts nothing.
INSERT INTO blocks (number, version, previous, hash, sealed_at, xid, frontier, latest_at, outcomes, outcome_digests, accounts,
                    account_digests)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT DO NOTHING RETURNING number;

-- name: list_blocks
-- The blocks after a number, so many that they have about so many rows together. Times in the form that is hashed.
SELECT number, version, previous, hash, trunc(extract(epoch FROM sealed_at) * 1000000)::text AS sealed_at, xid,
       trunc(extract(epoch FROM frontier) * 1000000)::text AS frontier,
       trunc(extract(epoch FROM latest_at) * 1000000)::text AS latest_at, outcomes, outcome_digests, accounts, account_digests
FROM blocks
WHERE number = ANY (
    SELECT following.number FROM (
        SELECT near.number, sum(size) OVER (ORDER BY near.number) - size AS before
        FROM (
            SELECT number, (length(outcome_digests) + length(account_digests)) / 32 AS size FROM blocks WHERE number > $1
            ORDER BY number LIMIT 256
        ) AS near
    ) AS following WHERE before < $2
)
ORDER BY number;

-- name: find_block_before_rows
-- The newest block up to a number after which, up to that number, there are at least so many rows. A block has at least one row.
SELECT number, hash FROM (
    SELECT number, hash, sum(size) OVER (ORDER BY number DESC) - size AS newer
    FROM (
        SELECT number, hash, (length(outcome_digests) + length(account_digests)) / 32 AS size
        FROM blocks WHERE number BETWEEN $1::bigint - $2::bigint AND $1
    ) AS near
) AS following WHERE newer >= $2 ORDER BY number DESC LIMIT 1;

-- name: count_blocks
SELECT greatest(coalesce(max(number), 0) - $1::bigint, 0) FROM blocks;

-- name: has_block
SELECT EXISTS (SELECT FROM blocks WHERE number = $1 AND hash = $2);

-- name: list_overdue
-- Unsealed outcomes that should be in a block: below the frontier of the newest block, or unsealed for too long.
SELECT id, coalesce(max(at) < (SELECT frontier FROM blocks ORDER BY number DESC LIMIT 1), false) AS late, max(at)::text
FROM (
    SELECT transfer_id AS id, at, false AS sealed FROM outcomes
    WHERE at < greatest((SELECT frontier FROM blocks ORDER BY number DESC LIMIT 1), statement_timestamp() - $1::interval)
    UNION ALL
    SELECT unnest(outcomes), null, true FROM blocks
) AS either
GROUP BY id HAVING NOT bool_or(sealed) ORDER BY late DESC, max(at) LIMIT 20;

-- name: list_overdue_accounts
SELECT id
FROM (
    SELECT id, false AS sealed FROM accounts WHERE created_at < statement_timestamp() - $1::interval
    UNION ALL
    SELECT unnest(accounts), true FROM blocks WHERE length(account_digests) > 0
) AS either
GROUP BY id HAVING NOT bool_or(sealed) LIMIT 20;

-- name: upsert_last_proof
-- Runs may overlap: the later one is kept. One that passed replaces a failed one only if it began with it ($6): until then the next
-- run has to compare everything. One that failed is always kept: the clocks of two processes may differ.
INSERT INTO last_proof (at, ok, checks, head_number, head_hash) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE
SET at = excluded.at, ok = excluded.ok, checks = excluded.checks, head_number = excluded.head_number, head_hash = excluded.head_hash
WHERE NOT excluded.ok OR last_proof.at <= excluded.at AND (last_proof.ok OR last_proof.at <= $6);

-- name: find_last_proof
SELECT at, ok, checks, head_number, head_hash FROM last_proof;
