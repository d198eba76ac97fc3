-- API keys. They end through the same numbered feed as sessions.

-- The hour of the last audited use moves only forward, under the lock of its row: one entry per key and hour.
CREATE TABLE api_keys (
    id             uuid        PRIMARY KEY,
    user_id        uuid        NOT NULL REFERENCES users (id),
    name           text        NOT NULL,
    scopes         text[]      NOT NULL,
    prefix         text        NOT NULL,
    hash           bytea       NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at     timestamptz,
    last_used_at   timestamptz,
    audited_hour   timestamptz,
    revoked_at     timestamptz,
    reason         text,
    seq            bigint,
    CONSTRAINT api_keys_hash_unique UNIQUE (hash),
    CONSTRAINT api_keys_hash_sha256 CHECK (length(hash) = 32),
    CONSTRAINT api_keys_name_length CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT api_keys_scopes_known CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'transfer', 'operate']),
    CONSTRAINT api_keys_revoked_whole CHECK ((revoked_at IS NULL) = (seq IS NULL) AND (revoked_at IS NULL) = (reason IS NULL))
);
COMMENT ON COLUMN api_keys.prefix IS 'the part of the key that may be shown';
COMMENT ON COLUMN api_keys.hash IS 'SHA-256 of the whole key; the key itself is kept nowhere';
CREATE INDEX api_keys_of_user ON api_keys (user_id) WHERE revoked_at IS NULL;
-- The numbers come from revocation_counter, as those of sessions do: one feed tells of both.
CREATE UNIQUE INDEX api_keys_seq_unique ON api_keys (seq) WHERE seq IS NOT NULL;

GRANT SELECT, INSERT, UPDATE (last_used_at, audited_hour, revoked_at, reason, seq) ON api_keys TO payflow_auth;
