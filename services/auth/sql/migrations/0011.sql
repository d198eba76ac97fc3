-- Standard names. Grants and triggers stay with the tables that are renamed.

-- E-mails with a single-use token or a notification.
ALTER TABLE letters RENAME TO emails;
ALTER INDEX letters_due RENAME TO emails_due;
ALTER INDEX letters_of_user RENAME TO emails_of_user;
ALTER INDEX letters_live_unique RENAME TO emails_live_unique;
ALTER TABLE emails RENAME CONSTRAINT letters_pkey TO emails_pkey;
ALTER TABLE emails RENAME CONSTRAINT letters_hash_unique TO emails_hash_unique;
ALTER TABLE emails RENAME CONSTRAINT letters_user_id_fkey TO emails_user_id_fkey;
ALTER TABLE emails RENAME CONSTRAINT letters_hash_sha256 TO emails_hash_sha256;
ALTER TABLE emails RENAME CONSTRAINT letters_kind_known TO emails_kind_known;
ALTER TABLE emails RENAME CONSTRAINT letters_ended_whole TO emails_ended_whole;
ALTER TABLE emails RENAME CONSTRAINT letters_sealed_while_waiting TO emails_sealed_while_waiting;
ALTER TABLE emails RENAME CONSTRAINT letters_token_by_kind TO emails_token_by_kind;
ALTER TABLE emails DROP CONSTRAINT letters_ended_known;
UPDATE emails SET ended_as = 'superseded' WHERE ended_as = 'overtaken';
ALTER TABLE emails ADD CONSTRAINT emails_ended_known CHECK (ended_as IN ('spent', 'superseded', 'expired', 'withdrawn'));
COMMENT ON COLUMN emails.token_sealed IS
    'the token, or the detail of an e-mail without a token; null once the e-mail is sent, abandoned or ended';

-- Client networks from which a user has logged in.
ALTER TABLE login_places RENAME TO known_locations;
ALTER TABLE known_locations RENAME COLUMN place TO location;
ALTER INDEX login_places_of_user RENAME TO known_locations_of_user;
ALTER TABLE known_locations RENAME CONSTRAINT login_places_pkey TO known_locations_pkey;
ALTER TABLE known_locations RENAME CONSTRAINT login_places_user_id_fkey TO known_locations_user_id_fkey;
ALTER TABLE known_locations RENAME CONSTRAINT login_places_place_sha256 TO known_locations_location_sha256;

UPDATE sessions SET reason = 'session_limit' WHERE reason = 'crowded_out';
UPDATE sessions SET reason = 'role_removed' WHERE reason = 'role_taken';
UPDATE api_keys SET reason = 'role_removed' WHERE reason = 'role_taken';

COMMENT ON COLUMN api_keys.hash IS 'SHA-256 of the whole key; the key itself is not stored';
COMMENT ON COLUMN audit_log.actor_id IS 'the user who acted; null when unknown, and for the command line';
COMMENT ON COLUMN users.totp_secret_sealed IS 'encrypted like signing keys; only a proposal until totp_confirmed_at is set';
COMMENT ON COLUMN users.totp_step IS 'time step of the last accepted code; codes of this step and earlier ones are rejected';
