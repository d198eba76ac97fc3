"""Periods, counts, secrets, networks and the machine: small functions with a good and a broken sample each."""

from __future__ import annotations

import json

import pytest

from deploy import facts
from deploy.doctor import findings, host, networks, periods, pools, revisions, secrets
from deploy.doctor.findings import Finding
from deploy.doctor.periods import PoolUse, Stopping
from deploy.doctor.processes import Probe

STRONG = "a9d7fc2b763b92e4cc169124a64d09139698fd4e268b766b"
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


def lines(found: list[Finding]) -> list[str]:
    return [str(finding) for finding in found if finding.level != "ok"]


def test_the_report_has_a_line_for_each_finding_and_a_summary() -> None:
    """Text for people, JSON for programs; a warning does not fail the run."""
    found = [findings.ok("a", "is well"), findings.warn("b", "is odd", "look"), findings.fail("c", "is broken", "mend")]

    assert ["ok   a: is well", "warn b: is odd - look", "fail c: is broken - mend", "local: 1 ok, 1 warn, 1 fail"] == (
        findings.report("local", found, as_json=False).splitlines()
    )
    document = json.loads(findings.report("local", found, as_json=True))
    assert {"target": "local", "ok": 1, "warn": 1, "fail": 1} == document["summary"]
    assert {"level": "warn", "check": "b", "sentence": "is odd", "advice": "look"} == document["findings"][1]
    assert (1, 0) == (findings.exit_code(found), findings.exit_code(found[:2]))


def test_failover_reversal_and_lifetime_are_in_order() -> None:
    """A transfer outlives a failover, and its message is retried for longer than it lives."""
    lifetime = facts.PERIODS.message_lifetime

    assert [] == lines(
        periods.check_transfer_periods(reversal_after=facts.PERIODS.reversal_after, message_lifetime=lifetime)
    )
    [short] = lines(periods.check_transfer_periods(reversal_after=40, message_lifetime=lifetime))
    [long] = lines(periods.check_transfer_periods(reversal_after=lifetime, message_lifetime=lifetime))
    assert short.startswith("fail periods: transfers expire after 40 s, and a failover may take 40 s")
    assert long.startswith("fail periods: messages are retried for 91 s, and transfers expire after 91 s")


def test_a_process_has_time_to_stop() -> None:
    """The time before the signal and the time of the drain are shorter than the grace period."""
    assert [] == lines(periods.check_stopping([Stopping("auth", 5, 35)], drain=24))
    assert ["auth is killed 10 s after the order to stop, and needs 24 s (0 s + 24 s)"] == [
        finding.sentence for finding in periods.check_stopping([Stopping("auth", 0, 10)], drain=24)
    ]


def test_all_pools_fit_into_the_server() -> None:
    """A few connections are left for migrations, backup and an administrator."""
    pools = [PoolUse("wallet", 4, 20), PoolUse("auth", 2, 10)]

    assert [] == lines(periods.check_connections(pools, connections_max=115))
    [line] = lines(periods.check_connections(pools, connections_max=114))
    assert line.startswith(
        "fail connections: the roles may open 100 connections, and max_connections leaves 99; wallet"
    )
    assert lines(periods.check_connections(pools, connections_max=None))[0].startswith("fail connections: PostgreSQL")


def test_pools_have_the_size_that_is_configured() -> None:
    """A variable of the deployment, else the default of the code."""
    default, larger = (
        pools.list_uses({"wallet": 2, "postgres": 1}, {"wallet": environment})
        for environment in ({}, {"PAYFLOW_WALLET_POOL_SIZE_MAX": "30"})
    )

    assert [PoolUse("wallet", 2, facts.ROLES["wallet"].database_connections_max)] == default
    assert [PoolUse("wallet", 2, default[0].connections_max + 18)] == larger


def test_secrets_are_as_strong_as_a_role_requires() -> None:
    """The rules are those of the settings classes; the value itself is never in a line."""
    good = {"postgres:payflow": STRONG, "auth_secret": STRONG[::-1], "service_key:auth": KEY, "smtp_url": "smtp://m:25"}
    weak = {
        "redis": "short",
        "rabbitmq": "changeme-changeme",
        "auth_secret": "only-twenty-characters",
        "service_key:auth": "bm90IGEga2V5",
        "grafana": STRONG,
        "postgres:payflow": STRONG,
    }
    found = lines(secrets.check_store(weak, path="secrets.json"))

    assert [] == lines(secrets.check_store(good, path="secrets.json"))
    assert 5 == len(found)
    assert found[0].startswith("fail secrets: auth_secret in secrets.json must have at least 32 characters")
    assert found[1].startswith("fail secrets: rabbitmq in secrets.json has a well-known default password")
    assert found[2].startswith("fail secrets: redis in secrets.json needs a password of at least 12 characters")
    assert found[3].startswith("fail secrets: service_key:auth in secrets.json is not the 32-byte seed")
    assert found[4].startswith("warn secrets: grafana and postgres:payflow in secrets.json are the same")
    assert not any(value in line for line in found for value in weak.values())
    assert lines(secrets.check_store({}, path="secrets.json"))[0].startswith(
        "fail secrets: secrets.json has no secrets"
    )


def test_only_the_owner_reads_the_store() -> None:
    """The line has the command that closes it."""
    assert [] == lines(secrets.check_modes({"secrets.json": 0o600, ".deploy": 0o700}))
    assert ["fail secrets: other users can read secrets.json (mode 0640) - chmod go= secrets.json"] == lines(
        secrets.check_modes({"secrets.json": 0o640})
    )


def test_no_secret_is_in_an_environment() -> None:
    """`inspect` shows it, and every child process has it."""
    names = {"PAYFLOW_AUTH_SECRET"}

    assert [] == lines(secrets.check_environments({"auth": ["PATH", "PAYFLOW_SECRETS_DIR"]}, names))
    [line] = lines(secrets.check_environments({"auth": ["PAYFLOW_AUTH_SECRET"]}, names))
    assert line.startswith("fail secrets: auth has PAYFLOW_AUTH_SECRET in its environment")


def test_demo_mode_is_for_a_private_machine() -> None:
    """A warning: the local stack and `make compose-up DEMO=1` are meant to be so."""
    assert [] == lines(secrets.check_demo({"auth": {"PAYFLOW_DEMO": "0"}, "gateway": {"PAYFLOW_RATE_LIMITS": "on"}}))
    [demo, limits] = lines(
        secrets.check_demo({"auth": {"PAYFLOW_DEMO": "1"}, "gateway": {"PAYFLOW_RATE_LIMITS": "off"}})
    )
    assert demo.startswith("warn demo: 1 containers run in demo mode")
    assert limits.startswith("warn demo: gateway runs without rate limits")


def test_data_without_its_secrets_stops_a_deployment() -> None:
    """New secrets beside old data would only hide the loss."""
    assert [] == lines(secrets.check_orphaned_volumes([], has_store=False, path="s"))
    assert [] == lines(secrets.check_orphaned_volumes(["data"], has_store=True, path="s"))
    [line] = lines(secrets.check_orphaned_volumes(["data"], has_store=False, path="s"))
    assert line.startswith("fail secrets: there is data (data), and s is missing - restore it")


@pytest.mark.parametrize("password", ["prom-operator", "admin"])
def test_grafana_with_a_default_password(password: str) -> None:
    """The passwords that a chart and an image come with."""
    assert [] == lines(secrets.check_grafana(None, where="the cluster"))
    assert [] == lines(secrets.check_grafana(STRONG, where="the cluster"))
    [line] = lines(secrets.check_grafana(password, where="the cluster"))
    assert line.startswith("fail monitoring: Grafana in the cluster has the default password")


ALLOWED = {"gateway": networks.edges(["auth"], ["redis", "smtp"]), "auth": networks.edges([], ["postgres"])}
OPEN = {"auth:8000": "open", "redis:6379": "open", "postgres:5432": "blocked"}


def probes(gateway: dict[str, str], auth: str = "open") -> list[Probe]:
    return [
        Probe("gateway-0", "gateway", edges=OPEN | gateway),
        Probe("auth-0", "auth", edges={"postgres:5432": auth}),
    ]


def test_edges_are_those_of_the_code() -> None:
    """Upstream services by their API, engines by their port; a mail server is not ours."""
    assert {"gateway": {"auth:8000", "redis:6379"}, "auth": {"postgres:5432"}} == ALLOWED


def test_a_forbidden_edge_must_be_closed() -> None:
    """An open one fails; one that no process can use proves nothing."""
    assert [] == lines(networks.check_edges(probes({}), ALLOWED, advice="x"))
    assert ["fail networks: gateway-0 reaches postgres:5432, which it does not need - x"] == lines(
        networks.check_edges(probes({"postgres:5432": "open"}), ALLOWED, advice="x")
    )
    down = lines(networks.check_edges(probes({}, auth="refused"), ALLOWED, advice="x"))
    assert ["fail networks: auth-0 does not reach postgres:5432: refused - x"] == down[:1]
    assert down[1].startswith("warn networks: no process reaches postgres:5432: whether it is closed")
    assert ["fail networks: gateway-0 does not reach auth:8000: blocked - x"] == lines(
        networks.check_edges(probes({"auth:8000": "blocked"}), ALLOWED, advice="x")
    )


def test_a_name_that_does_not_resolve() -> None:
    """DNS is a line of its own; a name that a process must not reach need not resolve for it."""
    unresolved = probes({"auth:8000": "unresolved", "postgres:5432": "unresolved"})

    assert [] == lines(networks.check_dns(probes({}), ALLOWED))
    assert ["auth does not resolve in gateway-0"] == [each.sentence for each in networks.check_dns(unresolved, ALLOWED)]
    assert [] == lines(networks.check_edges(unresolved, ALLOWED, advice="x"))


def test_disk_space() -> None:
    """A warning below the share at which an alert fires, a failure when minutes of load would fill it."""
    assert [] == lines(host.check_disk("/", total=100 * host.GIGABYTE, free=20 * host.GIGABYTE))
    assert ["warn disk: 10.0 GB of 100.0 GB are free at / - free space: below 15 % an alert fires"] == lines(
        host.check_disk("/", total=100 * host.GIGABYTE, free=10 * host.GIGABYTE)
    )
    [line] = lines(host.check_disk("/", total=100 * host.GIGABYTE, free=host.GIGABYTE))
    assert line.startswith("fail disk: 1.0 GB of 100.0 GB are free at /")


def test_ports_programs_and_images() -> None:
    """Each has its own line with what to do."""
    pinned = "postgres:15@sha256:" + "1" * 64

    assert [] == lines(host.check_ports([], [8000], advice="x"))
    assert ["fail ports: port 8000 is used by another program - x"] == lines(
        host.check_ports([8000], [8000], advice="x")
    )
    assert [] == lines(host.check_programs([], advice="x"))
    assert ["warn programs: redis-server is not installed - x"] == lines(
        host.check_programs(["redis-server"], advice="x")
    )
    assert [] == lines(host.check_images({"postgres": pinned}))
    assert ["not pinned by digest: redis:7"] == [
        each.sentence for each in host.check_images({"postgres": pinned, "redis": "redis:7", "other": "redis:7"})
    ]


def test_revisions_are_compared() -> None:
    """An older database needs its migration; a newer one is what an upgrade looks like."""
    expected = {"wallet": "0006"}

    assert [] == lines(host.check_revisions({"wallet": "0006"}, expected))
    assert ["fail migrations: the database wallet is at 0005, and this code needs 0006 - run wallet-migrate"] == lines(
        host.check_revisions({"wallet": "0005"}, expected)
    )
    assert ["warn"] == [each.level for each in host.check_revisions({"wallet": "0007"}, expected)]
    for nothing in ({}, {"wallet": None}):
        assert ["fail migrations: the database wallet has no revision - run wallet-migrate"] == lines(
            host.check_revisions(nothing, expected)
        )


def test_revisions_of_a_container_are_read_from_its_output() -> None:
    """A database that does not respond has no value."""
    output = "auth=0011\nwallet=\ntransaction=0010\nnotification=0008\nmax_connections=200\n"

    assert ({"auth": "0011", "wallet": None, "transaction": "0010", "notification": "0008"}, 200) == revisions.parse(
        output
    )
    assert ({}, None) == revisions.parse("")
    assert set(revisions.expected()) == {"auth", "wallet", "transaction", "notification"}
