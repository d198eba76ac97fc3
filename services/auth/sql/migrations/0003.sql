-- Letters with single-use tokens, and whether an e-mail address was verified.

ALTER TABLE users ADD COLUMN email_verified_at timestamptz;
GRANT UPDATE (email_verified_at) ON users TO payflow_auth;

-- A letter carries a token to somebody's mailbox. The token is checked against its hash; the sealed copy is there for as long
-- as the letter waits to be sent, and no longer.
CREATE TABLE letters (
    id             uuid        PRIMARY KEY,
    user_id        uuid        NOT NULL REFERENCES users (id),
    kind           text        NOT NULL,
    token_hash     bytea       NOT NULL,
    token_sealed   bytea,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at     timestamptz NOT NULL,
    ended_at       timestamptz,
    ended_as       text,
    claimed_until  timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts       integer     NOT NULL DEFAULT 0,
    sent_at        timestamptz,
    last_error     text,
    CONSTRAINT letters_kind_known CHECK (kind IN ('verify_email', 'reset_password')),
    CONSTRAINT letters_hash_sha256 CHECK (length(token_hash) = 32),
    CONSTRAINT letters_hash_unique UNIQUE (token_hash),
    CONSTRAINT letters_ended_whole CHECK ((ended_at IS NULL) = (ended_as IS NULL)),
    CONSTRAINT letters_ended_known CHECK (ended_as IN ('spent', 'overtaken', 'expired')),
    CONSTRAINT letters_sealed_while_waiting CHECK (token_sealed IS NULL OR (sent_at IS NULL AND ended_at IS NULL))
);
COMMENT ON COLUMN letters.token_sealed IS 'null when the letter waits no more: sent, given up, or ended';
-- One token of a kind can be alive, whatever the code believes.
CREATE UNIQUE INDEX letters_live_unique ON letters (user_id, kind) WHERE ended_at IS NULL;
CREATE INDEX letters_of_user ON letters (user_id, kind, created_at);
CREATE INDEX letters_due ON letters (claimed_until) WHERE token_sealed IS NOT NULL;

GRANT SELECT, INSERT, UPDATE (token_sealed, ended_at, ended_as, claimed_until, attempts, sent_at, last_error)
    ON letters TO payflow_auth;
