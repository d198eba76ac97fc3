-- Where an account logged in from with success: what keeps strangers who guess at it from holding up its owner.
CREATE TABLE login_places (
    -- A keyed hash of the account and the network address; the address itself is not kept.
    place     bytea       PRIMARY KEY,
    user_id   uuid        NOT NULL REFERENCES users (id),
    first_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT login_places_place_sha256 CHECK (length(place) = 32)
);
CREATE INDEX login_places_of_user ON login_places (user_id, last_at);

GRANT SELECT, INSERT, UPDATE (last_at), DELETE ON login_places TO payflow_auth;
