-- What was dead-lettered never changes, only what became of it.
GRANT SELECT, INSERT ON dead_letters TO payflow_notification;
GRANT UPDATE (state, reason, attempts, message_id, seen, last_seen_at, replays, replayed_at, discarded_at, note)
    ON dead_letters TO payflow_notification;
