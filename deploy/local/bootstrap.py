"""Makes `.venv` with everything PayFlow needs, as locked; runs on a bare Python, before anything is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = REPOSITORY / ".venv"
STAMP = ENVIRONMENT / ".installed"
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ELSEWHERE = frozenset({"PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER"})
"""Variables that would have packages installed, or looked for, at another place. Proxies and mirrors stay."""

PYTHON_MIN = (3, 11)
ATTEMPTS_MAX = 4
PAUSE_SECONDS = 2.0
"""Before the second attempt; twice as long before each further one."""


class Failed(Exception):  # noqa: N818 - reads as what it is
    """A step failed; the text says what to do."""


def main() -> int:
    """Make or refresh the environment; the exit code."""
    try:
        check_python()
        # The stamp stays until all is done: `make` comes back as long as it is too old or names another folder.
        moved = is_moved(ENVIRONMENT)
        if not (ENVIRONMENT / "bin" / "python").exists():
            make_environment()
        elif moved:
            rewrite_scripts()
        if not (ENVIRONMENT / "bin" / "uv").exists():
            run("installing uv", [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv"])
        sync(reinstall=moved)
        STAMP.write_text(f"{ENVIRONMENT.parent}\n")
    except (Failed, OSError) as error:
        print(f"payflow: {error}", file=sys.stderr)
        return 1
    return 0


def check_python() -> None:
    """Refuse a Python that is too old, before it trips over the code."""
    if sys.version_info < PYTHON_MIN:
        raise Failed(f"Python {PYTHON_MIN[0]}.{PYTHON_MIN[1]} or newer is needed, this is {sys.version.split()[0]}")


def make_environment() -> None:
    """Make an empty environment; installs Debian's missing part of `venv` where that is possible."""
    command = [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)]
    try:
        run("making .venv", command, attempts_max=1)
    except Failed:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise Failed("Python cannot make virtual environments: install the package python3-venv") from None
        run("updating the package list", ["apt-get", "-qq", "update"])
        run("installing python3-venv", ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "python3-venv"])
        run("making .venv", command, attempts_max=1)


def is_moved(environment: Path) -> bool:
    """Whether the environment was made at another path, which its scripts then still name."""
    stamp, script = environment / STAMP.name, environment / "bin" / "payflow"
    made_at = stamp.read_text() if stamp.exists() else ""
    if made_at:
        return made_at != f"{environment.parent}\n"
    # That of an earlier version is empty, and there is none before the first installation is finished.
    return script.exists() and f"{environment}/" not in script.read_text()


def rewrite_scripts() -> None:
    """Let the environment's own scripts name this folder; those of the packages are installed again after it."""
    # Nothing is downloaded: what is there stays, and `pip` is only run as a module.
    run("moving .venv", [sys.executable, "-m", "venv", "--without-pip", str(ENVIRONMENT)])
    for script in (ENVIRONMENT / "bin").glob("pip*"):
        script.unlink()


def sync(*, reinstall: bool = False) -> None:
    """Install exactly what the lock file names, compiled: every process of the stack starts in half the time."""
    command = [str(ENVIRONMENT / "bin" / "uv"), "sync", "--frozen", "--inexact", "--quiet", "--compile-bytecode"]
    if reinstall:
        command.append("--reinstall")
    run("installing the Python packages", command, environment=uv_environment(ENVIRONMENT))


def uv_environment(environment: Path) -> dict[str, str]:
    """The variables for `uv` to sync this environment: no other Python, and certificates from the system where it has them."""
    variables = os.environ | {
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_PROJECT_ENVIRONMENT": str(environment),
        "UV_PYTHON": str(ENVIRONMENT / "bin" / "python"),
        "UV_LINK_MODE": "copy",
    }
    if SYSTEM_CERTIFICATES.exists():
        # Where a company's proxy signs what it passes on, only the system knows its certificate.
        variables["UV_SYSTEM_CERTS"] = "1"
    return variables


def run(
    what: str, command: list[str], *, environment: dict[str, str] | None = None, attempts_max: int = ATTEMPTS_MAX
) -> None:
    """Run a step, again if it fails: most failures are downloads.

    Raises:
        Failed: with the last line the step said.
    """
    print(what, flush=True)
    said = ""
    for attempt in range(attempts_max):
        if attempt:
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        step = subprocess.run(
            command,
            cwd=REPOSITORY,
            env={name: value for name, value in (environment or os.environ).items() if name not in ELSEWHERE},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if step.returncode == 0:
            return
        said = gist(step.stderr + step.stdout) or f"exit code {step.returncode}"
    raise Failed(f"{what} failed: {said}")


def gist(output: str) -> str:
    """The line that tells what went wrong: the first that speaks of an error, else the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines[-1:] or [""])[0]


if __name__ == "__main__":
    sys.exit(main())
