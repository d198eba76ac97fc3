"""Refusals of the wallet service.

Refusal
├── WalletNotFound    404 wallet_not_found
├── OutcomeNotFound   404 outcome_not_found
├── OutcomeNotLate    409 outcome_not_late
├── ProofRunNotFound  404 proof_run_not_found
└── ProofRunning      409 proof_running
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


class ProofRunNotFound(Refusal):
    """There is no such run of the proof, or it ended more than 30 days ago."""

    status = 404
    code = "proof_run_not_found"


class ProofRunning(Refusal):
    """A run of the proof with other options is in progress. Start yours when it has ended."""

    status = 409
    code = "proof_running"
