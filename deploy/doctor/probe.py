"""Reads one process from inside of its container: `python -c SOURCE PORT EDGE…` prints JSON. Standard library only.

The image need not contain this file: its text is the argument. What it prints is a `Probe` of `deploy.doctor.processes`.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

SECONDS_MAX = 3.0
EDGE_SECONDS_MAX = 2.0


def read(url: str) -> str | None:
    """The body of a response, also of one with an error status; None without a response."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS_MAX) as response:  # noqa: S310 - a fixed scheme
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.read().decode())
    except OSError:
        return None


def reach(edge: str) -> str:
    """What happens to a connection to HOST:PORT: `open`, `refused`, `blocked` or `unresolved`."""
    host, _, port = edge.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=EDGE_SECONDS_MAX):
            return "open"
    except socket.gaierror:
        return "unresolved"
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "blocked"


def main(port: str, edges: list[str]) -> None:
    """Print what this process says of itself, and which edges are open."""
    base = f"http://127.0.0.1:{port}"
    ready = read(f"{base}/readyz")
    with ThreadPoolExecutor(max_workers=max(1, len(edges))) as threads:
        reached = dict(zip(edges, threads.map(reach, edges), strict=True))
    found = {
        "metrics": read(f"{base}/metrics"),
        "ready": json.loads(ready) if ready else None,
        "edges": reached,
        # A role raises its own limit to this one, within reason.
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "at": time.time(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
