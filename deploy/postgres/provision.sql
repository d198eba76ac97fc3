-- Databases and roles of PayFlow, for psql; safe to repeat.
--
-- One database per service. Its owner runs the migrations, its service role gets only what the
-- migrations grant, and each role may connect only to its own database. The passwords come
-- from the environment, one variable per role: PAYFLOW_WALLET_OWNER_PASSWORD and so on.

\set ON_ERROR_STOP on
SET client_min_messages = warning;

\getenv auth_owner_password PAYFLOW_AUTH_OWNER_PASSWORD
\getenv auth_password PAYFLOW_AUTH_PASSWORD
\getenv wallet_owner_password PAYFLOW_WALLET_OWNER_PASSWORD
\getenv wallet_password PAYFLOW_WALLET_PASSWORD
\getenv wallet_proof_password PAYFLOW_WALLET_PROOF_PASSWORD
\getenv wallet_seal_password PAYFLOW_WALLET_SEAL_PASSWORD
\getenv transaction_owner_password PAYFLOW_TRANSACTION_OWNER_PASSWORD
\getenv transaction_password PAYFLOW_TRANSACTION_PASSWORD
\getenv notification_owner_password PAYFLOW_NOTIFICATION_OWNER_PASSWORD
\getenv notification_password PAYFLOW_NOTIFICATION_PASSWORD
\getenv backup_password PAYFLOW_BACKUP_PASSWORD

-- Missing roles.
SELECT format('CREATE ROLE %I LOGIN', wanted.name)
FROM unnest(ARRAY[
    'payflow_auth_owner', 'payflow_auth',
    'payflow_wallet_owner', 'payflow_wallet', 'payflow_wallet_proof', 'payflow_wallet_seal',
    'payflow_transaction_owner', 'payflow_transaction',
    'payflow_notification_owner', 'payflow_notification', 'payflow_backup'
]) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name)
\gexec

ALTER ROLE payflow_auth_owner PASSWORD :'auth_owner_password';
ALTER ROLE payflow_auth PASSWORD :'auth_password';
ALTER ROLE payflow_wallet_owner PASSWORD :'wallet_owner_password';
ALTER ROLE payflow_wallet PASSWORD :'wallet_password';
ALTER ROLE payflow_wallet_proof PASSWORD :'wallet_proof_password';
ALTER ROLE payflow_wallet_seal PASSWORD :'wallet_seal_password';
ALTER ROLE payflow_transaction_owner PASSWORD :'transaction_owner_password';
ALTER ROLE payflow_transaction PASSWORD :'transaction_password';
ALTER ROLE payflow_notification_owner PASSWORD :'notification_owner_password';
ALTER ROLE payflow_notification PASSWORD :'notification_password';
-- Backups: it may copy the whole server, and connect to no database.
ALTER ROLE payflow_backup REPLICATION PASSWORD :'backup_password';

-- Missing databases, each with its owner.
SELECT format('CREATE DATABASE %I OWNER %I', wanted.name, 'payflow_' || wanted.name || '_owner')
FROM unnest(ARRAY['auth', 'wallet', 'transaction', 'notification']) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = wanted.name)
\gexec

-- No role may connect by default; each may connect to its own database.
REVOKE ALL ON DATABASE postgres, template1, auth, wallet, transaction, notification FROM PUBLIC;
GRANT CONNECT ON DATABASE auth TO payflow_auth;
GRANT CONNECT ON DATABASE wallet TO payflow_wallet, payflow_wallet_proof, payflow_wallet_seal;
GRANT CONNECT ON DATABASE transaction TO payflow_transaction;
GRANT CONNECT ON DATABASE notification TO payflow_notification;

-- Roles that serve requests have short time limits. Owners have none: migrations set their own.
SELECT format('ALTER ROLE %I SET %s = %L', role.name, setting.name, setting.value)
FROM unnest(ARRAY[
    'payflow_auth', 'payflow_wallet', 'payflow_transaction', 'payflow_notification'
]) AS role (name)
CROSS JOIN (VALUES
    ('lock_timeout', '2s'),
    ('statement_timeout', '5s'),
    ('idle_in_transaction_session_timeout', '5s')
) AS setting (name, value)
\gexec

ALTER ROLE payflow_wallet_proof SET statement_timeout = '120s';
ALTER ROLE payflow_wallet_proof SET default_transaction_read_only = 'on';

-- The sealer reads much and writes one row a second. It waits only briefly for a lock, and tries again a second later.
ALTER ROLE payflow_wallet_seal SET statement_timeout = '120s';
ALTER ROLE payflow_wallet_seal SET lock_timeout = '2s';
ALTER ROLE payflow_wallet_seal SET idle_in_transaction_session_timeout = '30s';
