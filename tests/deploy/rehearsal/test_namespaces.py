"""Nothing of a rehearsal outlives it: its folders, its namespaces and the search for leftovers."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deploy import programs
from deploy.programs import DeployError
from deploy.rehearsal import __main__ as command
from deploy.rehearsal import leftovers, namespaces
from deploy.rehearsal.workspace import Workspace


def test_podman_stores_everything_below_the_run(tmp_path: Path) -> None:
    """Containers, volumes and networks are in the folder of the run, which is removed; the cache is only read."""
    workspace = Workspace(tmp_path / "rehearsal")
    workspace.create()
    storage = tomllib.loads((workspace.run / "storage.conf").read_text())["storage"]
    containers = tomllib.loads((workspace.run / "containers.conf").read_text())

    assert Path(storage["graphroot"]).is_relative_to(workspace.run)
    assert storage["options"]["additionalimagestores"] == [str(workspace.images)]
    assert Path(containers["network"]["network_config_dir"]).is_relative_to(workspace.run)
    assert containers["engine"]["lock_type"] == "file"

    workspace.remove()
    assert [path.name for path in workspace.folder.iterdir()] == ["cache"]


def test_the_deployment_has_namespaces_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes, mounts and networks; only the build of images uses the network of the machine."""
    monkeypatch.setattr(programs, "find", lambda name, **_: f"/usr/bin/{name}")
    deployment = namespaces.command(["scenario"], network=False)
    build = namespaces.command(["images"], network=True)

    assert {"--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--net"} <= set(deployment)
    assert set(deployment) - set(build) == {"--net", "scenario"}
    assert deployment[0] == "unshare"
    assert deployment[-2:] == ["deploy.rehearsal", "scenario"]


def test_a_process_of_the_run_is_found(tmp_path: Path) -> None:
    """A process that still has the run's configuration in its environment counts as left behind, until it has ended."""
    workspace = Workspace(tmp_path / "rehearsal")
    workspace.create()
    before = leftovers.snapshot(workspace.folder)
    with subprocess.Popen(
        ["sh", "-c", "echo started; read line"],
        env=workspace.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = leftovers.snapshot(workspace.folder) - before
        child.communicate("")

    assert [name for name in found if name.startswith(f"process {child.pid} (sh -c")]
    assert not [name for name in leftovers.snapshot(workspace.folder) - before if name.startswith("process")]


def test_a_part_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rehearsal has a time limit."""
    reading, writing = os.pipe()
    # Nothing is ever written, so `cat` waits until it is ended.
    monkeypatch.setattr(namespaces, "command", lambda *_, **__: ["cat", f"/proc/{os.getpid()}/fd/{reading}"])

    with pytest.raises(DeployError, match=r"not done after 0\.1 s"):
        namespaces.run(["scenario"], network=False, environment={"PATH": "/usr/bin:/bin"}, seconds_max=0.1)
    os.close(reading)
    os.close(writing)


def test_only_one_rehearsal_runs(tmp_path: Path) -> None:
    """A second one ends with a line and touches nothing of the first."""
    workspace = Workspace(tmp_path)
    workspace.log.write_text("of the first")
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DeployError, match="another rehearsal is running"), command._only_one(workspace):
            pytest.fail("it ran")

    assert workspace.log.read_text() == "of the first"


def test_it_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user gets one line; nothing is installed and no folder made."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["deploy.rehearsal"])

    with pytest.raises(DeployError, match="run it as root"):
        command.main()


def test_missing_folders_are_hidden_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine where podman never ran its folders are made first, else it would write to them outside the namespaces."""
    there, missing = tmp_path / "there", tmp_path / "missing"
    there.mkdir()
    monkeypatch.setattr(namespaces, "HIDDEN", (there, missing))

    with namespaces.hideable_folders():
        assert missing.is_dir()
    assert there.is_dir()
    assert not missing.exists()
