"""A PostgreSQL node that Patroni runs: one of three, of which one leads and a commit waits for one of the others.

Patroni elects the leader by etcd, restarts a node as a replica when it returns, and rewinds it where it has diverged.
"""

from __future__ import annotations

import asyncio
import pwd
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from deploy.local import files, process
from deploy.local.engines import etcd
from deploy.local.engines.engine import is_ok
from deploy.local.engines.postgres import CLEAN_ENVIRONMENT, SUPERUSER, Address, Postgres
from deploy.local.errors import LocalError
from deploy.local.ports import LOOPBACK, Ports
from deploy.local.process import Process
from deploy.secrets.store import Secrets

NODES = (1, 2, 3)
SCOPE = "payflow"
REPLICATOR = "payflow_replication"
PROBE_SECONDS_MAX = 2.0
ETCD_POLL_SECONDS = 0.1
PROMOTABLE = frozenset({"sync_standby", "quorum_standby"})
SWITCHOVER_SECONDS_MAX = 30.0

TTL_SECONDS = 20
"""A leader that is gone is replaced after this time. The smallest that Patroni allows."""

CLUSTER = {
    "ttl": TTL_SECONDS,
    "loop_wait": 5,
    "retry_timeout": 5,  # ttl >= loop_wait + 2 * retry_timeout
    "maximum_lag_on_failover": 0,
    # A commit waits for one of the two others, the quorum; without any of them nothing is committed.
    "synchronous_mode": "quorum",
    "synchronous_mode_strict": True,
    "synchronous_node_count": 1,
}
PARAMETERS = {
    "wal_level": "replica",
    "hot_standby": "on",
    "wal_log_hints": "on",  # pg_rewind needs it
    "wal_keep_size": "512MB",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "wal_sender_timeout": "5s",
    "wal_receiver_timeout": "5s",
}


class PatroniNode(Postgres):
    """One node: the daemon of Patroni, and the server that it starts and stops."""

    programs = frozenset(
        {"postgres", "setpriv", "unshare", *{Path(sys.executable).resolve().name, "python", "python3"}}
    )
    holds_databases = True
    ready_seconds_max = 120.0  # the replicas copy the first leader

    def __init__(
        self,
        directory: Path,
        number: int,
        *,
        ports: Ports,
        secrets: Secrets,
        log: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Describe node `number`, from 1, below `directory`."""
        self.name = f"postgres-{number}"
        super().__init__(directory, ports=ports, secrets=secrets, log=log, settings=settings)
        self.port_names = (self.name, f"{self.name}_api")
        self.etcd: Sequence[Address] = ()
        """The nodes of etcd, as this node reaches them."""
        self.advertised: Callable[[], Address] = lambda: self.address
        """Where the other nodes reach this server."""
        self.advertised_api: Callable[[], Address] = lambda: self.api

    @property
    def _api_url(self) -> str:
        return f"http://{LOOPBACK}:{self._port('_api')}"

    @property
    def api(self) -> Address:
        """Where the daemon listens; its pages report the role of the node."""
        return LOOPBACK, self._port("_api")

    async def prepare(self) -> None:
        """Write the configuration of the daemon, and wait for etcd. The ports were taken for all nodes at once.

        Raises:
            LocalError: etcd did not become ready, a program is missing, or the password of existing data.
        """
        files.make_folder(self.directory)
        self.end_orphans()
        if self.data.exists() and not self._secrets.has(f"postgres:{SUPERUSER}"):
            raise LocalError(f"the password of {self.data} is lost; restore secrets.json from a backup")
        programs = self.find_programs()
        path = self.directory / "patroni.yml"
        files.write_atomically(path, yaml.safe_dump(self._configuration(programs)))
        self._process = Process(
            self.name,
            [sys.executable, "-m", "patroni", str(path)],
            environment=CLEAN_ENVIRONMENT | {"HOME": str(self.directory)},
            directory=self.directory,
            log=self.log,
            launcher=self._launcher(),
        )
        await self._until_etcd_is_ready()

    async def _until_etcd_is_ready(self) -> None:
        """Wait until every node of etcd can be written to: the daemon ends if one is still starting."""
        try:
            async with asyncio.timeout(self.ready_seconds_max):
                while not all([await etcd.is_healthy(address) for address in self.etcd]):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(ETCD_POLL_SECONDS)
        except TimeoutError:
            raise LocalError(f"{self.name} found no etcd in {self.ready_seconds_max:.0f} s") from None

    async def is_ready(self) -> bool:
        """Whether the server runs, as the leader or as a replica that streams from it."""
        return await is_ok(f"{self._api_url}/health") and await super().is_ready()

    async def count_promotable(self) -> int:
        """How many replicas may lead now: Patroni has recorded that they have every commit. 0 without a response."""
        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS_MAX)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{self._api_url}/cluster") as response,
            ):
                members = (await response.json())["members"]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
            return 0
        return sum(member["role"] in PROMOTABLE and member["state"] == "streaming" for member in members)

    async def is_leader(self) -> bool:
        """Whether the node has the leader's lock."""
        return await is_ok(f"{self._api_url}/primary")

    @property
    def pids(self) -> list[int]:
        """The daemon, the server and all its processes; the server is no child of the daemon."""
        servers = process.in_directory(self.data, programs=self.programs)
        return [*([] if self.pid is None else [self.pid]), *servers]

    async def switch_over(self) -> bool:
        """Hand the lead over to a replica that has everything; whether it did."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SWITCHOVER_SECONDS_MAX)) as session,
            session.post(f"{self._api_url}/switchover", json={"leader": self.name}) as response,
        ):
            return response.ok

    async def stop(self) -> None:
        """Stop the daemon, which stops the server."""
        if self._process is not None:
            await self._process.stop(seconds_max=self.stop_seconds_max)
            self.end_orphans()

    def end_orphans(self) -> None:
        """Kill the server, which does not end with its daemon, and what the daemon has left."""
        super().end_orphans()
        process.end_all(process.in_directory(self.directory, programs=self.programs))

    def _server_user(self) -> pwd.struct_passwd | None:
        """None: as root, the daemon runs in a user namespace, because it must be able to read the Python of its caller."""
        return None

    def _configuration(self, programs: Path) -> dict[str, Any]:
        host, port = self.address
        own = {key: value for key, value in self._settings.items() if key != "listen_addresses"}
        return {
            "scope": SCOPE,
            "name": self.name,
            "restapi": {"listen": _text(self.api), "connect_address": _text(self.advertised_api())},
            # `use_proxies`: stay with these addresses. By default Patroni replaces them by those that etcd reports.
            "etcd3": {"hosts": [_text(address) for address in self.etcd], "use_proxies": True},
            "log": {"level": "INFO"},
            "bootstrap": {
                "dcs": {**CLUSTER, "postgresql": {"use_pg_rewind": True, "use_slots": True}},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"{host}:{port}",
                "connect_address": _text(self.advertised()),
                "data_dir": str(self.data),
                "bin_dir": str(programs),
                "pgpass": str(self.directory / "pgpass"),
                "authentication": {
                    "superuser": self._login(SUPERUSER),
                    "replication": self._login(REPLICATOR),
                },
                "parameters": {**own, **PARAMETERS},
                "pg_hba": [
                    f"host all all {LOOPBACK}/32 scram-sha-256",
                    f"host replication all {LOOPBACK}/32 scram-sha-256",
                ],
                "basebackup": {"checkpoint": "fast"},
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
            },
        }

    def _login(self, role: str) -> dict[str, str]:
        return {"username": role, "password": self._secrets.password(f"postgres:{role}")}


def _text(address: Address) -> str:
    host, port = address
    return f"{host}:{port}"
