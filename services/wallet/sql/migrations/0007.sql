-- A role is ready once the schema is new enough.
GRANT SELECT ON alembic_version TO payflow_wallet, payflow_wallet_seal;
