-- name: read_horizon
-- This session is included, so that there is a row; its start is read before any other session is examined.
-- If the server does not track a session (track_activities), nothing is final. Sessions of other roles show no start.
SELECT now() AS now, min(CASE state WHEN 'disabled' THEN to_timestamp(0) ELSE xact_start END) AS final_before
FROM pg_stat_activity WHERE datname = current_database();
