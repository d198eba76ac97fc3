"""Metrics of the gateway, beside those of the chassis. Every label is exported from the start, at zero."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

IDEMPOTENCY_RESULTS = ("new", "replayed", "in_use", "reused", "cache_unavailable")
RATE_LIMITS = (
    "address",
    "user",
    "key",
    "login",
    "wrong_login",
    "register",
    "recipients",
    "emails",
    "email_tokens",
    "wrong_key",
    "wrong_recipient",
)

IDEMPOTENCY = Counter(
    "payflow_idempotency_total",
    "Requests with an idempotency key by result, and cache look-ups that failed because Redis was unavailable.",
    ["result"],
)
RATE_LIMITED = Counter("payflow_rate_limited_total", "Requests refused by a rate limit.", ["limit"])

STREAM_ENDINGS = ("token_expired", "session_ended", "server_draining", "too_slow", "disconnected")
STREAMS = Gauge("payflow_live_streams", "Open event streams.")
STREAMS_ENDED = Counter("payflow_live_streams_ended_total", "Ended event streams by reason.", ["reason"])

for _result in IDEMPOTENCY_RESULTS:
    IDEMPOTENCY.labels(_result)
for _limit in RATE_LIMITS:
    RATE_LIMITED.labels(_limit)
for _ending in STREAM_ENDINGS:
    STREAMS_ENDED.labels(_ending)
