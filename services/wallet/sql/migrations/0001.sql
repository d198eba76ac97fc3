-- An account of the ledger. A user's wallet is one, seen by its owner; the world outside is one per currency (owner_id null).
-- posted = the sum of its entries, kept here so that a balance is one row read; held = reserved; seq = its last entry.
CREATE TABLE accounts (
    id            uuid        PRIMARY KEY,
    owner_id      uuid,
    currency      text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    frozen        boolean     NOT NULL DEFAULT false,
    posted        bigint      NOT NULL DEFAULT 0,
    held          bigint      NOT NULL DEFAULT 0 CHECK (held >= 0),
    seq           bigint      NOT NULL DEFAULT 0 CHECK (seq >= 0),
    last_entry_at timestamptz,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The last line of defence, not the decision: that one is made, and recorded, before.
    CONSTRAINT accounts_never_overdrawn CHECK (owner_id IS NULL OR posted - held >= 0)
) WITH (fillfactor = 70);

CREATE UNIQUE INDEX accounts_owner_currency_unique ON accounts (owner_id, currency) WHERE owner_id IS NOT NULL;
CREATE UNIQUE INDEX accounts_external_currency_unique ON accounts (currency) WHERE owner_id IS NULL;

-- One signed line on one account. seq has no gap; the primary key is also the statement's order.
CREATE TABLE entries (
    account_id    uuid        NOT NULL,
    seq           bigint      NOT NULL CHECK (seq > 0),
    transfer_id   uuid        NOT NULL,
    currency      text        NOT NULL,
    amount        bigint      NOT NULL CONSTRAINT entries_amount_nonzero CHECK (amount <> 0),
    balance_after bigint      NOT NULL,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (account_id, seq)
);

-- THE FENCE: what became of a transfer, once and for ever. Whoever inserts first has decided; everybody else reads.
CREATE TABLE outcomes (
    transfer_id     uuid        PRIMARY KEY,
    outcome         text        NOT NULL CHECK (outcome IN ('posted', 'rejected', 'voided')),
    reason          text,
    request_hash    bytea       NOT NULL,
    source_id       uuid,
    destination_id  uuid,
    source_seq      bigint,
    destination_seq bigint,
    description     text,
    at              timestamptz NOT NULL,
    CONSTRAINT outcomes_reason_unless_posted CHECK ((outcome = 'posted') = (reason IS NULL)),
    CONSTRAINT outcomes_entries_if_posted CHECK ((outcome = 'posted') = (source_seq IS NOT NULL AND destination_seq IS NOT NULL))
);

-- Who did what to a wallet by hand; written in the commit of the act.
CREATE TABLE audit_log (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor_id   uuid        NOT NULL,
    act        text        NOT NULL,
    account_id uuid        NOT NULL,
    request_id text        NOT NULL
);

-- Double entry, held by the database: the rows of one statement balance per transfer and currency, and each carries its
-- account's currency. One trigger for the whole statement: a trigger per row would cost three times as much.
CREATE FUNCTION refuse_unbalanced_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM written GROUP BY transfer_id, currency HAVING sum(amount) <> 0
    ) THEN
        RAISE EXCEPTION 'entries of a transfer must sum to zero in each currency' USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (
        SELECT FROM written LEFT JOIN accounts ON accounts.id = written.account_id
        WHERE accounts.currency IS DISTINCT FROM written.currency
    ) THEN
        RAISE EXCEPTION 'an entry must be in the currency of its account' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER entries_balance AFTER INSERT ON entries
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION refuse_unbalanced_entries();

-- Append-only, also for the owner: history is corrected by further transfers.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER outcomes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON outcomes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER accounts_never_removed BEFORE DELETE OR TRUNCATE ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The last entry of an account at or before a moment (0 if none): entries have no gap and their times never run
-- backwards along seq, so halving finds it without an index of its own.
CREATE FUNCTION last_seq_at(account uuid, moment timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    low bigint := 0;
    high bigint := coalesce((SELECT max(seq) FROM entries WHERE account_id = account), 0);
    middle bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        IF (SELECT created_at FROM entries WHERE account_id = account AND seq = middle) <= moment THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END $$;

GRANT SELECT, INSERT ON accounts, entries, outcomes, audit_log TO payflow_wallet;
GRANT UPDATE (posted, held, seq, last_entry_at, frozen) ON accounts TO payflow_wallet;
GRANT SELECT ON accounts, entries, outcomes, audit_log TO payflow_wallet_proof;
