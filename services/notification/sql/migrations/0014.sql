-- Lines without a notification, oldest first. Notifications are found by their ids, and inbox rows by those of their transfers.
CREATE INDEX CONCURRENTLY IF NOT EXISTS events_by_time ON events (created_at);
