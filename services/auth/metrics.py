"""Metrics of the auth service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

LOGINS = Counter("payflow_logins_total", "Logins by result.", ["result"])
SESSIONS_ENDED = Counter(
    "payflow_sessions_ended_total",
    "Ended sessions by reason; `refresh_reused` indicates a stolen refresh token.",
    ["reason"],
)
EMAILS = Counter(
    "payflow_emails_requested_total",
    "Requested e-mails by kind, and whether one was queued or skipped.",
    ["kind", "result"],
)
API_KEYS_VERIFIED = Counter("payflow_api_keys_verified_total", "API keys checked for a gateway, by result.", ["result"])
HASHES_WAITING = Gauge("payflow_password_hashes_waiting", "Passwords being hashed or waiting for a thread.")
HASHES_REFUSED = Counter("payflow_password_hashes_refused_total", "Passwords rejected because too many were waiting.")
