-- Users, sessions with their refresh tokens, signing keys, and the audit log.

CREATE TABLE users (
    id                   uuid        PRIMARY KEY,
    email                text        NOT NULL,
    name                 text        NOT NULL,
    role                 text        NOT NULL DEFAULT 'user',
    password_hash        text        NOT NULL,
    -- Moves with the password, not with its hash: a login that was verified against an older password opens nothing.
    password_changed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT users_email_unique UNIQUE (email),
    CONSTRAINT users_email_normalised CHECK (email = lower(btrim(email)) AND length(email) BETWEEN 3 AND 254),
    CONSTRAINT users_name_length CHECK (length(name) BETWEEN 1 AND 100),
    CONSTRAINT users_role_known CHECK (role IN ('user', 'operator', 'service')),
    CONSTRAINT users_password_hashed CHECK (password_hash LIKE '$argon2id$%')
);

-- A session is a family of refresh tokens: one login, until logout or reuse.
CREATE TABLE sessions (
    id          uuid        PRIMARY KEY,
    user_id     uuid        NOT NULL REFERENCES users (id),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    used_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at  timestamptz,
    reason      text,
    seq         bigint,
    CONSTRAINT sessions_revoked_whole CHECK ((revoked_at IS NULL) = (seq IS NULL) AND (revoked_at IS NULL) = (reason IS NULL))
);
CREATE INDEX sessions_of_user ON sessions (user_id) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX sessions_seq_unique ON sessions (seq) WHERE seq IS NOT NULL;

-- The number of the last revocation. Its one row is locked by the revoking commit until it is done, so that numbers become
-- visible in their order: whoever has read up to N has missed nothing below N. A sequence would not promise that.
CREATE TABLE revocation_counter (
    last     bigint  NOT NULL,
    only_row boolean PRIMARY KEY DEFAULT true,
    CONSTRAINT revocation_counter_single CHECK (only_row)
);
INSERT INTO revocation_counter (last) VALUES (0);

CREATE TABLE refresh_tokens (
    hash        bytea       PRIMARY KEY,
    session_id  uuid        NOT NULL REFERENCES sessions (id),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz NOT NULL,
    spent_at    timestamptz,
    CONSTRAINT refresh_tokens_hash_sha256 CHECK (length(hash) = 32)
);
CREATE INDEX refresh_tokens_of_session ON refresh_tokens (session_id);
-- One live token per session, whatever the code believes.
CREATE UNIQUE INDEX refresh_tokens_unspent_unique ON refresh_tokens (session_id) WHERE spent_at IS NULL;

-- The newest key whose time has come signs; all that are not retired verify. A new key can so be published before it signs.
CREATE TABLE signing_keys (
    kid                 text        PRIMARY KEY,
    public_key          bytea       NOT NULL,
    private_key_sealed  bytea       NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    signs_from          timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired_at          timestamptz,
    CONSTRAINT signing_keys_public_length CHECK (length(public_key) = 32)
);

-- Who did what to whom, when, and in which request. Written in the commit of the act.
CREATE TABLE audit_log (
    id          uuid        PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    act         text        NOT NULL,
    actor_id    uuid,
    user_id     uuid,
    detail      jsonb       NOT NULL DEFAULT '{}',
    request_id  text        NOT NULL
);
COMMENT ON COLUMN audit_log.actor_id IS 'the user who acted; null when nobody is known, or at the command line';
COMMENT ON COLUMN audit_log.user_id IS 'the user it was done to; null when there is none';
CREATE INDEX audit_log_of_user ON audit_log (user_id, id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT, UPDATE (role, password_hash, password_changed_at) ON users TO payflow_auth;
GRANT SELECT, INSERT, UPDATE (used_at, revoked_at, reason, seq) ON sessions TO payflow_auth;
GRANT SELECT, UPDATE (last) ON revocation_counter TO payflow_auth;
GRANT SELECT, INSERT, UPDATE (spent_at), DELETE ON refresh_tokens TO payflow_auth;
GRANT SELECT, INSERT ON signing_keys TO payflow_auth;
GRANT SELECT, INSERT ON audit_log TO payflow_auth;
