"""What the gateway counts beside the series of the chassis. Every label is there from the start, at zero."""

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
    "letters",
    "letter_tokens",
    "wrong_key",
    "wrong_recipient",
)

IDEMPOTENCY = Counter(
    "payflow_idempotency_total",
    "Requests with an idempotency key by what became of it, and look-ups that the cache could not answer.",
    ["result"],
)
RATE_LIMITED = Counter("payflow_rate_limited_total", "Requests refused by a rate limit.", ["limit"])

STREAM_ENDINGS = ("token_expired", "session_ended", "server_draining", "too_slow", "gone")
STREAMS = Gauge("payflow_live_streams", "Streams of events that are open.")
STREAMS_ENDED = Counter("payflow_live_streams_ended_total", "Streams of events that ended, by why.", ["reason"])

for _result in IDEMPOTENCY_RESULTS:
    IDEMPOTENCY.labels(_result)
for _limit in RATE_LIMITS:
    RATE_LIMITED.labels(_limit)
for _ending in STREAM_ENDINGS:
    STREAMS_ENDED.labels(_ending)
