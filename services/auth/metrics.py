"""The series of the auth service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

LOGINS = Counter("payflow_logins_total", "Logins that were decided, by how.", ["result"])
SESSIONS_ENDED = Counter(
    "payflow_sessions_ended_total", "Sessions that were ended, by why; `refresh_reused` is a sign of theft.", ["reason"]
)
LETTERS = Counter(
    "payflow_emails_requested_total",
    "Letters that were asked for, by kind and whether one was written.",
    ["kind", "result"],
)
API_KEYS_VERIFIED = Counter(
    "payflow_api_keys_verified_total", "API keys that a gateway asked about, by what they turned out to be.", ["result"]
)
HASHES_WAITING = Gauge("payflow_password_hashes_waiting", "Passwords being hashed or waiting for a thread.")
HASHES_REFUSED = Counter("payflow_password_hashes_refused_total", "Passwords refused because too many were waiting.")
