-- A transfer is finalized. Settlement means paying out merchants, nothing else.
ALTER TABLE transfers RENAME COLUMN settled_at TO finalized_at;
ALTER INDEX transfers_settled RENAME TO transfers_finalized;
ALTER TRIGGER transfers_terminal_for_ever ON transfers RENAME TO transfers_terminal_is_final;

-- Events that are not published yet go out under the new type.
UPDATE outbox SET topic = 'transfers.finalized' WHERE topic = 'transfers.settled' AND published_at IS NULL;

-- An entry of the audit log names an action.
ALTER TABLE audit_log RENAME COLUMN act TO action;
ALTER INDEX audit_log_by_act RENAME TO audit_log_by_action;
