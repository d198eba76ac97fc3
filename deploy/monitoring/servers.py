"""Prometheus, Alertmanager with a log of alerts, and the exporters: processes beside a running stack, on private ports.

They are started from the programs of the OS packages, never as services of the operating system.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import yaml

from deploy.local import files
from deploy.local.errors import LocalError
from deploy.local.home import REPOSITORY
from deploy.local.ports import LOOPBACK, Ports
from deploy.local.process import Process
from deploy.local.progress import Report
from deploy.local.supervisor import Supervisor
from deploy.monitoring import alert_log, alerting, local
from deploy.monitoring.alert_log import WATCHDOG_SECONDS
from deploy.monitoring.alerting import CONFIGURATION, Receivers

EXPORTERS = ("node", "postgres", "redis", "blackbox")
NAMES = ("prometheus", "alertmanager", "alert-log", *EXPORTERS)
BLACKBOX = REPOSITORY / "monitoring" / "blackbox" / "blackbox.yml"
CERTIFICATES = "certificates.pem"
LOGGED_AT = "alert-log:9095"
"""The address of the log of alerts in Compose; here it gets a port of its own."""

READY_PAGES = {"prometheus": "/-/ready", "alertmanager": "/-/ready"}
READY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.1
PATH = "/usr/local/bin:/usr/bin:/bin"


class Servers:
    """All of them, for one stack. Data, configuration and logs are below one folder."""

    def __init__(
        self,
        folder: Path,
        stack: Mapping[str, Any],
        *,
        broker: str,
        names: Sequence[str] = NAMES,
        watchdog_seconds: float = WATCHDOG_SECONDS,
    ) -> None:
        """Prepare to monitor the stack that a stack.json describes; `broker` is host:port of RabbitMQ's own metrics.

        `names` are the programs to run. The log of alerts reports the watchdog after `watchdog_seconds` without it.
        """
        self.folder = folder
        self._stack = stack
        self._broker = broker
        self._watchdog_seconds = watchdog_seconds
        self._down = folder / "down"
        self.textfiles = folder / "textfiles"
        """Figures of jobs that are no processes, one file each, which the node exporter reads."""
        ports = Ports(folder / "ports.json")
        self.certificates = folder / CERTIFICATES
        """What the probes trust in place of the authorities of the system, if it exists."""
        for made in (folder, self._down, self.textfiles):
            files.make_folder(made)
        self.addresses = {name: f"{LOOPBACK}:{ports.take(name)}" for name in NAMES}
        self.processes = {name: self._process(name) for name in names}

    @property
    def alerts(self) -> Path:
        """The log of alerts: one line of JSON for each alert of a notification."""
        return self.processes["alert-log"].log

    async def start(self, **options: Any) -> None:
        """Start everything and wait until each responds; `options` are those of `local.configuration`.

        Raises:
            LocalError: a program ended, or did not respond in time.
        """
        self._configure(options)
        for process in self.processes.values():
            process.spawn()
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._respond(session, name) for name in self.processes))

    async def stop(self) -> None:
        """Stop everything."""
        await asyncio.gather(*(process.stop() for process in self.processes.values()))

    async def watch(self, report: Report) -> None:
        """Restart what ends, until cancelled."""
        units = list(self.processes.values())
        await Supervisor(units, down_folder=self._down, changed=lambda: None, report=report).watch()

    def reload(self, **options: Any) -> None:
        """Let Prometheus read a changed configuration; `options` as for `start`."""
        self._configure(options)
        self.processes["prometheus"].send(signal.SIGHUP)

    def take_down(self, name: str) -> None:
        """Keep a program down until `bring_up`, while `watch` runs."""
        (self._down / name).touch()

    def bring_up(self, name: str) -> None:
        """Let it start again."""
        (self._down / name).unlink(missing_ok=True)

    def _configure(self, options: Mapping[str, Any]) -> None:
        texts = {f"alertmanager/{name}": text for name, text in alerting.texts(Receivers()).items()}
        texts = {name: text.replace(LOGGED_AT, self.addresses["alert-log"]) for name, text in texts.items()}
        if "prometheus" in self.processes:
            texts["prometheus.yml"] = self._prometheus(options)
        for name, text in texts.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            files.write_atomically(self.folder / name, text)

    def _prometheus(self, options: Mapping[str, Any]) -> str:
        """The configuration of Prometheus, as YAML."""
        made = local.configuration(
            self._stack,
            rabbitmq=self._broker,
            exporters={name: self.addresses[name] for name in EXPORTERS},
            servers={name: self.addresses[name] for name in ("prometheus", "alertmanager")},
            **options,
        )
        return yaml.safe_dump(made, sort_keys=False)

    def _process(self, name: str) -> Process:
        return Process(
            name,
            self._command(name),
            environment={"PATH": PATH} | self._environment(name),
            directory=REPOSITORY,
            log=self.folder / "logs" / f"{name}.log",
        )

    def _command(self, name: str) -> list[str]:
        address = self.addresses[name]
        if name == "alert-log":
            return [
                sys.executable,
                str(Path(alert_log.__file__)),
                address.partition(":")[2],
                str(self._watchdog_seconds),
            ]
        program = {"prometheus": name, "alertmanager": "prometheus-alertmanager"}.get(
            name, f"prometheus-{name}-exporter"
        )
        options = {"web.listen-address": address} | self._options(name)
        return [program, *(f"--{option}={value}" for option, value in options.items())]

    def _options(self, name: str) -> dict[str, object]:
        match name:
            case "prometheus":
                return {
                    "config.file": self.folder / "prometheus.yml",
                    "storage.tsdb.path": self.folder / "prometheus",
                }
            case "alertmanager":
                return {
                    "config.file": self.folder / "alertmanager" / CONFIGURATION,
                    "storage.path": self.folder / "alertmanager" / "data",
                    "cluster.listen-address": "",
                }
            case "node":
                return {"collector.textfile.directory": self.textfiles}
            case "blackbox":
                return {"config.file": BLACKBOX}
        return {}

    def _environment(self, name: str) -> dict[str, str]:
        if name == "blackbox" and self.certificates.exists():
            return {"SSL_CERT_FILE": str(self.certificates)}
        if name == "postgres":
            return {"DATA_SOURCE_NAME": f"{self._stack['monitoring_database']}?sslmode=disable"}
        if name != "redis":
            return {}
        cache = urlsplit(self._stack["redis"])
        address = urlunsplit((cache.scheme, f"{cache.hostname}:{cache.port}", "", "", ""))
        return {"REDIS_ADDR": address, "REDIS_PASSWORD": cache.password or ""}

    async def _respond(self, session: aiohttp.ClientSession, name: str) -> None:
        """Wait until a program responds."""
        process, url = self.processes[name], f"http://{self.addresses[name]}{READY_PAGES.get(name, '/')}"
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not await _responds(session, url):
            if process.poll() is not None:
                raise LocalError(f"{name} ended at its start: {process.last_line() or 'no output'}")
            if time.monotonic() > deadline:
                raise LocalError(f"{name} did not respond in {READY_SECONDS_MAX:.0f} s; see {process.log}")
            await asyncio.sleep(POLL_SECONDS)


async def _responds(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.ok
    except aiohttp.ClientError:
        return False
