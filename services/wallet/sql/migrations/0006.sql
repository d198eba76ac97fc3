-- An entry of the audit log names an action.
ALTER TABLE audit_log RENAME COLUMN act TO action;
ALTER INDEX audit_log_by_act RENAME TO audit_log_by_action;
