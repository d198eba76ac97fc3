-- Letters that tell what was done to the second factor of an account.

ALTER TABLE letters
    DROP CONSTRAINT letters_kind_known,
    DROP CONSTRAINT letters_token_by_kind,
    ADD CONSTRAINT letters_kind_known CHECK (kind IN (
        'verify_email', 'reset_password',
        'password_changed', 'api_key_created', 'totp_removed', 'recovery_codes_renewed', 'recovery_code_used'
    )),
    ADD CONSTRAINT letters_token_by_kind CHECK ((token_hash IS NOT NULL) = (kind IN ('verify_email', 'reset_password')));
