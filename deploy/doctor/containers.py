"""Runs the probe in containers, whatever runs them: several at once, each with its own time limit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deploy import programs
from deploy.doctor import probe
from deploy.doctor.processes import Probe

SECONDS_MAX = 20.0
AT_ONCE = 6
METRICS_PORT = 9100

Command = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True, slots=True)
class Running:
    """A container or pod of a role, and how a command is run in it."""

    name: str
    role: str
    command: Command


def probe_all(running: Sequence[Running], tried: Mapping[str, Sequence[str]]) -> list[Probe]:
    """Read every process from inside of its container; `tried` are the edges to try, by role."""
    source = Path(probe.__file__).read_text()

    def read(each: Running) -> Probe:
        command = each.command(["python", "-c", source, str(METRICS_PORT), *tried[each.role]])
        before = time.time()
        try:
            document = json.loads(programs.output(command, what=each.name, seconds_max=SECONDS_MAX))
        except (programs.DeployError, ValueError):
            return Probe(each.name, each.role)
        return Probe.read(each.name, each.role, document, seen=(before, time.time()))

    with ThreadPoolExecutor(max_workers=AT_ONCE) as threads:
        return list(threads.map(read, running))
