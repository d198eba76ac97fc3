-- What must be published, written in the commit of the business change (transactional outbox).
-- The id is that of the item (a transfer's for its command, an event's own for an event): ids sort by time. A later migration adds
-- `subject_ids`: since then a row has the items of one commit, and the smallest of their ids.
CREATE TABLE outbox (
    id             uuid        PRIMARY KEY,
    topic          text        NOT NULL,
    body           text        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_until  timestamptz,
    published_at   timestamptz
) WITH (fillfactor = 50);

-- The relay looks only at what no confirm covers yet; the index stays as small as the backlog.
CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
