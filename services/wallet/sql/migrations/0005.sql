-- The audit list: each combination of its filters is a range of one of these, or one range for each act, in the order of the list.
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_log_by_act ON audit_log (act, at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_log_by_actor ON audit_log (actor_id, act, at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_log_by_subject ON audit_log (account_id, act, at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_log_by_actor_and_subject ON audit_log (actor_id, account_id, act, at, id);
