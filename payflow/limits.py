"""The time limits and retries of the client."""

from __future__ import annotations

import re
from dataclasses import dataclass

from payflow.errors import InvalidArgument

WAIT_SECONDS_DEFAULT = 10.0
"""How long `send` and `deposit` wait for the outcome by default."""

PREFER_WAIT_SECONDS_MAX = 30
"""The longest `Prefer: wait` that the gateway accepts; the rest of a longer wait is polled."""

PAGE_SIZE_MAX = 200
"""The most items that the gateway returns in one page."""

KEY = re.compile(r"[\x21-\x7e]+")
"""The characters of API keys and idempotency keys: visible ASCII."""

IDEMPOTENCY_KEY_LENGTH_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Time limits and retries of one client."""

    connect_seconds: float = 3.0
    """How long to wait for a connection."""

    response_seconds: float = 15.0
    """How long one response may take. Longer than the gateway's own deadline, so that its error arrives."""

    proof_seconds: float = 180.0
    """How long a full proof of the ledger may take: it reads every entry."""

    attempts_max: int = 8
    """How often one request is sent at most, retries included."""

    retry_seconds: float = 30.0
    """After this long no new attempt is started, and a `Retry-After` beyond it is not waited for."""

    backoff_seconds_min: float = 0.1
    """The pause after the first failed attempt; it doubles with each."""

    backoff_seconds_max: float = 5.0
    """The longest pause between two attempts."""

    poll_seconds_min: float = 0.05
    """The pause before the first poll of a transfer that is still PENDING."""

    poll_seconds_max: float = 1.0
    """The longest pause between two polls."""

    def __post_init__(self) -> None:
        """Reject limits of 0: the HTTP library takes a time limit of 0 for "no limit".

        Raises:
            InvalidArgument
        """
        for name in ("connect_seconds", "response_seconds", "proof_seconds", "poll_seconds_min"):
            if not getattr(self, name) > 0:
                raise InvalidArgument(f"{name} must be greater than 0")
        if self.attempts_max < 1:
            raise InvalidArgument("attempts_max must be 1 or more")


DEFAULT = Limits()
"""For programs: retries for up to 30 s."""

INTERACTIVE = Limits(response_seconds=15.0, attempts_max=3, retry_seconds=5.0, backoff_seconds_max=0.5)
"""For a user at a terminal: reports an error within a few seconds."""
