"""*One transfer's path*: the latency of each hop, in the order in which a transfer passes them."""

from __future__ import annotations

from deploy.monitoring.dashboards.dashboard import Dashboard, Panel, Query, Row, quantiles

RATE = "$__rate_interval"
REQUESTS = "payflow_http_request_duration_seconds_bucket"
CALLS = "payflow_upstream_call_duration_seconds"
HOPS = {
    "1 gateway accepts": f'{REQUESTS}{{role="gateway", method="POST", route="/api/v1/transfers"}}',
    "2 published": "payflow_transfer_publish_seconds_bucket",
    "3 picked up": "payflow_transfer_pickup_seconds_bucket",
    "4 posted": f'{CALLS}_bucket{{service="transaction", role="transaction-worker", upstream="wallet"}}',
    "5 notified": "payflow_notification_delay_seconds_bucket",
}

WHOLE = Row(
    "The whole path",
    (
        Panel(
            "Latency by hop, 95th percentile",
            tuple(
                Query(f"histogram_quantile(0.95, sum by (le) (rate({series}[{RATE}])))", hop)
                for hop, series in HOPS.items()
            ),
            "s",
            "The hop that grew names the component to look at; payflow trace ID shows one transfer.",
            width=16,
        ),
        Panel(
            "From acceptance to the outcome",
            quantiles("payflow_transfer_duration_seconds_bucket"),
            "s",
            "Above 5 s find the hop that grew in the panel beside this one.",
            warn_from=5,
            act_from=30,
        ),
    ),
)

EACH = Row(
    "Each hop",
    (
        Panel(
            "1 The gateway accepts a transfer",
            quantiles(REQUESTS, 'role="gateway", method="POST", route="/api/v1/transfers"'),
            "s",
            "If only this hop is slow, look at the database of transaction: acceptance is one commit.",
            warn_from=0.5,
            act_from=2,
        ),
        Panel(
            "2 The relay publishes it",
            quantiles("payflow_transfer_publish_seconds_bucket"),
            "s",
            "Time in the outbox: if it grows, check the relay, then RabbitMQ.",
            warn_from=1,
            act_from=10,
        ),
        Panel(
            "3 A worker picks it up",
            quantiles("payflow_transfer_pickup_seconds_bucket"),
            "s",
            "Time in the broker: if it grows, add workers or find out why they are slow.",
            warn_from=1,
            act_from=5,
        ),
        Panel(
            "4 The wallet posts it",
            quantiles(f"{CALLS}_bucket", 'service="transaction", role="transaction-worker", upstream="wallet"'),
            "s",
            "A call of a worker for a whole window: if it grows, look at locks and at the disk of PostgreSQL.",
            warn_from=1,
            act_from=4,
        ),
        Panel(
            "5 The users are notified",
            quantiles("payflow_notification_delay_seconds_bucket"),
            "s",
            "From the outcome to the notification: if it grows, check notification-worker; the money has moved already.",
            warn_from=5,
            act_from=30,
        ),
        Panel(
            "Calls between services that fail",
            (
                Query(
                    f'sum by (role, upstream, outcome) (rate({CALLS}_count{{outcome!~"2..|3..|4.."}}[{RATE}])) '
                    f"or 0 * sum by (role, upstream) (rate({CALLS}_count[{RATE}]))",
                    "{{role}} to {{upstream}} {{outcome}}",
                ),
            ),
            "ops",
            "Look at the service that is called, then at the network between the two.",
            warn_from=0.1,
        ),
    ),
)

PATH = Dashboard(
    uid="payflow-path",
    title="PayFlow: One transfer's path",
    description="Where transfers spend their time, hop by hop.",
    rows=(WHOLE, EACH),
)
