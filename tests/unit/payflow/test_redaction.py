"""What is attached to a ticket contains no secret and no whole e-mail address, wherever it stands, and keeps what is needed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payflow.redaction import REDACTED, redact, redact_text, without_text
from tests.harness import leaks

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
SECRETS = (
    "eyJhbGciOiJFZERTQSIsImtpZCI6IjIwMjYtMDMifQ.eyJzdWIiOiIwMTk5In0.c2lnbmF0dXJl",
    "pfk_0aB1cD2eF3gH_k3yK3yK3yK3yK3yK3yK3yK3yK3yK3yK3yK3yK3yK3yX1y2Z3",
    "rZ0pQ4vX8sT2wY6uA1bC3dE5fG7hJ9kL",
    "kq8Xv0dG5mJr2bYt7Wz3Qn1LcHs6EpUa9RfTiOyMxDk=",
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$aGFzaA",
    "otpauth://totp/PayFlow:bob%40example.com?secret=JBSWY3DPEHPK3PXP&issuer=PayFlow",
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----",
)
ADDRESSES = (
    "alice@example.com", "o'hara+pay@mail.example.co.uk", "a.b_c-d@x.org", "j\u00fcrgen@ex\u00e4mple.de", "a!b#c$d@x.org",
    '"a quoted name"@x.org',
)  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "before {} after", 'token="{}"', "Bearer {}", "({})", "GET /x?code={}&y=1"])
def test_what_looks_like_a_secret(secret: str, around: str) -> None:
    """Tokens, keys, hashes and key files are removed from any text and from any depth, also as names."""
    text = around.format(secret)
    document = {"a": [{"b": text}, (text,)], secret: 1}

    assert secret not in redact_text(text)
    assert secret not in json.dumps(redact(document), ensure_ascii=False).replace("\\n", "\n")


@pytest.mark.parametrize(
    "name",
    ["password", "new_password", "access_token", "refresh_token", "Authorization", "set_cookie", "api_key", "totp_secret",
     "recovery_codes", "service_key", "idempotency_key", "key", "database_url", "dsn"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["short", ["short"], {"inner": "short"}])
def test_a_field_with_the_name_of_a_secret(name: str, value: Any) -> None:
    """Whatever its value looks like, and whatever it contains."""
    assert {name: REDACTED} == redact({name: value})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f'ERROR: constraint "x"\nDETAIL:  Failing row contains ({ID}, rent\nfor Anna).',
            f'ERROR: constraint "x"\nDETAIL: {REDACTED}',
        ),
        (
            "DETAIL:  Key (user_id, key)=(1, Anna's rent) already exists.\n\nDuring handling of it",
            f"DETAIL: {REDACTED}\n\nDuring handling of it",
        ),
    ],
)
def test_rows_that_a_database_quotes(text: str, expected: str) -> None:
    """The values of a refused row are what a customer wrote; the error itself stays."""
    assert expected == redact_text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://payflow:hunter2@db:5432/wallet", f"{REDACTED}@db:5432/wallet"),
        ("amqp://user:p%40ss@rabbit", f"{REDACTED}@rabbit"),
        ("redis://:pa/ss@w0rd@cache:6379/0", f"{REDACTED}@cache:6379/0"),
        ("postgresql+asyncpg://a:b@db/x and amqp://c:d@mq", f"{REDACTED}@db/x and {REDACTED}@mq"),
        ("password=hunter2, next", f"password={REDACTED}, next"),
        ('{"secret": "hunter2"}', f'{{"secret": "{REDACTED}"}}'),
        ("Authorization: Basic YWxhZGRpbg==", f"Authorization: Basic {REDACTED}"),
    ],
)
def test_credentials_in_a_text(text: str, expected: str) -> None:
    """Passwords in addresses of engines and after their names are removed; the rest stays."""
    assert expected == redact_text(text)


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_whole_address(address: str) -> None:
    """Of an e-mail address only the domain stays."""
    domain = address.partition("@")[2]

    assert f"to ***@{domain}, twice" == redact_text(f"to {address}, twice")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /recipients?email=alice%40example.com&x=1", "GET /recipients?email=***@example.com&x=1"),
        (r'{"email": "alice\u0040example.com"}', '{"email": "***@example.com"}'),
        ("Alice <alice@example.com>", "Alice <***@example.com>"),
    ],
)
def test_an_encoded_address(text: str, expected: str) -> None:
    """Also as a part of a URL and with an escape of JSON."""
    assert expected == redact_text(text)


def test_a_long_line_is_searched_in_linear_time() -> None:
    """A line without an address is not searched again from each of its characters."""
    long = "a" * 200_000

    assert long == redact_text(long)


@pytest.mark.parametrize("name", ["description", "metadata", "full_name", "iban"])
def test_customers_text_at_any_depth(name: str) -> None:
    """It is also removed from log lines."""
    assert {"a": [{name: REDACTED, "id": ID}]} == redact({"a": [{name: "rent for Anna", "id": ID}]})


def test_what_a_reader_needs_stays() -> None:
    """Ids, processes, series, times, hashes and figures are not changed."""
    kept = {
        "transfer_id": ID,
        "request_id": "order-1",
        "worker": "transaction-worker-1",
        "at": "2026-01-02T03:04:05.000000Z",
        "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-00",
        "head": {"number": 7, "hash": "ab" * 32},
        "series": 'payflow_queue_oldest_age_seconds{queue="transfers.requested"} 0.25',
        "reason": "ConnectionRefusedError",
        "token_type": "Bearer",
        "ok": True,
        "none": None,
    }

    assert kept == redact(kept)


def test_customers_text() -> None:
    """The description and the metadata of a transfer are left out."""
    assert {"id": ID, "amount": 1} == without_text({"id": ID, "amount": 1, "description": "rent", "metadata": {"a": 1}})


@given(st.text(max_size=60), st.sampled_from([*SECRETS, *ADDRESSES]), st.text(max_size=60))
def test_nothing_that_a_log_must_not_contain(before: str, secret: str, after: str) -> None:
    """Whatever stands around it, no pattern of the search for leaks matches the result."""
    text = redact_text(f"{before} {secret} {after}")

    for what, (_, pattern) in leaks.PATTERNS.items():
        assert not pattern.search(text), (what, text)
