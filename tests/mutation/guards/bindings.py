"""The guards of bindings: a response to its request, an ETag to its document, a token to its signature."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

AUTHENTICATION = "services/gateway/security/authentication.py"

BINDING = "tests/integration/gateway/test_request_binding.py"
ENDED = "tests/integration/gateway/test_ended_sessions.py"
FOUND = "tests/integration/payflow/test_found_by_key.py"
HANDED_OVER = f"{BINDING}::test_all_fields_are_passed_on"

MUTANTS = (
    Mutant(
        name="another-recipient-passes",
        guard="a transfer found by its key counts as the one that was sent only if its recipient is the same",
        changes=[
            Change("payflow/submission.py", '            "to_wallet_id": body.get("to", body).get("wallet_id"),\n', "")
        ],
        works=f"{FOUND}::test_the_same_transfer_is_used",
        caught_by=[f"{FOUND}::test_a_transfer_that_differs_is_not_used"],
    ),
    Mutant(
        name="hash-without-the-recipient",
        guard="the hash of a request covers every field that was sent",
        changes=[
            Change(
                "services/gateway/api/transfers.py",
                "problems.route_of(request), request[SENT])",
                "problems.route_of(request), {**request[SENT], 'to': None})",
            )
        ],
        works=HANDED_OVER,
        caught_by=[f"{BINDING}::test_every_field_belongs_to_the_request"],
    ),
    Mutant(
        name="etag-without-the-document",
        guard="the ETag of a document changes with the document",
        changes=[
            Change(
                "services/gateway/responses.py",
                "    return hashlib.sha256(content).hexdigest()[:TAG_LENGTH]\n",
                "    return hashlib.sha256(content[:40]).hexdigest()[:TAG_LENGTH]\n",
            )
        ],
        works=HANDED_OVER,
        caught_by=[f"{BINDING}::test_the_tag_changes_with_the_transfer"],
    ),
    Mutant(
        name="token-cached-without-its-signature",
        guard="a verified access token is cached together with its signature",
        changes=[
            Change(
                AUTHENTICATION,
                "principal = self._cached.get(token)\n",
                'principal = self._cached.get(token.rpartition(".")[0])\n',
            ),
            Change(
                AUTHENTICATION,
                "self._cached[token] = principal\n",
                'self._cached[token.rpartition(".")[0]] = principal\n',
            ),
        ],
        works="tests/integration/gateway/test_authentication.py::test_token_works_until_it_expires",
        caught_by=[f"{ENDED}::test_a_cached_token_validates_no_other"],
    ),
    Mutant(
        name="revocations-read-in-part",
        guard="a gateway is ready once it has read the whole feed of revocations",
        changes=[
            Change(
                "services/gateway/security/revocations.py",
                "        return bool(page.ids)\n",
                "        return False\n",
            )
        ],
        works=f"{ENDED}::test_revocations_are_kept_for_the_lifetime_of_tokens",
        caught_by=[f"{ENDED}::test_one_pull_reads_every_page"],
    ),
    Mutant(
        name="retried-by-the-library",
        guard="a request that must not arrive twice is sent once, whatever its method",
        changes=[
            Change(
                "services/chassis/client.py",
                "            self._session._retry_connection = False  # noqa: SLF001 - it has no parameter for this\n",
                "",
            )
        ],
        works="tests/integration/chassis/test_calling.py::test_the_second_attempt_counts",
        caught_by=["tests/integration/chassis/test_calling.py::test_non_idempotent_requests_are_sent_once"],
    ),
    Mutant(
        name="read-only-key-pays",
        guard="an API key moves money only with the scope `transfer`",
        changes=[
            Change(
                "services/gateway/api/transfers.py",
                "        seconds=None,\n        key_scope=Scope.TRANSFER,\n",
                "        seconds=None,\n        key_scope=Scope.READ,\n",
            )
        ],
        works="tests/unit/gateway/test_access_rules.py::test_every_rule_names_an_operation",
        caught_by=["tests/unit/gateway/test_access_rules.py::test_scopes_follow_the_method_and_path"],
    ),
    Mutant(
        name="recovery-code-arrives-twice",
        guard="a request that spends a code is sent to auth once, also if its connection breaks",
        changes=[
            Change(
                "services/gateway/clients/auth.py",
                "await call(self._passwords, method, path, body=body, once=once)",
                "await call(self._passwords, method, path, body=body, once=not once)",
            )
        ],
        works="tests/integration/gateway/test_sent_once.py::test_ending_a_session_is_retried",
        caught_by=["tests/integration/gateway/test_sent_once.py::test_spending_requests_are_sent_once"],
    ),
    Mutant(
        name="key-cached-beyond-a-token",
        guard="a verified API key is cached no longer than the lifetime of an access token",
        changes=[
            Change(
                "services/gateway/security/verified_keys.py",
                'seconds = min(float(verified["seconds"]), float(limits.ACCESS_TOKEN_SECONDS))',
                'seconds = max(float(verified["seconds"]), float(limits.ACCESS_TOKEN_SECONDS))',
            )
        ],
        works="tests/integration/gateway/test_key_lifetimes.py::test_an_unknown_key_is_queried_every_ten_seconds",
        caught_by=[
            "tests/integration/gateway/test_key_lifetimes.py::test_a_key_is_verified_again_after_ten_minutes",
            "tests/integration/gateway/test_key_lifetimes.py::test_a_key_ends_at_the_time_of_auth",
        ],
    ),
)
