"""Refusals of the notification service.

Refusal
├── NotificationNotFound    404 notification_not_found
└── Unavailable
    └── RecordingContended  503 recording_contended
"""

from __future__ import annotations

from services.contracts.refusal import Refusal, Unavailable


class NotificationNotFound(Refusal):
    """There is no such notification."""

    status = 404
    code = "notification_not_found"


class RecordingContended(Unavailable):
    """Another worker holds a lock that this one needs; it releases it, or the server ends its session."""

    code = "recording_contended"
