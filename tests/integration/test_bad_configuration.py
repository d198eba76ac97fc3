"""A role that cannot run reports the reason in one line and exits."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from deploy.local.ports import find_free
from tests.harness import preloaded

STRONG = "kW3vQ9sZ1xT7pL5mB2nR8dF4"
SEED = base64.b64encode(bytes(range(32))).decode()
PUBLIC_KEY = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
"""The public half of `SEED`."""

ROLES = [
    ("gateway", "api"),
    ("auth", "api"),
    ("wallet", "api"),
    ("wallet", "seal"),
    ("transaction", "api"),
    ("transaction", "relay"),
    ("transaction", "worker"),
    ("transaction", "reversal"),
    ("notification", "api"),
    ("notification", "worker"),
    ("notification", "deliver"),
]


def url(scheme: str, password: str = STRONG) -> str:
    return f"{scheme}://someone:{password}@127.0.0.1:9/x"


def environment() -> dict[str, str]:
    """A configuration with which every role would start."""
    databases = {
        f"PAYFLOW_{name}_DATABASE_URL": url("postgresql") for name in ("AUTH", "WALLET", "TRANSACTION", "NOTIFICATION")
    }
    addresses = {
        f"PAYFLOW_{name}_URL": "http://127.0.0.1:9" for name in ("AUTH", "WALLET", "TRANSACTION", "NOTIFICATION")
    }
    return {
        "PATH": os.environ["PATH"],
        "PAYFLOW_SERVICE_KEY": SEED,
        "PAYFLOW_SERVICE_PUBLIC_KEYS": json.dumps({"gateway": SEED}),
        "PAYFLOW_AUTH_SECRET": STRONG * 2,
        "PAYFLOW_RABBITMQ_URL": url("amqp"),
        "PAYFLOW_REDIS_URL": url("redis"),
        "PAYFLOW_WALLET_PROOF_DATABASE_URL": url("postgresql"),
        "PAYFLOW_WALLET_SEAL_DATABASE_URL": url("postgresql"),
        **databases,
        **addresses,
    }


async def start(service: str, role: str, variables: dict[str, str]) -> tuple[int | None, list[str]]:
    """The exit code and the lines on standard error."""
    status, _, errors = await preloaded.run_to_end(f"services.{service}", role, environment=variables)
    return status, errors.splitlines()


@pytest.mark.parametrize(("service", "role"), ROLES, ids="-".join)
async def test_missing_secrets_stop_the_start(service: str, role: str) -> None:
    """Guarantee 55: without its secrets every role exits non-zero with one line that names each variable."""
    code, lines = await start(service, role, {"PATH": os.environ["PATH"]})

    assert 2 == code
    assert 1 == len(lines), lines
    assert "PAYFLOW_SERVICE_KEY" in lines[0]


@pytest.mark.parametrize(
    ("service", "role", "variable", "value"),
    [
        ("auth", "api", "PAYFLOW_AUTH_SECRET", "short"),
        ("auth", "api", "PAYFLOW_AUTH_SECRET", "change-me-change-me-change-me-change-me"),
        ("wallet", "api", "PAYFLOW_WALLET_DATABASE_URL", url("postgresql", "postgres")),
        ("wallet", "api", "PAYFLOW_WALLET_DATABASE_URL", url("postgresql", "changeme-changeme")),
        ("transaction", "worker", "PAYFLOW_RABBITMQ_URL", url("amqp", "guest")),
        ("transaction", "worker", "PAYFLOW_SERVICE_KEY", base64.b64encode(bytes(32)).decode()),
        ("transaction", "worker", "PAYFLOW_SERVICE_KEY", "no key"),
        ("gateway", "api", "PAYFLOW_REDIS_URL", "redis://127.0.0.1:6379"),
        ("notification", "api", "PAYFLOW_METRICS_PORT", "many"),
        ("notification", "worker", "PAYFLOW_TRANSACTION_URL", "nowhere"),
        ("notification", "worker", "PAYFLOW_CATCH_UP_SECONDS", "-5"),
    ],
)
async def test_weak_secrets_stop_the_start(service: str, role: str, variable: str, value: str) -> None:
    """Guarantee 55: a short or default secret, an empty key, a wrong number: one line naming it, and never its value."""
    code, lines = await start(service, role, environment() | {variable: value})

    assert 2 == code
    assert 1 == len(lines), lines
    assert variable in lines[0]
    assert value not in lines[0]


@pytest.mark.parametrize(
    ("service", "role", "variable"),
    [
        ("wallet", "api", "PGSSLMODE"),
        ("wallet", "migrate", "PGTARGETSESSIONATTRS"),
        ("gateway", "api", "PGSSLROOTCERT"),
    ],
)
async def test_driver_variables_stop_the_start(service: str, role: str, variable: str) -> None:
    """A variable that the driver would read besides the database URL is refused in one line: it would change every connection."""
    code, lines = await start(service, role, environment() | {variable: "some-value"})

    assert 2 == code
    assert 1 == len(lines), lines
    assert variable in lines[0]
    assert "some-value" not in lines[0]


async def test_one_line_names_all_faults() -> None:
    """All variables of the driver and all malformed settings are named at the first start."""
    faulty = {"PGHOST": "", "PGSSLMODE": "require", "PAYFLOW_METRICS_PORT": "many", "PAYFLOW_WALLET_PORT": "0"}
    code, lines = await start("wallet", "api", environment() | faulty)

    assert 2 == code
    assert 1 == len(lines), lines
    assert [] == [variable for variable in faulty if variable not in lines[0]]


async def test_secrets_are_read_from_files(tmp_path: Path) -> None:
    """A role whose secrets are files starts; without its folder it exits with one line that names the folder."""
    variables = environment() | {"PAYFLOW_REVERSAL_SECONDS_MAX": "0.01", "PAYFLOW_HOST": "127.0.0.1"}
    variables |= {"PAYFLOW_METRICS_PORT": str(find_free()), "PAYFLOW_SECRETS_DIR": str(tmp_path / "secrets")}
    variables["PAYFLOW_SERVICE_PUBLIC_KEYS"] = json.dumps({"transaction-reversal": PUBLIC_KEY})
    missing = await start("transaction", "reversal", variables)
    (tmp_path / "secrets").mkdir()
    for name in ("PAYFLOW_SERVICE_KEY", "PAYFLOW_SERVICE_PUBLIC_KEYS", "PAYFLOW_TRANSACTION_DATABASE_URL"):
        (tmp_path / "secrets" / name.lower()).write_text(variables.pop(name) + "\n")
    (tmp_path / "secrets" / "payflow_later").touch()
    code, lines = await start("transaction", "reversal", variables)
    events = [json.loads(line) for line in lines]

    line = f"transaction reversal: PAYFLOW_SECRETS_DIR: {tmp_path}/secrets cannot be read (No such file or directory)"
    assert (2, [line]) == missing
    assert 0 == code
    assert [["payflow_later"]] == [event["files"] for event in events if event["event"] == "settings_files_ignored"]
    assert "role_stopped" == events[-1]["event"]


@pytest.mark.parametrize("service", ["gateway", "auth", "wallet", "transaction", "notification"])
async def test_an_unknown_role_exits_with_usage(service: str) -> None:
    """A misspelt role exits with a usage line."""
    code, lines = await start(service, "frobnicate", environment())

    assert 2 == code
    assert 1 == len(lines)
    assert lines[0].startswith(f"usage: python -m services.{service}")
