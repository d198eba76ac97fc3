-- Indexes of a CREATE INDEX CONCURRENTLY that failed.
SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid
