-- Comments in plain words.
COMMENT ON COLUMN audit_log.user_id IS 'the user concerned; null when it concerns no user, or several';
COMMENT ON COLUMN dead_letters.seen IS 'how many copies arrived while it waited';
