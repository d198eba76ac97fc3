-- Who did what to what, written in the commit of the act; it only grows.
CREATE TABLE audit_log (
    id            uuid        PRIMARY KEY,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    act           text        NOT NULL,
    actor_id      uuid        NOT NULL,
    user_id       uuid,
    subject_kind  text        NOT NULL,
    subject_id    uuid        NOT NULL,
    detail        jsonb       NOT NULL DEFAULT '{}',
    request_id    text        NOT NULL
);
COMMENT ON COLUMN audit_log.user_id IS 'whom it concerns; null when that is nobody, or several';

-- Read newest first.
CREATE INDEX audit_log_by_time ON audit_log (at, id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
