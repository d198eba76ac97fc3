-- Whatever the settings say and whatever code asks for it: what is younger than a week stays, and so does an e-mail that waits.
CREATE FUNCTION refuse_early_loss() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'this row of % is not old enough to be removed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER notifications_kept BEFORE DELETE ON notifications
FOR EACH ROW WHEN (OLD.created_at > now() - interval '7 days') EXECUTE FUNCTION refuse_early_loss();

CREATE TRIGGER events_kept BEFORE DELETE ON events
FOR EACH ROW WHEN (OLD.created_at > now() - interval '7 days') EXECUTE FUNCTION refuse_early_loss();

CREATE TRIGGER inbox_kept BEFORE DELETE ON inbox
FOR EACH ROW WHEN (OLD.received_at > now() - interval '7 days') EXECUTE FUNCTION refuse_early_loss();

CREATE TRIGGER deliveries_kept BEFORE DELETE ON deliveries
FOR EACH ROW WHEN (OLD.state = 'waiting') EXECUTE FUNCTION refuse_early_loss();

GRANT DELETE ON notifications, events, inbox, deliveries TO payflow_notification;
