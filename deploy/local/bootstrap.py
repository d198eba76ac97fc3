"""Creates `.venv` with all packages, as locked; runs on a bare Python, before anything is installed."""

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
"""Variables that would install packages, or search for them, elsewhere. Variables for proxies and mirrors stay."""

PYTHON_MIN = (3, 11)
ATTEMPTS_MAX = 4
PAUSE_SECONDS = 2.0
"""Before the second attempt; twice as long before each further one."""


class BootstrapError(Exception):
    """A step failed; the text says what to do."""


def main() -> int:
    """Create or update the environment; returns the exit code."""
    try:
        check_python()
        # Written last: `make` runs this again as long as the stamp is too old or names another folder.
        moved = is_moved(ENVIRONMENT)
        if not (ENVIRONMENT / "bin" / "python").exists():
            make_environment()
        elif moved:
            rewrite_scripts()
        if not (ENVIRONMENT / "bin" / "uv").exists():
            run("installing uv", [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv"])
        sync(reinstall=moved)
        STAMP.write_text(f"{ENVIRONMENT.parent}\n")
    except (BootstrapError, OSError) as error:
        print(f"payflow: {error}", file=sys.stderr)
        return 1
    return 0


def check_python() -> None:
    """Reject a Python that is too old for the code."""
    if sys.version_info < PYTHON_MIN:
        raise BootstrapError(
            f"Python {PYTHON_MIN[0]}.{PYTHON_MIN[1]} or newer is needed, this is {sys.version.split()[0]}"
        )


def make_environment() -> None:
    """Create an empty environment; on Debian install the missing package python3-venv if possible."""
    command = [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)]
    try:
        run("making .venv", command, attempts_max=1)
    except BootstrapError:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise BootstrapError("Python cannot make virtual environments: install the package python3-venv") from None
        run("updating the package list", ["apt-get", "-qq", "update"])
        run("installing python3-venv", ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "python3-venv"])
        run("making .venv", command, attempts_max=1)


def is_moved(environment: Path) -> bool:
    """Whether the environment was created at another path, which its scripts still name."""
    stamp, script = environment / STAMP.name, environment / "bin" / "payflow"
    created_at = stamp.read_text() if stamp.exists() else ""
    if created_at:
        return created_at != f"{environment.parent}\n"
    # The stamp of an earlier version is empty; without a stamp the first installation is not finished.
    return script.exists() and f"{environment}/" not in script.read_text()


def rewrite_scripts() -> None:
    """Let the environment's own scripts name this folder; those of the packages are reinstalled afterwards."""
    # Without a download: installed packages stay, and `pip` is only run as a module.
    run("moving .venv", [sys.executable, "-m", "venv", "--without-pip", str(ENVIRONMENT)])
    for script in (ENVIRONMENT / "bin").glob("pip*"):
        script.unlink()


def sync(*, reinstall: bool = False) -> None:
    """Install exactly the locked packages, compiled, so that every process of the stack starts in half the time."""
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
        # Only the system has the certificate of a company's intercepting proxy.
        variables["UV_SYSTEM_CERTS"] = "1"
    return variables


def run(
    what: str, command: list[str], *, environment: dict[str, str] | None = None, attempts_max: int = ATTEMPTS_MAX
) -> None:
    """Run a step, and retry it if it fails: most failures are downloads.

    Raises:
        BootstrapError: with the error line of the step.
    """
    print(what, flush=True)
    failure = ""
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
        failure = error_line(step.stderr + step.stdout) or f"exit code {step.returncode}"
    raise BootstrapError(f"{what} failed: {failure}")


def error_line(output: str) -> str:
    """The line with the error: the first that starts with `error`, else the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines[-1:] or [""])[0]


if __name__ == "__main__":
    sys.exit(main())
