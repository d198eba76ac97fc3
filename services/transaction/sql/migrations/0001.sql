-- What somebody asked for, and what became of it. status is a cache of the wallet's outcome, never decided here.
CREATE TABLE transfers (
    id             uuid        PRIMARY KEY,
    user_id        uuid        NOT NULL,
    recipient_id   uuid,
    kind           text        NOT NULL CHECK (kind IN ('transfer', 'deposit')),
    status         text        NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'COMPLETED', 'FAILED')),
    amount         bigint      NOT NULL CHECK (amount > 0),
    currency       text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    from_wallet_id uuid        NOT NULL,
    to_wallet_id   uuid        NOT NULL,
    description    text        CHECK (length(description) <= 140),
    metadata       jsonb,
    request_hash   bytea       NOT NULL,
    request_id     text        NOT NULL,
    traceparent    text,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    completed_at   timestamptz,
    failed_at      timestamptz,
    failure_code   text,
    -- Each time a worker picked it up: {number, worker, redelivered, queued_at, picked_up_at}.
    attempts       jsonb       NOT NULL DEFAULT '[]',
    -- The wallet knows this id with another request: only a human can help, and the reversal leaves it alone.
    conflicted_at  timestamptz,
    CONSTRAINT transfers_wallets_differ CHECK (from_wallet_id <> to_wallet_id),
    CONSTRAINT transfers_times_fit_status CHECK (
        (status = 'COMPLETED') = (completed_at IS NOT NULL)
        AND (status = 'FAILED') = (failed_at IS NOT NULL)
        AND (status = 'FAILED') = (failure_code IS NOT NULL)
    )
) WITH (fillfactor = 70);

CREATE INDEX transfers_by_user ON transfers (user_id, id);
CREATE INDEX transfers_by_recipient ON transfers (recipient_id, id) WHERE recipient_id IS NOT NULL;
-- What is under way: by sender for affordability, by expiry for the reversal.
CREATE INDEX transfers_pending ON transfers (from_wallet_id) WHERE status = 'PENDING';
CREATE INDEX transfers_expiring ON transfers (expires_at) WHERE status = 'PENDING';

-- A terminal transfer never changes, whoever asks; nothing is ever removed.
CREATE FUNCTION refuse_terminal_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'transfer % is %: terminal for ever', OLD.id, OLD.status USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER transfers_terminal_for_ever BEFORE UPDATE ON transfers
    FOR EACH ROW WHEN (OLD.status <> 'PENDING') EXECUTE FUNCTION refuse_terminal_change();

CREATE FUNCTION refuse_removal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% are never removed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER transfers_never_removed BEFORE DELETE OR TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();

-- One row per key a user ever sent, written in the accepting commit. The truth of idempotency; Redis only remembers answers.
CREATE TABLE idempotency_keys (
    user_id      uuid        NOT NULL,
    key          text        NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request_hash bytea       NOT NULL,
    hash_version smallint    NOT NULL,
    resource_id  uuid        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, key)
);
CREATE TRIGGER idempotency_keys_never_removed BEFORE UPDATE OR DELETE OR TRUNCATE ON idempotency_keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_removal();

-- Facts about wallets that never change, learnt on first use: transfers between known wallets need no wallet service.
CREATE TABLE wallets (
    id       uuid PRIMARY KEY,
    owner_id uuid,
    currency text NOT NULL
);
CREATE UNIQUE INDEX wallets_owner_currency_unique ON wallets (owner_id, currency) WHERE owner_id IS NOT NULL;
CREATE UNIQUE INDEX wallets_external_currency_unique ON wallets (currency) WHERE owner_id IS NULL;

-- Wallets that an operator froze at some time: a reason to ask the wallet service, never an answer.
CREATE TABLE freeze_hints (
    wallet_id uuid PRIMARY KEY
);

-- What each background process last said about itself.
CREATE TABLE heartbeats (
    name  text        PRIMARY KEY,
    at    timestamptz NOT NULL,
    state jsonb       NOT NULL
);

GRANT SELECT, INSERT ON transfers, idempotency_keys, wallets TO payflow_transaction;
GRANT UPDATE (status, completed_at, failed_at, failure_code, attempts, conflicted_at) ON transfers TO payflow_transaction;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO payflow_transaction;
GRANT SELECT, INSERT, UPDATE ON heartbeats TO payflow_transaction;
GRANT SELECT, INSERT, DELETE ON freeze_hints TO payflow_transaction;
