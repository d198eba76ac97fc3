-- As expected at acceptance; null when nothing could be expected, and in older rows.
ALTER TABLE transfers ADD COLUMN expected_by timestamptz;
