CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE FUNCTION public.refuse_early_loss() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'this row of % is not old enough to be removed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TABLE public.api_keys (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    prefix text NOT NULL,
    hash bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    audited_hour timestamp with time zone,
    revoked_at timestamp with time zone,
    reason text,
    seq bigint,
    session_id uuid,
    CONSTRAINT api_keys_hash_sha256 CHECK ((length(hash) = 32)),
    CONSTRAINT api_keys_name_length CHECK (((length(name) >= 1) AND (length(name) <= 100))),
    CONSTRAINT api_keys_revoked_whole CHECK ((((revoked_at IS NULL) = (seq IS NULL)) AND ((revoked_at IS NULL) = (reason IS NULL)))),
    CONSTRAINT api_keys_scopes_known CHECK (((cardinality(scopes) > 0) AND (scopes <@ ARRAY['read'::text, 'transfer'::text, 'operate'::text])))
);
COMMENT ON COLUMN public.api_keys.prefix IS 'the part of the key that may be shown';
COMMENT ON COLUMN public.api_keys.hash IS 'SHA-256 of the whole key; the key itself is not stored';
CREATE TABLE public.audit_log (
    id uuid NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    action text NOT NULL,
    actor_id uuid,
    user_id uuid,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    request_id text NOT NULL
);
COMMENT ON COLUMN public.audit_log.actor_id IS 'the user who acted; null when unknown, and for the command line';
COMMENT ON COLUMN public.audit_log.user_id IS 'the user it was done to; null when there is none';
CREATE TABLE public.emails (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    kind text NOT NULL,
    token_hash bytea,
    token_sealed bytea,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    ended_as text,
    claimed_until timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    sent_at timestamp with time zone,
    last_error text,
    CONSTRAINT emails_ended_known CHECK ((ended_as = ANY (ARRAY['spent'::text, 'superseded'::text, 'expired'::text, 'withdrawn'::text]))),
    CONSTRAINT emails_ended_whole CHECK (((ended_at IS NULL) = (ended_as IS NULL))),
    CONSTRAINT emails_hash_sha256 CHECK ((length(token_hash) = 32)),
    CONSTRAINT emails_kind_known CHECK ((kind = ANY (ARRAY['verify_email'::text, 'reset_password'::text, 'password_changed'::text, 'api_key_created'::text, 'totp_removed'::text, 'recovery_codes_renewed'::text, 'recovery_code_used'::text]))),
    CONSTRAINT emails_sealed_while_waiting CHECK (((token_sealed IS NULL) OR ((sent_at IS NULL) AND (ended_at IS NULL)))),
    CONSTRAINT emails_token_by_kind CHECK (((token_hash IS NOT NULL) = (kind = ANY (ARRAY['verify_email'::text, 'reset_password'::text]))))
);
COMMENT ON COLUMN public.emails.token_sealed IS 'the token, or the detail of an e-mail without a token; null once the e-mail is sent, abandoned or ended';
CREATE TABLE public.known_locations (
    location bytea NOT NULL,
    user_id uuid NOT NULL,
    first_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    last_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT known_locations_location_sha256 CHECK ((length(location) = 32))
);
CREATE TABLE public.recovery_codes (
    user_id uuid NOT NULL,
    hash bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    used_at timestamp with time zone,
    CONSTRAINT recovery_codes_hash_sha256 CHECK ((length(hash) = 32))
);
CREATE TABLE public.refresh_tokens (
    hash bytea NOT NULL,
    session_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    spent_at timestamp with time zone,
    CONSTRAINT refresh_tokens_hash_sha256 CHECK ((length(hash) = 32))
);
CREATE TABLE public.revocation_counter (
    last bigint NOT NULL,
    only_row boolean DEFAULT true NOT NULL,
    CONSTRAINT revocation_counter_single CHECK (only_row)
);
CREATE TABLE public.sessions (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    used_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    revoked_at timestamp with time zone,
    reason text,
    seq bigint,
    user_agent text,
    CONSTRAINT sessions_revoked_whole CHECK ((((revoked_at IS NULL) = (seq IS NULL)) AND ((revoked_at IS NULL) = (reason IS NULL)))),
    CONSTRAINT sessions_user_agent_length CHECK (((length(user_agent) >= 1) AND (length(user_agent) <= 120)))
);
CREATE TABLE public.signing_keys (
    kid text NOT NULL,
    public_key bytea NOT NULL,
    private_key_sealed bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    signs_from timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    retired_at timestamp with time zone,
    CONSTRAINT signing_keys_public_length CHECK ((length(public_key) = 32))
);
CREATE TABLE public.users (
    id uuid NOT NULL,
    email text NOT NULL,
    name text NOT NULL,
    role text DEFAULT 'user'::text NOT NULL,
    password_hash text NOT NULL,
    password_changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    disabled_at timestamp with time zone,
    disabled_reason text,
    totp_secret_sealed bytea,
    totp_confirmed_at timestamp with time zone,
    totp_step bigint,
    email_verified_at timestamp with time zone,
    CONSTRAINT users_disabled_reason_length CHECK (((length(disabled_reason) >= 1) AND (length(disabled_reason) <= 200))),
    CONSTRAINT users_disabled_whole CHECK (((disabled_at IS NULL) = (disabled_reason IS NULL))),
    CONSTRAINT users_email_normalised CHECK (((email = lower(btrim(email))) AND ((length(email) >= 3) AND (length(email) <= 254)))),
    CONSTRAINT users_name_length CHECK (((length(name) >= 1) AND (length(name) <= 100))),
    CONSTRAINT users_password_hashed CHECK ((password_hash ~~ '$argon2id$%'::text)),
    CONSTRAINT users_role_known CHECK ((role = ANY (ARRAY['user'::text, 'operator'::text, 'service'::text]))),
    CONSTRAINT users_totp_whole CHECK ((((totp_secret_sealed IS NOT NULL) OR (totp_confirmed_at IS NULL)) AND ((totp_confirmed_at IS NULL) = (totp_step IS NULL))))
);
COMMENT ON COLUMN public.users.totp_secret_sealed IS 'encrypted like signing keys; only a proposal until totp_confirmed_at is set';
COMMENT ON COLUMN public.users.totp_step IS 'time step of the last accepted code; codes of this step and earlier ones are rejected';
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_hash_unique UNIQUE (hash);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.emails
    ADD CONSTRAINT emails_hash_unique UNIQUE (token_hash);
ALTER TABLE ONLY public.emails
    ADD CONSTRAINT emails_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.known_locations
    ADD CONSTRAINT known_locations_pkey PRIMARY KEY (location);
ALTER TABLE ONLY public.recovery_codes
    ADD CONSTRAINT recovery_codes_pkey PRIMARY KEY (user_id, hash);
ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT refresh_tokens_pkey PRIMARY KEY (hash);
ALTER TABLE ONLY public.revocation_counter
    ADD CONSTRAINT revocation_counter_pkey PRIMARY KEY (only_row);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.signing_keys
    ADD CONSTRAINT signing_keys_pkey PRIMARY KEY (kid);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_email_unique UNIQUE (email);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
CREATE INDEX api_keys_of_session ON public.api_keys USING btree (session_id) WHERE (session_id IS NOT NULL);
CREATE INDEX api_keys_of_user ON public.api_keys USING btree (user_id) WHERE (revoked_at IS NULL);
CREATE UNIQUE INDEX api_keys_seq_unique ON public.api_keys USING btree (seq) WHERE (seq IS NOT NULL);
CREATE INDEX audit_log_by_action ON public.audit_log USING btree (action, at, id);
CREATE INDEX audit_log_by_actor ON public.audit_log USING btree (actor_id, action, at, id);
CREATE INDEX audit_log_by_actor_and_subject ON public.audit_log USING btree (actor_id, user_id, action, at, id);
CREATE INDEX audit_log_by_subject ON public.audit_log USING btree (user_id, action, at, id);
CREATE INDEX audit_log_by_time ON public.audit_log USING btree (at, id);
CREATE INDEX emails_due ON public.emails USING btree (claimed_until) WHERE (token_sealed IS NOT NULL);
CREATE UNIQUE INDEX emails_live_unique ON public.emails USING btree (user_id, kind) WHERE ((ended_at IS NULL) AND (token_hash IS NOT NULL));
CREATE INDEX emails_of_user ON public.emails USING btree (user_id, kind, created_at);
CREATE INDEX known_locations_of_user ON public.known_locations USING btree (user_id, last_at);
CREATE INDEX refresh_tokens_of_session_by_time ON public.refresh_tokens USING btree (session_id, created_at);
CREATE UNIQUE INDEX refresh_tokens_unspent_unique ON public.refresh_tokens USING btree (session_id) WHERE (spent_at IS NULL);
CREATE INDEX sessions_of_user ON public.sessions USING btree (user_id) WHERE (revoked_at IS NULL);
CREATE UNIQUE INDEX sessions_seq_unique ON public.sessions USING btree (seq) WHERE (seq IS NOT NULL);
CREATE TRIGGER audit_log_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.audit_log FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();
CREATE TRIGGER sessions_kept BEFORE DELETE ON public.sessions FOR EACH ROW WHEN ((COALESCE(old.revoked_at, old.used_at) > (now() - '30 days'::interval))) EXECUTE FUNCTION public.refuse_early_loss();
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_session_id_fkey FOREIGN KEY (session_id) REFERENCES public.sessions(id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.emails
    ADD CONSTRAINT emails_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.known_locations
    ADD CONSTRAINT known_locations_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.recovery_codes
    ADD CONSTRAINT recovery_codes_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT refresh_tokens_session_id_fkey FOREIGN KEY (session_id) REFERENCES public.sessions(id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);
GRANT SELECT,INSERT ON TABLE public.api_keys TO payflow_auth;
GRANT UPDATE(last_used_at) ON TABLE public.api_keys TO payflow_auth;
GRANT UPDATE(audited_hour) ON TABLE public.api_keys TO payflow_auth;
GRANT UPDATE(revoked_at) ON TABLE public.api_keys TO payflow_auth;
GRANT UPDATE(reason) ON TABLE public.api_keys TO payflow_auth;
GRANT UPDATE(seq) ON TABLE public.api_keys TO payflow_auth;
GRANT SELECT,INSERT ON TABLE public.audit_log TO payflow_auth;
GRANT SELECT,INSERT ON TABLE public.emails TO payflow_auth;
GRANT UPDATE(token_sealed) ON TABLE public.emails TO payflow_auth;
GRANT UPDATE(ended_at) ON TABLE public.emails TO payflow_auth;
GRANT UPDATE(ended_as) ON TABLE public.emails TO payflow_auth;
GRANT UPDATE(claimed_until) ON TABLE public.emails TO payflow_auth;
GRANT UPDATE(attempts) ON TABLE public.emails TO payflow_auth;
GRANT UPDATE(sent_at) ON TABLE public.emails TO payflow_auth;
GRANT UPDATE(last_error) ON TABLE public.emails TO payflow_auth;
GRANT SELECT,INSERT,DELETE ON TABLE public.known_locations TO payflow_auth;
GRANT UPDATE(last_at) ON TABLE public.known_locations TO payflow_auth;
GRANT SELECT,INSERT,DELETE ON TABLE public.recovery_codes TO payflow_auth;
GRANT UPDATE(used_at) ON TABLE public.recovery_codes TO payflow_auth;
GRANT SELECT,INSERT,DELETE ON TABLE public.refresh_tokens TO payflow_auth;
GRANT UPDATE(spent_at) ON TABLE public.refresh_tokens TO payflow_auth;
GRANT SELECT ON TABLE public.revocation_counter TO payflow_auth;
GRANT UPDATE(last) ON TABLE public.revocation_counter TO payflow_auth;
GRANT SELECT,INSERT,DELETE ON TABLE public.sessions TO payflow_auth;
GRANT UPDATE(used_at) ON TABLE public.sessions TO payflow_auth;
GRANT UPDATE(revoked_at) ON TABLE public.sessions TO payflow_auth;
GRANT UPDATE(reason) ON TABLE public.sessions TO payflow_auth;
GRANT UPDATE(seq) ON TABLE public.sessions TO payflow_auth;
GRANT SELECT,INSERT ON TABLE public.signing_keys TO payflow_auth;
GRANT UPDATE(retired_at) ON TABLE public.signing_keys TO payflow_auth;
GRANT SELECT,INSERT ON TABLE public.users TO payflow_auth;
GRANT UPDATE(role) ON TABLE public.users TO payflow_auth;
GRANT UPDATE(password_hash) ON TABLE public.users TO payflow_auth;
GRANT UPDATE(password_changed_at) ON TABLE public.users TO payflow_auth;
GRANT UPDATE(disabled_at) ON TABLE public.users TO payflow_auth;
GRANT UPDATE(disabled_reason) ON TABLE public.users TO payflow_auth;
GRANT UPDATE(totp_secret_sealed) ON TABLE public.users TO payflow_auth;
GRANT UPDATE(totp_confirmed_at) ON TABLE public.users TO payflow_auth;
GRANT UPDATE(totp_step) ON TABLE public.users TO payflow_auth;
GRANT UPDATE(email_verified_at) ON TABLE public.users TO payflow_auth;
