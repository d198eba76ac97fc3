"""Constants that must fit each other, and periods and counts that users are promised.

Most tests replace a period by a short one, so none of them fails when the real one is wrong. Here the real ones are compared:
with the constants they depend on, and with what the documents and the API say.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from deploy.local import process as local_process
from payflow import events as client_events
from payflow import limits as client_limits
from payflow import retry as client_retry
from payflow import session as client_session
from services.auth import commands, passwords, rules, schemas, tokens
from services.auth.rules.emails import Kind
from services.chassis import body, client, database, health, roles, server, service_tokens, watchdog
from services.contracts import access_keys, limits
from services.gateway import api as gateway_api
from services.gateway import (
    app,
    cache,
    compression,
    event_stream,
    idempotency,
    intake,
    live,
    operations,
    wakeup,
)
from services.gateway import settings as gateway_settings
from services.gateway.api import names
from services.gateway.clients import service
from services.gateway.security import (
    authentication,
    cors,
    jwks,
    login_rules,
    login_throttle,
    rate_limit,
    rate_limit_counters,
    revocations,
    verified_keys,
)
from services.notification import channels, deliver, sender
from services.notification import schemas as notification_schemas
from services.transaction import wallet_client
from services.wallet import api as wallet_api
from services.wallet import app as wallet_app

ROOT = Path(__file__).parents[2]
MINUTE, HOUR, DAY = 60, 3600, 24 * 3600


def _seconds_of_roles(setting: str) -> float:
    """A time-out of the services' database roles."""
    found = re.search(rf"\('{setting}', '(\d+)s'\)", (ROOT / "deploy" / "postgres" / "provision.sql").read_text())
    assert found is not None
    return float(found[1])


def test_revocations_are_remembered_while_tokens_are_valid() -> None:
    """No access token or API key is accepted again because a service forgot that it was revoked."""
    token_seconds = limits.ACCESS_TOKEN_SECONDS + authentication.CLOCK_SECONDS
    longest_answer_seconds = revocations.PULL_SECONDS + revocations.PULL_EVERY_SECONDS

    assert limits.ACCESS_TOKEN_SECONDS == schemas.KEY_REMEMBERED_SECONDS
    assert revocations.KEPT_SECONDS >= token_seconds + longest_answer_seconds
    assert commands.sessions.REVOCATIONS_SECONDS >= token_seconds + longest_answer_seconds
    assert revocations.KEPT_SECONDS >= commands.sessions.REVOCATIONS_SECONDS
    assert longest_answer_seconds <= 1.0


def test_a_signing_key_is_known_before_and_after_it_signs() -> None:
    """A new key signs when every gateway had two attempts to fetch it; an old one verifies until its last token expires."""
    one_refresh_seconds = access_keys.KEYS_REFRESHED_EVERY_SECONDS + jwks.FETCH_SECONDS

    assert access_keys.KEYS_LEARNED_WITHIN_SECONDS >= 2 * one_refresh_seconds + jwks.RETRY_SECONDS
    assert commands.signing_keys.VERIFIES_SECONDS >= limits.ACCESS_TOKEN_SECONDS + authentication.CLOCK_SECONDS
    assert jwks.RETRY_SECONDS <= 1.0


def test_service_tokens_outlive_their_reuse() -> None:
    """A token that is about to be replaced is still valid at a callee whose clock differs by the allowed difference."""
    reuse_seconds = service_tokens._REUSE_SECONDS

    assert service_tokens.LIFETIME_SECONDS >= 2 * reuse_seconds
    assert service_tokens.LIFETIME_SECONDS - reuse_seconds > service_tokens.LEEWAY_SECONDS
    assert (60, 5) == (service_tokens.LIFETIME_SECONDS, service_tokens.LEEWAY_SECONDS)


def test_deadlines_get_shorter_from_the_outside_in() -> None:
    """Each caller waits longer than the service it calls, so that it receives the response and not only its own time-out."""
    for deadlines in (
        (client_limits.DEFAULT.response_seconds, operations.REQUEST_SECONDS, service.CALL_SECONDS),
        (client_limits.INTERACTIVE.response_seconds, operations.REQUEST_SECONDS),
        (service.CALL_SECONDS, wallet_client.CALL_SECONDS, wallet_api.POST_SECONDS),
        (service.CALL_SECONDS, database.COMMAND_SECONDS, _seconds_of_roles("statement_timeout")),
        (_seconds_of_roles("statement_timeout"), _seconds_of_roles("lock_timeout")),
        (service.CALL_SECONDS, passwords.WAIT_SECONDS_MAX),
        (service.CALL_SECONDS, database.ACQUIRE_SECONDS + database.COMMAND_SECONDS),
        (service.CALL_SECONDS, intake.QUEUE_SECONDS_MAX),
        (login_rules.UNDER_WAY_SECONDS, operations.REQUEST_SECONDS),
        (client_session.LOCK_SECONDS_MAX, client_limits.DEFAULT.response_seconds),
        (client_limits.DEFAULT.proof_seconds, gateway_api.ops.PROOF_SECONDS),
        (operations.REQUEST_SECONDS, verified_keys.VERIFY_SECONDS, 1.0),
        (operations.REQUEST_SECONDS, service.CALL_SECONDS, service.SIDE_SECONDS),
        (service.CALL_SECONDS, live.CALL_SECONDS, live.POSITION_SECONDS),
        (service.SIDE_SECONDS, cache.RESPONSE_SECONDS),
        (server.KEEPALIVE_SECONDS, 60.0),
    ):
        assert sorted(set(deadlines), reverse=True) == list(deadlines)
    assert gateway_api.ops.PROOF_SECONDS >= wallet_app.LONG_SECONDS
    assert limits.PREFER_WAIT_SECONDS_MAX == client_limits.PREFER_WAIT_SECONDS_MAX


def test_a_process_ends_before_it_is_killed() -> None:
    """First the requests under way are finished, then the process ends itself, and only then the supervisor kills it."""
    assert server.DRAIN_SECONDS + roles.METRICS_STOP_SECONDS < roles.STOP_SECONDS_MAX < local_process.STOP_SECONDS_MAX


def test_leases_outlive_the_work() -> None:
    """What is claimed is not handed to another process while the first one still works on it within its own deadlines."""
    mail_seconds = channels.CONNECT_SECONDS + channels.SEND_SECONDS + channels.QUIT_SECONDS

    assert commands.emails.LEASE_SECONDS > mail_seconds + deliver.CONTACTS_SECONDS
    assert deliver.LEASE_SECONDS > mail_seconds + deliver.CONTACTS_SECONDS
    assert schemas.RETRY_SECONDS_MAX >= 2 * sender.RETRY_SECONDS_MAX


def test_silence_means_more_than_one_missed_heartbeat() -> None:
    """A client closes a stream only after it missed more than one comment, each as late as the gateway may send it."""
    beat_seconds = gateway_api.events.HEARTBEAT_SECONDS + gateway_api.events.WRITE_SECONDS

    assert client_events.SILENT_SECONDS > 2 * beat_seconds
    assert event_stream.RETRY_MILLISECONDS / 1000 < gateway_api.events.HEARTBEAT_SECONDS
    assert wakeup.LISTEN_SECONDS > wakeup.CONNECT_SECONDS


def test_slow_clients_are_gone_within_15_seconds() -> None:
    """Guarantee 51: headers and a body that arrive too slowly, and a response that is not read, end in time."""
    arriving_seconds = watchdog.HEADER_SECONDS + watchdog.SWEEP_SECONDS
    reading_seconds = watchdog.RESPONSE_SECONDS + watchdog.SWEEP_SECONDS

    assert max(arriving_seconds, reading_seconds, operations.BODY_SECONDS + watchdog.LINGER_SECONDS) < 15


@pytest.mark.parametrize("rule", login_throttle.RULES + login_throttle.CODE_RULES, ids=lambda rule: rule.name)
def test_a_wait_is_not_forgotten_before_it_is_over(rule: login_rules.Rule) -> None:
    """Login attempts are remembered for longer than the longest wait, or waiting would reset the counter."""
    assert rule.memory_seconds > rule.wait_seconds_max


def test_attempts_at_codes_are_limited() -> None:
    """A year of wrong codes, at the pace that the rules allow, finds the right one in at most one case of ten."""
    per_day = login_throttle.CODE.free + DAY / login_throttle.CODE.wait_seconds_max
    chance = (2 * rules.totp.WINDOW_STEPS + 1) / 10**rules.totp.DIGITS

    assert 1 - (1 - chance) ** (365 * per_day) <= 0.115
    assert {rule: rule.free for rule in login_throttle.CODE_RULES} == {
        login_throttle.CODE_PAIR: 5,
        login_throttle.CODE: 10,
    }


def test_lists_fit_into_the_call_that_carries_them() -> None:
    """What one service puts into one call, the next one takes."""
    assert intake.BATCH_MAX <= limits.ITEMS_MAX
    assert intake.BATCH_MAX <= schemas.LIST_MAX
    assert live.POSITIONS_MAX <= notification_schemas.FEEDS_MAX
    assert sender.CLAIM_MAX <= schemas.EMAILS_MAX
    assert client_limits.PAGE_SIZE_MAX == limits.PAGE_MAX
    assert intake.UNDER_WAY_MAX <= gateway_settings.REQUESTS_MAX
    assert gateway_settings.PASSWORDS_MAX < client.CONNECTIONS_MAX
    assert live.LINES_MAX <= live.READY_MAX


@pytest.mark.parametrize(
    "entries_max",
    [
        login_rules.COUNTERS_MAX,
        login_throttle.LOCATIONS_MAX,
        rate_limit_counters.QUOTAS_MAX,
        authentication.CACHED_MAX,
        verified_keys.CACHED_MAX,
        verified_keys.UNKNOWN_MAX,
    ],
)
def test_caches_hold_enough_entries(entries_max: int) -> None:
    """Memory is bounded, and large enough that many users do not make a gateway forget failed logins, limits or verdicts."""
    assert 10_000 <= entries_max <= 100_000


PROMISED: dict[str, tuple[Any, Any]] = {
    "an access token lives 10 minutes": (limits.ACCESS_TOKEN_SECONDS, 10 * MINUTE),
    "a refresh token waits 30 days": (limits.REFRESH_TOKEN_SECONDS, 30 * DAY),
    "spent refresh tokens that are recognised": (tokens.SPENT_REMEMBERED_MAX, 10_000),
    "sessions of one user": (commands.accounts.SESSIONS_MAX, 1000),
    "a token for an e-mail address": (rules.emails.LIFE_SECONDS[Kind.VERIFY_EMAIL], 24 * HOUR),
    "a token for a password": (rules.emails.LIFE_SECONDS[Kind.RESET_PASSWORD], 30 * MINUTE),
    "e-mails without a token are tried for a week": (
        {rules.emails.LIFE_SECONDS[kind] for kind in rules.emails.WITHOUT_TOKEN},
        {7 * DAY},
    ),
    "what the API says of them": (
        (limits.VERIFY_EMAIL_SECONDS, limits.RESET_PASSWORD_SECONDS),
        (24 * HOUR, 30 * MINUTE),
    ),
    "e-mails of a kind in a day": (rules.emails.SECURITY_EMAILS_PER_DAY_MAX, 20),
    "a request for a reset takes at least": (commands.emails.FORGOT_SECONDS, 0.1),
    "how an authenticator is set up": (
        (rules.totp.STEP_SECONDS, rules.totp.DIGITS, rules.totp.WINDOW_STEPS),
        (30, 6, 1),
    ),
    "recovery codes, and their bits": ((rules.totp.RECOVERY_CODES, 8 * rules.totp.RECOVERY_BYTES), (10, 80)),
    "a name, an address and the part of it before the @": (
        (limits.NAME_LENGTH_MAX, limits.EMAIL_LENGTH_MAX, rules.user.LOCAL_PART_LENGTH_MAX),
        (100, 254, 64),
    ),
    "why a user was disabled, and what a client calls itself": (
        (limits.DISABLE_REASON_LENGTH_MAX, limits.USER_AGENT_LENGTH_MAX),
        (200, 120),
    ),
    "API keys of one user": (commands.api_keys.PER_USER_MAX, 50),
    "known locations of one user": (
        (rules.known_locations.REMEMBERED_DAYS, rules.known_locations.REMEMBERED_MAX),
        (90, 50),
    ),
    "passwords": ((limits.PASSWORD_LENGTH_MIN, limits.PASSWORD_LENGTH_MAX), (8, 200)),
    "how a password is hashed": (
        (passwords.PROFILE.time_cost, passwords.PROFILE.memory_cost, passwords.PROFILE.parallelism),
        (2, 19 * 1024, 1),
    ),
    "when to retry a password check": ([*limits.TOO_MANY_LOGINS_RETRY_SECONDS], [2, 3, 4, 5, 6]),
    "passwords that wait for a thread": (passwords.WAITING_MAX, 56),
    "wrong guesses that cost nothing": (
        [rule.free for rule in login_throttle.RULES],
        [5, 20, 100],
    ),
    "how long wrong guesses are remembered": (
        [rule.memory_seconds for rule in login_throttle.RULES + login_throttle.CODE_RULES],
        [HOUR, HOUR, 15 * MINUTE, DAY, DAY],
    ),
    "the longest wait": (
        [rule.wait_seconds_max for rule in login_throttle.RULES + login_throttle.CODE_RULES],
        [5 * MINUTE] * 3 + [15 * MINUTE] * 2,
    ),
    "guesses under way": (
        [rule.parallel for rule in login_throttle.RULES + login_throttle.CODE_RULES],
        [64, 64, 128, 5, 5],
    ),
    "how long a known location is kept": ((login_throttle.KNOWN_SECONDS, login_throttle.UNKNOWN_SECONDS), (60.0, 5.0)),
    "how long an unknown API key is refused": (verified_keys.UNKNOWN_SECONDS, 10.0),
    "how soon auth hears of a use again": (verified_keys.RETRY_SECONDS, 1.0),
    "a finished response is kept for a day": (idempotency.CACHED_SECONDS, DAY),
    "Prefer: wait": ((limits.PREFER_WAIT_SECONDS_MAX, gateway_api.transfers.WAIT_MARGIN_SECONDS), (30, 0.5)),
    "when to come back for a transfer": ((intake.QUEUE_SECONDS_MAX, intake.RETRY_AFTER_SECONDS), (2.0, 2)),
    "requests and batches": (
        (intake.BATCH_MAX, intake.CONCURRENCY_MAX, gateway_settings.REQUESTS_MAX),
        (256, 2, 1024),
    ),
    "passwords under way": (gateway_settings.PASSWORDS_MAX, 56),
    "a page": ((limits.PAGE_DEFAULT, limits.PAGE_MAX), (50, 200)),
    "a body": ((app.BODY_BYTES_MAX, body.DEPTH_MAX, body.INTEGER_DIGITS_MAX), (64 * 1024, 20, 100)),
    "Redis": ((cache.RESPONSE_SECONDS, cache.FAILURES_MAX, cache.PROBE_EVERY_SECONDS), (0.05, 3, 1.0)),
    "another gateway knows 0.1 s later": (rate_limit_counters.SYNC_EVERY_SECONDS, 0.1),
    "streams": (
        (live.STREAMS_OF_USER_MAX, live.TOO_MANY_SECONDS, gateway_settings.STREAMS_MAX),
        (10, 5, 2000),
    ),
    "events without a wake-up": ((live.POLL_SECONDS, live.POSITION_SECONDS), (2.0, 1.5)),
    "a comment in a stream": (gateway_api.events.HEARTBEAT_SECONDS, 15.0),
    "slow clients": ((watchdog.HEADER_SECONDS, operations.BODY_SECONDS), (8.0, 5.0)),
    "deadlines": ((operations.REQUEST_SECONDS, service.CALL_SECONDS, service.SIDE_SECONDS), (10.0, 8.0, 1.0)),
    "names that a page can do without": (names.NAMES_SECONDS, 1.0),
    "what a browser remembers of CORS": (cors.PREFLIGHT_SECONDS, 600),
    "the description may be cached for a minute": (
        gateway_api.reference._A_MINUTE,
        {"Cache-Control": "public, max-age=60"},
    ),
    "what is worth compressing": (compression.BYTES_MIN, 1024),
    "a readiness check": (health.PING_SECONDS, 1.0),
    "a call between services": ((client.ATTEMPTS_MAX, client.CONNECT_SECONDS, client.CONNECTIONS_MAX), (2, 1.0, 64)),
    "a patient client": (
        (
            client_limits.DEFAULT.attempts_max,
            client_limits.DEFAULT.retry_seconds,
            client_limits.DEFAULT.response_seconds,
        ),
        (8, 30.0, 15.0),
    ),
    "the pauses of a patient client": (
        (client_limits.DEFAULT.backoff_seconds_min, client_limits.DEFAULT.backoff_seconds_max),
        (0.1, 5.0),
    ),
    "the pauses are stretched": (
        (client_retry.BACKOFF_JITTER_MAX, client_retry.RETRY_AFTER_JITTER_SECONDS_MAX),
        (0.5, 0.25),
    ),
    "a command": (
        (
            client_limits.INTERACTIVE.attempts_max,
            client_limits.INTERACTIVE.retry_seconds,
            client_limits.INTERACTIVE.backoff_seconds_max,
        ),
        (3, 5.0, 0.5),
    ),
    "how long a client waits for the outcome": (client_limits.WAIT_SECONDS_DEFAULT, 10.0),
    "a session is renewed before it expires": (client_session._REFRESHED_AFTER, 0.9),
}
"""What README, the API guide, the operations manual or the OpenAPI document say, and clients rely on."""


@pytest.mark.parametrize("promise", PROMISED)
def test_promises_are_kept(promise: str) -> None:
    """A period, a count or a size that is documented is the one that is used."""
    actual, promised = PROMISED[promise]

    assert actual == promised


def test_the_guide_names_the_rate_limits() -> None:
    """Every limit in the table of the API guide is the one that counts requests, with its number and its period."""
    documented: dict[str, tuple[int, int]] = {}
    for row in re.findall(
        r"^\| (`.*?) \| .*? \| (.*?) \|$", (ROOT / "docs" / "api-guide.md").read_text(), re.MULTILINE
    ):
        limits, numbers = re.findall(r"`(\w+)`", row[0]), re.findall(r"\d[\d,]*", row[1])
        if not numbers:
            continue
        minutes = 10 if "ten minutes" in row[1] else 1
        each = numbers if len(numbers) == len(limits) else numbers * len(limits)
        documented |= {
            limit: (int(number.replace(",", "")), minutes * MINUTE) for limit, number in zip(limits, each, strict=True)
        }
    documented |= {"address": (30_000, MINUTE), "user": (6_000, MINUTE), "key": (6_000, MINUTE)}
    limits_of_settings = rate_limit.limits_of(gateway_settings.GatewaySettings.model_construct())

    assert documented == {name: (limit.amount, limit.seconds) for name, limit in rate_limit.LIMITS.items()}
    assert dict(rate_limit.LIMITS) == dict(limits_of_settings)
    assert {"address", "user", "key"} == {name for name, limit in rate_limit.LIMITS.items() if not limit.is_exact}


def test_each_setting_of_a_limit_changes_that_limit_alone() -> None:
    """The limits of the configuration reach the limit of their name, and leave its period and its kind as they are."""
    for name in ("address", "user", "key", "login"):
        changes: dict[str, Any] = {f"rate_limit_{name}": 77}
        settings = gateway_settings.GatewaySettings.model_construct(**changes)
        changed = {
            each: limit for each, limit in rate_limit.limits_of(settings).items() if limit != rate_limit.LIMITS[each]
        }
        before = rate_limit.LIMITS[name]

        assert {name: (77, before.seconds, before.is_exact)} == {
            each: (limit.amount, limit.seconds, limit.is_exact) for each, limit in changed.items()
        }
