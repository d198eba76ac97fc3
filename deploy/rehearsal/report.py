"""What a rehearsal has done so far, and what it does not show."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 160

NOT_SHOWN = (
    (
        "the official images of Python, PostgreSQL, RabbitMQ and Redis",
        "stand-ins from Debian packages: 3.11, 15, 3.10, 7.0",
    ),
    ("limits of CPU and memory of the Compose file", "not in force: podman runs it without cgroups"),
    ("the build with Docker and its buildx", "the same Dockerfile is built by buildah"),
    (
        "health checks by the engine's own timer",
        "podman needs systemd for that; the rehearsal calls them at the same intervals",
    ),
    ("Docker's seccomp profile and firewall rules", "podman's own are in force"),
    (
        "a second `make compose-up` that replaces nothing",
        "podman 4.3 reports networks by name, so Compose replaces containers",
    ),
    ("the profile monitoring", "its images cannot be pulled; its configuration is tested with the real programs"),
    ("Kubernetes: Services, probes, NetworkPolicies, Jobs, CronJob", "need a cluster; podman plays Deployments only"),
)
"""What this run cannot show, and why."""


@dataclass(slots=True)
class Record:
    """The steps of a run, with their times and what was seen."""

    rows: list[tuple[str, str, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Measure a step; what the block appends is shown as its result."""
        print(f"  {name} ...", flush=True)
        started = time.monotonic()
        seen: list[str] = []
        yield seen
        seconds = time.monotonic() - started
        self.rows.append((name, ", ".join(seen), seconds))
        print(f"  {name}: {', '.join(seen) or 'done'} ({seconds:.1f} s)", flush=True)

    def show(self) -> None:
        """Print what was covered and what was not."""
        console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
        covered = Table("covered", "seen", "s", box=box.SIMPLE_HEAD, pad_edge=False)
        for name, seen, seconds in self.rows:
            covered.add_row(name, seen, f"{seconds:.1f}")
        missing = Table("not covered", "why", box=box.SIMPLE_HEAD, pad_edge=False)
        for what, why in NOT_SHOWN:
            missing.add_row(what, why)
        console.print(covered)
        console.print(missing)
