"""The transaction service: transfers, their state, idempotency keys, the outbox; database `transaction`."""
