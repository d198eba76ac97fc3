"""The guards of the gateway: what Redis says is believed only where it cannot be wrong."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

API_TRANSFERS = "services/gateway/api/transfers.py"
IDEMPOTENCY = "services/gateway/idempotency.py"

TRANSFERS = "tests/integration/gateway/test_transfers.py"
RULES = "tests/unit/gateway/test_idempotency.py"
WORKS = f"{TRANSFERS}::test_replay_is_the_first_answer_again"
AUTHENTICATION = "tests/integration/gateway/test_authentication.py"
COOKIES = "tests/integration/gateway/test_cookies.py"
SMUGGLING = "tests/integration/gateway/test_smuggling.py"
SEAL = '_digest(f"{self.user_id}\\n{self.key}\\n{self.request_hash}").encode()'

MUTANTS = (
    Mutant(
        name="answer-without-its-seal",
        guard="a kept answer is believed only under the seal of this very question",
        changes=[
            Change(
                IDEMPOTENCY,
                "    if not isinstance(entry, bytes) or entry[:_FINGERPRINT_LENGTH] != request.fingerprint:\n",
                "    if not isinstance(entry, bytes):\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{TRANSFERS}::test_key_reused_for_another_request"],
        faults=("redis/garbage",),
    ),
    Mutant(
        name="seal-without-the-request",
        guard="the seal of a kept answer covers what was asked",
        changes=[Change(IDEMPOTENCY, SEAL, '_digest(f"{self.user_id}\\n{self.key}").encode()')],
        works=WORKS,
        caught_by=[
            f"{RULES}::test_a_fingerprint_belongs_to_one_request",
            f"{TRANSFERS}::test_key_reused_for_another_request",
        ],
        faults=("gateway/kill",),
    ),
    Mutant(
        name="answer-of-another-user",
        guard="a kept answer is given to the user whose it is",
        changes=[
            Change(IDEMPOTENCY, SEAL, '_digest(f"{self.key}\\n{self.request_hash}").encode()'),
            Change(
                IDEMPOTENCY,
                "payflow:response:{self.user_id}:{_digest(self.key)}",
                "payflow:response:{_digest(self.key)}",
            ),
        ],
        works=WORKS,
        caught_by=[
            f"{RULES}::test_a_fingerprint_belongs_to_one_request",
            f"{TRANSFERS}::test_key_reused_for_another_request",
        ],
        faults=("notification/kill",),
    ),
    Mutant(
        name="place-after-the-look-up",
        guard="a place is taken before anything is waited for: who got past the gateway is not refused later",
        changes=[
            Change(
                "services/gateway/intake.py",
                "        with lane.counter.slot():\n",
                "        await self._cached.find(request)\n        with lane.counter.slot():\n",
            )
        ],
        works=WORKS,
        caught_by=["tests/unit/gateway/test_intake.py"],
    ),
    Mutant(
        name="cookie-of-any-page",
        guard="the cookie is used only for a page of an origin that we know",
        changes=[
            Change(
                "services/gateway/security/session_cookie.py",
                "    if token is not None:\n        request.app[ORIGINS].check(request)\n",
                "",
            )
        ],
        works=f"{COOKIES}::test_refresh_by_cookie",
        caught_by=[f"{COOKIES}::test_the_page_must_be_ours"],
    ),
    Mutant(
        name="body-of-two-readings",
        guard="what another server would cut or decode in another way is refused before anybody reads it",
        changes=[
            Change(
                "services/chassis/server.py",
                "await handler(request) if framing.is_plain(request) else framing.refuse()",
                "await handler(request)",
            )
        ],
        works=f"{SMUGGLING}::test_answers_keep_their_order",
        caught_by=[f"{SMUGGLING}::test_what_could_be_read_in_two_ways"],
    ),
    Mutant(
        name="simulation-pays",
        guard="who wants to simulate where nobody can does not pay",
        changes=[Change(API_TRANSFERS, "if SIMULATE in request.headers and SIMULATED not in request:", "if False:")],
        works=WORKS,
        caught_by=["tests/integration/gateway/test_simulation.py::test_elsewhere_nobody_simulates"],
    ),
    Mutant(
        name="feeds-wait-with-the-crowd",
        guard="what ended is heard of over connections of its own, whoever else waits for auth",
        changes=[Change("services/gateway/app.py", "Revocations(feeds.auth)", "Revocations(clients.auth)")],
        works=f"{AUTHENTICATION}::test_session_ended_elsewhere_is_known_within_a_second",
        caught_by=[f"{AUTHENTICATION}::test_ended_sessions_are_heard_of_whoever_else_waits"],
    ),
    Mutant(
        name="everybody-waits-with-the-crowd",
        guard="logins have connections of their own: a crowd holds up nobody who asks auth for something else",
        changes=[
            Change(
                "services/gateway/upstreams.py",
                'AuthClient(upstream("auth", auth), passwords=upstream("auth", auth))',
                "AuthClient(shared := upstream('auth', auth), passwords=shared)",
            ),
        ],
        works=f"{AUTHENTICATION}::test_session_ended_elsewhere_is_known_within_a_second",
        caught_by=[f"{AUTHENTICATION}::test_a_crowd_that_logs_in_holds_up_nobody_else"],
    ),
    Mutant(
        name="tokens-by-the-wrong-clock",
        guard="access tokens are judged by the clock that dates them, not by that of this machine",
        changes=[
            Change("services/gateway/app.py", "Tokens(keys, revocations.now)", "Tokens(keys, __import__('time').time)")
        ],
        works=f"{AUTHENTICATION}::test_token_works_until_it_expires",
        caught_by=[f"{AUTHENTICATION}::test_tokens_are_judged_by_the_clock_that_dates_them"],
    ),
)
