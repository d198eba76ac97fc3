-- What a user is sent about a transfer is a notification.
ALTER TABLE notices RENAME TO notifications;
ALTER TABLE notifications RENAME CONSTRAINT notices_pkey TO notifications_pkey;
ALTER TABLE notifications RENAME CONSTRAINT notices_told_once TO notifications_once;
ALTER TABLE notifications RENAME CONSTRAINT notices_kind_check TO notifications_kind_check;
ALTER INDEX notices_of_user RENAME TO notifications_of_user;
ALTER TABLE deliveries RENAME COLUMN notice_id TO notification_id;
ALTER TABLE deliveries RENAME CONSTRAINT deliveries_notice_id_fkey TO deliveries_notification_id_fkey;

-- A transfer is finalized. Settlement means paying out merchants, nothing else.
ALTER TABLE positions RENAME COLUMN settled_at TO finalized_at;
UPDATE positions SET route = 'transfers.finalized' WHERE route = 'transfers.settled';

-- Dead letters are replayed into the new queue, under the new type. A body is not always text.
UPDATE dead_letters SET queue = 'notifications.transfers-finalized' WHERE queue = 'notices.transfers-settled';
UPDATE dead_letters
SET body = overlay(
    body PLACING '"type":"transfers.finalized"'::bytea
    FROM position('"type":"transfers.settled"'::bytea IN body) FOR length('"type":"transfers.settled"'::bytea)
)
WHERE state = 'waiting' AND position('"type":"transfers.settled"'::bytea IN body) > 0;

-- An entry of the audit log names an action.
ALTER TABLE audit_log RENAME COLUMN act TO action;
ALTER INDEX audit_log_by_act RENAME TO audit_log_by_action;
