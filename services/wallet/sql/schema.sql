CREATE FUNCTION public.last_seq_at(account uuid, moment timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    low bigint := 0;
    high bigint := coalesce((SELECT max(seq) FROM entries WHERE account_id = account), 0);
    middle bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        IF (SELECT created_at FROM entries WHERE account_id = account AND seq = middle) <= moment THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END $$;
CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE FUNCTION public.refuse_unbalanced_entries() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF EXISTS (
        SELECT FROM written GROUP BY transfer_id, currency HAVING sum(amount) <> 0
    ) THEN
        RAISE EXCEPTION 'entries of a transfer must sum to zero in each currency' USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (
        SELECT FROM written LEFT JOIN accounts ON accounts.id = written.account_id
        WHERE accounts.currency IS DISTINCT FROM written.currency
    ) THEN
        RAISE EXCEPTION 'an entry must be in the currency of its account' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TABLE public.accounts (
    id uuid NOT NULL,
    owner_id uuid,
    currency text NOT NULL,
    frozen boolean DEFAULT false NOT NULL,
    posted bigint DEFAULT 0 NOT NULL,
    held bigint DEFAULT 0 NOT NULL,
    seq bigint DEFAULT 0 NOT NULL,
    last_entry_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT accounts_balance_limit CHECK (((owner_id IS NULL) OR (posted <= '9007199254740991'::bigint))),
    CONSTRAINT accounts_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT accounts_held_check CHECK ((held >= 0)),
    CONSTRAINT accounts_never_overdrawn CHECK (((owner_id IS NULL) OR ((posted - held) >= 0))),
    CONSTRAINT accounts_seq_check CHECK ((seq >= 0))
)
WITH (fillfactor='70');
CREATE TABLE public.admissions (
    transfer_id uuid NOT NULL,
    reason text NOT NULL,
    operator_id uuid NOT NULL,
    request_id text NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    block bigint,
    CONSTRAINT admissions_reason_check CHECK ((reason <> ''::text))
);
CREATE TABLE public.audit_log (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    actor_id uuid NOT NULL,
    action text NOT NULL,
    account_id uuid,
    request_id text NOT NULL,
    transfer_id uuid,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL
);
ALTER TABLE public.audit_log ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.audit_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.blocks (
    number bigint NOT NULL,
    version smallint NOT NULL,
    previous bytea NOT NULL,
    hash bytea NOT NULL,
    sealed_at timestamp with time zone NOT NULL,
    xid bigint NOT NULL,
    frontier timestamp with time zone,
    latest_at timestamp with time zone,
    outcomes uuid[] NOT NULL,
    outcome_digests bytea NOT NULL,
    accounts uuid[] NOT NULL,
    account_digests bytea NOT NULL,
    CONSTRAINT blocks_digest_each CHECK (((length(outcome_digests) = (32 * cardinality(outcomes))) AND (length(account_digests) = (32 * cardinality(accounts))))),
    CONSTRAINT blocks_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT blocks_hold_something CHECK (((cardinality(outcomes) + cardinality(accounts)) > 0)),
    CONSTRAINT blocks_number_check CHECK ((number > 0)),
    CONSTRAINT blocks_previous_check CHECK ((length(previous) = 32))
);
ALTER TABLE ONLY public.blocks ALTER COLUMN outcomes SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.blocks ALTER COLUMN outcome_digests SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.blocks ALTER COLUMN accounts SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.blocks ALTER COLUMN account_digests SET STORAGE EXTERNAL;
CREATE TABLE public.entries (
    account_id uuid NOT NULL,
    seq bigint NOT NULL,
    transfer_id uuid NOT NULL,
    currency text NOT NULL,
    amount bigint NOT NULL,
    balance_after bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT entries_amount_nonzero CHECK ((amount <> 0)),
    CONSTRAINT entries_seq_check CHECK ((seq > 0))
);
CREATE TABLE public.last_proof (
    id boolean DEFAULT true NOT NULL,
    at timestamp with time zone NOT NULL,
    ok boolean NOT NULL,
    checks jsonb NOT NULL,
    head_number bigint,
    head_hash bytea,
    CONSTRAINT last_proof_head_whole CHECK (((head_number IS NULL) = (head_hash IS NULL))),
    CONSTRAINT last_proof_id_check CHECK (id)
);
CREATE TABLE public.outcomes (
    transfer_id uuid NOT NULL,
    outcome text NOT NULL,
    reason text,
    request_hash bytea NOT NULL,
    source_id uuid,
    destination_id uuid,
    source_seq bigint,
    destination_seq bigint,
    description text,
    at timestamp with time zone NOT NULL,
    CONSTRAINT outcomes_entries_if_posted CHECK (((outcome = 'posted'::text) = ((source_seq IS NOT NULL) AND (destination_seq IS NOT NULL)))),
    CONSTRAINT outcomes_outcome_check CHECK ((outcome = ANY (ARRAY['posted'::text, 'rejected'::text, 'voided'::text]))),
    CONSTRAINT outcomes_reason_unless_posted CHECK (((outcome = 'posted'::text) = (reason IS NULL)))
);
CREATE TABLE public.proof_runs (
    id uuid NOT NULL,
    whole boolean NOT NULL,
    required text,
    state text DEFAULT 'running'::text NOT NULL,
    instance text NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ended_at timestamp with time zone,
    current text,
    checks_done integer DEFAULT 0 NOT NULL,
    blocks_done bigint DEFAULT 0 NOT NULL,
    blocks_total bigint,
    proof jsonb,
    CONSTRAINT proof_runs_ended CHECK (((state = 'running'::text) = (ended_at IS NULL))),
    CONSTRAINT proof_runs_proof CHECK (((state = ANY (ARRAY['passed'::text, 'failed'::text])) = (proof IS NOT NULL))),
    CONSTRAINT proof_runs_state_check CHECK ((state = ANY (ARRAY['running'::text, 'passed'::text, 'failed'::text, 'abandoned'::text])))
);
ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.admissions
    ADD CONSTRAINT admissions_pkey PRIMARY KEY (transfer_id);
ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.blocks
    ADD CONSTRAINT blocks_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.entries
    ADD CONSTRAINT entries_pkey PRIMARY KEY (account_id, seq);
ALTER TABLE ONLY public.last_proof
    ADD CONSTRAINT last_proof_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.outcomes
    ADD CONSTRAINT outcomes_pkey PRIMARY KEY (transfer_id);
ALTER TABLE ONLY public.proof_runs
    ADD CONSTRAINT proof_runs_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX accounts_external_currency_unique ON public.accounts USING btree (currency) WHERE (owner_id IS NULL);
CREATE UNIQUE INDEX accounts_owner_currency_unique ON public.accounts USING btree (owner_id, currency) WHERE (owner_id IS NOT NULL);
CREATE INDEX admissions_unsealed ON public.admissions USING btree (transfer_id) WHERE (block IS NULL);
CREATE INDEX audit_log_by_action ON public.audit_log USING btree (action, at, id);
CREATE INDEX audit_log_by_actor ON public.audit_log USING btree (actor_id, action, at, id);
CREATE INDEX audit_log_by_actor_and_subject ON public.audit_log USING btree (actor_id, account_id, action, at, id);
CREATE INDEX audit_log_by_subject ON public.audit_log USING btree (account_id, action, at, id);
CREATE INDEX audit_log_by_time ON public.audit_log USING btree (at, id);
CREATE INDEX blocks_latest_at ON public.blocks USING btree (latest_at);
CREATE INDEX blocks_with_accounts ON public.blocks USING btree (number) WHERE (length(account_digests) > 0);
CREATE INDEX outcomes_at ON public.outcomes USING btree (at);
CREATE UNIQUE INDEX proof_runs_running ON public.proof_runs USING btree (state) WHERE (state = 'running'::text);
CREATE TRIGGER accounts_never_removed BEFORE DELETE OR TRUNCATE ON public.accounts FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER audit_log_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.audit_log FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER blocks_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.blocks FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER entries_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.entries FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER entries_balance AFTER INSERT ON public.entries REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_unbalanced_entries();
CREATE TRIGGER outcomes_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.outcomes FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
GRANT SELECT,INSERT ON TABLE public.accounts TO payflow_wallet;
GRANT SELECT ON TABLE public.accounts TO payflow_wallet_proof;
GRANT SELECT ON TABLE public.accounts TO payflow_wallet_seal;
GRANT UPDATE(frozen) ON TABLE public.accounts TO payflow_wallet;
GRANT UPDATE(posted) ON TABLE public.accounts TO payflow_wallet;
GRANT UPDATE(held) ON TABLE public.accounts TO payflow_wallet;
GRANT UPDATE(seq) ON TABLE public.accounts TO payflow_wallet;
GRANT UPDATE(last_entry_at) ON TABLE public.accounts TO payflow_wallet;
GRANT SELECT,INSERT ON TABLE public.admissions TO payflow_wallet;
GRANT SELECT ON TABLE public.admissions TO payflow_wallet_seal;
GRANT SELECT ON TABLE public.admissions TO payflow_wallet_proof;
GRANT UPDATE(block) ON TABLE public.admissions TO payflow_wallet_seal;
GRANT SELECT,INSERT ON TABLE public.audit_log TO payflow_wallet;
GRANT SELECT ON TABLE public.audit_log TO payflow_wallet_proof;
GRANT SELECT ON TABLE public.audit_log TO payflow_wallet_seal;
GRANT SELECT,INSERT ON TABLE public.blocks TO payflow_wallet_seal;
GRANT SELECT ON TABLE public.blocks TO payflow_wallet;
GRANT SELECT ON TABLE public.blocks TO payflow_wallet_proof;
GRANT SELECT,INSERT ON TABLE public.entries TO payflow_wallet;
GRANT SELECT ON TABLE public.entries TO payflow_wallet_proof;
GRANT SELECT ON TABLE public.entries TO payflow_wallet_seal;
GRANT SELECT,INSERT,UPDATE ON TABLE public.last_proof TO payflow_wallet_seal;
GRANT SELECT,INSERT,UPDATE ON TABLE public.last_proof TO payflow_wallet;
GRANT SELECT ON TABLE public.last_proof TO payflow_wallet_proof;
GRANT SELECT,INSERT ON TABLE public.outcomes TO payflow_wallet;
GRANT SELECT ON TABLE public.outcomes TO payflow_wallet_proof;
GRANT SELECT ON TABLE public.outcomes TO payflow_wallet_seal;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.proof_runs TO payflow_wallet;
