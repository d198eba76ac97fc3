"""The accounts of the canary can be registered by the canary only."""

from __future__ import annotations

import pytest

from payflow.canary import EMAILS
from services.contracts import probes
from tests.integration.auth.service import PROBE_SECRET, AuthService

RIGHT = probes.password(PROBE_SECRET, EMAILS[0])


async def test_canary_registers_its_accounts(auth: AuthService) -> None:
    """Each with the password that is derived from its secret and the address, whatever the case of the address."""
    for email in EMAILS:
        await auth.register(email.upper(), probes.password(PROBE_SECRET, email))
        assert 200 == (await auth.log_in(email, probes.password(PROBE_SECRET, email))).status


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (EMAILS[0], "correct horse"),
        (EMAILS[0].upper(), "correct horse"),
        (EMAILS[1], RIGHT),
        (EMAILS[0], RIGHT.upper()),
        (EMAILS[0], probes.password("another secret", EMAILS[0])),
        ("mallory@example.invalid", "pässwörd"),
    ],
)
async def test_address_of_the_canary_is_refused(auth: AuthService, email: str, password: str) -> None:
    """No other password is accepted for an address in the domain; the response names the field, and no user exists."""
    body = {"email": email, "password": password, "name": "Mallory"}
    refused = await auth.call("POST", "/internal/register", body)
    assert (422, "invalid_request", ["email"]) == (
        refused.status,
        refused.body["code"],
        [error["field"] for error in refused.body["errors"]],
    )
    assert 401 == (await auth.log_in(email, password)).status
