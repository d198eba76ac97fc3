-- Databases and roles of PayFlow, for psql as a superuser; safe to repeat, and it changes passwords that have changed.
--
-- One database per service. Its owner runs the migrations, its service role gets only what the
-- migrations grant, and each role may connect only to its own database. The passwords come
-- from files, one per role, in the folder PAYFLOW_SECRETS_DIR: payflow_wallet_owner_password and so on.

\set ON_ERROR_STOP on
\set SHOW_CONTEXT never
SET client_min_messages = warning;

\set auth_owner_password `cat "$PAYFLOW_SECRETS_DIR/payflow_auth_owner_password"`
\set auth_password `cat "$PAYFLOW_SECRETS_DIR/payflow_auth_password"`
\set wallet_owner_password `cat "$PAYFLOW_SECRETS_DIR/payflow_wallet_owner_password"`
\set wallet_password `cat "$PAYFLOW_SECRETS_DIR/payflow_wallet_password"`
\set wallet_proof_password `cat "$PAYFLOW_SECRETS_DIR/payflow_wallet_proof_password"`
\set wallet_seal_password `cat "$PAYFLOW_SECRETS_DIR/payflow_wallet_seal_password"`
\set transaction_owner_password `cat "$PAYFLOW_SECRETS_DIR/payflow_transaction_owner_password"`
\set transaction_password `cat "$PAYFLOW_SECRETS_DIR/payflow_transaction_password"`
\set notification_owner_password `cat "$PAYFLOW_SECRETS_DIR/payflow_notification_owner_password"`
\set notification_password `cat "$PAYFLOW_SECRETS_DIR/payflow_notification_password"`
\set backup_password `cat "$PAYFLOW_SECRETS_DIR/payflow_backup_password"`
\set monitor_password `cat "$PAYFLOW_SECRETS_DIR/payflow_monitor_password"`
\set scaler_password `cat "$PAYFLOW_SECRETS_DIR/payflow_scaler_password"`

CREATE TEMPORARY TABLE logins (name text, password text);
INSERT INTO logins VALUES
    ('payflow_auth_owner', :'auth_owner_password'),
    ('payflow_auth', :'auth_password'),
    ('payflow_wallet_owner', :'wallet_owner_password'),
    ('payflow_wallet', :'wallet_password'),
    ('payflow_wallet_proof', :'wallet_proof_password'),
    ('payflow_wallet_seal', :'wallet_seal_password'),
    ('payflow_transaction_owner', :'transaction_owner_password'),
    ('payflow_transaction', :'transaction_password'),
    ('payflow_notification_owner', :'notification_owner_password'),
    ('payflow_notification', :'notification_password'),
    ('payflow_backup', :'backup_password'),
    ('payflow_monitor', :'monitor_password'),
    ('payflow_scaler', :'scaler_password');

-- PostgreSQL would take an empty password for none, and lock the role out.
DO $$
DECLARE
    missing text := (SELECT string_agg(name || '_password', ', ') FROM logins WHERE length(password) < 12);
BEGIN
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'missing, or shorter than 12 characters: %', missing;
    END IF;
END $$;

-- Missing roles.
SELECT format('CREATE ROLE %I LOGIN', name) FROM logins
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

SELECT format('ALTER ROLE %I PASSWORD %L', name, password) FROM logins
\gexec

-- Missing databases, each with its owner.
SELECT format('CREATE DATABASE %I OWNER %I', wanted.name, 'payflow_' || wanted.name || '_owner')
FROM unnest(ARRAY['auth', 'wallet', 'transaction', 'notification']) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = wanted.name)
\gexec

-- No role may connect by default; each may connect to its own database.
REVOKE ALL ON DATABASE postgres, template1, auth, wallet, transaction, notification FROM PUBLIC;
GRANT CONNECT ON DATABASE auth TO payflow_auth;
GRANT CONNECT ON DATABASE wallet TO payflow_wallet, payflow_wallet_proof, payflow_wallet_seal;
GRANT CONNECT ON DATABASE transaction TO payflow_transaction, payflow_scaler;
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

-- Backups: it may copy the whole server, and connect to no database.
ALTER ROLE payflow_backup REPLICATION;

-- The exporter of metrics reads statistics of the server, and no table of a service.
GRANT CONNECT ON DATABASE postgres TO payflow_monitor;
GRANT pg_monitor TO payflow_monitor;
ALTER ROLE payflow_monitor CONNECTION LIMIT 5;
ALTER ROLE payflow_monitor SET statement_timeout = '10s';
ALTER ROLE payflow_monitor SET default_transaction_read_only = 'on';

-- The autoscaler counts transfers by status: a migration grants it that one column.
ALTER ROLE payflow_scaler CONNECTION LIMIT 5;
ALTER ROLE payflow_scaler SET statement_timeout = '5s';
ALTER ROLE payflow_scaler SET default_transaction_read_only = 'on';
