"""The gateway: the public API, with authentication, rate limits and idempotency keys. It has no database."""
