from __future__ import annotations

import socket
from pathlib import Path

from deploy.local.ports import EPHEMERAL_RANGE, Ports, is_free


def listen(port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    return server


def test_a_port_is_remembered(tmp_path: Path) -> None:
    """In the same folder a name keeps its port, also in the next process."""
    path = tmp_path / "ports.json"
    port = Ports(path).take("postgres")

    assert Ports(path).take("postgres") == port
    assert Ports(path).get("postgres") == port
    assert Ports(path).take("redis") != port


def test_a_port_that_is_taken_is_chosen_again(tmp_path: Path) -> None:
    """`take` never returns a port on which another program listens; `get` returns the remembered one."""
    path = tmp_path / "ports.json"
    port = Ports(path).take("postgres")

    with listen(port):
        assert Ports(path).get("postgres") == port
        assert Ports(path).take("postgres") != port


def test_a_port_with_closing_connections_is_free(tmp_path: Path) -> None:
    """A server that was killed can restart at once."""
    port = Ports(tmp_path / "ports.json").take("redis")
    with listen(port) as server, socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = server.accept()
        accepted.close()  # the server ends first: its side stays in TIME_WAIT
        client.recv(1)

    assert is_free(port)


def test_ports_are_outside_the_range_of_outgoing_connections(tmp_path: Path) -> None:
    """Otherwise any client could take an engine's port while the engine is down."""
    lowest = int(EPHEMERAL_RANGE.read_text().split()[0]) if EPHEMERAL_RANGE.exists() else 32768

    ports = [Ports(tmp_path / "ports.json").take(f"name-{number}") for number in range(50)]

    assert len(set(ports)) == 50
    assert max(ports) < lowest
