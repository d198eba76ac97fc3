-- Everything settled up to here, in the transaction service's order, is in the inbox, whatever became of its messages.
CREATE TABLE positions (
    route        text        PRIMARY KEY,
    settled_at   timestamptz NOT NULL,
    transfer_id  uuid        NOT NULL
);

GRANT SELECT, INSERT ON positions TO payflow_notification;
GRANT UPDATE (settled_at, transfer_id) ON positions TO payflow_notification;
