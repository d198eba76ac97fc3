-- When the status was written here, by this database's clock; completed_at and failed_at are the ledger's, and may be long
-- before it. Null: PENDING, or settled before this column was there.
ALTER TABLE transfers ADD COLUMN settled_at timestamptz;

-- For whoever asks what was settled since they last asked.
CREATE INDEX transfers_settled ON transfers (settled_at, id) WHERE settled_at IS NOT NULL;

GRANT UPDATE (settled_at) ON transfers TO payflow_transaction;
