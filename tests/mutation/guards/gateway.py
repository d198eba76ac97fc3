"""The guards of the gateway: data from Redis is used only if it is authentic."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

API_TRANSFERS = "services/gateway/api/transfers.py"
IDEMPOTENCY = "services/gateway/idempotency.py"

TRANSFERS = "tests/integration/gateway/test_transfers.py"
RULES = "tests/unit/gateway/test_idempotency.py"
READER = "tests/unit/gateway/test_wallet_reader.py"
WALLETS = "tests/integration/gateway/test_wallets.py"
WORKS = f"{TRANSFERS}::test_replay_repeats_the_first_response"
AUTHENTICATION = "tests/integration/gateway/test_authentication.py"
COOKIES = "tests/integration/gateway/test_cookies.py"
SMUGGLING = "tests/integration/gateway/test_smuggling.py"
FINGERPRINT = '_digest(f"{self.user_id}\\n{self.key}\\n{self.request_hash}").encode()'

MUTANTS = (
    Mutant(
        name="cached-response-without-its-fingerprint",
        guard="a cached response is used only with the fingerprint of this request",
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
        name="fingerprint-without-the-request",
        guard="the fingerprint of a cached response covers the request",
        changes=[Change(IDEMPOTENCY, FINGERPRINT, '_digest(f"{self.user_id}\\n{self.key}").encode()')],
        works=WORKS,
        caught_by=[
            f"{RULES}::test_a_fingerprint_belongs_to_one_request",
            f"{TRANSFERS}::test_key_reused_for_another_request",
        ],
        faults=("gateway/kill",),
    ),
    Mutant(
        name="cached-response-of-another-user",
        guard="a cached response is returned only to its user",
        changes=[
            Change(IDEMPOTENCY, FINGERPRINT, '_digest(f"{self.key}\\n{self.request_hash}").encode()'),
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
        name="slot-after-the-look-up",
        guard="a slot is taken before any wait: an admitted request is not refused later",
        changes=[
            Change(
                "services/gateway/intake.py",
                "        future = lane.counter.open()\n",
                "        await self._cached.find_all([request])\n        future = lane.counter.open()\n",
            )
        ],
        works=WORKS,
        caught_by=["tests/unit/gateway/test_intake.py::test_a_request_is_counted_before_the_cache_look_up"],
    ),
    Mutant(
        name="only-the-oldest-has-a-deadline",
        guard="each request whose deadline is that of a shared timer ends at its own",
        changes=[
            Change(
                "services/chassis/deadlines.py",
                "                self._timer = asyncio.get_running_loop().call_later(left, self._end_late)\n",
                "",
            )
        ],
        works=WORKS,
        caught_by=["tests/unit/gateway/test_intake.py::test_each_request_ends_at_its_own_deadline"],
    ),
    Mutant(
        name="read-joins-an-earlier-query",
        guard="a balance is read by a query that began after its request arrived",
        changes=[
            Change(
                "services/gateway/wallet_reader.py",
                '        return await self._read({"wallet_id": wallet_id, "owner_id": user_id})\n',
                "        from asyncio import ensure_future, shield\n\n"
                "        reads = self.__dict__.setdefault('reads', {})\n"
                "        key = (wallet_id, user_id)\n"
                "        if key not in reads:\n"
                '            item = {"wallet_id": wallet_id, "owner_id": user_id}\n'
                "            reads[key] = ensure_future(self._read(item))\n"
                "            reads[key].add_done_callback(lambda _read: reads.pop(key))\n"
                "        return await shield(reads[key])\n",
            )
        ],
        works=f"{READER}::test_reads_that_wait_share_one_request",
        caught_by=[f"{READER}::test_a_read_rests_on_a_later_query"],
    ),
    Mutant(
        name="release-before-cannot-be-read",
        guard="during an upgrade, wallets are read from a wallet service of the release before",
        changes=[
            Change("services/gateway/clients/service.py", "if is_new and refusal.code == UNKNOWN_ROUTE:", "if False:")
        ],
        works=f"{WALLETS}::test_own_wallet_is_read",
        caught_by=[f"{WALLETS}::test_reads_during_an_upgrade"],
    ),
    Mutant(
        name="release-before-cannot-admit",
        guard="during an upgrade, an admission that the wallet service does not know is refused with 503",
        changes=[
            Change(
                "services/gateway/clients/wallet.py", "missing=OutcomeNotFound, is_new=True", "missing=OutcomeNotFound"
            )
        ],
        works=f"{WALLETS}::test_admit_an_outcome",
        caught_by=[f"{WALLETS}::test_admission_during_an_upgrade"],
    ),
    Mutant(
        name="lost-read-is-of-unknown-outcome",
        guard="a read whose connection was lost is reported as unavailable, not as of unknown outcome",
        changes=[
            Change(
                "services/gateway/clients/wallet.py",
                '            raise UpstreamUnavailable("the wallet service is unavailable") from None\n',
                "            raise\n",
            )
        ],
        works=f"{WALLETS}::test_own_wallet_is_read",
        caught_by=[f"{WALLETS}::test_balance_while_the_wallet_service_is_unavailable"],
    ),
    Mutant(
        name="cookie-from-any-origin",
        guard="the cookie is accepted only from known origins",
        changes=[
            Change(
                "services/gateway/security/session_cookie.py",
                "    if token is not None:\n        request.app[ORIGINS].check(request)\n",
                "",
            )
        ],
        works=f"{COOKIES}::test_refresh_by_cookie",
        caught_by=[f"{COOKIES}::test_the_cookie_requires_a_known_origin"],
    ),
    Mutant(
        name="ambiguous-body-accepted",
        guard="a body that another server could cut or decode differently is refused before it is read",
        changes=[
            Change(
                "services/chassis/server.py",
                "                if framing.is_plain(request):\n",
                "                if True:\n",
            )
        ],
        works=f"{SMUGGLING}::test_responses_keep_their_order",
        caught_by=[f"{SMUGGLING}::test_ambiguous_requests_are_refused"],
    ),
    Mutant(
        name="simulation-pays",
        guard="a simulated failure outside demo mode is refused before any payment",
        changes=[Change(API_TRANSFERS, "    if SIMULATE in request.headers:\n", "    if False:\n")],
        works=WORKS,
        caught_by=["tests/integration/gateway/test_simulation.py::test_simulation_requires_demo_mode"],
    ),
    Mutant(
        name="revocations-share-connections",
        guard="the revocations feed has connections of its own",
        changes=[Change("services/gateway/app.py", "Revocations(feeds.auth)", "Revocations(clients.auth)")],
        works=f"{AUTHENTICATION}::test_session_ended_elsewhere_is_known_within_a_second",
        caught_by=[f"{AUTHENTICATION}::test_revocations_are_known_while_auth_is_busy"],
    ),
    Mutant(
        name="logins-share-connections",
        guard="logins have connections of their own: many logins do not delay other requests to auth",
        changes=[
            Change(
                "services/gateway/upstreams.py",
                'AuthClient(upstream("auth", auth), passwords=upstream("auth", auth))',
                "AuthClient(shared := upstream('auth', auth), passwords=shared)",
            ),
        ],
        works=f"{AUTHENTICATION}::test_session_ended_elsewhere_is_known_within_a_second",
        caught_by=[f"{AUTHENTICATION}::test_a_burst_of_logins_delays_no_other_request"],
    ),
    Mutant(
        name="tokens-by-the-wrong-clock",
        guard="access tokens are checked by the clock that dates them, not by this machine's",
        changes=[
            Change("services/gateway/app.py", "Tokens(keys, revocations.now)", "Tokens(keys, __import__('time').time)")
        ],
        works=f"{AUTHENTICATION}::test_token_works_until_it_expires",
        caught_by=[f"{AUTHENTICATION}::test_tokens_are_checked_by_the_clock_that_dates_them"],
    ),
)
