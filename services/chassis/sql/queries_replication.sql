-- Every service: the wait of a COMMIT.

-- name: await_replication
-- Writes a few bytes to the write-ahead log and changes no table. With a transaction id alone COMMIT would not wait.
SELECT pg_logical_emit_message(true, 'payflow-barrier', '');
