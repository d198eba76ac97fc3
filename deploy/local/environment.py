"""The variables of the caller's shell that the processes of the stack, and this process itself, may use.

Drivers, servers and interpreters read variables of their own (PG*, RABBITMQ_*, ERL_*, PYTHON*, proxies, the locale). Those are
meant for other programs of the user and must not change how the stack works, so only listed variables are passed on.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

KEPT = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "CI", "PYTHONDONTWRITEBYTECODE"}
    # The interpreter may need its libraries, and a mail server may have a certificate of a company.
    | {"LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"}
)
KEPT_PREFIXES = ("PAYFLOW_", "COVERAGE_", "COV_CORE_")
FIXED = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}
DRIVER_PREFIX = "PG"


def passed_on(caller: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process of the stack, before its own settings."""
    return {name: value for name, value in caller.items() if _is_kept(name)} | FIXED


def forget_driver_variables(environment: MutableMapping[str, str]) -> None:
    """Remove the variables that the PostgreSQL driver would use for parts that a database URL omits."""
    for name in [name for name in environment if name.startswith(DRIVER_PREFIX)]:
        del environment[name]


def _is_kept(name: str) -> bool:
    return name in KEPT or name.startswith(KEPT_PREFIXES)
