"""*Queues and workers*: depth, age, drain rate, and what the workers do."""

from __future__ import annotations

from deploy.monitoring.dashboards.dashboard import Dashboard, Panel, Query, Row

RATE = "$__rate_interval"
QUEUE = 'queue="transfers.requested"'

DEPTH = Row(
    "Waiting work",
    (
        Panel(
            "Waiting transfers",
            (Query("payflow:queue_transfers", "{{queue}}"),),
            "short",
            "Transfers without an outcome: if it grows while the drain rate is above 0, add workers.",
            warn_from=50,
            act_from=200,
        ),
        Panel(
            "Messages in the broker",
            (Query("sum by (queue, state) (payflow_queue_messages)", "{{queue}} {{state}}"),),
            "short",
            "A message carries 1 to 64 items; ready without unacked: start the consumer.",
        ),
        Panel(
            "Age of the oldest transfer",
            (Query("payflow:queue_oldest_age_seconds", "{{queue}}"),),
            "s",
            "If it grows steadily, nothing is finalized: check workers, wallet and PostgreSQL.",
            warn_from=5,
            act_from=20,
        ),
        Panel(
            "Drain rate",
            (Query("max by (queue) (payflow_queue_drain_per_second)", "{{queue}}"),),
            "ops",
            "Transfers finalized per second, smoothed; 0 with a deep queue: read the logs of the workers.",
        ),
        Panel(
            "Seconds of work ahead",
            (Query("max by (queue) (payflow_queue_transfers / (payflow_queue_drain_per_second > 0))", "{{queue}}"),),
            "s",
            "Waiting transfers divided by the drain rate; above 5 s add workers.",
            warn_from=5,
            act_from=20,
        ),
        Panel(
            "Pending and stale transfers",
            (
                Query("max(payflow_pending_transfers)", "pending"),
                Query("max(payflow_stale_pending_transfers)", "past their expiry"),
            ),
            "short",
            "Those past their expiry should be gone within seconds: if not, start the reversal.",
        ),
    ),
)

WORKERS = Row(
    "Workers and scaling",
    (
        Panel(
            "Workers running and needed",
            (
                Query('count(up{job="payflow", role="transaction-worker"} == 1)', "running"),
                Query(f"clamp_min(ceil(max(payflow_queue_transfers{{{QUEUE}}}) / 50), 2)", "needed for the depth"),
            ),
            "short",
            "One worker for each 50 waiting transfers, at least 2: if fewer run for long, start more.",
        ),
        Panel(
            "Processor time of each role",
            (Query(f'sum by (role) (rate(process_cpu_seconds_total{{job="payflow"}}[{RATE}]))', "{{role}}"),),
            "short",
            "In processors; a role near 1 for each of its processes needs another process.",
        ),
        Panel(
            "Items in one batch, average",
            (
                Query(
                    f"sum by (batch) (rate(payflow_batch_items_sum[{RATE}])) "
                    f"/ sum by (batch) (rate(payflow_batch_items_count[{RATE}]))",
                    "{{batch}}",
                ),
            ),
            "short",
            "It grows with the load; if it stays at 1 under load, requests are not batched.",
        ),
    ),
)

TROUBLE = Row(
    "Outbox, retries and dead letters",
    (
        Panel(
            "Outbox lag",
            (Query("max by (service) (payflow_outbox_lag_seconds)", "{{service}}"),),
            "s",
            "Age of the oldest unpublished item: if it grows, check the relay, then RabbitMQ.",
            warn_from=5,
            act_from=10,
        ),
        Panel(
            "Unpublished items",
            (Query("max by (service) (payflow_outbox_unpublished)", "{{service}}"),),
            "short",
            "They are on disk and safe: if it grows, check the relay, then RabbitMQ.",
        ),
        Panel(
            "Publishes that were not confirmed",
            (
                Query(
                    f"sum by (service, reason) (rate(payflow_outbox_publish_failures_total[{RATE}])) "
                    'or 0 * max by (service) (payflow_outbox_unpublished{role="transaction-relay"})',
                    "{{service}} {{reason}}",
                ),
            ),
            "ops",
            "blocked: RabbitMQ has an alarm; unroutable: a queue is missing; timeout: it has no leader.",
            warn_from=0.1,
        ),
        Panel(
            "Dead letters that wait",
            (Query("max by (queue) (payflow_dead_letters)", "{{queue}}"),),
            "short",
            "They wait for an operator: remove the cause, then replay or discard them.",
            warn_from=1,
        ),
        Panel(
            "Moved to dead letters, and delayed",
            (
                Query(
                    f"sum by (queue, reason) (rate(payflow_dead_lettered_total[{RATE}])) "
                    "or 0 * max by (queue) (payflow_dead_letters)",
                    "{{queue}} {{reason}}",
                ),
                Query(
                    f"sum by (queue) (rate(payflow_delayed_total[{RATE}])) or 0 * max by (queue) (payflow_dead_letters)",
                    "{{queue}} delayed",
                ),
            ),
            "ops",
            "Delayed items are tried again by themselves; many dead letters at once have one cause: read the reason.",
            warn_from=0.1,
        ),
        Panel(
            "Time since the last success of each job",
            (Query("payflow:job_seconds_since_success", "{{exported_job}}"),),
            "s",
            "A job that stops makes a straight rising line: start its process.",
        ),
    ),
)

QUEUES = Dashboard(
    uid="payflow-queues",
    title="PayFlow: Queues and workers",
    description="How much work waits, how fast it is done, and what delays it.",
    rows=(DEPTH, WORKERS, TROUBLE),
)
