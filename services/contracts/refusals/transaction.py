"""Refusals of the transaction service.

Refusal
├── TransferNotFound        404 transfer_not_found
├── TransferNotCancellable  409 transfer_not_cancellable
├── IdempotencyKeyInUse     409 idempotency_key_in_use
├── IdempotencyKeyReused    422 idempotency_key_reused
├── UnknownRecipient        422 recipient_not_found
├── UnknownWallet           422 wallet_not_found
├── WalletFrozen            422 wallet_frozen
├── CurrencyMismatch        422 currency_mismatch
├── SameWallet              422 same_wallet
├── InsufficientFunds       422 insufficient_funds
└── Unavailable
    └── Busy                503 busy
"""

from __future__ import annotations

from services.contracts.refusal import FieldRefusal, Refusal, Unavailable


class TransferNotFound(Refusal):
    """There is no such transfer."""

    status = 404
    code = "transfer_not_found"


class TransferNotCancellable(Refusal):
    """The transfer has already reached another outcome."""

    status = 409
    code = "transfer_not_cancellable"


class IdempotencyKeyInUse(Refusal):
    """The first request with this idempotency key is still being accepted."""

    status = 409
    code = "idempotency_key_in_use"
    retry_helps = True

    def __init__(self) -> None:
        """Retry after a second."""
        super().__init__(headers={"Retry-After": "1"})


class IdempotencyKeyReused(Refusal):
    """This idempotency key was used for another request."""

    status = 422
    code = "idempotency_key_reused"


class UnknownRecipient(FieldRefusal):
    """Recipient not found."""

    code = "recipient_not_found"


class UnknownWallet(FieldRefusal):
    """A wallet of this transfer does not exist."""

    code = "wallet_not_found"


class WalletFrozen(FieldRefusal):
    """A wallet of this transfer is frozen."""

    code = "wallet_frozen"


class CurrencyMismatch(FieldRefusal):
    """A wallet of this transfer is in another currency."""

    code = "currency_mismatch"


class SameWallet(FieldRefusal):
    """A transfer needs two different wallets."""

    code = "same_wallet"


class InsufficientFunds(FieldRefusal):
    """The available balance of the wallet is too low."""

    code = "insufficient_funds"


class Busy(Unavailable):
    """The backlog is too long for another transfer to be finalized in time."""

    code = "busy"
