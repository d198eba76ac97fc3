"""What the gateway counts beside the series of the chassis. Every label is there from the start, at zero."""

from __future__ import annotations

from prometheus_client import Counter

IDEMPOTENCY_RESULTS = ("new", "replayed", "in_use", "reused", "cache_unavailable")
RATE_LIMITS = ("default", "login", "wrong_login", "register", "recipients", "letters", "letter_tokens")

IDEMPOTENCY = Counter(
    "payflow_idempotency_total",
    "Requests with an idempotency key by what became of it, and look-ups that the cache could not answer.",
    ["result"],
)
RATE_LIMITED = Counter("payflow_rate_limited_total", "Requests refused by a rate limit.", ["limit"])

for _result in IDEMPOTENCY_RESULTS:
    IDEMPOTENCY.labels(_result)
for _limit in RATE_LIMITS:
    RATE_LIMITED.labels(_limit)
