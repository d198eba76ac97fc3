"""*Ledger*: whether the books are right, and how they are written."""

from __future__ import annotations

from deploy.monitoring.dashboards.dashboard import Dashboard, Panel, Query, Row, quantiles

RATE = "$__rate_interval"

BOOKS = Row(
    "The books",
    (
        Panel(
            "Drift by currency",
            (Query("max by (currency) (payflow_ledger_drift_minor_units)", "{{currency}}"),),
            "short",
            "The sum of all balances in minor units, which must be 0: if it is not, stop the gateway and correct no row.",
            width=6,
            act_from=1,
        ),
        Panel(
            "Last proof",
            (Query('min(payflow_ledger_proof_ok{role="wallet-seal"})'),),
            "none",
            "If it failed, payflow ledger verify names what is wrong.",
            kind="stat",
            width=6,
            warn_from=1,
            low_is_bad=True,
            names={0: "failed", 1: "ok"},
        ),
        Panel(
            "Time since the last proof",
            (Query('payflow:job_seconds_since_success{exported_job="proof"}', "proof"),),
            "s",
            "If it grows, read the log of wallet-seal: nothing is checked meanwhile.",
            width=6,
            warn_from=300,
            act_from=900,
        ),
        Panel(
            "Conflicts",
            (
                Query("sum(payflow_outcome_conflicts_total)", "known id, other request"),
                Query("sum(payflow_transfer_conflicts_total)", "transfers that wait for an operator"),
            ),
            "short",
            "Must be 0 since the start of the processes: if it is not, follow the runbook of the ledger.",
            width=6,
            act_from=1,
        ),
    ),
)

WRITING = Row(
    "Writing",
    (
        Panel(
            "Transfers in one database transaction",
            (
                Query(
                    f"sum(rate(payflow_ledger_batch_size_sum[{RATE}])) / sum(rate(payflow_ledger_batch_size_count[{RATE}]))",
                    "average",
                ),
            ),
            "short",
            "It grows with the load; if it stays at 1 under load, the workers call the wallet one by one.",
        ),
        Panel(
            "Outcomes per second",
            (Query(f"sum by (outcome) (rate(payflow_ledger_outcomes_total[{RATE}]))", "{{outcome}}"),),
            "ops",
            "Many rejected: users without money; many voided: transfers that came too late for the workers.",
        ),
        Panel(
            "Time to post a window",
            quantiles("payflow_http_request_duration_seconds_bucket", 'role="wallet", route="/internal/post"'),
            "s",
            "If it grows, look at lock waits, then at the disk of PostgreSQL.",
            warn_from=1,
            act_from=4,
        ),
        Panel(
            "Locks in the wallet database",
            (Query('sum by (mode) (pg_locks_count{datname="wallet"})', "{{mode}}"),),
            "short",
            "If it grows without more load, a session holds locks: find it in pg_stat_activity.",
        ),
        Panel(
            "Longest transaction",
            (Query('max by (datname) (pg_stat_activity_max_tx_duration{datname!~"template.*"})', "{{datname}}"),),
            "s",
            "Above a minute a session blocks others and the cleaning of tables: find it in pg_stat_activity.",
            warn_from=60,
            act_from=300,
        ),
        Panel(
            "Deadlocks",
            (
                Query(
                    f'sum by (datname) (rate(pg_stat_database_deadlocks{{datname!~"template.*|"}}[{RATE}]))',
                    "{{datname}}",
                ),
            ),
            "ops",
            "Locks are taken in one order, so it must be 0: read the log of PostgreSQL, and report it.",
            act_from=0.001,
        ),
    ),
)

SEALS = Row(
    "Seals",
    (
        Panel(
            "Seal lag",
            (Query('max(payflow_seal_lag_seconds{role="wallet-seal"})', "lag"),),
            "s",
            "How long outcomes may be unsealed: if it grows, read the log of wallet-seal.",
            width=12,
            warn_from=60,
        ),
        Panel(
            "Blocks sealed per second",
            (Query(f'sum(rate(payflow_sealed_blocks_total{{role="wallet-seal"}}[{RATE}]))', "blocks"),),
            "ops",
            "0 while transfers are posted: read the log of wallet-seal.",
            width=12,
        ),
    ),
)

LEDGER = Dashboard(
    uid="payflow-ledger",
    title="PayFlow: Ledger",
    description="Whether the books are right, how they are written, and whether their history is sealed.",
    rows=(BOOKS, WRITING, SEALS),
)
