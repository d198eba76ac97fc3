-- The audit list: each combination of its filters is a range of one of these, or one range for each act, in the order of the list.
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_log_by_act ON audit_log (act, at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_log_by_actor ON audit_log (actor_id, act, at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_log_by_subject ON audit_log (user_id, act, at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_log_by_actor_and_subject ON audit_log (actor_id, user_id, act, at, id);

-- The list of dead letters by queue and state.
CREATE INDEX CONCURRENTLY IF NOT EXISTS dead_letters_by_state ON dead_letters (queue, state, first_seen_at, id);
DROP INDEX CONCURRENTLY IF EXISTS dead_letters_by_time;
