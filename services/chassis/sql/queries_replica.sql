-- Every service that reads on a standby: how far the write-ahead log of a server is.

-- name: read_flushed_position
-- On the primary: every transaction that anyone can see is before this position.
SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint;

-- name: read_replayed_position
-- On a standby: every transaction before this position can be seen; null on a server that is no standby.
SELECT pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint WHERE pg_is_in_recovery();
