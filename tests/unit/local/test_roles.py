from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.local.engine_sets import SingleEngines
from deploy.local.errors import LocalError
from deploy.local.home import Home
from deploy.local.ports import Ports
from deploy.local.roles import ROLES, Role, Wiring, gateway_port
from deploy.secrets.store import Secrets

STACK_NAMES = {
    "gateway",
    "auth",
    "wallet",
    "wallet-seal",
    "transaction",
    "transaction-relay",
    "transaction-worker-1",
    "transaction-worker-2",
    "transaction-reversal",
    "notification",
    "notification-worker",
    "notification-deliver",
}


class NumberedPorts(Ports):
    """Consecutive ports, without a check whether they are free."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def get(self, name: str) -> int:
        return self._known.setdefault(name, 20_000 + len(self._known))

    take = get


def wire(folder: Path, **caller: str) -> Wiring:
    home, ports, secrets = Home(folder), NumberedPorts(), Secrets(folder / "secrets.json")
    return Wiring(home, engines=SingleEngines.of(home, ports, secrets), ports=ports, secrets=secrets, caller=caller)


def role(name: str) -> Role:
    return next(role for role in ROLES if role.name == name)


def test_the_roles_are_those_of_the_contract() -> None:
    """Every NAME of stack.json occurs once."""
    assert sorted(role.name for role in ROLES) == sorted(STACK_NAMES)


@pytest.mark.parametrize("name", sorted(STACK_NAMES))
def test_a_role_knows_only_its_own_database(tmp_path: Path, name: str) -> None:
    """No process gets the login of another service, or of an owner."""
    variables = wire(tmp_path).environment(role(name))

    databases = {variable for variable in variables if variable.endswith("DATABASE_URL")}

    service = role(name).service.upper()
    assert {variable.split("_")[1] for variable in databases} <= {service}
    assert not [variable for variable in databases if "OWNER" in variable]


@pytest.mark.parametrize("name", sorted(STACK_NAMES))
def test_a_role_has_its_own_private_key_and_all_public_keys(tmp_path: Path, name: str) -> None:
    """The private key is that of its identity; the public keys are those of all identities."""
    variables = wire(tmp_path).environment(role(name))
    secrets = Secrets(tmp_path / "secrets.json")
    public_keys = json.loads(variables["PAYFLOW_SERVICE_PUBLIC_KEYS"])

    assert variables["PAYFLOW_SERVICE_KEY"] == secrets.private_key(role(name).identity)
    assert public_keys == {identity: secrets.public_key(identity) for identity in public_keys}
    assert {role.identity for role in ROLES} <= set(public_keys)


def test_both_workers_have_one_identity_and_two_ports(tmp_path: Path) -> None:
    """They share the key, but no name and no port."""
    wiring = wire(tmp_path)
    first = wiring.environment(role("transaction-worker-1"))
    second = wiring.environment(role("transaction-worker-2"))

    assert first["PAYFLOW_SERVICE_KEY"] == second["PAYFLOW_SERVICE_KEY"]
    assert first["PAYFLOW_METRICS_PORT"] != second["PAYFLOW_METRICS_PORT"]
    assert first["PAYFLOW_INSTANCE"] == "transaction-worker-1"


def test_only_auth_has_its_secret(tmp_path: Path) -> None:
    """No other role gets the secret that encrypts the signing keys."""
    wiring = wire(tmp_path)

    knowing = [role.name for role in ROLES if "PAYFLOW_AUTH_SECRET" in wiring.environment(role)]

    assert knowing == ["auth"]


def test_the_caller_sets_behaviour_and_the_stack_sets_addresses(tmp_path: Path) -> None:
    """Rate limits, reversal age and e-mail settings pass through; logins of another deployment do not."""
    variables = wire(
        tmp_path,
        PATH="/bin",
        PAYFLOW_RATE_LIMITS="off",
        PAYFLOW_REVERSAL_AFTER_SECONDS="5",
        PAYFLOW_SMTP_URL="smtp://127.0.0.1:2525",
        PAYFLOW_WALLET_OWNER_DATABASE_URL="postgresql://production",
        PAYFLOW_AUTH_SECRET="production",
    ).environment(role("wallet"))

    assert variables["PATH"] == "/bin"
    assert variables["PAYFLOW_RATE_LIMITS"] == "off"
    assert variables["PAYFLOW_REVERSAL_AFTER_SECONDS"] == "5"
    assert variables["PAYFLOW_SMTP_URL"] == "smtp://127.0.0.1:2525"
    assert "production" not in " ".join(variables.values())


def test_emails_go_to_a_folder_unless_there_is_a_mail_server(tmp_path: Path) -> None:
    """Only the role that sends gets the folder; links in e-mails lead to the gateway, or to the caller's address."""
    folder = (tmp_path / "mail").as_uri()
    wiring = wire(tmp_path)
    variables = {each.name: wiring.environment(each) for each in ROLES}

    assert ["notification-deliver"] == [name for name in variables if "PAYFLOW_SMTP_URL" in variables[name]]
    assert folder == variables["notification-deliver"]["PAYFLOW_SMTP_URL"]
    assert "http://127.0.0.1:8000" == variables["notification-deliver"]["PAYFLOW_PUBLIC_URL"]
    sender = wire(
        tmp_path, PAYFLOW_SMTP_URL="smtp://127.0.0.1:2525", PAYFLOW_PUBLIC_URL="http://localhost:5173"
    ).environment(role("notification-deliver"))
    assert ("smtp://127.0.0.1:2525", "http://localhost:5173") == (
        sender["PAYFLOW_SMTP_URL"],
        sender["PAYFLOW_PUBLIC_URL"],
    )


@pytest.mark.parametrize("text", ["", "0", "65536", "http", "-1", "80 00"])
def test_an_invalid_gateway_port_is_an_error(text: str) -> None:
    """The line names the variable and its value."""
    with pytest.raises(LocalError, match="PAYFLOW_GATEWAY_PORT is"):
        gateway_port({"PAYFLOW_GATEWAY_PORT": text})


def test_the_gateway_listens_on_8000_by_default() -> None:
    """The default and the override."""
    assert gateway_port({}) == 8000
    assert gateway_port({"PAYFLOW_GATEWAY_PORT": "9123"}) == 9123


@pytest.mark.parametrize("name", sorted(STACK_NAMES))
def test_no_role_reads_files_of_the_shell(tmp_path: Path, name: str) -> None:
    """A folder with settings that the caller has for another deployment is not passed on."""
    assert "PAYFLOW_SECRETS_DIR" not in wire(tmp_path, PAYFLOW_SECRETS_DIR="/run/secrets").environment(role(name))
