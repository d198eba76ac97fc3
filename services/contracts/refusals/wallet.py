"""Refusals of the wallet service.

Refusal
├── WalletNotFound   404 wallet_not_found
├── OutcomeNotFound  404 outcome_not_found
└── OutcomeNotLate   409 outcome_not_late
"""

from __future__ import annotations

from services.contracts.refusal import Refusal


class WalletNotFound(Refusal):
    """There is no such wallet."""

    status = 404
    code = "wallet_not_found"


class OutcomeNotFound(Refusal):
    """No outcome is recorded for this transfer."""

    status = 404
    code = "outcome_not_found"


class OutcomeNotLate(Refusal):
    """The outcome of this transfer needs no admission: it is sealed, or it will be."""

    status = 409
    code = "outcome_not_late"
