-- Operators read it newest first, often for one actor.
CREATE INDEX audit_log_by_time ON audit_log (at, id);
CREATE INDEX audit_log_of_actor ON audit_log (actor_id, at, id) WHERE actor_id IS NOT NULL;
