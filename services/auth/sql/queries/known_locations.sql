-- name: insert_place
-- In the login's commit, after the user's row was locked: logins of one user take turns. xmax is 0 in a row that is new.
INSERT INTO login_places (place, user_id) VALUES ($1, $2)
ON CONFLICT (place) DO UPDATE SET last_at = clock_timestamp()
RETURNING xmax = 0;

-- name: prune_places
-- Only when a place is new, so that a usual login pays nothing for it.
DELETE FROM login_places WHERE user_id = $1 AND (
    last_at < clock_timestamp() - make_interval(days => $2)
    OR place IN (SELECT place FROM login_places WHERE user_id = $1 ORDER BY last_at DESC, place OFFSET $3)
);

-- name: is_place_known
-- One probe of one index, whether or not anybody has the e-mail address: the time tells nothing.
SELECT EXISTS (
    SELECT FROM login_places WHERE place = $1 AND last_at > clock_timestamp() - make_interval(days => $2)
);
