"""Which fault proves which alert, in waves: the faults of a wave are injected together, and none hides the alert of another.

Alertmanager does not notify what follows from another alert (`inhibit_rules`), so a cause and its consequence
are in different waves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.alerts import injections, monitoring_faults
from tests.alerts.certificates import EXPIRING_DAYS, NEARLY_EXPIRED_DAYS
from tests.alerts.injections import Injection, kept_down, unmonitored, unreachable
from tests.alerts.notifications import Expected

WORKERS = ("transaction-worker-1", "transaction-worker-2")
NOT_POSTED = tuple(f"{name}>wallet" for name in (*WORKERS, "transaction-reversal"))


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault and the alerts that it must cause."""

    what: str
    proves: Sequence[Expected]
    inject: Injection


Wave = tuple[Fault, ...]
Labels = dict[str, str]

PROCESSES = (
    Fault(
        "the API of notification is down",
        [Expected("PayflowApiDown", {"role": "notification"})],
        kept_down("notification"),
    ),
    Fault(
        "notification-deliver is down",
        [Expected("PayflowBackgroundProcessDown", {"role": "notification-deliver"})],
        kept_down("notification-deliver"),
    ),
    Fault(
        "one of two workers is down",
        [Expected("PayflowProcessUnreachable", {"role": "transaction-worker"})],
        kept_down("transaction-worker-2"),
    ),
    Fault("Redis is down", [Expected("RedisDown")], kept_down("redis")),
    Fault(
        "the node exporter is down",
        [Expected("ExporterDown", {"job": "node"})],
        unmonitored("node"),
    ),
    Fault("a slot of backups without its receiver", [Expected("PayflowBackupStopped")], injections.backup_stopped),
    Fault(
        "a known transfer id with another amount",
        [Expected("PayflowOutcomeConflict"), Expected("PayflowTransferConflict"), Expected("PayflowDeadLetters")],
        injections.other_request,
    ),
)

LEDGER = (
    Fault(
        "a superuser adds money to a wallet",
        [Expected("PayflowLedgerDrift", {"currency": "USD"}), Expected("PayflowLedgerProofFailed")],
        injections.money_created,
    ),
    Fault(
        "the relay does not reach PostgreSQL",
        [Expected("PayflowQueueUnmeasured")],
        unreachable("transaction-relay>postgres"),
    ),
    Fault("busy loops on all processors", [Expected("HostCpuHigh")], injections.processors_busy),
    Fault("a disk that is nearly full", [Expected("HostDiskLow")], injections.disk_nearly_full),
    Fault("idle sessions in most connections", [Expected("PostgresConnectionsHigh")], injections.connections_taken),
    Fault(
        "the gateway does not reach notification",
        [Expected("PayflowRequestsFailing"), Expected("PayflowAvailabilityBurnFast")],
        unreachable("gateway>notification"),
    ),
)

WAITING = (
    Fault(
        "workers and reversal do not reach the wallet, 80 transfers wait",
        [
            Expected("PayflowQueueBusy"),
            Expected("PayflowTransferLate"),
            Expected("PayflowStalePending"),
            Expected("PayflowReversalLate"),
        ],
        unreachable(*NOT_POSTED, waiting=80),
    ),
    Fault(
        "the sealer does not reach PostgreSQL",
        [Expected("PayflowSealLag"), Expected("PayflowJobLate", {"exported_job": "seal"})],
        unreachable("wallet-seal>postgres"),
    ),
)

DELAYED = (
    Fault(
        "workers and reversal do not reach the wallet, 300 transfers wait",
        [Expected("PayflowQueueDelayed")],
        unreachable(*NOT_POSTED, waiting=300),
    ),
    Fault(
        "the notification worker does not reach transaction",
        [Expected("PayflowJobLate", {"exported_job": "catch-up"})],
        unreachable("notification-worker>transaction"),
    ),
)

UNPUBLISHED = (
    Fault(
        "relay and workers do not reach RabbitMQ",
        [
            Expected("PayflowOutboxLag", {"service": "transaction"}),
            Expected("PayflowTransferJobLate", {"exported_job": "transaction-relay"}),
            Expected("PayflowTransferJobLate", {"exported_job": "transaction-worker"}),
            Expected("PayflowQueueUnconsumed", {"queue": "transfers.requested"}),
        ],
        unreachable("transaction-relay>rabbitmq", *(f"{name}>rabbitmq" for name in WORKERS)),
    ),
    Fault("a queue does not respond", [Expected("PayflowQueueLeaderless")], injections.queue_unresponsive),
    Fault("base backups are too old", [Expected("PayflowBackupLate")], monitoring_faults.backup_late),
    Fault(
        "a certificate that expires in 10 days",
        [Expected("CertificateExpiring")],
        monitoring_faults.certificate(EXPIRING_DAYS),
    ),
    Fault("a mail server that accepts nothing", [Expected("PayflowEmailsFailing")], injections.mail_refused),
)

BUDGETS_SLOWLY = (
    Fault(
        "one of 150 payments gets status 503",
        [Expected("PayflowAvailabilityBurnSlow")],
        injections.simulating("unavailable", every=150),
    ),
    Fault(
        "a receiver that refuses notifications",
        [Expected("AlertmanagerNotificationsFailing")],
        monitoring_faults.receiver_refuses,
    ),
    Fault(
        "a certificate that expires in 2 days",
        [Expected("CertificateNearlyExpired")],
        monitoring_faults.certificate(NEARLY_EXPIRED_DAYS),
    ),
)

FINALITY = (
    Fault(
        "one of three transfers takes 8 s",
        [Expected("PayflowFinalityBurnFast")],
        injections.simulating("slow-pending", every=3),
    ),
    Fault("clients do not reach the gateway", [Expected("PayflowProbeFailing")], unreachable("clients>gateway")),
)

FINALITY_SLOWLY = (
    Fault(
        "one of 40 transfers takes 8 s",
        [Expected("PayflowFinalityBurnSlow")],
        injections.simulating("slow-pending", every=40),
    ),
)

LOCKED = (
    Fault(
        "a lock of the table of transfers",
        [Expected("PayflowPoolExhausted", {"role": "transaction"})],
        injections.table_locked,
    ),
)

UNWATCHED = (
    Fault(
        "Alertmanager is down",
        [Expected("Watchdog"), Expected("AlertmanagerDown")],
        unmonitored("alertmanager"),
    ),
)

WORKERLESS = (
    Fault(
        "both workers are down",
        [Expected("PayflowTransferProcessDown", {"role": "transaction-worker"})],
        kept_down(*WORKERS),
    ),
)

ENGINES = (
    Fault("PostgreSQL is down", [Expected("PostgresDown")], kept_down("postgres")),
    Fault("RabbitMQ is down", [Expected("RabbitmqDown")], kept_down("rabbitmq")),
)

WAVES: tuple[Wave, ...] = (
    PROCESSES,
    LEDGER,
    WAITING,
    DELAYED,
    UNPUBLISHED,
    BUDGETS_SLOWLY,
    FINALITY,
    FINALITY_SLOWLY,
    LOCKED,
    WORKERLESS,
    ENGINES,
    UNWATCHED,
)

NOT_HERE: dict[str, str] = {
    "PostgresReplicationLag": "the stack has one PostgreSQL server; it is proven with the failover of the server",
}
"""Alerts that cannot be caused on this machine, and why."""

NOT_YET: dict[str, str] = dict.fromkeys(
    ("PayflowCanaryFailing", "PayflowCanaryMoneyWrong", "PayflowCanaryNotFunded"),
    "the stack of this run has no canary; promtool tests check the rule",
)
"""Alerts that could be caused here and have no fault, and why: they are not proven."""


def selected(names: Sequence[str]) -> list[Wave]:
    """The waves with those faults alone that prove one of these alerts; all without names."""
    waves = [
        tuple(fault for fault in wave if not names or any(each.alert in names for each in fault.proves))
        for wave in WAVES
    ]
    return [wave for wave in waves if wave]


def proven() -> set[str]:
    """The alerts that the table has a fault for."""
    return {each.alert for wave in WAVES for fault in wave for each in fault.proves}
