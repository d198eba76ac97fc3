-- The API keys that were created in a session: it is kept as long as they are.
CREATE INDEX CONCURRENTLY IF NOT EXISTS api_keys_of_session ON api_keys (session_id) WHERE session_id IS NOT NULL;
