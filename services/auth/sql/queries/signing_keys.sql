-- name: lock_signing_keys
-- So that two processes that start at the same time create one key.
SELECT pg_advisory_xact_lock(hashtext('payflow signing keys'));

-- name: find_signing_key
-- The current signing key.
SELECT kid, public_key, private_key_sealed FROM signing_keys
WHERE retired_at IS NULL AND signs_from <= clock_timestamp()
ORDER BY signs_from DESC, kid LIMIT 1;

-- name: insert_signing_key
INSERT INTO signing_keys (kid, public_key, private_key_sealed) VALUES ($1, $2, $3);

-- name: list_verifying_keys
-- Including keys that do not sign yet, so that verifiers know them in time.
SELECT kid, public_key, private_key_sealed FROM signing_keys WHERE retired_at IS NULL ORDER BY signs_from, kid;

-- name: list_all_keys
-- A key verifies until the last token has expired that it signed before the next key took over.
SELECT kid, created_at, signs_from, retired_at,
       lead(signs_from) OVER (ORDER BY signs_from, kid) + make_interval(secs => $1) AS retires_at,
       signs_from > clock_timestamp() AS is_waiting,
       row_number() OVER (PARTITION BY signs_from > clock_timestamp() OR retired_at IS NOT NULL
                          ORDER BY signs_from DESC, kid) = 1 AS is_newest
FROM signing_keys ORDER BY signs_from, kid;

-- name: find_waiting_key
SELECT kid FROM signing_keys WHERE retired_at IS NULL AND signs_from > clock_timestamp() LIMIT 1;

-- name: insert_next_signing_key
-- Published with the commit; signs once every verifier has had time to fetch it.
INSERT INTO signing_keys (kid, public_key, private_key_sealed, signs_from)
VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4));

-- name: retire_signing_keys
-- Keys that were replaced so long ago that all their tokens have expired.
UPDATE signing_keys SET retired_at = clock_timestamp()
WHERE retired_at IS NULL AND EXISTS (
    SELECT FROM signing_keys AS following
    WHERE following.retired_at IS NULL AND following.signs_from > signing_keys.signs_from
      AND following.signs_from < clock_timestamp() - make_interval(secs => $1)
)
RETURNING kid;
