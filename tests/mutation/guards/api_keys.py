"""The guards of API keys: a key does what it is made for, for whom it was made, until it ends."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

QUERIES = "services/auth/sql/queries/api_keys.sql"

AUTH = "tests/integration/auth/test_api_keys.py"
GATEWAY = "tests/integration/gateway/test_api_keys.py"
EVERYWHERE = "tests/integration/gateway/test_every_operation.py"
WORKS_AT_AUTH = f"{AUTH}::test_key_speaks_for_its_user"
WORKS_AT_THE_DOOR = f"{GATEWAY}::test_key_speaks_for_its_user"

MUTANTS = (
    Mutant(
        name="scope-is-not-asked",
        guard="an API key does nothing that none of its scopes is for",
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
        works=WORKS_AT_THE_DOOR,
        caught_by=[
            f"{GATEWAY}::test_missing_scope_is_told_as_rfc_6750_has_it",
            f"{EVERYWHERE}::test_scopes_of_api_keys",
        ],
    ),
    Mutant(
        name="key-makes-keys",
        guard="an API key has no business with accounts, sessions and keys",
        changes=[
            Change(
                "services/gateway/operations.py",
                "        if self.access is Access.PUBLIC or self.path.startswith(OF_PEOPLE):\n",
                "        if self.access is Access.PUBLIC:\n",
            )
        ],
        works=WORKS_AT_THE_DOOR,
        caught_by=["tests/unit/gateway/test_openapi.py::test_what_nobody_said_of_a_key"],
    ),
    Mutant(
        name="key-without-the-password",
        guard="a session alone makes no API key: what a thief of an access token has must not last",
        changes=[
            Change(
                "services/auth/commands/proofs.py",
                "    if await hashing.verify(stored, password) and credentials is not None:\n",
                "    if credentials is not None:\n",
            )
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_a_session_alone_makes_no_key"],
    ),
    Mutant(
        name="key-without-the-second-factor",
        guard="where a second factor is on, an API key takes a code",
        changes=[
            Change(
                "services/auth/commands/api_keys.py",
                "        refusal = await actions.second_factor.prove(connection, vault, locked, totp, user_id=user_id)\n",
                "        refusal = None\n",
            )
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_a_key_takes_the_second_factor"],
    ),
    Mutant(
        name="key-operates-without-the-role",
        guard="operating needs the role, whatever the scopes of a key say",
        changes=[
            Change(
                "services/gateway/security/authentication.py",
                "    if operation.access is Access.OPERATOR and principal.role != OPERATOR:\n",
                "    if operation.access is Access.OPERATOR and principal.role != OPERATOR and not principal.scopes:\n",
            )
        ],
        works=WORKS_AT_THE_DOOR,
        caught_by=[f"{GATEWAY}::test_operating_needs_the_role_too"],
    ),
    Mutant(
        name="keys-share-an-allowance",
        guard="each API key is limited on its own",
        changes=[
            Change(
                "services/gateway/security/rate_limit.py",
                'return ("user", principal.user_id) if principal.scopes is None else ("key", principal.session_id)',
                'return ("user", principal.user_id)',
            )
        ],
        works=WORKS_AT_THE_DOOR,
        caught_by=[f"{GATEWAY}::test_keys_are_limited_on_their_own"],
    ),
    Mutant(
        name="key-outlives-its-answer",
        guard="what auth said of an API key is believed no longer than auth said",
        changes=[
            Change(
                "services/gateway/security/verified_keys.py",
                "        if remembered is None or remembered.ends_at <= now:\n",
                "        if remembered is None:\n",
            )
        ],
        works=WORKS_AT_THE_DOOR,
        caught_by=[f"{GATEWAY}::test_without_auth_known_keys_work_until_their_end"],
    ),
    Mutant(
        name="revoked-key-verifies",
        guard="a revoked API key speaks for nobody",
        changes=[
            Change(QUERIES, "WHERE hash = $1 AND revoked_at IS NULL AND (expires_at", "WHERE hash = $1 AND (expires_at")
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_revoked_key_is_in_the_feed"],
    ),
    Mutant(
        name="revoked-key-is-not-told",
        guard="the feed by which sessions end tells of API keys, too",
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
        guard="an API key of a disabled user speaks for nobody",
        changes=[Change(QUERIES, " AND users.id = user_id AND disabled_at IS NULL\n", " AND users.id = user_id\n")],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_disabled_users_have_no_keys"],
    ),
    Mutant(
        name="keys-outlive-all-sessions",
        guard="what ends every session of a user ends their API keys, in the same commit",
        changes=[
            Change(
                "services/auth/actions/access.py",
                "    await api_keys.revoke(connection, access.api_keys, reason, actor_id=actor_id)\n",
                "",
            )
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_what_ends_all_sessions_ends_keys"],
    ),
    Mutant(
        name="thiefs-key-lives-on",
        guard="a stolen session takes along the API keys that were made in it since",
        changes=[
            Change(
                "services/auth/commands/accounts.py",
                "ended = Access([session_id], keys)",
                "ended = Access([session_id])",
            )
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_what_a_thief_made_ends_with_the_stolen_session"],
    ),
    Mutant(
        name="ended-session-makes-a-key",
        guard="a session that has ended makes no API key",
        changes=[
            Change(QUERIES, " AND disabled_at IS NULL AND sessions.revoked_at IS NULL\n", " AND disabled_at IS NULL\n")
        ],
        works=WORKS_AT_AUTH,
        caught_by=[f"{AUTH}::test_an_ending_session_makes_no_key"],
    ),
    Mutant(
        name="every-use-is-a-first-one",
        guard="of an API key's uses the first in each hour is in the audit log, once",
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
