-- Second factors, disabled users, what a session was opened with, and keys that retire by themselves.

-- Columns of the user, not a table of their own: whoever has locked the user reads all of this as it is now, in one statement.
ALTER TABLE users
    ADD COLUMN disabled_at        timestamptz,
    ADD COLUMN disabled_reason    text,
    ADD COLUMN totp_secret_sealed bytea,
    ADD COLUMN totp_confirmed_at  timestamptz,
    ADD COLUMN totp_step          bigint,
    ADD CONSTRAINT users_disabled_whole CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL)),
    ADD CONSTRAINT users_disabled_reason_length CHECK (length(disabled_reason) BETWEEN 1 AND 200),
    ADD CONSTRAINT users_totp_whole CHECK (
        (totp_secret_sealed IS NOT NULL OR totp_confirmed_at IS NULL)
        AND (totp_confirmed_at IS NULL) = (totp_step IS NULL)
    );
COMMENT ON COLUMN users.totp_secret_sealed IS 'sealed like signing keys; without totp_confirmed_at it is only a proposal';
COMMENT ON COLUMN users.totp_step IS 'the last time step whose code was taken: a code opens once, and none older does';

-- What is left when the telephone is gone. Each opens once; a used one is kept until new ones are made.
CREATE TABLE recovery_codes (
    user_id     uuid        NOT NULL REFERENCES users (id),
    hash        bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    used_at     timestamptz,
    PRIMARY KEY (user_id, hash),
    CONSTRAINT recovery_codes_hash_sha256 CHECK (length(hash) = 32)
);

ALTER TABLE sessions
    ADD COLUMN user_agent text,
    ADD CONSTRAINT sessions_user_agent_length CHECK (length(user_agent) BETWEEN 1 AND 120);

GRANT UPDATE (disabled_at, disabled_reason, totp_secret_sealed, totp_confirmed_at, totp_step) ON users TO payflow_auth;
GRANT SELECT, INSERT, UPDATE (used_at), DELETE ON recovery_codes TO payflow_auth;
GRANT UPDATE (retired_at) ON signing_keys TO payflow_auth;
