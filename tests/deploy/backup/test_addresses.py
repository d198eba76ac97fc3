"""Where the comparison and the reset find the databases and engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.backup import __main__ as backup
from deploy.backup import databases
from deploy.programs import DeployError
from deploy.secrets import files

OWNERS = {f"PAYFLOW_{name.upper()}_OWNER_DATABASE_URL": f"postgresql://{name}" for name in databases.NAMES}
ENGINES = {backup.MANAGEMENT: "http://broker:15672", backup.REDIS: "redis://redis/0"}


def test_addresses_from_variables() -> None:
    """The variables are those of the migrate jobs."""
    assert databases.urls(OWNERS, None) == {name: f"postgresql://{name}" for name in databases.NAMES}
    assert backup._addresses(OWNERS | ENGINES, None).management == "http://broker:15672"


@pytest.mark.parametrize("missing", [*OWNERS, *ENGINES])
def test_a_missing_address_is_named(missing: str) -> None:
    """One line names the variable that is not set."""
    given = {name: value for name, value in (OWNERS | ENGINES).items() if name != missing}

    with pytest.raises(DeployError, match=f"not set, neither as a variable nor as a file.*: {missing}"):
        backup._addresses(given, None)


def test_addresses_from_the_files_of_a_deployment(tmp_path: Path) -> None:
    """The files that a deployment writes for the comparison and the reset are all that they need, and no more."""
    files.write(tmp_path)
    for consumer, wanted in (("compare", OWNERS), ("reset", OWNERS | ENGINES)):
        folder = tmp_path / "secrets" / consumer
        assert {file.name for file in folder.iterdir()} == {name.lower() for name in wanted}

    environment = {databases.SECRETS_FOLDER: str(tmp_path / "secrets" / "reset")}
    found = backup._addresses(environment, None)
    assert found.databases["wallet"].startswith("postgresql://payflow_wallet_owner:")
    assert found.management.endswith("@rabbitmq:15672")
    assert found.redis.startswith("redis://:")


def test_addresses_of_a_local_stack(tmp_path: Path) -> None:
    """stack.json has all of them; a file that describes no stack is one line."""
    stack = tmp_path / "stack.json"
    described = {"databases": {name: f"postgresql://{name}" for name in databases.NAMES}}
    stack.write_text(json.dumps(described | {"rabbitmq_management": "http://broker", "redis": "redis://redis/0"}))

    assert backup._addresses({}, stack).redis == "redis://redis/0"
    with pytest.raises(DeployError, match="does not describe a running stack"):
        databases.urls({}, tmp_path / "none.json")
