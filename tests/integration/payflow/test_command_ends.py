"""How commands end, and their default number of entries."""

from __future__ import annotations

from typing import Any

import click
import pytest

from payflow import cli
from payflow.client import PayFlow
from tests.integration.payflow.conftest import ALICE, PASSWORD, FakeGateway


def test_an_interrupted_command_ends_as_shells_expect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C is one line and exit code 130, as of any program that SIGINT ended."""

    def interrupted(**_: Any) -> None:
        raise click.Abort

    monkeypatch.setattr(cli.program, "main", interrupted)

    assert 130 == cli.main(["audit"])
    assert "payflow: interrupted\n" == capsys.readouterr().err


@pytest.mark.parametrize(("words", "limit"), [((), "50"), (("--limit", "1"), "1"), (("--limit", "10000"), "200")])
async def test_the_audit_log_is_shown_in_part(
    gateway: FakeGateway, run: Any, words: tuple[str, ...], limit: str
) -> None:
    """Fifty entries by default; pages are never longer than the gateway allows."""
    gateway.pages["/ops/audit"] = []
    assert 0 == (await run("login", "ops@example.com")).code
    assert 0 == (await run("audit", "--json", *words)).code

    assert [limit] == [request.query["limit"] for request in gateway.seen("GET /ops/audit")]
    assert 2 == (await run("audit", "--limit", "10001")).code


async def test_a_client_logs_in_again_with_its_new_password(gateway: FakeGateway) -> None:
    """After a change of the password a client with credentials logs in with the new one when its session has ended."""
    async with PayFlow(gateway.url, email=ALICE["email"], password=PASSWORD) as client:
        gateway.documents["/auth/password"] = {
            "user": ALICE, "access_token": "changed", "refresh_token": "spent", "expires_in": 600,
        }  # fmt: skip
        await client.change_password(PASSWORD, "battery staple")
        gateway.end_sessions()
        with pytest.raises(Exception, match="invalid_credentials"):
            await client.wallets()

    passwords = [request.body["password"] for request in gateway.seen("POST /auth/login")]
    assert [PASSWORD, "battery staple"] == passwords
