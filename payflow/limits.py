"""How long and how often the client tries: every limit has a name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from payflow.errors import InvalidArgument

WAIT_SECONDS_DEFAULT = 10.0
"""How long `send` and `deposit` wait for the outcome when the caller does not say."""

PREFER_WAIT_SECONDS_MAX = 30
"""The longest `Prefer: wait` that the gateway takes; what is left of a longer wait is polled."""

PAGE_SIZE_MAX = 200
"""The most items that the gateway puts on one page."""


KEY = re.compile(r"[\x21-\x7e]+")
"""The characters of API keys and idempotency keys: visible ASCII."""

IDEMPOTENCY_KEY_LENGTH_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The patience of a client."""

    connect_seconds: float = 3.0
    """How long to wait for a connection."""

    answer_seconds: float = 15.0
    """How long one answer may take. Longer than the gateway's own deadline, so that its word is heard."""

    proof_seconds: float = 180.0
    """How long a full proof of the ledger may take: it reads every entry."""

    attempts_max: int = 8
    """How often one request is sent at most."""

    retry_seconds: float = 30.0
    """After this long no new attempt is started, and a longer `Retry-After` is not waited for."""

    backoff_seconds_min: float = 0.1
    """The pause after the first failed attempt; it doubles with each."""

    backoff_seconds_max: float = 5.0
    """The longest pause between two attempts."""

    poll_seconds_min: float = 0.05
    """The pause before the first look at a transfer that is still PENDING."""

    poll_seconds_max: float = 1.0
    """The longest pause between two such looks."""

    def __post_init__(self) -> None:
        """Refuse limits that mean none: the HTTP library takes a time limit of 0 for "no limit".

        Raises:
            InvalidArgument
        """
        for name in ("connect_seconds", "answer_seconds", "proof_seconds", "poll_seconds_min"):
            if not getattr(self, name) > 0:
                raise InvalidArgument(f"{name} must be greater than 0")
        if self.attempts_max < 1:
            raise InvalidArgument("attempts_max must be 1 or more")


PATIENT = Limits()
"""For programs: what is sent should arrive."""

BRISK = Limits(answer_seconds=15.0, attempts_max=3, retry_seconds=5.0, backoff_seconds_max=0.5)
"""For a person at a terminal, who would rather know."""
