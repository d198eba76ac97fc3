-- name: read_horizon
-- This session counts, so that there is a row; its start is a clock that was read before any other session is looked at.
-- A session that the server does not track (track_activities) makes nothing final. Sessions of other roles show no start.
SELECT now() AS now, min(CASE state WHEN 'disabled' THEN to_timestamp(0) ELSE xact_start END) AS final_before
FROM pg_stat_activity WHERE datname = current_database();
