"""The smoke test: what it needs, what it reports when it cannot run, and what it accepts of a transfer."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.programs import DeployError
from deploy.smoke import settings, transfer
from deploy.smoke.record import Record, SmokeError
from deploy.smoke.settings import Operator
from payflow.limits import Limits
from payflow.transfer import Step, Timeline, Transfer
from payflow.wallet import Wallet

OPERATOR = Operator("ops@example.com", "payflow-demo-1")
ONCE = Limits(attempts_max=1, response_seconds=2)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "LIMITS", ONCE)


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({}, "needs an operator: set PAYFLOW_OPERATOR_EMAIL and PAYFLOW_OPERATOR_PASSWORD, or PAYFLOW_API_KEY"),
        ({"PAYFLOW_OPERATOR_EMAIL": "ops@example.com"}, "needs an operator"),
        ({"PAYFLOW_API_KEY": ""}, "needs an operator"),
        ({"PAYFLOW_API_KEY": "k", "PAYFLOW_OPERATOR_EMAIL": "ops@example.com"}, "not both"),
    ],
)
def test_an_operator_is_never_assumed(environment: dict[str, str], line: str) -> None:
    """Without complete credentials of one kind nothing is sent; the demo's operator is no default."""
    with pytest.raises(DeployError, match=line):
        Operator.from_environment(environment)


@pytest.mark.parametrize(
    ("address", "line"), [("", "name the published address: make smoke URL="), ("localhost", "is not the address")]
)
def test_an_address_is_needed(address: str, line: str) -> None:
    """A missing or malformed address is one line."""
    with pytest.raises(DeployError, match=line):
        settings.check_address(address)


def test_a_file_without_certificates_is_an_error(tmp_path: Path) -> None:
    """OpenSSL ignores a file of authorities that it cannot read, and then every certificate looks invalid."""
    (tmp_path / "empty.pem").write_text("")

    settings.check_ca_file({})
    for path in (tmp_path / "empty.pem", tmp_path / "missing.pem"):
        with pytest.raises(DeployError, match=r"SSL_CERT_FILE is .* which has no certificate"):
            settings.check_ca_file({"SSL_CERT_FILE": str(path)})


async def test_an_unreachable_gateway_is_one_line() -> None:
    """No connection: the record has the step and the reason."""
    record = await transfer.run("http://127.0.0.1:1", OPERATOR)

    assert "the smoke test of http://127.0.0.1:1 failed at the step 'operator': cannot reach" in str(record.error)
    assert [False] == [step["ok"] for step in record.document()["steps"]]


async def test_an_impossible_api_key_is_one_line() -> None:
    """A key that no header can carry is reported although no step has begun."""
    record = await transfer.run("http://127.0.0.1:1", Operator(api_key="two words"))

    assert "the smoke test of http://127.0.0.1:1 failed: the API key must consist of visible" in str(record.error)


async def test_a_silent_gateway_ends_with_the_time_limit() -> None:
    """A gateway that accepts the connection and does not respond cannot hold the run."""

    async def silence(reader: Any, writer: Any) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silence, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        record = await transfer.run(f"http://127.0.0.1:{port}", OPERATOR, seconds_max=0.2)

    assert str(record.error).endswith("at the step 'operator': not done 0.2 s after the start")


async def test_a_certificate_is_verified(tmp_path: Path) -> None:
    """An unknown authority is refused and the line names SSL_CERT_FILE; with its file the connection is made."""
    async with tls_server(tmp_path) as (address, certificate):
        refused = await transfer.run(address, OPERATOR)
        environment = {"PAYFLOW_OPERATOR_EMAIL": "ops@example.com", "PAYFLOW_OPERATOR_PASSWORD": "x"}
        trusted = await smoke(address, os.environ | environment | {"SSL_CERT_FILE": str(certificate)})

    assert "its certificate is not valid; name the file of a private certificate authority in SSL_CERT_FILE" in str(
        refused.error
    )
    assert (1, True) == (trusted.returncode, "the gateway responded with 404" in trusted.stderr)


async def test_an_address_without_tls_is_named() -> None:
    """An https address at a port that speaks plain HTTP."""
    async with http_server(None) as port:
        record = await transfer.run(f"https://127.0.0.1:{port}", OPERATOR)

    assert "no TLS connection (" in str(record.error)


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("invalid_credentials", "check PAYFLOW_OPERATOR_EMAIL and PAYFLOW_OPERATOR_PASSWORD"),
        ("operator_required", "ops@example.com is no operator: run `python -m services.auth grant"),
        ("totp_required", "has a second factor: use an API key"),
        ("insufficient_scope", "needs the scope operate"),
    ],
)
async def test_a_refused_operator_is_one_line(code: str, hint: str) -> None:
    """The line says what to do, and no user was registered before."""
    async with http_server(None, code) as port:
        record = await transfer.run(f"http://127.0.0.1:{port}", OPERATOR)

    assert hint in str(record.error)
    assert ["operator"] == [step.name for step in record.steps]


def test_each_side_must_be_right_to_the_cent() -> None:
    """A balance, an available amount or a number of entries that differs fails."""
    wallet = Wallet(
        id="w", owner_id="u", currency="USD", balance=1, available=1, held=0, status="active", created_at=NOW
    )
    sender = replace(wallet, balance=2, available=2)

    transfer.check_side("receiver", wallet, [1], amount=1)
    transfer.check_side("sender", sender, [-1], amount=-1)
    wrong: list[tuple[str, Wallet, list[int], int]] = [
        ("sender", wallet, [-1], -1),
        ("sender", replace(sender, available=1), [-1], -1),
        ("receiver", sender, [1], 1),
        ("receiver", wallet, [1, 1], 1),
        ("receiver", wallet, [], 1),
    ]
    for side, seen, entries, amount in wrong:
        with pytest.raises(SmokeError, match=f"the {side}'s"):
            transfer.check_side(side, seen, entries, amount=amount)


def test_a_replay_must_be_the_same_transfer() -> None:
    """Another id, or a response that is no replay, fails."""
    first = a_transfer("one")

    transfer.check_replay(first, replace(first, replayed=True))
    with pytest.raises(SmokeError, match="the transfer of the repeated request is two, and must be one"):
        transfer.check_replay(first, replace(a_transfer("two"), replayed=True))
    with pytest.raises(SmokeError, match="Idempotent-Replayed"):
        transfer.check_replay(first, first)


def test_every_step_of_the_timeline_is_needed() -> None:
    """One that is missing is named."""
    assert [] == transfer.find_missing(a_timeline(*transfer.STEPS))
    for step in transfer.STEPS:
        assert [step] == transfer.find_missing(a_timeline(*(other for other in transfer.STEPS if other != step)))


def test_json_has_every_step() -> None:
    """The document for programs: each step with its time, and the error."""
    record = Record("http://127.0.0.1:8000")
    with record.step("first") as step:
        step.detail = "seen"
    with pytest.raises(SmokeError), record.step("second"):
        raise SmokeError("no")
    record.fail("no")
    document = record.document()

    assert (False, "the smoke test of http://127.0.0.1:8000 failed at the step 'second': no") == (
        document["ok"],
        document["error"],
    )
    assert [("first", True, "seen"), ("second", False, "no")] == [
        (step["step"], step["ok"], step["detail"]) for step in document["steps"]
    ]


def a_transfer(transfer_id: str) -> Transfer:
    return Transfer(
        id=transfer_id,
        kind="transfer",
        status="COMPLETED",
        amount=1,
        currency="USD",
        from_wallet_id="a",
        to_wallet_id="b",
        description=None,
        metadata=None,
        created_at=NOW,
        final_by=None,
        completed_at=NOW,
        failed_at=None,
        failure=None,
        document={},
    )


def a_timeline(*steps: str) -> Timeline:
    return Timeline(
        transfer_id="t",
        status="COMPLETED",
        steps=tuple(Step(NOW, "transaction", step, None) for step in steps),
        waiting_for=None,
        summary="",
        unavailable=(),
        document={},
    )


async def smoke(address: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command; the certificate authorities are read once in a process."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "deploy.smoke", address],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@asynccontextmanager
async def http_server(context: ssl.SSLContext | None, code: str | None = None) -> AsyncIterator[int]:
    """A server that refuses every request, with a problem if `code` is given."""

    async def refuse(_request: web.Request) -> web.Response:
        if code is None:
            return web.Response(status=404)
        return web.json_response({"code": code, "title": code}, status=403)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", refuse)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def tls_server(folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """A server with a self-signed certificate: its address and the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "tls.pem")
    async with http_server(context) as port:
        yield f"https://127.0.0.1:{port}", folder / "ca.pem"
