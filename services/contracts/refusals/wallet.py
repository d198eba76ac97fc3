"""Refusals of the wallet service.

Refusal
├── WalletNotFound   404 wallet_not_found
└── OutcomeNotFound  404 outcome_not_found
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
