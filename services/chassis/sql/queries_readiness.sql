-- Every service: whether its sessions can write, and the revision of the schema.

-- name: probe_writable
-- Raise the error of a write: read-only, no schema, no procedural language, disk full, no synchronous standby.
DO $$
BEGIN
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE read_only_sql_transaction;
    END IF;
    IF to_regclass('alembic_version') IS NULL THEN
        RAISE undefined_table USING MESSAGE = 'the search path leads to no migrated schema';
    END IF;
    PERFORM pg_logical_emit_message(true, 'payflow-ready', '');
END
$$;

-- name: read_session_settings
-- The settings of a new session of this role, as one text.
SELECT coalesce(string_agg(concat_ws(' ', setdatabase, setrole, setconfig::text), '; ' ORDER BY setdatabase, setrole), '')
FROM pg_db_role_setting
WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user));

-- name: can_read_revision
-- Whether there is a revision that this role may read; the first releases did not let it.
SELECT coalesce(has_table_privilege(to_regclass('alembic_version'), 'SELECT'), false);

-- name: read_revision
SELECT version_num FROM alembic_version;
