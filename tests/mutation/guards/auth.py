"""The guards of users and sessions: access is revoked completely, and single-use tokens and codes work once."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

QUERIES = "services/auth/sql/queries/emails.sql"

EMAILS = "tests/integration/auth/test_emails.py"
WORKS = f"{EMAILS}::test_registration_sends_a_token_that_verifies_the_address"

SESSIONS = "tests/integration/auth/test_sessions.py"
OWN_SESSIONS = "tests/integration/auth/test_own_sessions.py"
TOTP = "tests/integration/auth/test_totp.py"
USERS = "tests/integration/auth/test_users.py"
RETENTION = "tests/integration/auth/test_retention.py"
KEYS = "tests/integration/auth/test_keys.py"

MUTANTS = (
    Mutant(
        name="email-token-spent-twice",
        guard="the token of an e-mail is spent by its first use",
        changes=[
            Change(
                QUERIES,
                "UPDATE emails SET ended_at = clock_timestamp(), ended_as = 'spent', token_sealed = NULL\n"
                "WHERE token_hash = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > clock_timestamp()\n",
                "UPDATE emails SET ended_at = clock_timestamp(), ended_as = 'spent', token_sealed = NULL\n"
                "WHERE token_hash = $1 AND kind = $2 AND expires_at > clock_timestamp()\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{EMAILS}::test_a_token_is_spent_once", f"{EMAILS}::test_a_verification_is_spent_once"],
    ),
    Mutant(
        name="reuse-ends-nothing",
        guard="a reused refresh token ends its session",
        changes=[
            Change(
                "services/auth/commands/sessions.py",
                "            await actions.access.revoke(connection, ended, Reason.REFRESH_REUSED, actor_id=None)\n",
                "",
            )
        ],
        works=f"{SESSIONS}::test_refresh_rotates_within_the_session",
        caught_by=[f"{SESSIONS}::test_reuse_ends_the_session"],
    ),
    Mutant(
        name="sessions-without-limit",
        guard="the sessions of a user are limited, so that one commit can end all of them",
        changes=[
            Change(
                "services/auth/commands/accounts.py",
                "        await actions.sessions.revoke(connection, excess, Reason.SESSION_LIMIT)\n",
                "",
            )
        ],
        works=f"{SESSIONS}::test_refresh_rotates_within_the_session",
        caught_by=[f"{SESSIONS}::test_sessions_are_bounded"],
    ),
    Mutant(
        name="reset-token-outlives-the-change",
        guard="a password change withdraws a pending reset token",
        changes=[
            Change(
                "services/auth/commands/passwords.py",
                "        await store.emails.withdraw_emails(connection, user_id, Kind.RESET_PASSWORD)\n",
                "",
            )
        ],
        works=f"{OWN_SESSIONS}::test_wrong_current_password_changes_nothing",
        caught_by=[f"{EMAILS}::test_a_password_change_withdraws_the_reset_token"],
    ),
    Mutant(
        name="password-change-not-notified",
        guard="a user is notified by e-mail of a new password, in the commit of the change",
        changes=[
            Change(
                "services/auth/commands/passwords.py",
                "        await actions.outgoing.queue_security_email(connection, keyring, user_id, kind=Kind.PASSWORD_CHANGED)\n",
                "",
            )
        ],
        works=f"{OWN_SESSIONS}::test_wrong_current_password_changes_nothing",
        caught_by=[f"{EMAILS}::test_a_new_password_is_notified"],
    ),
    Mutant(
        name="operators-remove-each-other",
        guard="removals of roles and users are serialized: of two operators who remove each other one is left",
        changes=[
            Change(
                "services/auth/sql/queries/users.sql",
                "SELECT pg_advisory_xact_lock(hashtext('payflow operators'));",
                "SELECT 1;",
            )
        ],
        works=f"{USERS}::test_role_is_set_and_removed",
        caught_by=[f"{USERS}::test_two_operators_who_remove_each_other"],
    ),
    Mutant(
        name="last-operator-removed",
        guard="the last enabled operator can be neither demoted nor disabled",
        changes=[
            Change(
                "services/auth/actions/operators.py",
                "    if not await store.users.is_any_operator_left(connection):\n        raise LastOperator\n",
                "",
            ),
            Change(
                "services/auth/actions/operators.py", "from services.contracts.refusals.auth import LastOperator\n", ""
            ),
        ],
        works=f"{USERS}::test_role_is_set_and_removed",
        caught_by=[f"{USERS}::test_the_last_operator_cannot_be_removed"],
    ),
    Mutant(
        name="factor-removal-not-notified",
        guard="a user is notified by e-mail if the second factor is removed, in the commit of the removal",
        changes=[
            Change(
                "services/auth/commands/totp.py",
                "            await actions.outgoing.queue_security_email(connection, keyring, user_id, kind=Kind.TOTP_REMOVED)\n",
                "",
            )
        ],
        works=f"{OWN_SESSIONS}::test_wrong_current_password_changes_nothing",
        caught_by=[f"{EMAILS}::test_changes_of_the_second_factor_are_notified"],
    ),
    Mutant(
        name="recovery-code-not-notified",
        guard="a user is notified by e-mail if a recovery code is used, in the commit of the use",
        changes=[
            Change(
                "services/auth/actions/second_factor.py",
                "    await outgoing.queue_security_email(\n"
                "        connection, keyring, locked.user.id, kind=Kind.RECOVERY_CODE_USED, detail=str(left)\n"
                "    )\n",
                "",
            )
        ],
        works=f"{OWN_SESSIONS}::test_wrong_current_password_changes_nothing",
        caught_by=[f"{EMAILS}::test_changes_of_the_second_factor_are_notified"],
    ),
    Mutant(
        name="code-works-twice",
        guard="a code of the second factor is accepted only for a time step later than every spent one",
        changes=[
            Change(
                "services/auth/sql/queries/totp.sql",
                "WHERE id = $1 AND totp_step < $2 RETURNING id",
                "WHERE id = $1 RETURNING id",
            )
        ],
        works=f"{TOTP}::test_login_needs_the_code",
        caught_by=[f"{TOTP}::test_code_works_once"],
    ),
    Mutant(
        name="recovery-code-works-twice",
        guard="a recovery code works once",
        changes=[
            Change("services/auth/sql/queries/totp.sql", " AND used_at IS NULL RETURNING hash", " RETURNING hash")
        ],
        works=f"{TOTP}::test_login_needs_the_code",
        caught_by=[f"{TOTP}::test_recovery_code_works_once"],
    ),
    Mutant(
        name="password-change-ends-nothing",
        guard="a password change ends every session in its commit",
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
        name="old-password-accepted",
        guard="a password that was verified but has changed since is rejected",
        changes=[
            Change(
                "services/auth/sql/queries/accounts.sql",
                "FROM users WHERE id = $1 AND password_changed_at = $2 FOR NO KEY UPDATE",
                "FROM users WHERE id = $1 AND $2::timestamptz IS NOT NULL FOR NO KEY UPDATE",
            )
        ],
        works=f"{OWN_SESSIONS}::test_wrong_current_password_changes_nothing",
        caught_by=[f"{OWN_SESSIONS}::test_of_two_concurrent_changes_one_succeeds"],
    ),
    Mutant(
        name="disabled-user-is-found",
        guard="a disabled user is not found as a recipient by e-mail address",
        changes=[
            Change(
                "services/auth/sql/queries/users.sql",
                "WHERE email = ANY($1::text[]) AND disabled_at IS NULL;",
                "WHERE email = ANY($1::text[]);",
            )
        ],
        works="tests/integration/auth/test_accounts.py::test_recipients_are_found_as_spelled",
        caught_by=[f"{USERS}::test_disabled_user_is_not_found_as_a_recipient"],
    ),
    Mutant(
        name="disabled-user-logs-in",
        guard="a disabled user cannot log in",
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
        caught_by=[f"{USERS}::test_disabling_ends_all_access_at_once"],
    ),
    Mutant(
        name="former-operator-acts",
        guard="a former operator is rejected, also while a gateway does not know yet",
        changes=[
            Change(
                "services/auth/commands/users.py",
                "    if await store.users.is_former_operator(connection, operator_id):\n        raise OperatorRequired\n",
                "",
            ),
            Change(
                "services/auth/commands/users.py",
                "import CannotModifySelf, OperatorRequired, UserNotFound",
                "import CannotModifySelf, UserNotFound",
            ),
        ],
        works=f"{USERS}::test_user_is_found_by_address",
        caught_by=[f"{USERS}::test_a_former_operator_is_rejected"],
    ),
    Mutant(
        name="key-signs-at-once",
        guard="a new key signs only once every gateway has had time to fetch it",
        changes=[
            Change(
                "services/auth/sql/queries/signing_keys.sql",
                "VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))",
                "VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => 0 * $4))",
            )
        ],
        works=f"{KEYS}::test_published_keys_verify_access_tokens",
        caught_by=[f"{KEYS}::test_rotation_ends_no_session"],
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
        caught_by=[f"{KEYS}::test_rotation_ends_no_session", f"{KEYS}::test_old_key_retires_by_itself"],
    ),
    Mutant(
        name="recent-sessions-removable",
        guard="the database refuses to remove a session that ended within a month",
        changes=[
            Change(
                "services/auth/sql/migrations/0014.sql", "    RAISE EXCEPTION", "    RETURN OLD;\n    RAISE EXCEPTION"
            ),
        ],
        works=f"{RETENTION}::test_ended_sessions_are_removed",
        caught_by=[f"{RETENTION}::test_recent_sessions_cannot_be_removed"],
    ),
    Mutant(
        name="live-sessions-removed",
        guard="a session is removed only so long after it ended",
        changes=[
            Change(
                "services/auth/sql/queries/sessions.sql",
                "    WHERE coalesce(revoked_at, used_at) < now() - make_interval(days => $2)\n",
                "    WHERE created_at < now() - make_interval(days => 0 * $2)\n",
            ),
            Change(
                "services/auth/sql/migrations/0014.sql", "    RAISE EXCEPTION", "    RETURN OLD;\n    RAISE EXCEPTION"
            ),
        ],
        works=f"{RETENTION}::test_refresh_beside_a_removal",
        caught_by=[f"{RETENTION}::test_ended_sessions_are_removed"],
    ),
)
