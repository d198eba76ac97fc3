-- Which outcomes of which transfers were told already. Whoever inserts the row tells; a copy of the message finds it.
CREATE TABLE inbox (
    transfer_id  uuid        NOT NULL,
    type         text        NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (transfer_id, type)
);

CREATE TABLE notices (
    id           uuid        PRIMARY KEY,
    user_id      uuid        NOT NULL,
    transfer_id  uuid        NOT NULL,
    kind         text        NOT NULL CHECK (kind IN ('transfer_completed', 'transfer_received', 'transfer_failed')),
    title        text        NOT NULL,
    body         text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    read_at      timestamptz,
    CONSTRAINT notices_told_once UNIQUE (transfer_id, user_id, kind)
);

-- A user's list, newest first, by cursor.
CREATE INDEX notices_of_user ON notices (user_id, created_at, id);

-- The number of each user's newest event. Its row lock, held to the commit, makes the numbers appear in order.
CREATE TABLE event_counters (
    user_id   uuid   PRIMARY KEY,
    last_seq  bigint NOT NULL CHECK (last_seq > 0)
) WITH (fillfactor = 50);

-- What each user is shown live; seq runs from 1 without a gap.
CREATE TABLE events (
    user_id     uuid        NOT NULL,
    seq         bigint      NOT NULL CHECK (seq > 0),
    type        text        NOT NULL,
    payload     jsonb       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, seq)
);

-- E-mails to send, one for each notice. Nobody touches a waiting one before `claimed_until`: it is the end of the lease
-- of whoever is sending it, or the moment of the next attempt.
CREATE TABLE deliveries (
    id             uuid        PRIMARY KEY,
    notice_id      uuid        NOT NULL REFERENCES notices,
    user_id        uuid        NOT NULL,
    state          text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'failed')),
    attempts       integer     NOT NULL DEFAULT 0,
    claimed_until  timestamptz NOT NULL DEFAULT now(),
    sent_at        timestamptz,
    last_error     text,
    CONSTRAINT deliveries_one_each UNIQUE (notice_id),
    CONSTRAINT deliveries_sent_has_time CHECK ((state = 'sent') = (sent_at IS NOT NULL))
);

CREATE INDEX deliveries_due ON deliveries (claimed_until) WHERE state = 'waiting';

GRANT SELECT, INSERT ON inbox, notices, event_counters, events, deliveries TO payflow_notification;
GRANT UPDATE (read_at) ON notices TO payflow_notification;
GRANT UPDATE (last_seq) ON event_counters TO payflow_notification;
GRANT UPDATE (state, attempts, claimed_until, sent_at, last_error) ON deliveries TO payflow_notification;
