"""The guards of people and their sessions: what ends, ends whole; what opens once, opens once."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

QUERIES = "services/auth/sql/queries/emails.sql"

LETTERS = "tests/integration/auth/test_letters.py"
WORKS = f"{LETTERS}::test_registering_writes_a_letter_that_verifies"

SESSIONS = "tests/integration/auth/test_sessions.py"
OWN_SESSIONS = "tests/integration/auth/test_own_sessions.py"
TOTP = "tests/integration/auth/test_totp.py"
USERS = "tests/integration/auth/test_users.py"
KEYS = "tests/integration/auth/test_keys.py"

MUTANTS = (
    Mutant(
        name="letter-token-spent-twice",
        guard="the token of a letter is used up by its first use",
        changes=[
            Change(
                QUERIES,
                "UPDATE letters SET ended_at = clock_timestamp(), ended_as = 'spent', token_sealed = NULL\n"
                "WHERE token_hash = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > clock_timestamp()\n",
                "UPDATE letters SET ended_at = clock_timestamp(), ended_as = 'spent', token_sealed = NULL\n"
                "WHERE token_hash = $1 AND kind = $2 AND expires_at > clock_timestamp()\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{LETTERS}::test_a_token_is_spent_once", f"{LETTERS}::test_a_verification_is_spent_once"],
    ),
    Mutant(
        name="reuse-ends-nothing",
        guard="a spent refresh token used again ends its whole family",
        changes=[
            Change(
                "services/auth/commands/accounts.py",
                "            await actions.access.revoke(connection, ended, Reason.REFRESH_REUSED, actor_id=None)\n",
                "",
            )
        ],
        works=f"{SESSIONS}::test_refresh_rotates_within_the_session",
        caught_by=[f"{SESSIONS}::test_reuse_ends_the_family"],
    ),
    Mutant(
        name="sessions-without-number",
        guard="a user has so many sessions at most, so that one commit can end them all",
        changes=[
            Change(
                "services/auth/commands/accounts.py",
                "        await actions.sessions.revoke(connection, crowded_out, Reason.CROWDED_OUT)\n",
                "",
            )
        ],
        works=f"{SESSIONS}::test_refresh_rotates_within_the_session",
        caught_by=[f"{SESSIONS}::test_sessions_are_bounded"],
    ),
    Mutant(
        name="letter-outlives-the-change",
        guard="another password ends the token of a letter that was to replace the one before",
        changes=[
            Change(
                "services/auth/commands/passwords.py",
                "        await store.emails.withdraw_letters(connection, user_id, Kind.RESET_PASSWORD)\n",
                "",
            )
        ],
        works=f"{OWN_SESSIONS}::test_wrong_current_password_changes_nothing",
        caught_by=[f"{LETTERS}::test_another_password_ends_the_letter_that_was_to_replace_it"],
    ),
    Mutant(
        name="password-changed-in-silence",
        guard="whose password is changed is told by a letter, in the commit of the change",
        changes=[
            Change(
                "services/auth/commands/passwords.py",
                "        await actions.outgoing.tell(connection, vault, user_id, Kind.PASSWORD_CHANGED)\n",
                "",
            )
        ],
        works=f"{OWN_SESSIONS}::test_wrong_current_password_changes_nothing",
        caught_by=[f"{LETTERS}::test_who_gets_another_password_is_told"],
    ),
    Mutant(
        name="operators-end-each-other",
        guard="who takes a role or disables somebody waits for their turn: two operators who end each other leave one",
        changes=[
            Change(
                "services/auth/sql/queries/users.sql",
                "SELECT pg_advisory_xact_lock(hashtext('payflow operators'));",
                "SELECT 1;",
            )
        ],
        works=f"{USERS}::test_role_is_given_and_taken",
        caught_by=[f"{USERS}::test_two_operators_who_end_each_other"],
    ),
    Mutant(
        name="last-operator-goes",
        guard="the last operator who is not disabled is neither demoted nor disabled",
        changes=[
            Change(
                "services/auth/actions/operators.py",
                "    if not await store.users.is_any_operator_left(connection):\n        raise LastOperator\n",
                "",
            ),
            Change("services/auth/actions/operators.py", "from services.auth.errors import LastOperator\n", ""),
        ],
        works=f"{USERS}::test_role_is_given_and_taken",
        caught_by=[f"{USERS}::test_the_last_operator_stays"],
    ),
    Mutant(
        name="factor-removed-in-silence",
        guard="whose second factor is turned off is told by a letter, in the commit of the action",
        changes=[
            Change(
                "services/auth/commands/totp.py",
                "            await actions.outgoing.tell(connection, vault, user_id, Kind.TOTP_REMOVED)\n",
                "",
            )
        ],
        works=f"{OWN_SESSIONS}::test_wrong_current_password_changes_nothing",
        caught_by=[f"{LETTERS}::test_who_loses_a_second_factor_is_told"],
    ),
    Mutant(
        name="recovery-code-used-in-silence",
        guard="who came in by a recovery code is told to its owner by a letter, in the commit of the action",
        changes=[
            Change(
                "services/auth/actions/second_factor.py",
                "    await outgoing.tell(connection, vault, locked.user.id, Kind.RECOVERY_CODE_USED, detail=str(left))\n",
                "",
            )
        ],
        works=f"{OWN_SESSIONS}::test_wrong_current_password_changes_nothing",
        caught_by=[f"{LETTERS}::test_who_loses_a_second_factor_is_told"],
    ),
    Mutant(
        name="code-opens-again",
        guard="a code of the second factor is taken only for a step later than every step before",
        changes=[
            Change(
                "services/auth/sql/queries/totp.sql",
                "WHERE id = $1 AND totp_step < $2 RETURNING id",
                "WHERE id = $1 RETURNING id",
            )
        ],
        works=f"{TOTP}::test_login_needs_the_code",
        caught_by=[f"{TOTP}::test_code_opens_once"],
    ),
    Mutant(
        name="recovery-code-opens-again",
        guard="a recovery code opens once",
        changes=[
            Change("services/auth/sql/queries/totp.sql", " AND used_at IS NULL RETURNING hash", " RETURNING hash")
        ],
        works=f"{TOTP}::test_login_needs_the_code",
        caught_by=[f"{TOTP}::test_recovery_code_opens_once"],
    ),
    Mutant(
        name="password-change-ends-nothing",
        guard="another password ends every session in its own commit",
        changes=[
            Change(
                "services/auth/commands/passwords.py",
                "        await actions.access.revoke(connection, live, Reason.PASSWORD_CHANGED, actor_id=user_id)\n",
                "",
            )
        ],
        works=f"{OWN_SESSIONS}::test_wrong_current_password_changes_nothing",
        caught_by=[f"{OWN_SESSIONS}::test_password_change_ends_every_session"],
    ),
    Mutant(
        name="old-password-still-opens",
        guard="what was verified against a password that is no longer the user's opens and changes nothing",
        changes=[
            Change(
                "services/auth/sql/queries/accounts.sql",
                "FROM users WHERE id = $1 AND password_changed_at = $2 FOR NO KEY UPDATE",
                "FROM users WHERE id = $1 AND $2::timestamptz IS NOT NULL FOR NO KEY UPDATE",
            )
        ],
        works=f"{OWN_SESSIONS}::test_wrong_current_password_changes_nothing",
        caught_by=[f"{OWN_SESSIONS}::test_two_changes_at_once_are_one"],
    ),
    Mutant(
        name="disabled-user-is-found",
        guard="a disabled user is no recipient by e-mail address",
        changes=[
            Change(
                "services/auth/sql/queries/users.sql",
                "WHERE email = ANY($1::text[]) AND disabled_at IS NULL;",
                "WHERE email = ANY($1::text[]);",
            )
        ],
        works="tests/integration/auth/test_accounts.py::test_recipients_are_found_as_they_were_asked_for",
        caught_by=[f"{USERS}::test_disabled_user_is_not_found_as_a_recipient"],
    ),
    Mutant(
        name="disabled-user-gets-in",
        guard="nobody gets in as a user who is disabled",
        changes=[
            Change(
                "services/auth/actions/second_factor.py",
                "    if locked.is_disabled:\n        return UserDisabled()\n",
                "",
            ),
            Change(
                "services/auth/actions/second_factor.py",
                "import InvalidCredentials, TotpRequired, UserDisabled\n",
                "import InvalidCredentials, TotpRequired\n",
            ),
        ],
        works=f"{USERS}::test_user_is_found_by_address",
        caught_by=[f"{USERS}::test_disabled_user_is_out_at_once"],
    ),
    Mutant(
        name="former-operator-acts",
        guard="who is no operator any more actions on nobody, whatever a gateway still believes",
        changes=[
            Change(
                "services/auth/commands/users.py",
                "    if await store.users.is_former_operator(connection, operator_id):\n        raise OperatorRequired\n",
                "",
            ),
            Change(
                "services/auth/commands/users.py",
                "import CannotModifySelf, OperatorRequired,",
                "import CannotModifySelf,",
            ),
        ],
        works=f"{USERS}::test_user_is_found_by_address",
        caught_by=[f"{USERS}::test_a_former_operator_acts_on_nobody"],
    ),
    Mutant(
        name="key-signs-at-once",
        guard="a new key signs only when every gateway has had the time to learn it",
        changes=[
            Change(
                "services/auth/sql/queries/signing_keys.sql",
                "VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))",
                "VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => 0 * $4))",
            )
        ],
        works=f"{KEYS}::test_published_keys_verify_access_tokens",
        caught_by=[f"{KEYS}::test_rotation_logs_nobody_out"],
    ),
    Mutant(
        name="key-retires-at-once",
        guard="a key verifies until the last token that it signed has expired",
        changes=[
            Change(
                "services/auth/sql/queries/signing_keys.sql",
                "clock_timestamp() - make_interval(secs => $1)\n)",
                "clock_timestamp() - make_interval(secs => 0 * $1)\n)",
            )
        ],
        works=f"{KEYS}::test_published_keys_verify_access_tokens",
        caught_by=[f"{KEYS}::test_rotation_logs_nobody_out", f"{KEYS}::test_old_key_retires_by_itself"],
    ),
)
