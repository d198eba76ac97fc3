-- Runs of the proof that operators requested. The process that works on one updates `updated_at` each second: a run that is silent for
-- longer was abandoned. Only one runs at a time.
CREATE TABLE proof_runs (
    id           uuid        PRIMARY KEY,
    whole        boolean     NOT NULL,
    required     text,
    state        text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'passed', 'failed', 'abandoned')),
    instance     text        NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at     timestamptz,
    current      text,
    checks_done  integer     NOT NULL DEFAULT 0,
    blocks_done  bigint      NOT NULL DEFAULT 0,
    blocks_total bigint,
    proof        jsonb,
    CONSTRAINT proof_runs_ended CHECK ((state = 'running') = (ended_at IS NULL)),
    CONSTRAINT proof_runs_proof CHECK ((state IN ('passed', 'failed')) = (proof IS NOT NULL))
);
CREATE UNIQUE INDEX proof_runs_running ON proof_runs (state) WHERE state = 'running';

GRANT SELECT, INSERT, UPDATE, DELETE ON proof_runs TO payflow_wallet;

-- The proof compares admissions with their audit entries.
GRANT SELECT ON audit_log TO payflow_wallet_seal;
