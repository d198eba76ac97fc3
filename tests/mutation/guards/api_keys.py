"""The guards of API keys: a key is limited to its scopes, its user and its lifetime."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

QUERIES = "services/auth/sql/queries/api_keys.sql"

AUTH = "tests/integration/auth/test_api_keys.py"
GATEWAY = "tests/integration/gateway/test_api_keys.py"
EVERYWHERE = "tests/integration/gateway/test_every_operation.py"
WORKS_AT_AUTH = f"{AUTH}::test_key_authenticates_its_user"
WORKS_AT_THE_GATEWAY = f"{GATEWAY}::test_key_authenticates_its_user"

MUTANTS = (
    Mutant(
        name="scope-not-checked",
        guard="an API key can do only what its scopes allow",
        changes=[
            Change(
                "services/gateway/security/authentication.py",
                "        if operation.scope not in principal.scopes:\n"
                "            raise InsufficientScope(operation.scope)\n",
                "",
            ),
            Change(
                "services/gateway/security/authentication.py",
                "import InsufficientScope, InvalidToken,",
                "import InvalidToken,",
            ),
        ],
        works=WORKS_AT_THE_GATEWAY,
        caught_by=[
            f"{GATEWAY}::test_missing_scope_is_named_as_in_rfc_6750",
            f"{EVERYWHERE}::test_scopes_of_api_keys",
        ],
    ),
    Mutant(
        name="key-creates-keys",
        guard="an API key cannot access accounts, sessions and keys",
        changes=[
            Change(
                "services/gateway/operations.py",
                "        if self.access is Access.PUBLIC or self.path.startswith(OF_USERS):\n",
                "        if self.access is Access.PUBLIC:\n",
            )
        ],
        works=WORKS_AT_THE_GATEWAY,
        caught_by=["tests/unit/gateway/test_openapi.py::test_api_keys_are_refused_by_default"],
    ),
    Mutant(
        name="key-without-the-password",
        guard="a session alone creates no API key: a stolen access token must not become lasting access",
        changes=[
            Change(
                "services/auth/commands/proofs.py",
                "    if await hashing.verify(stored, password) and credentials is not None:\n",
                "    if credentials is not None:\n",
            )
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_a_session_alone_creates_no_key"],
    ),
    Mutant(
        name="key-without-the-second-factor",
        guard="with a second factor, creating an API key requires a code",
        changes=[
            Change(
                "services/auth/commands/api_keys.py",
                "        refusal = await actions.second_factor.prove(connection, keyring, locked, code=totp, user_id=user_id)\n",
                "        refusal = None\n",
            )
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_a_key_requires_the_second_factor"],
    ),
    Mutant(
        name="key-operates-without-the-role",
        guard="operating requires the role, whatever the scopes of a key",
        changes=[
            Change(
                "services/gateway/security/authentication.py",
                "    if operation.access is Access.OPERATOR and principal.role != OPERATOR:\n",
                "    if operation.access is Access.OPERATOR and principal.role != OPERATOR and not principal.scopes:\n",
            )
        ],
        works=WORKS_AT_THE_GATEWAY,
        caught_by=[f"{GATEWAY}::test_operating_requires_the_role"],
    ),
    Mutant(
        name="keys-share-a-quota",
        guard="each API key has its own rate limit",
        changes=[
            Change(
                "services/gateway/security/rate_limit.py",
                'return ("user", principal.user_id) if principal.scopes is None else ("key", principal.session_id)',
                'return ("user", principal.user_id)',
            )
        ],
        works=WORKS_AT_THE_GATEWAY,
        caught_by=[f"{GATEWAY}::test_keys_are_limited_on_their_own"],
    ),
    Mutant(
        name="key-cached-for-too-long",
        guard="a verified API key is cached no longer than auth allows",
        changes=[
            Change(
                "services/gateway/security/verified_keys.py",
                "        if cached is None or cached.ends_at <= now:\n",
                "        if cached is None:\n",
            )
        ],
        works=WORKS_AT_THE_GATEWAY,
        caught_by=[f"{GATEWAY}::test_without_auth_known_keys_work_until_their_end"],
    ),
    Mutant(
        name="revoked-key-verifies",
        guard="a revoked API key is rejected",
        changes=[
            Change(QUERIES, "WHERE hash = $1 AND revoked_at IS NULL AND (expires_at", "WHERE hash = $1 AND (expires_at")
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_revoked_key_is_in_the_feed"],
    ),
    Mutant(
        name="revoked-key-not-listed",
        guard="the feed of revocations lists API keys as well",
        changes=[
            Change(
                "services/auth/sql/queries/sessions.sql",
                "UNION ALL\nSELECT seq, id, revoked_at FROM api_keys\n"
                "WHERE seq > $1 AND revoked_at > clock_timestamp() - make_interval(secs => $2)\n",
                "",
            )
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_revoked_key_is_in_the_feed"],
    ),
    Mutant(
        name="disabled-users-key-verifies",
        guard="an API key of a disabled user is rejected",
        changes=[Change(QUERIES, " AND users.id = user_id AND disabled_at IS NULL\n", " AND users.id = user_id\n")],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_disabled_users_have_no_keys"],
    ),
    Mutant(
        name="keys-outlive-all-sessions",
        guard="ending every session of a user revokes their API keys in the same commit",
        changes=[
            Change(
                "services/auth/actions/access.py",
                "    await api_keys.revoke(connection, access.api_keys, reason, actor_id=actor_id)\n",
                "",
            )
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_ending_all_sessions_revokes_keys"],
    ),
    Mutant(
        name="key-of-a-stolen-session-kept",
        guard="the API keys created in a stolen session are revoked with it",
        changes=[
            Change(
                "services/auth/commands/sessions.py",
                "ended = Access([session_id], keys)",
                "ended = Access([session_id])",
            )
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_keys_created_in_a_stolen_session_are_revoked"],
    ),
    Mutant(
        name="ended-session-creates-a-key",
        guard="an ended session creates no API key",
        changes=[
            Change(QUERIES, " AND disabled_at IS NULL AND sessions.revoked_at IS NULL\n", " AND disabled_at IS NULL\n")
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_an_ending_session_creates_no_key"],
    ),
    Mutant(
        name="every-use-audited",
        guard="the first use of an API key in each hour is in the audit log, once",
        changes=[
            Change(
                QUERIES,
                "WHERE id = $1 AND (audited_hour IS NULL OR audited_hour < date_trunc('hour', clock_timestamp(), 'UTC'))\n",
                "WHERE id = $1\n",
            )
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_first_use_in_an_hour_is_audited_once"],
    ),
)
