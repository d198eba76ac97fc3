-- name: insert_location
-- In the commit of a login, with the row of the user locked, which serializes logins of a user. xmax is 0 in a new row.
INSERT INTO known_locations (location, user_id) VALUES ($1, $2)
ON CONFLICT (location) DO UPDATE SET last_at = clock_timestamp()
RETURNING xmax = 0;

-- name: prune_locations
-- Only for a new location, so that it costs other logins nothing.
DELETE FROM known_locations WHERE user_id = $1 AND (
    last_at < clock_timestamp() - make_interval(days => $2)
    OR location IN (SELECT location FROM known_locations WHERE user_id = $1 ORDER BY last_at DESC, location OFFSET $3)
);

-- name: is_location_known
-- One index look-up whether or not the e-mail address is registered: the time reveals nothing.
SELECT EXISTS (
    SELECT FROM known_locations WHERE location = $1 AND last_at > clock_timestamp() - make_interval(days => $2)
);
