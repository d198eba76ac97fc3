"""All mutants, in the order of a transfer's path."""

from __future__ import annotations

from tests.mutation.guards import (
    api_keys,
    auth,
    bindings,
    catching_up,
    chassis,
    client,
    clocks,
    deploying,
    edge,
    folders,
    gateway,
    history,
    live,
    notification,
    periods,
    proof,
    replication,
    sealing,
    smoke,
    throttles,
    transaction,
    wallet,
)
from tests.mutation.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *client.MUTANTS,
    *edge.MUTANTS,
    *gateway.MUTANTS,
    *auth.MUTANTS,
    *api_keys.MUTANTS,
    *periods.MUTANTS,
    *bindings.MUTANTS,
    *throttles.MUTANTS,
    *transaction.MUTANTS,
    *chassis.MUTANTS,
    *clocks.MUTANTS,
    *deploying.MUTANTS,
    *wallet.MUTANTS,
    *history.MUTANTS,
    *sealing.MUTANTS,
    *proof.MUTANTS,
    *notification.MUTANTS,
    *catching_up.MUTANTS,
    *live.MUTANTS,
    *folders.MUTANTS,
    *replication.MUTANTS,
    *smoke.MUTANTS,
)
