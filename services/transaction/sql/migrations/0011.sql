-- A role is ready once the schema is new enough.
GRANT SELECT ON alembic_version TO payflow_transaction;

-- Those of processes that have ended.
GRANT DELETE ON heartbeats TO payflow_transaction;
