-- That a transfer takes longer than expected. Apart from notifications: a row there means that the outcome is recorded, also to
-- processes of the release before.
CREATE TABLE late_notifications (
    id          uuid        NOT NULL UNIQUE,
    user_id     uuid        NOT NULL,
    seq         bigint      NOT NULL CHECK (seq > 0),
    transfer_id uuid        PRIMARY KEY,
    title       text        NOT NULL,
    body        text        NOT NULL,
    created_at  timestamptz NOT NULL,
    read_at     timestamptz
);
CREATE INDEX late_notifications_of_user ON late_notifications (user_id, seq);
CREATE INDEX late_notifications_by_time ON late_notifications (created_at);

CREATE TRIGGER late_notifications_kept BEFORE DELETE ON late_notifications
FOR EACH ROW WHEN (OLD.created_at > now() - interval '7 days') EXECUTE FUNCTION refuse_early_loss();

GRANT SELECT, INSERT, DELETE, UPDATE (read_at) ON late_notifications TO payflow_notification;
