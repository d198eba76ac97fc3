"""The faults of `make chaos HA=1`: of the PostgreSQL leader, its replicas, etcd, and the RabbitMQ nodes."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterable

from deploy.local.engines.engine import Engine
from deploy.local.engines.patroni import PatroniNode
from tests.chaos.cluster_system import Clusters
from tests.chaos.faults import UNAVAILABLE
from tests.chaos.proxy import Edge
from tests.chaos.schedule import Kind, Round

LEADER = "leader"
REPLICA = "replica"
ETCD = "etcd"
RABBITMQ = "rabbitmq"

KINDS = [
    Kind(LEADER, "keep-down", (1.0, 5.0), weight=3),
    Kind(LEADER, "freeze", (1.0, 5.0), weight=3),
    Kind(LEADER, "partition", (1.0, 5.0), weight=3),
    Kind(LEADER, "kill", weight=1),
    Kind(LEADER, "switchover", weight=2),
    Kind(LEADER, "fail-over-unreplicated", (1.5, 4.0), weight=1),
    Kind(REPLICA, "kill"),
    Kind(REPLICA, "freeze", (2.0, 10.0)),
    Kind(ETCD, "keep-down", (2.0, 10.0)),
    Kind(ETCD, "majority-down", (20.0, 30.0)),
    Kind("haproxy", "kill"),
    Kind(RABBITMQ, "kill"),
    Kind(RABBITMQ, "two-down", (5.0, 12.0)),
    Kind(RABBITMQ, "partition", (5.0, 12.0)),
]


async def inject(system: Clusters, round_: Round) -> None:
    """Inject the fault of a round, then heal it, also after an error."""
    try:
        await ACTIONS[round_.component, round_.fault](system, round_)
    except UNAVAILABLE:
        await asyncio.sleep(round_.seconds)


async def _leader_down(system: Clusters, round_: Round) -> None:
    """Kill the leader and its daemon, and keep both down until another node leads, and some seconds more."""
    leader = await system.leader()
    try:
        await system.stack.take_down(leader.name)
        await system.until_replaced(leader)
        await asyncio.sleep(round_.seconds)
    finally:
        system.stack.bring_up(leader.name)


async def _leader_killed(system: Clusters, _round: Round) -> None:
    """Kill the leader and its daemon; the supervisor starts the daemon again at once."""
    system.send((await system.leader()).pids, signal.SIGKILL)


async def _leader_frozen(system: Clusters, round_: Round) -> None:
    """Stop every process of the leader until another node leads, and some seconds more; then it continues."""
    leader = await system.leader()
    with _Frozen(system, [leader]):
        await system.until_replaced(leader)
        await asyncio.sleep(round_.seconds)


async def _leader_partitioned(system: Clusters, round_: Round) -> None:
    """Cut the leader off from the other nodes and from etcd. The services still reach it: it must not serve them."""
    leader = await system.leader()
    links = system.plan.links[leader.name].values()
    try:
        _each(links, Edge.black_hole)
        await system.until_replaced(leader)
        await asyncio.sleep(round_.seconds)
    finally:
        _each(links, Edge.heal)


async def _switched_over(system: Clusters, _round: Round) -> None:
    leader = await system.leader()
    if await leader.switch_over():
        await system.until_replaced(leader)


async def _failed_over_unreplicated(system: Clusters, round_: Round) -> None:
    """Freeze both replicas: commits wait, clients give up and repeat. Then lose the leader, and let a replica lead.

    Shorter than Patroni needs to notice: after that no replica may lead until the former leader is back.
    """
    leader, replicas = await system.leader(), await system.replicas()
    try:
        with _Frozen(system, replicas, only_server=True):
            await asyncio.sleep(round_.seconds)
            await system.stack.take_down(leader.name)
        await system.until_replaced(leader)
    finally:
        system.stack.bring_up(leader.name)


async def _replica_killed(system: Clusters, round_: Round) -> None:
    replicas = await system.replicas()
    system.send(random.Random(round_.number).choice(replicas).pids, signal.SIGKILL)


async def _replica_frozen(system: Clusters, round_: Round) -> None:
    replicas = await system.replicas()
    with _Frozen(system, [random.Random(round_.number).choice(replicas)]):
        await asyncio.sleep(round_.seconds)


async def _etcd_down(system: Clusters, round_: Round) -> None:
    await _kept_down(system, [random.Random(round_.number).choice(system.plan.postgres.etcd)], round_.seconds)


async def _etcd_majority_down(system: Clusters, round_: Round) -> None:
    """Without a majority of etcd the leader steps down: nothing is accepted, and nothing is lost."""
    members = random.Random(round_.number).sample(system.plan.postgres.etcd, 2)
    await _kept_down(system, members, round_.seconds)


async def _haproxy_killed(system: Clusters, _round: Round) -> None:
    system.send(system.pids("haproxy"), signal.SIGKILL)


async def _rabbitmq_killed(system: Clusters, round_: Round) -> None:
    node = random.Random(round_.number).choice(system.plan.rabbitmq.nodes)
    system.send(system.pids(node.name), signal.SIGKILL)


async def _rabbitmq_two_down(system: Clusters, round_: Round) -> None:
    await _kept_down(system, random.Random(round_.number).sample(system.plan.rabbitmq.nodes, 2), round_.seconds)


async def _rabbitmq_partitioned(system: Clusters, round_: Round) -> None:
    """Cut one node off: it expects a cookie from the others that they do not have, and they cannot reconnect."""
    node = random.Random(round_.number).choice(system.plan.rabbitmq.nodes)
    others = ", ".join(f"'{peer}'" for peer in node.peers if peer != node.node)
    cut = f"[begin erlang:set_cookie(P, partitioned), erlang:disconnect_node(P) end || P <- [{others}]]."
    heal = f"[erlang:set_cookie(P, erlang:get_cookie()) || P <- [{others}]]."
    await node.evaluate(cut)
    try:
        await asyncio.sleep(round_.seconds)
    finally:
        await node.evaluate(heal)


async def _kept_down(system: Clusters, engines: Iterable[Engine], seconds: float) -> None:
    names = [engine.name for engine in engines]
    try:
        await asyncio.gather(*(system.stack.take_down(name) for name in names))
        await asyncio.sleep(seconds)
    finally:
        for name in names:
            system.stack.bring_up(name)


class _Frozen:
    """The processes of nodes, stopped during the block."""

    def __init__(self, system: Clusters, nodes: Iterable[PatroniNode], *, only_server: bool = False) -> None:
        self._system = system
        self._pids = [pid for node in nodes for pid in node.pids if not (only_server and pid == node.pid)]

    def __enter__(self) -> None:
        self._system.send(self._pids, signal.SIGSTOP)

    def __exit__(self, *_error: object) -> None:
        self._system.send(self._pids, signal.SIGCONT)


def _each(links: Iterable[Edge], action: Callable[[Edge], None]) -> None:
    for link in links:
        action(link)


Action = Callable[[Clusters, Round], Awaitable[None]]

ACTIONS: dict[tuple[str, str], Action] = {
    (LEADER, "keep-down"): _leader_down,
    (LEADER, "kill"): _leader_killed,
    (LEADER, "freeze"): _leader_frozen,
    (LEADER, "partition"): _leader_partitioned,
    (LEADER, "switchover"): _switched_over,
    (LEADER, "fail-over-unreplicated"): _failed_over_unreplicated,
    (REPLICA, "kill"): _replica_killed,
    (REPLICA, "freeze"): _replica_frozen,
    (ETCD, "keep-down"): _etcd_down,
    (ETCD, "majority-down"): _etcd_majority_down,
    ("haproxy", "kill"): _haproxy_killed,
    (RABBITMQ, "kill"): _rabbitmq_killed,
    (RABBITMQ, "two-down"): _rabbitmq_two_down,
    (RABBITMQ, "partition"): _rabbitmq_partitioned,
}
