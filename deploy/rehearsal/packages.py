"""The OS packages that a rehearsal needs, beside those of the engines."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

HELPERS = ("/usr/lib/podman", "/usr/libexec/podman", "/usr/local/lib/podman")
"""Where podman looks for its network programs."""


def _program(name: str) -> Callable[[], object | None]:
    return lambda: shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _helper(name: str) -> Callable[[], object | None]:
    return lambda: next((path for folder in HELPERS if (path := Path(folder, name)).exists()), None)


FINDERS: dict[str, Callable[[], object | None]] = {
    "aardvark-dns": _helper("aardvark-dns"),
    "buildah": _program("buildah"),
    "catatonit": _program("catatonit"),
    "crun": _program("crun"),
    "debootstrap": _program("debootstrap"),
    "iproute2": _program("ip"),
    "iptables": _program("iptables"),
    "netavark": _helper("netavark"),
    "podman": _program("podman"),
}
"""How to find the programs of a package, by package."""
