CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE FUNCTION public.refuse_early_loss() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'this row of % is not old enough to be removed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE FUNCTION public.refuse_loss() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% are never removed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE FUNCTION public.skip_recorded_transfer() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF EXISTS (SELECT FROM notifications WHERE transfer_id = NEW.transfer_id) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TABLE public.audit_log (
    id uuid NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    action text NOT NULL,
    actor_id uuid NOT NULL,
    user_id uuid,
    subject_kind text NOT NULL,
    subject_id uuid NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    request_id text NOT NULL
);
COMMENT ON COLUMN public.audit_log.user_id IS 'the user concerned; null when it concerns no user, or several';
CREATE TABLE public.dead_letters (
    id uuid NOT NULL,
    queue text NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    reason text NOT NULL,
    attempts integer NOT NULL,
    message_id text NOT NULL,
    content_hash bytea NOT NULL,
    body bytea NOT NULL,
    subject_ids uuid[] NOT NULL,
    request_ids text[] NOT NULL,
    seen integer DEFAULT 1 NOT NULL,
    first_seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    last_seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    replays integer DEFAULT 0 NOT NULL,
    replayed_at timestamp with time zone,
    discarded_at timestamp with time zone,
    note text,
    CONSTRAINT dead_letters_discarded_whole CHECK (((state = 'discarded'::text) = (discarded_at IS NOT NULL))),
    CONSTRAINT dead_letters_seen_check CHECK ((seen > 0)),
    CONSTRAINT dead_letters_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'replayed'::text, 'discarded'::text])))
);
COMMENT ON COLUMN public.dead_letters.message_id IS 'of the last copy that arrived: a message that the broker hands over again is recognised';
COMMENT ON COLUMN public.dead_letters.content_hash IS 'of its items, whatever envelope they came in';
COMMENT ON COLUMN public.dead_letters.seen IS 'how many copies arrived while it waited';
CREATE TABLE public.deliveries (
    id uuid NOT NULL,
    notification_id uuid NOT NULL,
    user_id uuid NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    claimed_until timestamp with time zone DEFAULT now() NOT NULL,
    sent_at timestamp with time zone,
    last_error text,
    CONSTRAINT deliveries_sent_has_time CHECK (((state = 'sent'::text) = (sent_at IS NOT NULL))),
    CONSTRAINT deliveries_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'sent'::text, 'failed'::text])))
);
CREATE TABLE public.event_counters (
    user_id uuid NOT NULL,
    last_seq bigint NOT NULL,
    CONSTRAINT event_counters_last_seq_check CHECK ((last_seq >= 0))
)
WITH (fillfactor='50');
CREATE TABLE public.events (
    user_id uuid NOT NULL,
    seq bigint NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT events_seq_check CHECK ((seq > 0))
);
CREATE TABLE public.inbox (
    transfer_id uuid NOT NULL,
    type text NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.late_notifications (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    seq bigint NOT NULL,
    transfer_id uuid NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    read_at timestamp with time zone,
    CONSTRAINT late_notifications_seq_check CHECK ((seq > 0))
);
CREATE TABLE public.notifications (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    transfer_id uuid NOT NULL,
    kind text NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    read_at timestamp with time zone,
    seq bigint,
    transfer_kind text,
    amount bigint,
    currency text,
    from_wallet_id uuid,
    to_wallet_id uuid,
    description text,
    failure_code text,
    occurred_at timestamp with time zone,
    CONSTRAINT notifications_kind_check CHECK ((kind = ANY (ARRAY['transfer_completed'::text, 'transfer_received'::text, 'transfer_failed'::text])))
);
CREATE TABLE public.positions (
    route text NOT NULL,
    finalized_at timestamp with time zone NOT NULL,
    transfer_id uuid NOT NULL
);
ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_one_each UNIQUE (notification_id);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.event_counters
    ADD CONSTRAINT event_counters_pkey PRIMARY KEY (user_id);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (user_id, seq);
ALTER TABLE ONLY public.inbox
    ADD CONSTRAINT inbox_pkey PRIMARY KEY (transfer_id, type);
ALTER TABLE ONLY public.late_notifications
    ADD CONSTRAINT late_notifications_id_key UNIQUE (id);
ALTER TABLE ONLY public.late_notifications
    ADD CONSTRAINT late_notifications_pkey PRIMARY KEY (transfer_id);
ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_once UNIQUE (transfer_id, user_id, kind);
ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.positions
    ADD CONSTRAINT positions_pkey PRIMARY KEY (route);
CREATE INDEX audit_log_by_action ON public.audit_log USING btree (action, at, id);
CREATE INDEX audit_log_by_actor ON public.audit_log USING btree (actor_id, action, at, id);
CREATE INDEX audit_log_by_actor_and_subject ON public.audit_log USING btree (actor_id, user_id, action, at, id);
CREATE INDEX audit_log_by_subject ON public.audit_log USING btree (user_id, action, at, id);
CREATE INDEX audit_log_by_time ON public.audit_log USING btree (at, id);
CREATE INDEX dead_letters_by_message ON public.dead_letters USING btree (queue, message_id);
CREATE INDEX dead_letters_by_state ON public.dead_letters USING btree (queue, state, first_seen_at, id);
CREATE INDEX dead_letters_of_subject ON public.dead_letters USING gin (subject_ids);
CREATE UNIQUE INDEX dead_letters_waiting_once ON public.dead_letters USING btree (queue, content_hash) WHERE (state = 'waiting'::text);
CREATE INDEX deliveries_due ON public.deliveries USING btree (claimed_until) WHERE (state = 'waiting'::text);
CREATE INDEX events_by_time ON public.events USING btree (created_at);
CREATE INDEX late_notifications_by_time ON public.late_notifications USING btree (created_at);
CREATE INDEX late_notifications_of_user ON public.late_notifications USING btree (user_id, seq);
CREATE INDEX notifications_by_seq ON public.notifications USING btree (user_id, seq);
CREATE INDEX notifications_unnumbered ON public.notifications USING btree (user_id, created_at, id) WHERE (seq IS NULL);
CREATE TRIGGER audit_log_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.audit_log FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER dead_letters_never_removed BEFORE DELETE OR TRUNCATE ON public.dead_letters FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_loss();
CREATE TRIGGER deliveries_kept BEFORE DELETE ON public.deliveries FOR EACH ROW WHEN ((old.state = 'waiting'::text)) EXECUTE FUNCTION public.refuse_early_loss();
CREATE TRIGGER events_kept BEFORE DELETE ON public.events FOR EACH ROW WHEN ((old.created_at > (now() - '7 days'::interval))) EXECUTE FUNCTION public.refuse_early_loss();
CREATE TRIGGER inbox_kept BEFORE DELETE ON public.inbox FOR EACH ROW WHEN ((old.received_at > (now() - '7 days'::interval))) EXECUTE FUNCTION public.refuse_early_loss();
CREATE TRIGGER inbox_skips_recorded_transfers BEFORE INSERT ON public.inbox FOR EACH ROW EXECUTE FUNCTION public.skip_recorded_transfer();
CREATE TRIGGER late_notifications_kept BEFORE DELETE ON public.late_notifications FOR EACH ROW WHEN ((old.created_at > (now() - '7 days'::interval))) EXECUTE FUNCTION public.refuse_early_loss();
CREATE TRIGGER notifications_kept BEFORE DELETE ON public.notifications FOR EACH ROW WHEN ((old.created_at > (now() - '7 days'::interval))) EXECUTE FUNCTION public.refuse_early_loss();
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_notification_id_fkey FOREIGN KEY (notification_id) REFERENCES public.notifications(id);
GRANT SELECT,INSERT ON TABLE public.audit_log TO payflow_notification;
GRANT SELECT,INSERT ON TABLE public.dead_letters TO payflow_notification;
GRANT UPDATE(state) ON TABLE public.dead_letters TO payflow_notification;
GRANT UPDATE(reason) ON TABLE public.dead_letters TO payflow_notification;
GRANT UPDATE(attempts) ON TABLE public.dead_letters TO payflow_notification;
GRANT UPDATE(message_id) ON TABLE public.dead_letters TO payflow_notification;
GRANT UPDATE(seen) ON TABLE public.dead_letters TO payflow_notification;
GRANT UPDATE(last_seen_at) ON TABLE public.dead_letters TO payflow_notification;
GRANT UPDATE(replays) ON TABLE public.dead_letters TO payflow_notification;
GRANT UPDATE(replayed_at) ON TABLE public.dead_letters TO payflow_notification;
GRANT UPDATE(discarded_at) ON TABLE public.dead_letters TO payflow_notification;
GRANT UPDATE(note) ON TABLE public.dead_letters TO payflow_notification;
GRANT SELECT,INSERT,DELETE ON TABLE public.deliveries TO payflow_notification;
GRANT UPDATE(state) ON TABLE public.deliveries TO payflow_notification;
GRANT UPDATE(attempts) ON TABLE public.deliveries TO payflow_notification;
GRANT UPDATE(claimed_until) ON TABLE public.deliveries TO payflow_notification;
GRANT UPDATE(sent_at) ON TABLE public.deliveries TO payflow_notification;
GRANT UPDATE(last_error) ON TABLE public.deliveries TO payflow_notification;
GRANT SELECT,INSERT ON TABLE public.event_counters TO payflow_notification;
GRANT UPDATE(last_seq) ON TABLE public.event_counters TO payflow_notification;
GRANT SELECT,INSERT,DELETE ON TABLE public.events TO payflow_notification;
GRANT SELECT,INSERT,DELETE ON TABLE public.inbox TO payflow_notification;
GRANT SELECT,INSERT,DELETE ON TABLE public.late_notifications TO payflow_notification;
GRANT UPDATE(read_at) ON TABLE public.late_notifications TO payflow_notification;
GRANT SELECT,INSERT,DELETE ON TABLE public.notifications TO payflow_notification;
GRANT UPDATE(read_at) ON TABLE public.notifications TO payflow_notification;
GRANT SELECT,INSERT ON TABLE public.positions TO payflow_notification;
GRANT UPDATE(finalized_at) ON TABLE public.positions TO payflow_notification;
GRANT UPDATE(transfer_id) ON TABLE public.positions TO payflow_notification;
