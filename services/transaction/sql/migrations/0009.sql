-- Error message and comments in plain words.
CREATE OR REPLACE FUNCTION refuse_terminal_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'transfer % is %: a terminal transfer never changes', OLD.id, OLD.status
        USING ERRCODE = 'insufficient_privilege';
END $$;
COMMENT ON COLUMN audit_log.user_id IS 'the user concerned; null when it concerns no user, or several';
COMMENT ON COLUMN dead_letters.seen IS 'how many copies arrived while it waited';
