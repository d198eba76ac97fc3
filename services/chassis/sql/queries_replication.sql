-- Every service: what a COMMIT waits for.

-- name: await_replication
-- Writes a few bytes to the log and changes no table. With a transaction id alone COMMIT would not wait.
SELECT pg_logical_emit_message(true, 'payflow-barrier', '');
