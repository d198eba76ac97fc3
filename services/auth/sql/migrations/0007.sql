-- Letters that only tell what was done to an account, and the session that an API key was made in.

ALTER TABLE letters
    ALTER COLUMN token_hash DROP NOT NULL,
    DROP CONSTRAINT letters_kind_known,
    DROP CONSTRAINT letters_ended_known,
    ADD CONSTRAINT letters_kind_known
        CHECK (kind IN ('verify_email', 'reset_password', 'password_changed', 'api_key_created')),
    ADD CONSTRAINT letters_ended_known CHECK (ended_as IN ('spent', 'overtaken', 'expired', 'withdrawn')),
    ADD CONSTRAINT letters_token_by_kind CHECK ((token_hash IS NULL) = (kind IN ('password_changed', 'api_key_created')));
COMMENT ON COLUMN letters.token_sealed IS
    'the token, or the detail that a letter without one tells; null when the letter waits no more: sent, given up, or ended';
-- Of the letters with a token one of a kind can be alive; of those that only tell none replaces another.
DROP INDEX letters_live_unique;
CREATE UNIQUE INDEX letters_live_unique ON letters (user_id, kind) WHERE ended_at IS NULL AND token_hash IS NOT NULL;

-- When a session turns out to have been stolen, what the thief made in it ends with it. Null: made before this was noted.
ALTER TABLE api_keys ADD COLUMN session_id uuid REFERENCES sessions (id);

-- The newest tokens of a session are found without sorting all of them.
CREATE INDEX refresh_tokens_of_session_by_time ON refresh_tokens (session_id, created_at);
DROP INDEX refresh_tokens_of_session;
