-- The notifications of a user by number: the feed upwards, the list downwards.
CREATE INDEX CONCURRENTLY IF NOT EXISTS notifications_by_seq ON notifications (user_id, seq);
-- Those of releases before revision 0010 have no number; nothing is added to this index.
CREATE INDEX CONCURRENTLY IF NOT EXISTS notifications_unnumbered ON notifications (user_id, created_at, id) WHERE seq IS NULL;

-- Replaced. Until it is replaced too, a service of the previous version finds the rows of its list by the first column of
-- notifications_by_seq, and sorts them.
DROP INDEX CONCURRENTLY IF EXISTS notifications_of_user;
DROP INDEX CONCURRENTLY IF EXISTS notifications_of_feed;
