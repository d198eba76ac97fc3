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
-- Times are whole microseconds: what is before a moment is at or before the microsecond before it.
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
-- Now, or at a moment: most accounts have no later entry, and their balance is the one row that is read in any case.
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

-- name: read_seal_state
-- The clock of this statement is read before its snapshot is taken. A block whose transaction number is not above the oldest
-- running one was written when everything that runs now had not begun: what is dated before that block can be read now.
-- Prepared transactions and those of other databases count as running; no clock but that of the rows is asked.
SELECT statement_timestamp() AS now, head.number, head.hash, head.sealed_at, head.frontier,
       (SELECT sealed_at FROM blocks WHERE xid <= pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        ORDER BY number DESC LIMIT 1) AS finalized_at
FROM (VALUES (1)) AS always LEFT JOIN (SELECT number, hash, sealed_at, frontier FROM blocks ORDER BY number DESC LIMIT 1) AS head ON true;

-- name: prefer_indexes
-- For the rest of the transaction. Tables here only grow, and what is asked for is a small and known part of them; the planner's
-- guess for an array or a table that was never analysed is a scan of everything.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true);

-- name: list_unsealed
-- Outcomes in no block, oldest first. Only blocks that reach to that time can hold one of them. Grouped, not joined: no guess of
-- the planner can make it quadratic.
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
-- One digest for each id, in order; zeros where there is no outcome. The binary form of a row tells the type and length of
-- every column and depends on no setting. What stands here is version 1 and is never changed: a new version is a new name.
SELECT string_agg(
    CASE WHEN outcomes.transfer_id IS NULL THEN decode(repeat('00', 32), 'hex') ELSE sha256(record_send(ROW(
        outcomes.transfer_id, outcomes.outcome, outcomes.reason, outcomes.request_hash, outcomes.source_id,
        outcomes.destination_id, outcomes.source_seq, outcomes.destination_seq, outcomes.description, outcomes.at,
        debit.account_id, debit.seq, debit.transfer_id, debit.currency, debit.amount, debit.balance_after, debit.created_at,
        credit.account_id, credit.seq, credit.transfer_id, credit.currency, credit.amount, credit.balance_after,
        credit.created_at
    ))) END, ''::bytea ORDER BY place
)
FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (id, place)
LEFT JOIN outcomes ON outcomes.transfer_id = asked.id
LEFT JOIN entries AS debit ON debit.account_id = outcomes.source_id AND debit.seq = outcomes.source_seq
LEFT JOIN entries AS credit ON credit.account_id = outcomes.destination_id AND credit.seq = outcomes.destination_seq;

-- name: digest_accounts
-- What never changes about an account. Version 1, as above.
SELECT string_agg(
    CASE WHEN accounts.id IS NULL THEN decode(repeat('00', 32), 'hex')
    ELSE sha256(record_send(ROW(accounts.id, owner_id, currency, created_at))) END, ''::bytea ORDER BY place
)
FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (id, place) LEFT JOIN accounts ON accounts.id = asked.id;

-- name: number_transaction
SELECT pg_current_xact_id()::text::bigint;

-- name: insert_block
-- Whoever inserts the number first has sealed; another sealer has done the same work for nothing.
INSERT INTO blocks (number, version, previous, hash, sealed_at, xid, frontier, latest_at, outcomes, outcome_digests, accounts,
                    account_digests)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT DO NOTHING RETURNING number;

-- name: list_blocks
-- The blocks after a number, as many as hold about so many rows together. Times as they are hashed, whatever they are.
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

-- name: has_block
SELECT EXISTS (SELECT FROM blocks WHERE number = $1 AND hash = $2);

-- name: list_left_out
-- Outcomes that should be in a block and are in none: below the frontier of the newest block, or simply waiting too long.
SELECT id, coalesce(max(at) < (SELECT frontier FROM blocks ORDER BY number DESC LIMIT 1), false) AS late, max(at)::text
FROM (
    SELECT transfer_id AS id, at, false AS sealed FROM outcomes
    WHERE at < greatest((SELECT frontier FROM blocks ORDER BY number DESC LIMIT 1), statement_timestamp() - $1::interval)
    UNION ALL
    SELECT unnest(outcomes), null, true FROM blocks
) AS either
GROUP BY id HAVING NOT bool_or(sealed) ORDER BY late DESC, max(at) LIMIT 20;

-- name: list_accounts_left_out
SELECT id
FROM (
    SELECT id, false AS sealed FROM accounts WHERE created_at < statement_timestamp() - $1::interval
    UNION ALL
    SELECT unnest(accounts), true FROM blocks WHERE length(account_digests) > 0
) AS either
GROUP BY id HAVING NOT bool_or(sealed) LIMIT 20;

-- name: upsert_last_proof
-- Rounds may overlap: the later one stays.
INSERT INTO last_proof (at, ok, checks, head_number, head_hash) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE
SET at = excluded.at, ok = excluded.ok, checks = excluded.checks, head_number = excluded.head_number, head_hash = excluded.head_hash
WHERE last_proof.at <= excluded.at;

-- name: find_last_proof
SELECT at, ok, checks, head_number, head_hash FROM last_proof;
