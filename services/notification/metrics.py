"""Metrics of the notification service."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

NOTIFICATIONS = Counter("payflow_notifications_total", "Notifications recorded, by kind.", ["kind"])
DELAY = Histogram(
    "payflow_notification_delay_seconds",
    "Seconds from the outcome of a transfer to its notification, of the oldest event of each commit.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
REPEATS = Counter(
    "payflow_notification_events_repeated_total", "Events that arrived again and were recognized as copies."
)
CAUGHT_UP = Counter(
    "payflow_notification_events_caught_up_total", "Events that the catch-up recorded because no message had arrived."
)
DELIVERIES = Counter(
    "payflow_deliveries_total", "Attempts to send the e-mail of a notification, by outcome.", ["outcome"]
)
AUTH_EMAILS = Counter("payflow_auth_emails_total", "Attempts to send an e-mail of auth, by outcome.", ["outcome"])
"""`outcome` is one of sent, retried, failed."""
