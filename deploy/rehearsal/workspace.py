"""The folders of a rehearsal, and the configuration of podman and buildah that keeps everything inside them.

`.deploy/rehearsal/cache` stays: the stand-in images, and the packages that the build has downloaded. `.deploy/rehearsal/run`
belongs to one run and is removed at its end.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deploy.image import lock

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
FOLDER = lock.REPOSITORY / ".deploy" / "rehearsal"

CONTAINERS = """\
[containers]
cgroups = "{cgroups}"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "crun"

[network]
network_backend = "netavark"
network_config_dir = "{run}/networks"
"""
"""Without systemd, and for Compose without cgroups: its limits of memory and CPU are not in force. A pod needs cgroups. The
limits of files and processes are lowered, because a process without CAP_SYS_RESOURCE cannot raise them."""

STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{store}"
runroot = "/run/containers/storage"

[storage.options]
additionalimagestores = [{others}]
"""


class Workspace:
    """The folders below one folder."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Use `folder`, which need not exist."""
        self.folder = folder
        self.cache = folder / "cache"
        self.run = folder / "run"
        self.log = folder / "rehearsal.log"

    @property
    def images(self) -> Path:
        """The store of the stand-in images."""
        return self.cache / "images"

    def create(self) -> None:
        """Create the folders, empty for this run, and write the configuration."""
        self.remove()
        for path in (self.images, self.cache / "temporary", self.run / "containers", self.run / "networks"):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.run / "containers.conf").write_text(CONTAINERS.format(run=self.run, cgroups="disabled"))
        (self.run / "pods.conf").write_text(CONTAINERS.format(run=self.run, cgroups="enabled"))
        (self.run / "build.conf").write_text(STORAGE.format(store=self.images, others=""))
        (self.run / "storage.conf").write_text(STORAGE.format(store=self.run / "containers", others=f'"{self.images}"'))
        # pip and uv inside of a build trust what this machine trusts, such as the certificate of a company's proxy.
        (self.run / "pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\n")
        (self.run / "uv.toml").write_text("system-certs = true\n")

    def remove(self) -> None:
        """Remove everything but the cache."""
        shutil.rmtree(self.run, ignore_errors=True)

    def environment(self, *, for_cache: bool = False, with_cgroups: bool = False) -> dict[str, str]:
        """The variables for podman and buildah: those of a run, those that write to the cache, or those for pods."""
        return os.environ | {
            "CONTAINERS_CONF": str(self.run / ("pods.conf" if with_cgroups else "containers.conf")),
            "CONTAINERS_STORAGE_CONF": str(self.run / ("build.conf" if for_cache else "storage.conf")),
            "TMPDIR": str(self.cache / "temporary"),
        }

    def trust(self) -> list[str]:
        """The volumes that let a build use the certificates of this machine."""
        if not CERTIFICATES.exists():
            return []
        pairs = {
            CERTIFICATES: CERTIFICATES,
            self.run / "pip.conf": "/etc/pip.conf",
            self.run / "uv.toml": "/etc/uv/uv.toml",
        }
        return [f"--volume={source}:{target}:ro" for source, target in pairs.items()]
