-- A notification is two lines of its user's feed: the event of the transfer has the number before `seq`. What is null was written by
-- earlier code, which wrote these lines to the table of events.
ALTER TABLE notifications
    ADD COLUMN seq             bigint,
    ADD COLUMN transfer_kind   text,
    ADD COLUMN amount          bigint,
    ADD COLUMN currency        text,
    ADD COLUMN from_wallet_id  uuid,
    ADD COLUMN to_wallet_id    uuid,
    ADD COLUMN description     text,
    ADD COLUMN failure_code    text,
    ADD COLUMN occurred_at     timestamptz;
