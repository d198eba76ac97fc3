-- The numbered notifications of a feed, in order. Those of earlier code have no number.
CREATE INDEX CONCURRENTLY IF NOT EXISTS notifications_of_feed ON notifications (user_id, seq) WHERE seq IS NOT NULL;
