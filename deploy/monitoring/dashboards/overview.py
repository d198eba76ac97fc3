"""*Overview*: the state of the system, the four golden signals, and the money that moves."""

from __future__ import annotations

from deploy.monitoring.dashboards.dashboard import Dashboard, Panel, Query, Row, quantiles

RATE = "$__rate_interval"
REQUESTS = "payflow_http_request_duration_seconds"
QUEUE = 'queue="transfers.requested"'

STATE = Row(
    "State",
    (
        Panel(
            "Zone of each queue",
            (Query("payflow:queue_zone", "{{queue}}"),),
            "none",
            "Busy: add workers if it lasts. Delayed: follow the runbook of the alert. No value: the relay is down.",
            kind="stat",
            width=4,
            warn_from=1,
            act_from=2,
            names={0: "normal", 1: "busy", 2: "delayed"},
        ),
        Panel(
            "Firing alerts",
            (Query('count(ALERTS{alertstate="firing", alertname!="Watchdog"}) or vector(0)'),),
            "short",
            "Open Alerts in Prometheus: each alert names its runbook below docs/operations/runbooks/.",
            kind="stat",
            width=4,
            warn_from=1,
        ),
        Panel(
            "Processes down",
            (Query('count(up{job="payflow"} == 0) or vector(0)'),),
            "short",
            "Start what is down: the alert names it, and make doctor says what it lacks.",
            kind="stat",
            width=4,
            act_from=1,
        ),
        Panel(
            "Stale transfers",
            (Query("max(payflow_stale_pending_transfers)"),),
            "short",
            "PENDING past their expiry: if it stays above 0, start the reversal.",
            kind="stat",
            width=4,
            act_from=1,
        ),
        Panel(
            "Ledger drift",
            (Query("sum(max by (currency) (abs(payflow_ledger_drift_minor_units)))"),),
            "short",
            "Must be 0: if it is not, stop the gateway, correct no row, and escalate.",
            kind="stat",
            width=4,
            act_from=1,
        ),
        Panel(
            "Ledger proof",
            (Query('min(payflow_ledger_proof_ok{role="wallet-seal"})'),),
            "none",
            "If it failed, payflow ledger verify names what is wrong.",
            kind="stat",
            width=4,
            warn_from=1,
            low_is_bad=True,
            names={0: "failed", 1: "ok"},
        ),
    ),
)

SIGNALS = Row(
    "Golden signals",
    (
        Panel(
            "Latency: response time of the gateway",
            quantiles(f"{REQUESTS}_bucket", 'role="gateway"'),
            "s",
            "If it rises, open One transfer's path: the hop that grew names the service.",
            width=6,
            warn_from=0.5,
            act_from=2,
        ),
        Panel(
            "Traffic: requests by status",
            (Query(f'sum by (status) (rate({REQUESTS}_count{{role="gateway"}}[{RATE}]))', "{{status}}"),),
            "reqps",
            "If it falls to 0 at a busy time, check that clients reach the gateway.",
            width=6,
        ),
        Panel(
            "Errors: share of failed requests",
            (
                Query(
                    f'(sum(rate({REQUESTS}_count{{role="gateway", status=~"5.."}}[{RATE}])) '
                    f'or 0 * sum(rate({REQUESTS}_count{{role="gateway"}}[{RATE}]))) '
                    f'/ sum(rate({REQUESTS}_count{{role="gateway"}}[{RATE}]))',
                    "status from 500",
                ),
            ),
            "percentunit",
            "Above 5 % look at Errors by service: the service with the largest share is the one to look at first.",
            width=6,
            warn_from=0.01,
            act_from=0.05,
        ),
        Panel(
            "Saturation: seconds of work ahead",
            (
                Query(
                    f"max(payflow_queue_transfers{{{QUEUE}}} / (payflow_queue_drain_per_second{{{QUEUE}}} > 0))",
                    "queue",
                ),
            ),
            "s",
            "Waiting transfers divided by the drain rate; above 5 s add workers.",
            width=6,
            warn_from=5,
            act_from=20,
        ),
    ),
)

MONEY = Row(
    "Money",
    (
        Panel(
            "Money moved per minute",
            (Query(f"60 * sum by (currency) (rate(payflow_money_moved_minor_units_total[{RATE}]))", "{{currency}}"),),
            "short",
            "In minor units of each currency; if it falls to 0 while requests arrive, transfers wait or fail.",
        ),
        Panel(
            "Transfers by outcome",
            (Query(f"sum by (outcome) (rate(payflow_transfers_total[{RATE}]))", "{{outcome}}"),),
            "ops",
            "Many timed_out: the relay, the broker, the workers or the wallet were down.",
        ),
        Panel(
            "Accepted per second",
            (Query(f"sum by (kind) (rate(payflow_transfers_accepted_total[{RATE}]))", "{{kind}}"),),
            "ops",
            "Recorded as PENDING; if it exceeds the outcomes for long, the queue grows: add workers.",
        ),
        Panel(
            "Time until the outcome",
            quantiles("payflow_transfer_duration_seconds_bucket"),
            "s",
            "From acceptance to COMPLETED or FAILED; above 5 s open Queues and workers.",
            warn_from=5,
            act_from=30,
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
            "Dead letters",
            (Query("max by (queue) (payflow_dead_letters)", "{{queue}}"),),
            "short",
            "They wait for an operator: remove the cause, then replay or discard them.",
            warn_from=1,
        ),
    ),
)

SERVICES = Row(
    "Services",
    (
        Panel(
            "Requests by service",
            (Query(f"sum by (role) (rate({REQUESTS}_count[{RATE}]))", "{{role}}"),),
            "reqps",
            "If only the gateway has requests, it does not reach the services.",
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
            "Share of the requests with a status from 500; look at the service with the largest share first.",
            act_from=0.05,
        ),
        Panel(
            "Response time by service, 99th percentile",
            (Query(f"histogram_quantile(0.99, sum by (le, role) (rate({REQUESTS}_bucket[{RATE}])))", "{{role}}"),),
            "s",
            "If one service is slow, look at its engine and at the processors of its machine.",
            warn_from=1,
        ),
    ),
)

OVERVIEW = Dashboard(
    uid="payflow-overview",
    title="PayFlow: Overview",
    description="The state of the system, the four golden signals, and the money that moves.",
    rows=(STATE, SIGNALS, MONEY, SERVICES),
)
