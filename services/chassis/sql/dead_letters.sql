-- What a consumer could not do, taken out of its dead-letter queue and kept here: the record of it stays for ever.
CREATE TABLE dead_letters (
    id             uuid        PRIMARY KEY,
    queue          text        NOT NULL,
    state          text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'replayed', 'discarded')),
    reason         text        NOT NULL,
    attempts       integer     NOT NULL,
    message_id     text        NOT NULL,
    content_hash   bytea       NOT NULL,
    body           bytea       NOT NULL,
    transfer_ids   uuid[]      NOT NULL,
    request_ids    text[]      NOT NULL,
    seen           integer     NOT NULL DEFAULT 1 CHECK (seen > 0),
    first_seen_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    replays        integer     NOT NULL DEFAULT 0,
    replayed_at    timestamptz,
    discarded_at   timestamptz,
    note           text,
    CONSTRAINT dead_letters_discarded_whole CHECK ((state = 'discarded') = (discarded_at IS NOT NULL))
);
COMMENT ON COLUMN dead_letters.message_id IS 'of the last copy that arrived: a message that the broker hands over again is recognised';
COMMENT ON COLUMN dead_letters.content_hash IS 'of its items, whatever envelope they came in';
COMMENT ON COLUMN dead_letters.seen IS 'how many messages told of it while it waited';

-- The same items wait once, however many messages tell of them.
CREATE UNIQUE INDEX dead_letters_waiting_once ON dead_letters (queue, content_hash) WHERE state = 'waiting';
CREATE INDEX dead_letters_by_message ON dead_letters (queue, message_id);
CREATE INDEX dead_letters_by_time ON dead_letters (first_seen_at, id);
CREATE INDEX dead_letters_of_transfer ON dead_letters USING gin (transfer_ids);

CREATE FUNCTION refuse_loss() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% are never removed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER dead_letters_never_removed BEFORE DELETE OR TRUNCATE ON dead_letters
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_loss();
