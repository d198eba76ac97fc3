"""Private ports: chosen once per folder, remembered, and chosen again when another program uses them.

They are below the range from which the kernel takes the source ports of outgoing connections. Any client can take a port
inside that range while its server is down, even a client that connects to this very port, and then the server cannot restart.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

from deploy.local import files
from deploy.local.errors import LocalError

LOOPBACK = "127.0.0.1"
PORT_MIN = 18_000
PORT_MAX = 32_000
ATTEMPTS_MAX = 200
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
WELL_KNOWN = frozenset({18080, 19090, 25672, 27017, 28015})


class Ports:
    """The ports of one folder, by name."""

    def __init__(self, path: Path) -> None:
        """Keep the ports in the JSON file `path`."""
        self._path = path

    def take(self, name: str) -> int:
        """The remembered port of `name` if it is free, else a new one, which is remembered."""
        known = self._read()
        port = known.get(name)
        if port is not None and is_free(port):
            return port
        return self._pick(known, name)

    def get(self, name: str) -> int:
        """The port of `name`, free or not; chooses one if it has none."""
        known = self._read()
        return known[name] if name in known else self._pick(known, name)

    def forget(self, name: str) -> None:
        """Let the next `take` choose another port: this one is used by another program."""
        known = self._read()
        if known.pop(name, None) is not None:
            files.write_json(self._path, known)

    def _pick(self, known: dict[str, int], name: str) -> int:
        taken = {port for other, port in known.items() if other != name}
        port = find_free(avoid=taken)
        files.write_json(self._path, known | {name: port})
        return port

    def _read(self) -> dict[str, int]:
        stored = files.read_object(self._path) or {}
        return {name: port for name, port in stored.items() if isinstance(port, int)}


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on this port now; closing connections do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def find_free(*, avoid: set[int] | frozenset[int] = frozenset()) -> int:
    """A random free port, so that two folders that choose at the same time rarely choose the same one."""
    for _ in range(ATTEMPTS_MAX):
        port = random.randint(PORT_MIN, _port_max())  # noqa: S311 - not a secret
        if port not in avoid and port not in WELL_KNOWN and is_free(port):
            return port
    raise LocalError(f"no free port found on {LOOPBACK} between {PORT_MIN} and {_port_max()}")


def _port_max() -> int:
    try:
        lowest = int(EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return PORT_MAX
    return min(PORT_MAX, lowest - 1) if lowest - 1 > PORT_MIN else PORT_MAX
