"""*Users and security*: logins, throttles, rate limits, keys and e-mails."""

from __future__ import annotations

from deploy.monitoring.dashboards.dashboard import Dashboard, Panel, Query, Row

RATE = "$__rate_interval"
REQUESTS = "payflow_http_request_duration_seconds_count"

LOGINS = Row(
    "Logins",
    (
        Panel(
            "Logins by result",
            (Query(f"sum by (result) (rate(payflow_logins_total[{RATE}]))", "{{result}}"),),
            "ops",
            "Many failed: an attack on passwords; the throttle slows it, check the audit log.",
        ),
        Panel(
            "Sessions ended, by reason",
            (
                Query(
                    f"sum by (reason) (rate(payflow_sessions_ended_total[{RATE}])) "
                    f"or 0 * sum(rate(payflow_logins_total[{RATE}]))",
                    "{{reason}}",
                ),
            ),
            "ops",
            "Any reuse of a refresh token means that a token was stolen or a client is broken: look at the audit log.",
        ),
        Panel(
            "Passwords being hashed",
            (
                Query("sum(payflow_password_hashes_waiting)", "waiting or running"),
                Query(f"sum(rate(payflow_password_hashes_refused_total[{RATE}]))", "refused per second"),
            ),
            "short",
            "Refused: logins get 503; run another auth process if the logins are genuine.",
            warn_from=8,
        ),
    ),
)

LIMITS = Row(
    "Limits",
    (
        Panel(
            "Refused by rate limits",
            (Query(f"sum by (limit) (rate(payflow_rate_limited_total[{RATE}]))", "{{limit}}"),),
            "reqps",
            "Many wrong_login or wrong_key suggest an attack on passwords or keys.",
        ),
        Panel(
            "Responses that refuse a caller",
            (
                Query(
                    f'sum by (status) (rate({REQUESTS}{{role="gateway", status=~"401|403|404|409|422|429"}}[{RATE}])) '
                    f'or 0 * sum(rate({REQUESTS}{{role="gateway"}}[{RATE}]))',
                    "{{status}}",
                ),
            ),
            "reqps",
            "A jump of one status after a release of a client is its fault; without one look for an attack.",
        ),
        Panel(
            "Connections cut",
            (
                Query(
                    f"sum by (reason) (rate(payflow_connections_cut_total[{RATE}])) "
                    f'or 0 * sum(rate({REQUESTS}{{role="gateway"}}[{RATE}]))',
                    "{{reason}}",
                ),
            ),
            "ops",
            "Slow or malformed clients: many at once from one network suggest an attack.",
        ),
    ),
)

CLIENTS = Row(
    "Clients",
    (
        Panel(
            "API keys checked",
            (
                Query(
                    f"sum by (result) (rate(payflow_api_keys_verified_total[{RATE}])) "
                    f"or 0 * sum(rate(payflow_logins_total[{RATE}]))",
                    "{{result}}",
                ),
            ),
            "ops",
            "Many refused: a client has an old key, or an attacker tries keys.",
            width=6,
        ),
        Panel(
            "Idempotency keys by result",
            (Query(f"sum by (result) (rate(payflow_idempotency_total[{RATE}]))", "{{result}}"),),
            "ops",
            "Many reused: a client sends different requests under one key and needs a correction.",
            width=6,
        ),
        Panel(
            "Open event streams",
            (Query("sum(payflow_live_streams)", "streams"),),
            "short",
            "A sudden fall: a gateway restarted or the network broke; clients reconnect by themselves.",
            width=6,
        ),
        Panel(
            "E-mails sent, by outcome",
            (
                Query(
                    f"sum by (outcome) (rate(payflow_deliveries_total[{RATE}])) "
                    'or 0 * count(up{role="notification-deliver"})',
                    "notification {{outcome}}",
                ),
                Query(
                    f"sum by (outcome) (rate(payflow_auth_emails_total[{RATE}])) "
                    'or 0 * count(up{role="notification-deliver"})',
                    "account {{outcome}}",
                ),
            ),
            "ops",
            "retried or failed: check the mail server; an e-mail is sent again for hours.",
            width=6,
        ),
    ),
)

USERS = Dashboard(
    uid="payflow-users",
    title="PayFlow: Users and security",
    description="Logins, throttles, rate limits, keys and e-mails.",
    rows=(LOGINS, LIMITS, CLIENTS),
)
