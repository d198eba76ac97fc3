-- The transfer list: each combination of its filters is a range of one of these, in the order of the list. A sender's transfers
-- by wallet, in any state; a recipient's, which are in the list when they are completed. The sender's also find what is under
-- way from a wallet.
CREATE INDEX CONCURRENTLY IF NOT EXISTS transfers_sent ON transfers (user_id, from_wallet_id, status, kind, created_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS transfers_sent_to ON transfers (user_id, to_wallet_id, status, kind, created_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS transfers_received ON transfers (recipient_id, to_wallet_id, kind, created_at, id)
    WHERE status = 'COMPLETED';
CREATE INDEX CONCURRENTLY IF NOT EXISTS transfers_received_from ON transfers (recipient_id, from_wallet_id, kind, created_at, id)
    WHERE status = 'COMPLETED';

-- Replaced. Until it is replaced too, a service of the previous version finds a user's rows by the first column of the new
-- indexes, and reads transfers_expiring for its look-up of pending transfers by wallet.
DROP INDEX CONCURRENTLY IF EXISTS transfers_by_user;
DROP INDEX CONCURRENTLY IF EXISTS transfers_by_recipient;
DROP INDEX CONCURRENTLY IF EXISTS transfers_pending;
