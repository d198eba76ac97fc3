"""The guards of a failover: a response that depends on existing rows waits until they are replicated. One for each response."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

DATABASE = "services/chassis/database.py"
TRANSACTION = "services/transaction/commands.py"
TRANSACTION_API = "services/transaction/api.py"
WALLET = "services/wallet/commands.py"
PROOF = "services/wallet/proof.py"
DEAD_LETTERS = "services/chassis/dead_letters.py"
ACCOUNTS = "services/auth/commands/accounts.py"
SESSIONS = "services/auth/commands/sessions.py"
USERS = "services/auth/commands/users.py"
EMAILS = "services/auth/commands/emails.py"
TOTP = "services/auth/commands/totp.py"

FOLDER = "tests/integration/replication"
COMMITS = f"{FOLDER}/test_commits.py"
WORKS = f"{COMMITS}::test_error_before_commit_is_known"

WAIT = "await replication.await_replication(connection)\n"


def _missing_wait(name: str, path: str, before: str, after: str, *caught_by: str, indent: int = 8) -> Mutant:
    """Remove one wait for replication: the lines between `before` and `after`."""
    wait = " " * indent + WAIT
    skip = " " * indent + "pass\n" if before.endswith((":\n", "else:\n")) else ""
    return Mutant(
        name=f"unreplicated-{name}",
        guard="a response that depends on existing rows waits until they are replicated",
        changes=[Change(path, before + wait + after, before + skip + after)],
        works=WORKS,
        caught_by=[f"{FOLDER}/{check}" for check in caught_by],
    )


def _refusal(name: str, path: str, before: str, refusal: str, *caught_by: str) -> Mutant:
    """Raise one refusal at once."""
    return Mutant(
        name=f"unreplicated-{name}",
        guard="a refusal that reports an earlier change waits until that is replicated",
        changes=[
            Change(path, f"{before}raise replication.OnceReplicated({refusal})\n", f"{before}raise {refusal}\n"),
        ],
        works=WORKS,
        caught_by=[f"{FOLDER}/{check}" for check in caught_by],
    )


MUTANTS = (
    Mutant(
        name="barrier-is-no-write",
        guard="the barrier writes to the log: a transaction id alone makes no COMMIT wait",
        changes=[
            Change(
                "services/chassis/sql/queries_replication.sql",
                "SELECT pg_logical_emit_message(true, 'payflow-barrier', '')",
                "SELECT pg_current_xact_id()",
            )
        ],
        works=WORKS,
        caught_by=[f"{FOLDER}/test_transaction.py::test_used_key"],
    ),
    Mutant(
        name="failover-loses-acknowledged",
        guard="what a repeated request acknowledged exists after a failover",
        changes=[
            Change(
                "services/chassis/sql/queries_replication.sql",
                "SELECT pg_logical_emit_message(true, 'payflow-barrier', '')",
                "SELECT 1",
            )
        ],
        works=WORKS,
        caught_by=[f"{FOLDER}/test_failover.py::test_nothing_acknowledged_is_lost"],
    ),
    Mutant(
        name="cancelled-wait-is-success",
        guard="a COMMIT whose wait for the standby was cancelled is unknown, though the server reports success",
        changes=[Change(DATABASE, "        if waits.cancelled:\n            raise CommitUnknown\n", "")],
        works=WORKS,
        caught_by=[f"{COMMITS}::test_cancelled_wait_is_unknown"],
    ),
    Mutant(
        name="lost-commit-is-nothing-recorded",
        guard="a COMMIT without a response is unknown, never nothing recorded",
        changes=[
            Change(
                DATABASE,
                "        if is_committing:\n            raise CommitUnknown from error\n        raise\n",
                "        raise\n",
            ),
        ],
        works=WORKS,
        caught_by=[f"{COMMITS}::test_time_out_at_commit_is_unknown"],
    ),
    Mutant(
        name="lost-statement-is-nothing-recorded",
        guard="a statement that commits by itself and did not return is unknown, never nothing recorded",
        changes=[
            Change(
                DATABASE,
                "        if is_sent and not _is_refused(error.__cause__):\n            raise CommitUnknown from error\n",
                "",
            )
        ],
        works=WORKS,
        caught_by=[f"{COMMITS}::test_time_out_at_commit_is_unknown", f"{COMMITS}::test_error_of_a_single_statement"],
    ),
    Mutant(
        name="unknown-commit-as-503",
        guard="an unknown commit is a 504: a 503 says that nothing was done",
        changes=[
            Change(DATABASE, "    status = OutcomeUnknown.status\n    code = OutcomeUnknown.code\n", "    pass\n"),
            Change(DATABASE, "import OutcomeUnknown, Refusal, Unavailable", "import Refusal, Unavailable"),
        ],
        works=WORKS,
        caught_by=[f"{COMMITS}::test_form_over_http"],
    ),
    Mutant(
        name="failed-release-hides-the-commit",
        guard="a connection that cannot be returned does not hide that its COMMIT is unknown",
        changes=[Change(DATABASE, "        if not is_unavailable(error):\n            raise\n", "        raise\n")],
        works=WORKS,
        caught_by=[f"{COMMITS}::test_cancellation_without_a_response_is_unknown"],
    ),
    Mutant(
        name="second-attempt-decides",
        guard="a fault of the second attempt of a call leaves the first one unknown",
        changes=[Change("services/chassis/client.py", "            raise lost from refusal\n", "            raise\n")],
        works="tests/integration/chassis/test_calling.py::test_the_second_attempt_counts",
        caught_by=[
            "tests/integration/chassis/test_calling.py::test_a_fault_of_the_second_attempt_leaves_the_first_unknown"
        ],
    ),
    Mutant(
        name="lost-call-is-nothing-done",
        guard="a call that was sent and lost its connection is unknown, never nothing done",
        changes=[
            Change(
                "services/chassis/client.py",
                '            if method == "GET":\n                outcome = "unavailable"\n',
                '            if method:\n                outcome = "unavailable"\n',
            )
        ],
        works="tests/integration/chassis/test_lost_connections.py::test_connection_refused",
        caught_by=["tests/integration/chassis/test_lost_connections.py::test_connection_lost_after_sending"],
    ),
    _missing_wait(
        "key",
        TRANSACTION,
        "            first = await store.find_transfers(connection, [key.transfer_id for key in used.values()])\n",
        "    except DatabaseUnavailable as unavailable:\n",
        "test_transaction.py::test_used_key",
        "test_transaction.py::test_key_lost_to_a_duplicate",
        indent=12,
    ),
    _missing_wait(
        "lookup-by-key",
        TRANSACTION,
        "            return None\n",
        "        return (await store.find_transfers(connection, [transfer_id]))[transfer_id]\n",
        "test_transaction.py::test_lookup_by_key",
    ),
    _missing_wait(
        "status",
        TRANSACTION,
        "            await outbox.append(connection, TRANSFERS_FINALIZED, items)\n        else:\n",
        "",
        "test_transaction.py::test_outcome_applied_before",
        indent=12,
    ),
    Mutant(
        name="unreplicated-publish",
        guard="nothing is published before it is replicated: reading rows of the outbox is a write",
        changes=[
            Change(
                "services/chassis/sql/queries.sql",
                "    UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => $2)\n"
                "    WHERE name = 'outbox' AND holder = $1 AND EXISTS (SELECT FROM oldest)\n    RETURNING name\n",
                "    SELECT name FROM leases WHERE name = 'outbox' AND holder = $1 AND $2::float8 > 0\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{FOLDER}/test_transaction.py::test_published_command"],
    ),
    _missing_wait(
        "conflict",
        TRANSACTION,
        "        if not marked:\n",
        "",
        "test_transaction.py::test_conflict_marked_before",
        indent=12,
    ),
    _missing_wait(
        "terminal-list",
        TRANSACTION,
        "        terminal = await store.list_terminal(connection, transfer_ids)\n",
        "",
        "test_transaction.py::test_waiting_for_the_outcome",
    ),
    _missing_wait(
        "transfer",
        TRANSACTION,
        "        found = (await store.find_transfers(connection, [transfer_id])).get(transfer_id)\n",
        "",
        "test_transaction.py::test_cancelled_before",
        "test_transaction.py::test_waiting_for_the_outcome",
    ),
    Mutant(
        name="unreplicated-cancel",
        guard="a response that depends on existing rows waits until they are replicated",
        changes=[
            Change(
                TRANSACTION_API,
                "    transfer = await commands.get_replicated_transfer(pool, transfer.id, body.viewer)\n",
                "    transfer = await _own(pool, transfer.id, asked.viewer)\n",
            )
        ],
        works=WORKS,
        caught_by=[
            f"{FOLDER}/test_transaction.py::test_cancelled_before",
            f"{FOLDER}/test_transaction.py::test_too_late_to_cancel",
        ],
    ),
    Mutant(
        name="unreplicated-wait",
        guard="a response that depends on existing rows waits until they are replicated",
        changes=[
            Change(
                TRANSACTION_API,
                "        transfer = await commands.get_replicated_transfer(pool, transfer.id, query.viewer)\n",
                "        pass\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{FOLDER}/test_transaction.py::test_waiting_for_the_outcome"],
    ),
    _missing_wait("post", WALLET, "        else:\n", "", "test_wallet.py::test_rejected_before", indent=12),
    _missing_wait("void", WALLET, "        if not inserted:\n", "", "test_wallet.py::test_voided_before", indent=12),
    _missing_wait(
        "wallet-opened", WALLET, "        if not opened:\n", "", "test_wallet.py::test_wallet_opened_before", indent=12
    ),
    _missing_wait(
        "wallets",
        WALLET,
        "        if replication.list_unconfirmed([wallet.id for wallet in wallets]):\n",
        "",
        "test_wallet.py::test_wallets_listed",
        indent=12,
    ),
    _missing_wait(
        "accounts",
        WALLET,
        "        if replication.list_unconfirmed([id_ for id_, _, _ in found]):\n",
        "",
        "test_wallet.py::test_accounts_found",
        indent=12,
    ),
    _missing_wait(
        "block",
        WALLET,
        "            if state.head != recorded_head:\n",
        "            return Sealed(state.head, 0, 0, more=False)\n",
        "test_wallet.py::test_sealed_before",
        indent=16,
    ),
    _missing_wait(
        "last-proof", WALLET, "        if proof is not None:\n", "", "test_wallet.py::test_last_proof", indent=12
    ),
    _missing_wait(
        "proof",
        PROOF,
        "        # Callers record the head: a failover must not lose it.\n",
        "",
        "test_wallet.py::test_proof_of_a_new_block",
    ),
    _missing_wait(
        "dead-letter",
        DEAD_LETTERS,
        "        # A dead letter that was already stored has written nothing.\n",
        "",
        "test_transaction.py::test_dead_letter_archived_before",
    ),
    _refusal(
        "dead-letter-replayed",
        DEAD_LETTERS,
        "            ",
        'DeadLetterResolved("the dead letter was replayed")',
        "test_transaction.py::test_dead_letter_replayed_before",
    ),
    _refusal("registration", ACCOUNTS, "            ", "EmailTaken()", "test_auth.py::test_registered_before"),
    _missing_wait("logout", SESSIONS, "        if not live:\n", "", "test_auth.py::test_logged_out_before", indent=12),
    _refusal("refresh", SESSIONS, "            ", "InvalidRefreshToken()", "test_auth.py::test_logged_out_before"),
    _missing_wait(
        "recipient",
        USERS,
        "        found = {user.email: user for user in await store.users.find_recipients_by_email(connection, emails)}\n",
        "",
        "test_auth.py::test_recipient_found",
    ),
    _refusal(
        "session",
        SESSIONS,
        "            ",
        "SessionNotFound()",
        "test_auth.py::test_session_ended_before",
    ),
    _refusal(
        "api-key",
        "services/auth/commands/api_keys.py",
        "            ",
        "ApiKeyNotFound()",
        "test_auth.py::test_key_revoked_before",
    ),
    _refusal("verification", EMAILS, "            ", "EmailVerified()", "test_auth.py::test_email_verified_before"),
    _refusal(
        "verified-email",
        EMAILS,
        "        user_id = await store.emails.find_token_owner(connection, token_hash, Kind.VERIFY_EMAIL)\n"
        "        if user_id is None:\n            ",
        "EmailTokenInvalid()",
        "test_auth.py::test_email_verified_before",
    ),
    _refusal(
        "reset",
        EMAILS,
        "        user_id = await store.emails.find_token_owner(connection, token_hash, kind)\n"
        "        if user_id is None:\n            ",
        "EmailTokenInvalid()",
        "test_auth.py::test_password_reset_before",
    ),
    _refusal(
        "spent-token",
        EMAILS,
        "    if user is None or not await store.emails.spend_token(connection, token_hash, kind):\n        ",
        "EmailTokenInvalid()",
        "test_auth.py::test_token_spent_by_a_duplicate",
    ),
    _refusal(
        "second-factor",
        TOTP,
        "        if locked.user.totp:\n            ",
        "TotpAlreadyEnabled()",
        "test_auth.py::test_second_factor_on_before",
    ),
    _refusal(
        "second-factor-confirmed",
        TOTP,
        "    if locked.user.totp:\n        ",
        "TotpAlreadyEnabled()",
        "test_auth.py::test_second_factor_on_before",
    ),
    _missing_wait(
        "signing-key",
        "services/auth/commands/signing_keys.py",
        "        else:\n",
        "",
        "test_auth.py::test_keys_rotated_before",
        indent=12,
    ),
)
