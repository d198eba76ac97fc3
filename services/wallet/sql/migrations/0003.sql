-- Operators read it newest first.
CREATE INDEX audit_log_by_time ON audit_log (at, id);
