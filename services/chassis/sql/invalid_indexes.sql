-- What a CREATE INDEX CONCURRENTLY left that did not come to its end.
SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid
