"""A stack of one Redis and two tiny processes, run as `make run` runs the real one.

Usage: dummy_stack.py FOLDER GATEWAY_PORT [orphans] [broken]
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from deploy.local import __main__ as entry
from deploy.local import commands
from deploy.local.engines import Redis
from deploy.local.home import Home
from deploy.local.ports import Ports
from deploy.local.process import Process

SERVER = """
import http.server, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""
BROKEN = "print('loading', flush=True); raise SystemExit('cannot find the moon')"


class DummyPlan:
    def __init__(self, home: Home, gateway_port: int, *, orphans: bool, broken: bool) -> None:
        self.gateway_port = gateway_port
        self.home = home
        self.ports = Ports(home.ports)
        self.redis = Redis(home.path / "redis", ports=self.ports, log=home.log("redis"))
        self.engines = [self.redis]
        self.launcher: list[str] | None = [] if orphans else None
        self.worker = BROKEN if broken else SERVER

    async def install(self) -> None: ...

    async def prepare_databases(self) -> None: ...

    async def seed(self) -> None: ...

    def processes(self) -> list[Process]:
        return [self._process("gateway", SERVER, self.gateway_port), self._process("worker", self.worker, self._port())]

    def _port(self) -> int:
        return self.ports.take("worker")

    def _process(self, name: str, code: str, port: int) -> Process:
        return Process(
            name,
            [sys.executable, "-S", "-c", code, str(port)],
            environment={},
            directory=self.home.path,
            log=self.home.log(name),
            launcher=self.launcher,
        )

    def health_urls(self) -> dict[str, str]:
        ports = {"gateway": self.gateway_port, "worker": self.ports.get("worker")}
        return {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}

    def description(self) -> dict[str, Any]:
        return {"gateway": f"http://127.0.0.1:{self.gateway_port}", "redis": self.redis.url}


async def run(home: Home) -> None:
    options = sys.argv[3:]
    plan = DummyPlan(home, int(sys.argv[2]), orphans="orphans" in options, broken="broken" in options)
    async with commands.running(home, plan) as (_, supervising):
        await supervising


if __name__ == "__main__":
    # As after a start in the foreground of a shell.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["PAYFLOW_HOME"] = str(Path(sys.argv[1]))
    commands.run = run
    sys.exit(entry.main(["run"]))
