-- What the sealer has seen, for ever: each block holds the digest of every outcome (with its entries) and of every account
-- (its facts that never change) that was in no block before, and the hash of the block before it.
CREATE TABLE blocks (
    number          bigint      PRIMARY KEY CHECK (number > 0),
    version         smallint    NOT NULL,
    previous        bytea       NOT NULL CHECK (length(previous) = 32),
    hash            bytea       NOT NULL CHECK (length(hash) = 32),
    sealed_at       timestamptz NOT NULL,
    -- The database transaction that wrote the block: when every older one has ended, nothing older can appear any more.
    xid             bigint      NOT NULL,
    -- Every outcome that is older is in this block or in one before it; null: nothing is known.
    frontier        timestamptz,
    -- The latest of the outcomes in this block; null: there are only accounts in it.
    latest_at       timestamptz,
    outcomes        uuid[]      NOT NULL,
    outcome_digests bytea       NOT NULL,
    accounts        uuid[]      NOT NULL,
    account_digests bytea       NOT NULL,
    CONSTRAINT blocks_hold_something CHECK (cardinality(outcomes) + cardinality(accounts) > 0),
    CONSTRAINT blocks_digest_each CHECK (
        length(outcome_digests) = 32 * cardinality(outcomes) AND length(account_digests) = 32 * cardinality(accounts)
    )
);

-- Ids and digests cannot be compressed; trying would cost more than writing them.
ALTER TABLE blocks ALTER outcomes SET STORAGE EXTERNAL;
ALTER TABLE blocks ALTER outcome_digests SET STORAGE EXTERNAL;
ALTER TABLE blocks ALTER accounts SET STORAGE EXTERNAL;
ALTER TABLE blocks ALTER account_digests SET STORAGE EXTERNAL;

CREATE INDEX blocks_latest_at ON blocks (latest_at);
CREATE INDEX blocks_with_accounts ON blocks (number) WHERE length(account_digests) > 0;

CREATE TRIGGER blocks_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON blocks
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- New outcomes are found by their time. All of a batch share one moment, so that the index is small.
CREATE INDEX outcomes_at ON outcomes (at);

-- The last round of the proof, one row, and the newest block that it saw: a later round must find that block again.
CREATE TABLE last_proof (
    id          boolean     PRIMARY KEY DEFAULT true CHECK (id),
    at          timestamptz NOT NULL,
    ok          boolean     NOT NULL,
    checks      jsonb       NOT NULL,
    head_number bigint,
    head_hash   bytea,
    CONSTRAINT last_proof_head_whole CHECK ((head_number IS NULL) = (head_hash IS NULL))
);

GRANT SELECT ON accounts, entries, outcomes, blocks, last_proof TO payflow_wallet_seal;
GRANT INSERT ON blocks TO payflow_wallet_seal;
GRANT INSERT, UPDATE ON last_proof TO payflow_wallet_seal, payflow_wallet;
GRANT SELECT ON blocks, last_proof TO payflow_wallet, payflow_wallet_proof;
