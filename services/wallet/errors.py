"""What the wallet refuses.

Refusal
├── WalletNotFound    404 wallet_not_found
├── OutcomeNotFound   404 outcome_not_found
└── InvalidParameter  422 invalid_request
"""

from __future__ import annotations

from services.contracts.refusal import FieldError, Refusal


class WalletNotFound(Refusal):
    """There is no such wallet."""

    status = 404
    code = "wallet_not_found"


class OutcomeNotFound(Refusal):
    """Nothing was decided about this transfer."""

    status = 404
    code = "outcome_not_found"


class InvalidParameter(Refusal):
    """A parameter of the request is not acceptable."""

    status = 422
    code = "invalid_request"

    def __init__(self, field: str, message: str) -> None:
        """Name the parameter and what is wrong with it."""
        super().__init__(errors=[FieldError(field, message)])


class HeadLost(Exception):  # noqa: N818 - reads as what it is
    """A block that was there is there no more, or is another one: the history was rewritten."""
