"""Which fault proves which alert, in waves: the faults of a wave are injected together, and none hides the alert of another.

Alertmanager does not notify what follows from another alert (`inhibit_rules`), so a cause and its consequence
are in different waves. Alerts of one name that fire at different times are in different waves, too: Alertmanager
sends the second one up to a minute after the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.alerts import canary_faults, injections, monitoring_faults
from tests.alerts.certificates import EXPIRING_DAYS, NEARLY_EXPIRED_DAYS
from tests.alerts.injections import Injection, kept_down, unmonitored, unreachable
from tests.alerts.notifications import Expected

WORKERS = ("transaction-worker-1", "transaction-worker-2")
NOT_POSTED = (*(f"{name}>wallet" for name in WORKERS), "transaction-reversal>postgres")
"""The reversal succeeds until a transfer has expired, unless it cannot look for one."""

NOT_PUBLISHED = (
    *(f"{name}>rabbitmq" for name in ("transaction-relay", *WORKERS)),
    "transaction-reversal>postgres",
)
"""Without the reversal the number of waiting transfers does not change."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault and the alerts that it must cause."""

    what: str
    proves: Sequence[Expected]
    inject: Injection
    held: bool = False
    """Whether it is a fault of a process, an engine, a connection or a disk: these are kept for some minutes."""


Wave = tuple[Fault, ...]
Labels = dict[str, str]

UNFUNDED = (
    Fault("the canary has no money yet", [Expected("PayflowCanaryNotFunded")], canary_faults.unfunded),
    Fault(
        "a certificate that expires in 10 days",
        [Expected("CertificateExpiring")],
        monitoring_faults.certificate(EXPIRING_DAYS),
    ),
    Fault("base backups are too old", [Expected("PayflowBackupLate")], monitoring_faults.backup_late),
    Fault("a slot of backups without its receiver", [Expected("PayflowBackupStopped")], injections.backup_stopped),
    Fault("busy loops on all processors", [Expected("HostCpuHigh")], injections.processors_busy),
    Fault("a disk that is nearly full", [Expected("HostDiskLow")], injections.disk_nearly_full, held=True),
)
"""These faults affect no user: the quiet time that follows begins with its error budgets unspent."""

PROCESSES = (
    Fault(
        "the API of notification is down",
        [Expected("PayflowApiDown", {"role": "notification"})],
        kept_down("notification"),
        held=True,
    ),
    Fault(
        "notification-deliver is down",
        [Expected("PayflowBackgroundProcessDown", {"role": "notification-deliver"})],
        kept_down("notification-deliver"),
        held=True,
    ),
    Fault(
        "one of two workers is down",
        [Expected("PayflowProcessUnreachable", {"role": "transaction-worker"})],
        kept_down("transaction-worker-2"),
        held=True,
    ),
    Fault("Redis is down", [Expected("RedisDown")], kept_down("redis"), held=True),
    Fault("the node exporter is down", [Expected("ExporterDown", {"job": "node"})], unmonitored("node"), held=True),
    Fault(
        "the sealer does not reach PostgreSQL",
        [Expected("PayflowSealLag"), Expected("PayflowJobLate", {"exported_job": "seal"})],
        unreachable("wallet-seal>postgres"),
        held=True,
    ),
    Fault(
        "a known transfer id with another amount",
        [Expected("PayflowOutcomeConflict"), Expected("PayflowTransferConflict"), Expected("PayflowDeadLetters")],
        injections.other_request,
    ),
    Fault("the canary receives too much", [Expected("PayflowCanaryMoneyWrong")], canary_faults.money_wrong),
    Fault("idle sessions in most connections", [Expected("PostgresConnectionsHigh")], injections.connections_taken),
    Fault(
        "one of three transfers takes 8 s",
        [Expected("PayflowFinalityBurnFast")],
        injections.simulating("slow-pending", every=3),
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
        [
            Expected("PayflowQueueUnmeasured"),
            Expected("PayflowTransferJobLate", {"exported_job": "transaction-relay"}),
        ],
        unreachable("transaction-relay>postgres"),
        held=True,
    ),
    Fault(
        "the gateway does not reach notification",
        [Expected("PayflowRequestsFailing"), Expected("PayflowAvailabilityBurnFast")],
        unreachable("gateway>notification"),
        held=True,
    ),
    Fault(
        "notification-worker is down",
        [Expected("PayflowBackgroundProcessDown", {"role": "notification-worker"})],
        kept_down("notification-worker"),
        held=True,
    ),
    Fault(
        "a lock of the table of transfers",
        [Expected("PayflowPoolExhausted", {"role": "transaction"})],
        injections.table_locked,
    ),
)

DELAYED = (
    Fault(
        "workers do not reach the wallet, and the reversal not PostgreSQL, 300 transfers wait",
        [
            Expected("PayflowQueueDelayed"),
            Expected("PayflowTransferLate"),
            Expected("PayflowStalePending"),
            Expected("PayflowReversalLate"),
            Expected("PayflowTransferJobLate", {"exported_job": "transaction-worker"}),
        ],
        unreachable(*NOT_POSTED, waiting=300),
        held=True,
    ),
    Fault(
        "the notification worker does not reach transaction",
        [Expected("PayflowJobLate", {"exported_job": "catch-up"})],
        unreachable("notification-worker>transaction"),
        held=True,
    ),
    Fault("clients do not reach the gateway", [Expected("PayflowProbeFailing")], unreachable("clients>gateway")),
)

UNPUBLISHED = (
    Fault(
        "relay and workers do not reach RabbitMQ, and the reversal not PostgreSQL, 80 transfers wait",
        [
            Expected("PayflowOutboxLag", {"service": "transaction"}),
            Expected("PayflowQueueBusy"),
            Expected("PayflowQueueUnconsumed", {"queue": "transfers.requested"}),
            Expected("PayflowCanaryFailing"),
        ],
        unreachable(*NOT_PUBLISHED, waiting=80),
        held=True,
    ),
    Fault("a queue does not respond", [Expected("PayflowQueueLeaderless")], injections.queue_unresponsive, held=True),
    Fault("a mail server that accepts nothing", [Expected("PayflowEmailsFailing")], injections.mail_refused),
)

BUDGETS_SLOWLY = (
    Fault(
        "one of 150 payments gets status 503",
        [Expected("PayflowAvailabilityBurnSlow")],
        injections.simulating("unavailable", every=150),
    ),
    Fault(
        "one of 40 transfers takes 8 s",
        [Expected("PayflowFinalityBurnSlow")],
        injections.simulating("slow-pending", every=40),
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

ENGINES = (
    Fault("PostgreSQL is down", [Expected("PostgresDown")], kept_down("postgres"), held=True),
    Fault("RabbitMQ is down", [Expected("RabbitmqDown")], kept_down("rabbitmq"), held=True),
    Fault(
        "the gateway and the APIs of auth, wallet and transaction are down",
        [Expected("PayflowApiDown", {"role": role}) for role in ("gateway", "auth", "wallet", "transaction")],
        kept_down("gateway", "auth", "wallet", "transaction"),
        held=True,
    ),
    Fault(
        "the relay and both workers are down",
        [
            Expected("PayflowTransferProcessDown", {"role": "transaction-relay"}),
            Expected("PayflowTransferProcessDown", {"role": "transaction-worker"}),
        ],
        kept_down("transaction-relay", *WORKERS),
        held=True,
    ),
    Fault(
        "wallet-seal is down",
        [Expected("PayflowBackgroundProcessDown", {"role": "wallet-seal"})],
        kept_down("wallet-seal"),
        held=True,
    ),
)

UNWATCHED = (
    Fault("Alertmanager is down", [Expected("Watchdog"), Expected("AlertmanagerDown")], unmonitored("alertmanager")),
)

WAVES: tuple[Wave, ...] = (
    UNFUNDED,
    PROCESSES,
    LEDGER,
    DELAYED,
    UNPUBLISHED,
    BUDGETS_SLOWLY,
    ENGINES,
    UNWATCHED,
)

NOT_HERE: dict[str, str] = {
    "PostgresReplicationLag": "the stack has one PostgreSQL server; it is proven with the failover of the server",
}
"""Alerts that cannot be caused on this machine, and why."""


def selected(wave: Wave, alerts: Sequence[str]) -> Wave:
    """The faults of a wave that prove one of these alerts; all without names."""
    return tuple(fault for fault in wave if not alerts or any(each.alert in alerts for each in fault.proves))


def proven() -> set[str]:
    """The alerts that the table has a fault for."""
    return {each.alert for wave in WAVES for fault in wave for each in fault.proves}
