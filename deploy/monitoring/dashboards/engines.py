"""*Engines*: PostgreSQL, RabbitMQ and Redis, by their exporters."""

from __future__ import annotations

from deploy.monitoring.dashboards.dashboard import Dashboard, Panel, Query, Row

RATE = "$__rate_interval"
OURS = 'datname=~"auth|wallet|transaction|notification"'

POSTGRES = Row(
    "PostgreSQL",
    (
        Panel(
            "Up",
            (Query("max by (instance) (pg_up)", "{{instance}}"),),
            "none",
            "down: the exporter cannot log in; check that PostgreSQL runs and has a free connection.",
            kind="stat",
            width=4,
            warn_from=1,
            low_is_bad=True,
            names={0: "down", 1: "up"},
        ),
        Panel(
            "Connections",
            (
                Query("sum by (state) (pg_stat_activity_count)", "{{state}}"),
                Query("max(pg_settings_max_connections)", "maximum"),
            ),
            "short",
            "If the sum comes near the maximum, run fewer processes or raise max_connections.",
            width=10,
        ),
        Panel(
            "Commits",
            (Query(f"sum by (datname) (rate(pg_stat_database_xact_commit{{{OURS}}}[{RATE}]))", "{{datname}}"),),
            "ops",
            "0 for a database whose service has requests: it is blocked, look for locks.",
            width=10,
        ),
        Panel(
            "Rollbacks",
            (Query(f"sum by (datname) (rate(pg_stat_database_xact_rollback{{{OURS}}}[{RATE}]))", "{{datname}}"),),
            "ops",
            "Some are normal; a jump means failing statements: read the log of the service.",
        ),
        Panel(
            "Pages found in memory",
            (
                Query(
                    f"sum by (datname) (rate(pg_stat_database_blks_hit{{{OURS}}}[{RATE}])) "
                    f"/ (sum by (datname) (rate(pg_stat_database_blks_hit{{{OURS}}}[{RATE}])) "
                    f"+ sum by (datname) (rate(pg_stat_database_blks_read{{{OURS}}}[{RATE}])))",
                    "{{datname}}",
                ),
            ),
            "percentunit",
            "Below 95 % for long: give PostgreSQL more memory (shared_buffers).",
            warn_from=0.95,
            act_from=0.8,
            low_is_bad=True,
        ),
        Panel(
            "Size of each database",
            (Query(f"max by (datname) (pg_database_size_bytes{{{OURS}}})", "{{datname}}"),),
            "bytes",
            "Steady growth is normal, the ledger is never deleted: plan the disk by its growth.",
        ),
    ),
)

RABBITMQ = Row(
    "RabbitMQ",
    (
        Panel(
            "Nodes up",
            (Query('count(up{job="rabbitmq"} == 1) or vector(0)'),),
            "short",
            "0: transfers are accepted and wait on disk; start the broker.",
            kind="stat",
            width=4,
            warn_from=1,
            low_is_bad=True,
        ),
        Panel(
            "Messages",
            (
                Query("sum(rabbitmq_queue_messages_ready)", "ready"),
                Query("sum(rabbitmq_queue_messages_unacked)", "unacked"),
            ),
            "short",
            "All queues together; if ready grows, a consumer is missing.",
            width=10,
        ),
        Panel(
            "Published and delivered",
            (
                Query(f"sum(rate(rabbitmq_channel_messages_published_total[{RATE}]))", "published"),
                Query(f"sum(rate(rabbitmq_channel_messages_delivered_ack_total[{RATE}]))", "delivered"),
            ),
            "ops",
            "Published without delivered: start the consumers.",
            width=10,
        ),
        Panel(
            "Connections and channels",
            (Query("sum(rabbitmq_connections)", "connections"), Query("sum(rabbitmq_channels)", "channels")),
            "short",
            "Steady growth is a leak: find the process by its connection name in the management page.",
        ),
        Panel(
            "Memory",
            (
                Query("max(rabbitmq_process_resident_memory_bytes)", "in use"),
                Query("max(rabbitmq_resident_memory_limit_bytes)", "limit"),
            ),
            "bytes",
            "At the limit the broker blocks publishers: consume the queues, or raise the limit.",
        ),
        Panel(
            "Disk free for the broker",
            (
                Query("min(rabbitmq_disk_space_available_bytes)", "free"),
                Query("max(rabbitmq_disk_space_available_limit_bytes)", "limit"),
            ),
            "bytes",
            "Below the limit the broker blocks publishers: free space on its disk.",
        ),
    ),
)

REDIS = Row(
    "Redis",
    (
        Panel(
            "Up",
            (Query("max by (instance) (redis_up)", "{{instance}}"),),
            "none",
            "down: payments continue, rate limits are counted per process; start it.",
            kind="stat",
            width=4,
            warn_from=1,
            low_is_bad=True,
            names={0: "down", 1: "up"},
        ),
        Panel(
            "Memory",
            (Query("max by (instance) (redis_memory_used_bytes)", "{{instance}}"),),
            "bytes",
            "Redis refuses writes when it is full; payments continue without it.",
            width=10,
        ),
        Panel(
            "Commands",
            (Query(f"sum by (instance) (rate(redis_commands_processed_total[{RATE}]))", "{{instance}}"),),
            "ops",
            "If it falls to 0 under load, the gateway does not reach Redis.",
            width=10,
        ),
    ),
)

ENGINES = Dashboard(
    uid="payflow-engines",
    title="PayFlow: Engines",
    description="PostgreSQL, RabbitMQ and Redis.",
    rows=(POSTGRES, RABBITMQ, REDIS),
)
