"""The guards of login throttling and rate limits, with and without Redis."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

GUESSES = "services/gateway/security/login_throttle.py"
GUESSING = "tests/integration/gateway/test_login_throttle.py"
LIMITING = "tests/integration/gateway/test_limits.py"
EVERYWHERE = "tests/integration/gateway/test_limits_everywhere.py"
WORKS = f"{GUESSING}::test_sixth_wrong_password_waits"
WITHOUT_REDIS = f"{GUESSING}::test_attempts_are_few_without_redis"

MUTANTS = (
    Mutant(
        name="account-attempts-from-many-addresses",
        guard="failed attempts on an account are counted across all addresses",
        changes=[Change(GUESSES, "RULES = (PAIR, ACCOUNT, ADDRESS)\n", "RULES = (PAIR, ADDRESS)\n")],
        works=WORKS,
        caught_by=[WITHOUT_REDIS],
    ),
    Mutant(
        name="attempts-uncounted-without-redis",
        guard="each gateway also counts failed attempts by itself",
        changes=[
            Change(
                GUESSES,
                "        return [self._counters[rule].wait_seconds(keys[rule], now) for rule in rules]\n",
                "        return [0.0 * now for _ in rules]\n",
            )
        ],
        works=WORKS,
        caught_by=[WITHOUT_REDIS],
    ),
    Mutant(
        name="owner-blocked-by-others",
        guard="a known location is limited by its own failure counter only",
        changes=[Change(GUESSES, "if is_delayed or email is None or not await", "if True or not await")],
        works=WORKS,
        caught_by=[f"{GUESSING}::test_attackers_do_not_count_for_the_owner"],
    ),
    Mutant(
        name="address-not-counted",
        guard="every request counts for its address before it is authenticated",
        changes=[
            Change(
                "services/gateway/security/rate_limit.py",
                "if request.path not in HEALTH:",
                "if request.path in HEALTH:",
            )
        ],
        works=f"{LIMITING}::test_user_has_one_quota",
        caught_by=[f"{LIMITING}::test_address_is_limited_before_authentication"],
    ),
    Mutant(
        name="forwarded-by-any-client",
        guard="`X-Forwarded-For` counts only if a trusted proxy wrote it",
        changes=[
            Change(
                "services/gateway/address.py",
                "if not trusted or not forwarded or not _is_trusted(_parse(peer), trusted):",
                "if not trusted or not forwarded:",
            )
        ],
        works="tests/unit/gateway/test_address.py::test_client_is_the_last_untrusted_address",
        caught_by=["tests/unit/gateway/test_address.py::test_forwarded_for_is_ignored_from_untrusted_peers"],
    ),
    Mutant(
        name="own-secrets-unthrottled",
        guard="attempts at the password and codes are limited also with an access token",
        changes=[
            Change(
                "services/gateway/api/credentials.py",
                "        async with request.app[LOGIN_THROTTLE].attempt(user_id, address, with_code=with_code):\n",
                "        if request.app[LOGIN_THROTTLE]:\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{GUESSING}::test_every_secret_is_throttled"],
    ),
    Mutant(
        name="codes-throttled-like-passwords",
        guard="codes of the second factor, which are short, are throttled more than passwords",
        changes=[Change(GUESSES, "RULES + CODE_RULES if with_code else RULES)", "RULES if with_code else RULES)")],
        works=WORKS,
        caught_by=[f"{GUESSING}::test_codes_are_throttled_more_strictly"],
    ),
    Mutant(
        name="users-not-counted",
        guard="every request counts for its user, on every authenticated route",
        changes=[
            Change(
                "services/gateway/security/rate_limit.py",
                "        if principal is not None:\n            request[COUNT]",
                "        if principal is not None and operation.limit is not None:\n            request[COUNT]",
            )
        ],
        works=f"{LIMITING}::test_login_and_registration_are_limited",
        caught_by=[f"{EVERYWHERE}::test_every_row_counts_for_its_user"],
    ),
    Mutant(
        name="redis-resets-every-quota",
        guard="a Redis that reports every quota as expired does not lift the limits",
        changes=[
            Change(
                "services/gateway/security/rate_limit_counters.py",
                "    if quota.may_end_early and left_milliseconds >= 0:\n",
                "    if left_milliseconds >= 0:\n",
            )
        ],
        works=f"{LIMITING}::test_exact_limits_are_exact",
        caught_by=[f"{LIMITING}::test_redis_cannot_end_every_quota"],
    ),
)
