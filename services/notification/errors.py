"""What the notification service refuses.

Refusal
├── NotificationNotFound  404 notification_not_found
├── InvalidParameter      422 invalid_request
└── Unavailable
    └── RecordingContended  503 recording_contended
"""

from __future__ import annotations

from services.contracts.refusal import FieldError, Refusal, Unavailable


class NotificationNotFound(Refusal):
    """There is no such notification."""

    status = 404
    code = "notification_not_found"


class InvalidParameter(Refusal):
    """A parameter of the request is not acceptable."""

    status = 422
    code = "invalid_request"

    def __init__(self, field: str, message: str) -> None:
        """Name the parameter and what is wrong with it."""
        super().__init__(errors=[FieldError(field, message)])


class RecordingContended(Unavailable):
    """Another worker holds what this one needs; it will let go or its session will be ended."""

    code = "recording_contended"
