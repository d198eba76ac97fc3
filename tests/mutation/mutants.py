"""All mutants, in the order of a transfer's way."""

from __future__ import annotations

from tests.mutation.guards import auth, chassis, gateway, notification, transaction, wallet
from tests.mutation.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *gateway.MUTANTS,
    *auth.MUTANTS,
    *transaction.MUTANTS,
    *chassis.MUTANTS,
    *wallet.MUTANTS,
    *notification.MUTANTS,
)
