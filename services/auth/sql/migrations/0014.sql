-- A refresh token lives for 30 days, and the feed of revocations lists eleven minutes: later nothing depends on an ended session.
CREATE FUNCTION refuse_early_loss() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'this row of % is not old enough to be removed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER sessions_kept BEFORE DELETE ON sessions
FOR EACH ROW WHEN (coalesce(OLD.revoked_at, OLD.used_at) > now() - interval '30 days') EXECUTE FUNCTION refuse_early_loss();

GRANT DELETE ON sessions TO payflow_auth;
