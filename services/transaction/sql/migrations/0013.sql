-- Terminal transfers from one wallet to another, for the list by the wallet of the other party: of senders and of recipients. It gets
-- its entry when a transfer becomes final; nothing is written to it before.
CREATE INDEX CONCURRENTLY IF NOT EXISTS transfers_between
    ON transfers (from_wallet_id, to_wallet_id, user_id, status, kind, created_at, id) WHERE status <> 'PENDING';

-- Replaced. Until it is replaced too, a service of the previous version finds a sender's rows by the first column of transfers_sent,
-- and a recipient's by that of transfers_received.
DROP INDEX CONCURRENTLY IF EXISTS transfers_sent_to;
DROP INDEX CONCURRENTLY IF EXISTS transfers_received_from;
