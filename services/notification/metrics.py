"""Metrics of the notification service."""

from __future__ import annotations

from prometheus_client import Counter

NOTIFICATIONS = Counter("payflow_notifications_total", "Notifications recorded, by kind.", ["kind"])
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
