"""The dashboard *PayFlow overview*."""

from __future__ import annotations

from deploy.monitoring import dashboard
from deploy.monitoring.dashboard import Panel, Query, Row

RATE = "$__rate_interval"
QUEUE = 'queue="transfers.requested"'
REQUESTS = "payflow_http_request_duration_seconds"

STATE = Row(
    "State",
    (
        Panel(
            "Queue zone",
            (Query(f"payflow:queue_zone{{{QUEUE}}}"),),
            "none",
            "Busy from 50 waiting transfers, delayed from 200 when the oldest is over 5 s old. No value: the relay is down.",
            kind="stat",
            width=3,
            warn_from=1,
            act_from=2,
            names={0: "normal", 1: "busy", 2: "delayed"},
        ),
        Panel(
            "Firing alerts",
            (Query('count(ALERTS{alertstate="firing"}) or vector(0)'),),
            "short",
            "Open Alerts in Prometheus: each alert names its runbook below docs/operations/runbooks/.",
            kind="stat",
            width=3,
            warn_from=1,
        ),
        Panel(
            "Processes down",
            (Query('count(up{job="payflow"} == 0) or vector(0)'),),
            "short",
            "Processes whose metrics cannot be read. The alert names them; make doctor says what they lack.",
            kind="stat",
            width=3,
            act_from=1,
        ),
        Panel(
            "Oldest transfer",
            (Query(f"payflow:queue_oldest_age_seconds{{{QUEUE}}}"),),
            "s",
            "The longest that a transfer has waited for its outcome. Above 5 s: see the row Queue.",
            kind="stat",
            width=3,
            warn_from=5,
            act_from=20,
        ),
        Panel(
            "Stale transfers",
            (Query("max(payflow_stale_pending_transfers)"),),
            "short",
            "PENDING past their expiry. If it stays above 0, start the reversal.",
            kind="stat",
            width=3,
            act_from=1,
        ),
        Panel(
            "Dead letters",
            (Query("sum(max by (queue) (payflow_dead_letters))"),),
            "short",
            "They wait for an operator: payflow dead-letters list.",
            kind="stat",
            width=3,
            warn_from=1,
        ),
        Panel(
            "Ledger drift",
            (Query("sum(max by (currency) (abs(payflow_ledger_drift_minor_units)))"),),
            "short",
            "Must be 0. If it is not: stop and get help, do not correct any row.",
            kind="stat",
            width=3,
            act_from=1,
        ),
        Panel(
            "Ledger proof",
            (Query('min(payflow_ledger_proof_ok{role="wallet-seal"})'),),
            "none",
            "The last periodic proof. If it failed: payflow ledger verify names what is wrong.",
            kind="stat",
            width=3,
            warn_from=1,
            low_is_bad=True,
            names={0: "failed", 1: "ok"},
        ),
    ),
)

TRANSFERS = Row(
    "Transfers",
    (
        Panel(
            "Accepted per second",
            (Query(f"sum by (kind) (rate(payflow_transfers_accepted_total[{RATE}]))", "{{kind}}"),),
            "ops",
            "Recorded as PENDING. If it falls to 0 under load, look at the errors by service.",
        ),
        Panel(
            "Finalized per second",
            (Query(f"sum by (outcome) (rate(payflow_transfers_total[{RATE}]))", "{{outcome}}"),),
            "ops",
            "By outcome. Many timed_out: the relay, the broker, the workers or the wallet were down.",
        ),
        Panel(
            "Time until the outcome",
            tuple(
                Query(
                    f"histogram_quantile({quantile}, sum by (le) (rate(payflow_transfer_duration_seconds_bucket[{RATE}])))",
                    f"{quantile:.0%}",
                )
                for quantile in (0.5, 0.95, 0.99)
            ),
            "s",
            "From acceptance to COMPLETED or FAILED. Above 5 s: see the row Queue.",
            warn_from=5,
        ),
    ),
)

WAITING = Row(
    "Queue",
    (
        Panel(
            "Waiting transfers",
            (Query("payflow:queue_transfers", "{{queue}}"),),
            "short",
            "Transfers without an outcome. If it grows while the drain rate is above 0, add workers.",
            width=6,
            warn_from=50,
            act_from=200,
        ),
        Panel(
            "Age of the oldest transfer",
            (Query("payflow:queue_oldest_age_seconds", "{{queue}}"),),
            "s",
            "If it grows steadily, nothing is finalized: check workers, wallet and PostgreSQL.",
            width=6,
            warn_from=5,
            act_from=20,
        ),
        Panel(
            "Drain rate",
            (Query("max by (queue) (payflow_queue_drain_per_second)", "{{queue}}"),),
            "ops",
            "Transfers finalized per second, smoothed. 0 with a deep queue: the workers do nothing.",
            width=6,
        ),
        Panel(
            "Workers",
            (
                Query('count(up{job="payflow", role="transaction-worker"} == 1)', "running"),
                Query(f"clamp_min(ceil(max(payflow_queue_transfers{{{QUEUE}}}) / 50), 2)", "needed for the depth"),
            ),
            "short",
            "One worker for each 50 waiting transfers, at least 2. If fewer run for long, start more.",
            width=6,
        ),
        Panel(
            "Outbox lag",
            (Query("max by (service) (payflow_outbox_lag_seconds)", "{{service}}"),),
            "s",
            "Age of the oldest unpublished transfer. If it grows, check the relay, then RabbitMQ.",
            width=6,
            act_from=10,
        ),
        Panel(
            "Pending and stale",
            (
                Query("max(payflow_pending_transfers)", "pending"),
                Query("max(payflow_stale_pending_transfers)", "past their expiry"),
            ),
            "short",
            "Transfers past their expiry should be gone within seconds. If not, start the reversal.",
            width=6,
        ),
        Panel(
            "Messages",
            (Query("sum by (queue, state) (payflow_queue_messages)", "{{queue}} {{state}}"),),
            "short",
            "A message carries 1 to 64 items. Ready without unacked: the consumer is down.",
            width=6,
        ),
        Panel(
            "Dead letters",
            (Query("max by (queue) (payflow_dead_letters)", "{{queue}}"),),
            "short",
            "They wait for an operator. Remove the cause, then replay or discard them.",
            width=6,
            warn_from=1,
        ),
    ),
)

LEDGER = Row(
    "Ledger and jobs",
    (
        Panel(
            "Drift by currency",
            (Query("max by (currency) (payflow_ledger_drift_minor_units)", "{{currency}}"),),
            "short",
            "The sum of all entries in minor units. Must be 0. If it is not: stop the gateway, do not correct any row.",
            width=6,
            act_from=1,
        ),
        Panel(
            "Transfers in one database transaction",
            (
                Query(
                    f"sum(rate(payflow_ledger_batch_size_sum[{RATE}])) / sum(rate(payflow_ledger_batch_size_count[{RATE}]))",
                    "average",
                ),
            ),
            "short",
            "It grows with the load. If it stays at 1 under load, the workers call the wallet one by one.",
            width=6,
        ),
        Panel(
            "Seal lag",
            (Query('max(payflow_seal_lag_seconds{role="wallet-seal"})', "lag"),),
            "s",
            "How long outcomes may be unsealed. If it grows, read the log of wallet-seal.",
            width=6,
            warn_from=60,
        ),
        Panel(
            "Time since the last success of each job",
            (Query("payflow:job_seconds_since_success", "{{exported_job}}"),),
            "s",
            "A job that stops makes a straight rising line: start its process.",
            width=6,
        ),
    ),
)

HTTP = Row(
    "Requests",
    (
        Panel(
            "Requests by service",
            (Query(f"sum by (role) (rate({REQUESTS}_count[{RATE}]))", "{{role}}"),),
            "reqps",
            "If only the gateway has requests, it does not reach the services.",
            width=6,
        ),
        Panel(
            "Errors by service",
            (
                Query(
                    f'(sum by (role) (rate({REQUESTS}_count{{status=~"5.."}}[{RATE}])) '
                    f"or 0 * sum by (role) (rate({REQUESTS}_count[{RATE}]))) "
                    f"/ sum by (role) (rate({REQUESTS}_count[{RATE}]))",
                    "{{role}}",
                ),
            ),
            "percentunit",
            "Share of the requests with a status from 500. The service with the largest share is the one to look at first.",
            width=6,
            act_from=0.05,
        ),
        Panel(
            "Response time, 99th percentile",
            (Query(f"histogram_quantile(0.99, sum by (le, role) (rate({REQUESTS}_bucket[{RATE}])))", "{{role}}"),),
            "s",
            "If one service is slow, look at its engine and at the processors of its machine.",
            width=6,
        ),
        Panel(
            "Refused by rate limits",
            (Query(f"sum by (limit) (rate(payflow_rate_limited_total[{RATE}]))", "{{limit}}"),),
            "reqps",
            "Many wrong_login or wrong_key suggest an attack on passwords or keys.",
            width=6,
        ),
    ),
)

ENGINES = Row(
    "Engines",
    (
        Panel(
            "PostgreSQL connections",
            (
                Query("sum by (state) (pg_stat_activity_count)", "{{state}}"),
                Query("max(pg_settings_max_connections)", "maximum"),
            ),
            "short",
            "If the sum comes near the maximum, run fewer processes or raise max_connections.",
            width=6,
        ),
        Panel(
            "PostgreSQL commits",
            (Query(f"sum by (datname) (rate(pg_stat_database_xact_commit[{RATE}]))", "{{datname}}"),),
            "ops",
            "Commits per second of each database. 0 for a database whose service has requests: it is blocked.",
            width=6,
        ),
        Panel(
            "RabbitMQ messages",
            (
                Query("sum(rabbitmq_queue_messages_ready)", "ready"),
                Query("sum(rabbitmq_queue_messages_unacked)", "unacked"),
                Query("sum(rabbitmq_connections)", "connections"),
            ),
            "short",
            "All queues together. If ready grows, a consumer is missing.",
            width=6,
        ),
        Panel(
            "Redis memory",
            (Query("max by (instance) (redis_memory_used_bytes)", "{{instance}}"),),
            "bytes",
            "Redis refuses writes when it is full; payments continue without it.",
            width=6,
        ),
    ),
)

HOSTS = Row(
    "Machines and containers",
    (
        Panel(
            "Processors in use",
            (
                Query(
                    f'1 - avg by (instance) (rate(node_cpu_seconds_total{{mode="idle"}}[{RATE}]))',
                    "{{instance}}",
                ),
            ),
            "percentunit",
            "Above 85 % responses become slower: move an engine or workers to another machine.",
            width=6,
            warn_from=0.85,
        ),
        Panel(
            "Disk free",
            (
                Query(
                    'min by (instance, mountpoint) (node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|overlay|squashfs"} '
                    '/ node_filesystem_size_bytes{fstype!~"tmpfs|ramfs|overlay|squashfs"})',
                    "{{instance}} {{mountpoint}}",
                ),
            ),
            "percentunit",
            "Below 15 %: delete what is not data, or enlarge the volume.",
            width=6,
            warn_from=0.15,
            low_is_bad=True,
        ),
        Panel(
            "CPU of containers",
            (Query(f'sum by (name) (rate(container_cpu_usage_seconds_total{{name!=""}}[{RATE}]))', "{{name}}"),),
            "short",
            "In processors. One that stays at its limit needs a higher limit or another process.",
            width=6,
        ),
        Panel(
            "Memory of containers",
            (Query('sum by (name) (container_memory_working_set_bytes{name!=""})', "{{name}}"),),
            "bytes",
            "One that grows without end is restarted at its limit: read its log, and report it.",
            width=6,
        ),
    ),
)


def text() -> str:
    """The JSON of the dashboard."""
    return dashboard.text(
        uid="payflow-overview",
        title="PayFlow overview",
        description="Transfers, queue, ledger, requests and engines. Each panel says what to do when it looks wrong.",
        rows=(STATE, TRANSFERS, WAITING, LEDGER, HTTP, ENGINES, HOSTS),
    )
