-- A role is ready once the schema is new enough.
GRANT SELECT ON alembic_version TO payflow_notification;
