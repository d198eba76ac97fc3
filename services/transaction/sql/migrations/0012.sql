-- A row has the items of one commit, with the ids of their subjects; in older rows the only item has the id of the row.
ALTER TABLE outbox ADD COLUMN subject_ids uuid[], SET (fillfactor = 100);

-- The relay that publishes. Another one takes over when the lease has expired.
CREATE TABLE leases (
    name        text        PRIMARY KEY,
    holder      text        NOT NULL,
    expires_at  timestamptz NOT NULL
) WITH (fillfactor = 50);
GRANT SELECT, INSERT, UPDATE ON leases TO payflow_transaction;

-- A body of many items is written compressed. lz4 costs less than half of the time of the default method; a server can be without it.
DO $$
BEGIN
    ALTER TABLE outbox ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END $$;
