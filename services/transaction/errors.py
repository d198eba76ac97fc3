"""What the transaction service refuses.

Refusal
├── TransferNotFound        404 transfer_not_found
├── TransferNotCancellable  409 transfer_not_cancellable
├── KeyReused               422 idempotency_key_reused
├── KeyInUse                409 idempotency_key_in_use
├── RecipientNotFound       422 recipient_not_found
├── WalletNotFound          422 wallet_not_found
├── WalletFrozen            422 wallet_frozen
├── CurrencyMismatch        422 currency_mismatch
├── SameWallet              422 same_wallet
├── InsufficientFunds       422 insufficient_funds
├── Busy                    503 busy
└── InvalidParameter        422 invalid_request
"""

from __future__ import annotations

from services.contracts.refusal import FieldError, Refusal, Unavailable


class TransferNotFound(Refusal):
    """There is no such transfer."""

    status = 404
    code = "transfer_not_found"


class TransferNotCancellable(Refusal):
    """The transfer has already reached another outcome."""

    status = 409
    code = "transfer_not_cancellable"


class KeyReused(Refusal):
    """This idempotency key was used for another request."""

    status = 422
    code = "idempotency_key_reused"


class KeyInUse(Refusal):
    """The first request with this idempotency key is still being accepted."""

    status = 409
    code = "idempotency_key_in_use"
    retry_helps = True

    def __init__(self) -> None:
        """Come back in a second."""
        super().__init__(headers={"Retry-After": "1"})


class _FieldRefusal(Refusal):
    """A field is well-formed and cannot be honoured."""

    def __init__(self, field: str, message: str) -> None:
        """Name the field and what is wrong with it."""
        super().__init__(errors=[FieldError(field, message)])


class RecipientNotFound(_FieldRefusal):
    """There is nobody to receive this."""

    code = "recipient_not_found"


class WalletNotFound(_FieldRefusal):
    """There is no such wallet for this transfer."""

    code = "wallet_not_found"


class WalletFrozen(_FieldRefusal):
    """A wallet of this transfer is frozen."""

    code = "wallet_frozen"


class CurrencyMismatch(_FieldRefusal):
    """A wallet of this transfer is in another currency."""

    code = "currency_mismatch"


class SameWallet(_FieldRefusal):
    """A transfer needs two different wallets."""

    code = "same_wallet"


class InsufficientFunds(_FieldRefusal):
    """The wallet does not hold that much."""

    code = "insufficient_funds"


class InvalidParameter(_FieldRefusal):
    """A parameter of the request is not acceptable."""

    code = "invalid_request"


class Busy(Unavailable):
    """There is more work ahead than can be done in time."""

    code = "busy"
