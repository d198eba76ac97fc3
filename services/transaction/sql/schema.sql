CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE FUNCTION public.refuse_loss() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% are never removed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE FUNCTION public.refuse_removal() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% are never removed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE FUNCTION public.refuse_terminal_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'transfer % is %: a terminal transfer never changes', OLD.id, OLD.status
        USING ERRCODE = 'insufficient_privilege';
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
CREATE TABLE public.freeze_hints (
    wallet_id uuid NOT NULL
);
CREATE TABLE public.heartbeats (
    name text NOT NULL,
    at timestamp with time zone NOT NULL,
    state jsonb NOT NULL
);
CREATE TABLE public.idempotency_keys (
    user_id uuid NOT NULL,
    key text NOT NULL,
    request_hash bytea NOT NULL,
    hash_version smallint NOT NULL,
    resource_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT idempotency_keys_key_check CHECK (((length(key) >= 1) AND (length(key) <= 255)))
);
CREATE TABLE public.leases (
    name text NOT NULL,
    holder text NOT NULL,
    expires_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE public.outbox (
    id uuid NOT NULL,
    topic text NOT NULL,
    body text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    claimed_until timestamp with time zone,
    published_at timestamp with time zone,
    subject_ids uuid[]
)
WITH (fillfactor='100');
ALTER TABLE ONLY public.outbox ALTER COLUMN body SET COMPRESSION lz4;
CREATE TABLE public.transfers (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    recipient_id uuid,
    kind text NOT NULL,
    status text DEFAULT 'PENDING'::text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    from_wallet_id uuid NOT NULL,
    to_wallet_id uuid NOT NULL,
    description text,
    metadata jsonb,
    request_hash bytea NOT NULL,
    request_id text NOT NULL,
    traceparent text,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    completed_at timestamp with time zone,
    failed_at timestamp with time zone,
    failure_code text,
    attempts jsonb DEFAULT '[]'::jsonb NOT NULL,
    conflicted_at timestamp with time zone,
    finalized_at timestamp with time zone,
    expected_by timestamp with time zone,
    CONSTRAINT transfers_amount_check CHECK ((amount > 0)),
    CONSTRAINT transfers_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT transfers_description_check CHECK ((length(description) <= 140)),
    CONSTRAINT transfers_kind_check CHECK ((kind = ANY (ARRAY['transfer'::text, 'deposit'::text]))),
    CONSTRAINT transfers_status_check CHECK ((status = ANY (ARRAY['PENDING'::text, 'COMPLETED'::text, 'FAILED'::text]))),
    CONSTRAINT transfers_times_fit_status CHECK ((((status = 'COMPLETED'::text) = (completed_at IS NOT NULL)) AND ((status = 'FAILED'::text) = (failed_at IS NOT NULL)) AND ((status = 'FAILED'::text) = (failure_code IS NOT NULL)))),
    CONSTRAINT transfers_wallets_differ CHECK ((from_wallet_id <> to_wallet_id))
)
WITH (fillfactor='70');
CREATE TABLE public.wallets (
    id uuid NOT NULL,
    owner_id uuid,
    currency text NOT NULL
);
ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.freeze_hints
    ADD CONSTRAINT freeze_hints_pkey PRIMARY KEY (wallet_id);
ALTER TABLE ONLY public.heartbeats
    ADD CONSTRAINT heartbeats_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (user_id, key);
ALTER TABLE ONLY public.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.transfers
    ADD CONSTRAINT transfers_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.wallets
    ADD CONSTRAINT wallets_pkey PRIMARY KEY (id);
CREATE INDEX audit_log_by_action ON public.audit_log USING btree (action, at, id);
CREATE INDEX audit_log_by_actor ON public.audit_log USING btree (actor_id, action, at, id);
CREATE INDEX audit_log_by_actor_and_subject ON public.audit_log USING btree (actor_id, user_id, action, at, id);
CREATE INDEX audit_log_by_subject ON public.audit_log USING btree (user_id, action, at, id);
CREATE INDEX audit_log_by_time ON public.audit_log USING btree (at, id);
CREATE INDEX dead_letters_by_message ON public.dead_letters USING btree (queue, message_id);
CREATE INDEX dead_letters_by_state ON public.dead_letters USING btree (queue, state, first_seen_at, id);
CREATE INDEX dead_letters_of_subject ON public.dead_letters USING gin (subject_ids);
CREATE UNIQUE INDEX dead_letters_waiting_once ON public.dead_letters USING btree (queue, content_hash) WHERE (state = 'waiting'::text);
CREATE INDEX outbox_unpublished ON public.outbox USING btree (id) WHERE (published_at IS NULL);
CREATE INDEX transfers_between ON public.transfers USING btree (from_wallet_id, to_wallet_id, user_id, status, kind, created_at, id) WHERE (status <> 'PENDING'::text);
CREATE INDEX transfers_expiring ON public.transfers USING btree (expires_at) WHERE (status = 'PENDING'::text);
CREATE INDEX transfers_finalized ON public.transfers USING btree (finalized_at, id) WHERE (finalized_at IS NOT NULL);
CREATE INDEX transfers_received ON public.transfers USING btree (recipient_id, to_wallet_id, kind, created_at, id) WHERE (status = 'COMPLETED'::text);
CREATE INDEX transfers_sent ON public.transfers USING btree (user_id, from_wallet_id, status, kind, created_at, id);
CREATE UNIQUE INDEX wallets_external_currency_unique ON public.wallets USING btree (currency) WHERE (owner_id IS NULL);
CREATE UNIQUE INDEX wallets_owner_currency_unique ON public.wallets USING btree (owner_id, currency) WHERE (owner_id IS NOT NULL);
CREATE TRIGGER audit_log_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.audit_log FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER dead_letters_never_removed BEFORE DELETE OR TRUNCATE ON public.dead_letters FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_loss();
CREATE TRIGGER idempotency_keys_never_removed BEFORE DELETE OR UPDATE OR TRUNCATE ON public.idempotency_keys FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_removal();
CREATE TRIGGER transfers_never_removed BEFORE DELETE OR TRUNCATE ON public.transfers FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_removal();
CREATE TRIGGER transfers_terminal_is_final BEFORE UPDATE ON public.transfers FOR EACH ROW WHEN ((old.status <> 'PENDING'::text)) EXECUTE FUNCTION public.refuse_terminal_change();
GRANT SELECT,INSERT ON TABLE public.audit_log TO payflow_transaction;
GRANT SELECT,INSERT ON TABLE public.dead_letters TO payflow_transaction;
GRANT UPDATE(state) ON TABLE public.dead_letters TO payflow_transaction;
GRANT UPDATE(reason) ON TABLE public.dead_letters TO payflow_transaction;
GRANT UPDATE(attempts) ON TABLE public.dead_letters TO payflow_transaction;
GRANT UPDATE(message_id) ON TABLE public.dead_letters TO payflow_transaction;
GRANT UPDATE(seen) ON TABLE public.dead_letters TO payflow_transaction;
GRANT UPDATE(last_seen_at) ON TABLE public.dead_letters TO payflow_transaction;
GRANT UPDATE(replays) ON TABLE public.dead_letters TO payflow_transaction;
GRANT UPDATE(replayed_at) ON TABLE public.dead_letters TO payflow_transaction;
GRANT UPDATE(discarded_at) ON TABLE public.dead_letters TO payflow_transaction;
GRANT UPDATE(note) ON TABLE public.dead_letters TO payflow_transaction;
GRANT SELECT,INSERT,DELETE ON TABLE public.freeze_hints TO payflow_transaction;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.heartbeats TO payflow_transaction;
GRANT SELECT,INSERT ON TABLE public.idempotency_keys TO payflow_transaction;
GRANT SELECT,INSERT,UPDATE ON TABLE public.leases TO payflow_transaction;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outbox TO payflow_transaction;
GRANT SELECT,INSERT ON TABLE public.transfers TO payflow_transaction;
GRANT UPDATE(status) ON TABLE public.transfers TO payflow_transaction;
GRANT SELECT(status) ON TABLE public.transfers TO payflow_scaler;
GRANT UPDATE(completed_at) ON TABLE public.transfers TO payflow_transaction;
GRANT UPDATE(failed_at) ON TABLE public.transfers TO payflow_transaction;
GRANT UPDATE(failure_code) ON TABLE public.transfers TO payflow_transaction;
GRANT UPDATE(attempts) ON TABLE public.transfers TO payflow_transaction;
GRANT UPDATE(conflicted_at) ON TABLE public.transfers TO payflow_transaction;
GRANT UPDATE(finalized_at) ON TABLE public.transfers TO payflow_transaction;
GRANT SELECT,INSERT ON TABLE public.wallets TO payflow_transaction;
