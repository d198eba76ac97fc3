-- A late outcome that an operator found to be genuine: the sealer adds it to its next block, whose number is `block` then.
CREATE TABLE admissions (
    transfer_id uuid        PRIMARY KEY,
    reason      text        NOT NULL CHECK (reason <> ''),
    operator_id uuid        NOT NULL,
    request_id  text        NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    block       bigint
);
CREATE INDEX admissions_unsealed ON admissions (transfer_id) WHERE block IS NULL;

-- An action may concern a transfer instead of a wallet.
ALTER TABLE audit_log ALTER COLUMN account_id DROP NOT NULL;
ALTER TABLE audit_log ADD COLUMN transfer_id uuid;
ALTER TABLE audit_log ADD COLUMN detail jsonb NOT NULL DEFAULT '{}';

GRANT SELECT, INSERT ON admissions TO payflow_wallet;
GRANT SELECT, UPDATE (block) ON admissions TO payflow_wallet_seal;
GRANT SELECT ON admissions TO payflow_wallet_proof;
