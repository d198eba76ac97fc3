"""Private ports: picked once per folder, remembered, and picked anew when someone else has them.

They lie below the range from which the kernel takes the source ports of outgoing connections. A
port inside that range can be taken by any client while its server is down, even by a client
that is trying to reach this very port, and then the server cannot come back.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

from deploy.local import files
from deploy.local.trouble import Trouble

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
        """The port remembered for `name` if nobody listens there, else a new one, remembered."""
        known = self._read()
        port = known.get(name)
        if port is not None and is_free(port):
            return port
        return self._pick(known, name)

    def get(self, name: str) -> int:
        """The port of `name`, whoever listens there now; picks one when it has none."""
        known = self._read()
        return known[name] if name in known else self._pick(known, name)

    def forget(self, name: str) -> None:
        """Let the next `take` pick anew: the port turned out to be someone else's."""
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
    """Whether a server could listen on this port now; connections winding down do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def find_free(*, avoid: set[int] | frozenset[int] = frozenset()) -> int:
    """A free port at random, so that two folders picking at the same time rarely meet."""
    for _ in range(ATTEMPTS_MAX):
        port = random.randint(PORT_MIN, _port_max())  # noqa: S311 - not a secret
        if port not in avoid and port not in WELL_KNOWN and is_free(port):
            return port
    raise Trouble(f"found no free port on {LOOPBACK} between {PORT_MIN} and {_port_max()}")


def _port_max() -> int:
    try:
        lowest = int(EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return PORT_MAX
    return min(PORT_MAX, lowest - 1) if lowest - 1 > PORT_MIN else PORT_MAX
