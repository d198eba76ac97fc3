"""Which engines a stack has, and how the parts of a cluster find one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local import engine_sets
from deploy.local.engine_sets import ClusterEngines, SingleEngines
from deploy.local.engines.haproxy import HAProxy
from deploy.local.engines.patroni import CLUSTER, PatroniNode
from deploy.local.errors import LocalError
from deploy.local.home import Home
from deploy.local.ports import Ports
from deploy.secrets.store import Secrets

PARTS = {
    *("etcd-1", "etcd-2", "etcd-3", "postgres-1", "postgres-2", "postgres-3", "haproxy"),
    *("rabbitmq-1", "rabbitmq-2", "rabbitmq-3", "rabbitmq-epmd"),
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def find(home: Home, caller: dict[str, str]) -> engine_sets.Engines:
    return engine_sets.find(home, Ports(home.ports), Secrets(home.secrets), caller=caller)


def test_one_of_each_unless_ha_is_1(home: Home) -> None:
    """HA=1 chooses clusters; any value other than 0 and 1 is an error that names it."""
    assert isinstance(find(home, {}), SingleEngines)
    assert isinstance(find(home, {"HA": "0"}), SingleEngines)
    assert isinstance(find(home, {"HA": "1"}), ClusterEngines)
    with pytest.raises(LocalError, match="HA is 'yes'"):
        find(home, {"HA": "yes"})


def test_parts_of_the_clusters(home: Home) -> None:
    """Each part has its own name, ports and folder, and those of PostgreSQL start before the databases are prepared."""
    engines = find(home, {"HA": "1"})
    parts = [*engines.postgres.parts, *engines.rabbitmq.parts]
    ports = [name for part in parts for name in part.port_names]

    assert {part.name for part in parts} == PARTS
    assert len({part.directory for part in parts}) == len(parts)
    assert len(set(ports)) == len(ports)
    assert {part.name for part in parts if part.holds_databases} == {
        name for name in PARTS if not name.startswith("rabbitmq")
    }


def test_services_reach_the_leader_and_a_replica(home: Home) -> None:
    """Both addresses are HAProxy's; it checks the role of each node at its daemon."""
    engines = ClusterEngines.of(home, Ports(home.ports), Secrets(home.secrets))
    engines.choose_ports()
    cluster = engines.postgres
    text = "".join(HAProxy._section(cluster.haproxy, name, cluster.haproxy.primary) for name in ("primary", "replica"))

    assert f"@127.0.0.1:{cluster.haproxy.primary[1]}/wallet" in cluster.dsn("wallet")
    assert f"@127.0.0.1:{cluster.haproxy.replica[1]}/wallet" in str(cluster.replica_dsn("wallet", "payflow_wallet"))
    assert "option httpchk OPTIONS /primary" in text
    assert "option httpchk OPTIONS /replica" in text
    for node in cluster.nodes:
        assert f"server {node.name} 127.0.0.1:{node.address[1]} check addr 127.0.0.1 port {node.api[1]}" in text


def test_commits_wait_for_a_replica(home: Home) -> None:
    """Without a replica nothing is committed, one that lacks anything is not promoted, and Patroni accepts the times."""
    engines = ClusterEngines.of(home, Ports(home.ports), Secrets(home.secrets))
    engines.choose_ports()
    [node, *_] = engines.postgres.nodes
    document: dict[str, Any] = yaml.safe_load(yaml.safe_dump(PatroniNode._configuration(node, Path("/bin"))))
    cluster = document["bootstrap"]["dcs"]

    assert (cluster["synchronous_mode"], cluster["synchronous_mode_strict"]) == ("quorum", True)
    assert cluster["maximum_lag_on_failover"] == 0
    assert cluster["ttl"] >= cluster["loop_wait"] + 2 * cluster["retry_timeout"]
    assert document["postgresql"]["parameters"]["synchronous_commit"] == "on"
    assert document["postgresql"]["parameters"]["fsync"] == "on"
    assert document["etcd3"]["use_proxies"]
    assert CLUSTER["ttl"] == 20


def test_nothing_is_left_by_another_set(home: Home) -> None:
    """Leftover processes are looked for below the folders of both sets."""
    engine_sets.end_orphans(home)
