"""The guards between an accepted request and its status."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

APP = "services/transaction/app.py"
COMMANDS = "services/transaction/commands.py"
INTAKE = "services/transaction/intake.py"
STORE = "services/transaction/store.py"
WORKER = "services/transaction/worker.py"
QUERIES = "services/transaction/sql/queries.sql"
SCHEMA = "services/transaction/sql/migrations/0001.sql"

PATH = "tests/integration/transaction/test_path.py"
ACCEPTING = "tests/integration/transaction/test_intake.py"
GUARDS = "tests/integration/transaction/test_guards.py"
REVERSAL = "tests/integration/transaction/test_reversal.py"
BALANCES = "tests/integration/transaction/test_known_balances.py"
RECORDING = "tests/integration/transaction/test_recording.py"
MONITOR = "tests/unit/transaction/test_monitor.py"
WORKS = f"{PATH}::test_transfer_is_completed"
ACCEPTS = f"{ACCEPTING}::test_equal_payments_with_different_keys_are_both_made"

TRIGGER = """\
CREATE TRIGGER transfers_terminal_for_ever BEFORE UPDATE ON transfers
    FOR EACH ROW WHEN (OLD.status <> 'PENDING') EXECUTE FUNCTION refuse_terminal_change();
"""
WITHOUT_TRIGGER = (
    Change(SCHEMA, TRIGGER, ""),
    Change(
        "services/transaction/sql/migrations/0007.sql",
        "ALTER TRIGGER transfers_terminal_for_ever ON transfers RENAME TO transfers_terminal_is_final;\n",
        "",
    ),
)
UNCONDITIONAL = (
    Change(
        QUERIES,
        "WHERE id = ANY($1::uuid[]) AND status = 'PENDING' ORDER BY id FOR NO KEY UPDATE\n)\nUPDATE",
        "WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE\n)\nUPDATE",
    ),
    Change(
        QUERIES, "WHERE transfers.id = result.id AND transfers.status = 'PENDING'\n", "WHERE transfers.id = result.id\n"
    ),
)
AUDITS = "        if entries := [_audit_entry(draft) for draft in audited if draft.transfer.id in new_ids]:\n"
FIRST_LOOK = "        results = await self._resolve_used_keys(requests, keys)\n"
NO_FIRST_LOOK = "        results: dict[int, Result] = {}\n"
SECOND_LOOK = "        again = [index for index, result in enumerate(results) if not isinstance(result, Accepted)]\n"
NO_SECOND_LOOK = "        again = [index for index, result in enumerate(results) if isinstance(result, Lost)]\n"

MUTANTS = (
    Mutant(
        name="old-depth-stays",
        guard="a relay that cannot measure exports no depth, so that neither an alert nor the autoscaler reads an old one",
        changes=[
            Change("services/transaction/monitor.py", "                _remove_figures()\n", "                pass\n")
        ],
        works=f"{MONITOR}::test_newest_second_has_a_weight_of_three_tenths",
        caught_by=[f"{MONITOR}::test_old_figures_are_removed"],
    ),
    Mutant(
        name="reads-share-connections",
        guard="reads of users have connections of their own: payments do not wait for them",
        changes=[Change(APP, "app[api.READ_POOL] = read_pool\n", "app[api.READ_POOL] = pool\n")],
        works=WORKS,
        caught_by=["tests/integration/test_budgets.py::test_payments_do_not_wait_for_reads"],
    ),
    Mutant(
        name="status-unconditional",
        guard="only a transfer that is still PENDING changes its status",
        changes=UNCONDITIONAL,
        works=WORKS,
        caught_by=[f"{GUARDS}::test_finalizing_again_changes_nothing"],
    ),
    Mutant(
        name="terminal-transfer-changed",
        guard="the database refuses every change of a terminal transfer",
        changes=[*WITHOUT_TRIGGER],
        works=WORKS,
        caught_by=[f"{ACCEPTING}::test_terminal_transfer_cannot_be_changed"],
    ),
    # The condition and the trigger both guard this; each has a mutant above, this one removes both.
    Mutant(
        name="event-without-a-change",
        guard="an event is written only for rows that this commit changed",
        changes=[*UNCONDITIONAL, *WITHOUT_TRIGGER],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_finalizing_again_changes_nothing"],
        faults=("rabbitmq/duplicate",),
    ),
    Mutant(
        name="event-in-another-commit",
        guard="status and event are one commit",
        changes=[
            Change(
                COMMANDS,
                "        moved = await store.finalize_transfers(connection, results)\n"
                "        if moved:\n"
                "            events = [_event(row) for row in moved]\n"
                "            items = [Item(event.event_id, event.transfer_id, encode_item(event)) for event in events]\n"
                "            await outbox.append(connection, TRANSFERS_FINALIZED, items)\n"
                "        else:\n"
                "            await replication.await_replication(connection)\n",
                "        moved = await store.finalize_transfers(connection, results)\n"
                "        if not moved:\n"
                "            await replication.await_replication(connection)\n"
                "    if moved:\n"
                "        events = [_event(row) for row in moved]\n"
                "        items = [Item(event.event_id, event.transfer_id, encode_item(event)) for event in events]\n"
                "        async with database.transaction(pool) as connection:\n"
                "            await outbox.append(connection, TRANSFERS_FINALIZED, items)\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_status_without_its_event_is_not_recorded"],
    ),
    Mutant(
        name="statuses-locked-in-any-order",
        guard="transfers are finalized in id order",
        changes=[
            Change(
                QUERIES,
                "AND status = 'PENDING' ORDER BY id FOR NO KEY UPDATE\n)\nUPDATE",
                "AND status = 'PENDING' ORDER BY array_position($1::uuid[], id) FOR NO KEY UPDATE\n)\nUPDATE",
            )
        ],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_statuses_change_in_one_order"],
    ),
    # A look-up without the user alone changes nothing, because the primary key is the scope; so both are removed.
    Mutant(
        name="key-of-all-users",
        guard="an idempotency key belongs to its user",
        changes=[
            Change(SCHEMA, "    PRIMARY KEY (user_id, key)\n", "    PRIMARY KEY (key)\n"),
            Change(
                QUERIES,
                "    SELECT idempotency_keys.* FROM idempotency_keys\n"
                "    JOIN unnest($1::uuid[], $2::text[]) AS requested(user_id, key) USING (user_id, key)\n",
                "    SELECT requested.user_id, key, request_hash, resource_id FROM idempotency_keys\n"
                "    JOIN unnest($1::uuid[], $2::text[]) AS requested(user_id, key) USING (key)\n",
            ),
        ],
        works=ACCEPTS,
        caught_by=[f"{ACCEPTING}::test_key_belongs_to_its_user_and_its_request"],
        faults=("redis/flush",),
    ),
    Mutant(
        name="keys-inserted-unsorted",
        guard="idempotency keys are inserted in key order",
        changes=[
            Change(
                STORE,
                "pairs = sorted(zip(drafts, commands, strict=True), key=lambda pair: pair[0].key)",
                "pairs = list(zip(drafts, commands, strict=True))",
            )
        ],
        works=ACCEPTS,
        caught_by=[f"{GUARDS}::test_keys_are_inserted_in_one_order"],
    ),
    Mutant(
        name="transfer-without-its-key",
        guard="only drafts whose key was new become transfers",
        changes=[Change(QUERIES, "    WHERE id IN (SELECT resource_id FROM new)\n), queued", "), queued")],
        works=ACCEPTS,
        caught_by=[f"{ACCEPTING}::test_duplicates_in_one_batch_make_one_transfer"],
    ),
    Mutant(
        name="command-without-its-key",
        guard="only drafts whose key was new become commands",
        changes=[Change(QUERIES, "    WHERE id IN (SELECT resource_id FROM new)\n    GROUP BY", "    GROUP BY")],
        works=ACCEPTS,
        caught_by=[f"{ACCEPTING}::test_duplicates_in_one_batch_make_one_transfer"],
    ),
    Mutant(
        name="frozen-wallets-cut-off",
        guard="if more wallets may be frozen than are read with a batch, those of the batch are looked up",
        changes=[Change(STORE, "hinted if len(hinted) <= HINTS_MAX else None", "hinted")],
        works=ACCEPTS,
        caught_by=[f"{BALANCES}::test_refusal_names_the_frozen_wallet"],
    ),
    Mutant(
        name="key-hash-not-compared",
        guard="a key used again with another request is refused",
        changes=[Change(COMMANDS, "    if key.request_hash != key_hash:", "    if False:")],
        works=ACCEPTS,
        caught_by=[f"{ACCEPTING}::test_key_belongs_to_its_user_and_its_request"],
        faults=("redis/flush",),
    ),
    Mutant(
        name="key-after-the-checks",
        guard="a key is looked up before any check of state, and once more before a refusal by state",
        changes=[Change(INTAKE, FIRST_LOOK, NO_FIRST_LOOK), Change(INTAKE, SECOND_LOOK, NO_SECOND_LOOK)],
        works=ACCEPTS,
        caught_by=[f"{ACCEPTING}::test_replay_returns_the_first_response_after_any_outcome"],
        faults=("redis/keep-down",),
    ),
    Mutant(
        name="key-not-looked-up-first",
        guard="a used key is replayed also while new work is refused",
        changes=[Change(INTAKE, FIRST_LOOK, NO_FIRST_LOOK)],
        works=ACCEPTS,
        caught_by=[f"{GUARDS}::test_used_key_is_replayed_while_new_work_is_refused"],
    ),
    Mutant(
        name="key-not-looked-up-again",
        guard="before a refusal by state the key is looked up again: a concurrent duplicate may have been accepted",
        changes=[Change(INTAKE, SECOND_LOOK, NO_SECOND_LOOK)],
        works=ACCEPTS,
        caught_by=[f"{GUARDS}::test_duplicate_that_spent_the_balance_is_replayed"],
    ),
    Mutant(
        name="lost-key-is-nothing-recorded",
        guard="a key that another request used is unknown while its transfer cannot be read",
        changes=[Change(INTAKE, " if not isinstance(results[index], Lost)\n", "\n")],
        works=f"{ACCEPTING}::test_duplicates_in_one_batch_make_one_transfer",
        caught_by=[f"{GUARDS}::test_a_lost_key_is_unknown_without_the_database"],
    ),
    Mutant(
        name="half-is-nothing-recorded",
        guard="a half of a batch is unknown, not unrecorded, while the database is unavailable",
        changes=[
            Change(INTAKE, "return [CommitUnknown() for _ in part]", "return [DatabaseUnavailable() for _ in part]")
        ],
        works=f"{ACCEPTING}::test_duplicates_in_one_batch_make_one_transfer",
        caught_by=[f"{GUARDS}::test_a_half_is_unknown_without_the_database"],
    ),
    Mutant(
        name="command-in-another-commit",
        guard="key, transfer and command are one commit",
        changes=[
            Change(
                QUERIES,
                "    INSERT INTO outbox (id, topic, body, subject_ids, claimed_until)\n    SELECT",
                "    SELECT",
            ),
            Change(
                COMMANDS,
                "topology import TRANSFERS_FINALIZED\n",
                "topology import TRANSFERS_FINALIZED, TRANSFERS_REQUESTED\n",
            ),
            Change(
                COMMANDS,
                f"{AUDITS}            await audit.append(connection, entries)\n",
                f"{AUDITS}            await audit.append(connection, entries)\n"
                "    async with database.transaction(pool) as connection:\n"
                "        ids = [draft.transfer.id for draft in drafts]\n"
                "        await outbox.append(connection, TRANSFERS_REQUESTED, list(map(Item, ids, ids, items)))\n",
            ),
        ],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_transfer_without_its_command_is_not_recorded"],
    ),
    Mutant(
        name="audit-in-another-commit",
        guard="a deposit and its row in the audit log are one commit",
        changes=[
            Change(
                COMMANDS,
                "    commit = database.transaction if audited else database.single_statement\n",
                "    commit = database.single_statement\n",
            )
        ],
        works="tests/integration/transaction/test_audit.py::test_deposit_is_audited",
        caught_by=["tests/integration/transaction/test_audit.py::test_deposit_that_cannot_be_audited_is_refused"],
    ),
    Mutant(
        name="any-wallet-may-pay",
        guard="a sender can only send from an own wallet",
        changes=[
            Change(
                INTAKE,
                "    return KINDS[request.kind].requires_owner and source.owner_id != request.user_id\n",
                "    return False\n",
            )
        ],
        works=ACCEPTS,
        caught_by=[f"{ACCEPTING}::test_refusals_record_nothing"],
    ),
    Mutant(
        name="unknown-taken-for-failed",
        guard="no response from the wallet is unknown, never failed",
        changes=[
            Change(
                WORKER,
                "            await self._record_attempts(window, picked_up_at)\n"
                "            raise Unavailable(refusal.detail) from refusal\n",
                "            responses = [\n"
                '                WalletResponse(delivery.item.transfer_id, "rejected", "timed_out", picked_up_at)\n'
                "                for delivery in window\n"
                "            ]\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{PATH}::test_unavailable_wallet_pauses_the_worker"],
        faults=("transaction-worker-1>wallet/drop-responses", "wallet/kill"),
    ),
    Mutant(
        name="reversal-decides-itself",
        guard="the reversal leaves the decision to the ledger; it never fails a transfer by its age",
        changes=[
            Change(
                "services/transaction/reversal.py",
                "    responses = await wallet.void(transfers, reason)\n",
                "    from datetime import UTC, datetime\n"
                "    from services.transaction.wallet_client import WalletResponse\n"
                '    responses = [WalletResponse(id_, "voided", reason, datetime.now(UTC)) for id_, _ in transfers]\n',
            )
        ],
        works=WORKS,
        caught_by=[f"{PATH}::test_reversal_completes_a_posted_transfer"],
        faults=("rabbitmq/delete-queue", "transaction-worker-1/kill"),
    ),
    Mutant(
        name="reversal-too-early",
        guard="the reversal ignores transfers that have not expired",
        changes=[
            Change(
                QUERIES,
                "WHERE status = 'PENDING' AND expires_at < clock_timestamp() AND conflicted_at IS NULL\n",
                "WHERE status = 'PENDING' AND conflicted_at IS NULL\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_reversal_ignores_transfers_before_expiry"],
    ),
    Mutant(
        name="conflict-reversed-repeatedly",
        guard="the reversal ignores conflicts, which only an operator can resolve",
        changes=[
            Change(
                QUERIES,
                "expires_at < clock_timestamp() AND conflicted_at IS NULL\nORDER",
                "expires_at < clock_timestamp()\nORDER",
            )
        ],
        works=WORKS,
        caught_by=[f"{REVERSAL}::test_conflicted_transfer_is_voided_once"],
    ),
    Mutant(
        name="conflict-not-marked-by-the-reversal",
        guard="a conflict found by the reversal is marked and counted",
        changes=[
            Change(
                "services/transaction/reversal.py",
                "    if conflicts:\n        await commands.mark_conflicted(pool, conflicts)\n",
                "",
            )
        ],
        works=WORKS,
        caught_by=[f"{REVERSAL}::test_conflicted_transfer_is_voided_once"],
    ),
    Mutant(
        name="one-batch-of-the-expired",
        guard="a pass of the reversal ends all expired transfers",
        changes=[Change("services/transaction/reversal.py", "        if len(stale) < BATCH_MAX:", "        if True:")],
        works=WORKS,
        caught_by=[f"{REVERSAL}::test_one_pass_ends_all_expired_transfers"],
    ),
    Mutant(
        name="known-balance-not-reduced",
        guard="an accepted transfer reduces the known balance of its sender",
        changes=[
            Change(
                INTAKE,
                "                self._funds.spend(draft.transfer)\n",
                "                pass\n",
            )
        ],
        works=ACCEPTS,
        caught_by=[f"{BALANCES}::test_accepted_transfer_reduces_the_known_balance"],
    ),
    Mutant(
        name="key-finds-another-users-transfer",
        guard="a look-up by key finds the transfers of its user only",
        changes=[
            Change(
                QUERIES,
                "SELECT resource_id FROM idempotency_keys WHERE user_id = $1 AND key = $2;",
                "SELECT resource_id FROM idempotency_keys WHERE $1::uuid IS NOT NULL AND key = $2;",
            )
        ],
        works=ACCEPTS,
        caught_by=[f"{RECORDING}::test_key_finds_the_transfer_of_its_user_only"],
    ),
    *(
        Mutant(
            name=f"request-hash-without-{part.replace('_', '-')}",
            guard=f"the request hash covers the {part.replace('_', ' ')}",
            changes=[
                Change("services/transaction/transfer.py", "{source_id}|{destination_id}|{amount}|{currency}", rest)
            ],
            works=ACCEPTS,
            caught_by=[f"{RECORDING}::test_request_hash_covers_every_field"],
        )
        for part, rest in {
            "source_id": "{destination_id}|{amount}|{currency}",
            "destination_id": "{source_id}|{amount}|{currency}",
            "amount": "{source_id}|{destination_id}|{currency}",
            "currency": "{source_id}|{destination_id}|{amount}",
        }.items()
    ),
    Mutant(
        name="pending-reported-as-failed",
        guard="catch-up returns events only of transfers with an outcome",
        changes=[
            Change(
                QUERIES,
                "FROM transfers WHERE id = ANY($1::uuid[]) AND status <> 'PENDING';\n\n-- name: record_attempts",
                "FROM transfers WHERE id = ANY($1::uuid[]);\n\n-- name: record_attempts",
            )
        ],
        works=WORKS,
        caught_by=[f"{RECORDING}::test_only_terminal_transfers_have_an_event"],
    ),
    Mutant(
        name="failed-by-another-clock",
        guard="the time of an outcome is the ledger's",
        changes=[Change(QUERIES, "ELSE result.at END,\n    failure", "ELSE clock_timestamp() END,\n    failure")],
        works=WORKS,
        caught_by=[f"{REVERSAL}::test_time_of_an_outcome_is_the_ledgers"],
    ),
    Mutant(
        name="conflict-not-dead-lettered",
        guard="a conflict becomes a dead letter, for an operator",
        changes=[Change(WORKER, "        return DeadLetter(CONFLICT)\n", "        return None\n")],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_verdict_of_a_conflict_is_a_dead_letter"],
    ),
    Mutant(
        name="busy-taken-for-done",
        guard="what the wallet could not decide in time is retried later",
        changes=[Change(WORKER, '        return Retry("wallet_busy")\n', "        return None\n")],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_verdict_of_a_busy_wallet_is_a_retry"],
    ),
    Mutant(
        name="simulation-outside-demo-mode",
        guard="failures are simulated in demo mode only",
        changes=[Change(APP, "app[api.SIMULATES] = settings.demo", "app[api.SIMULATES] = True")],
        works=WORKS,
        caught_by=[
            "tests/integration/transaction/test_simulated_failures.py::test_outside_demo_mode_the_field_is_unknown"
        ],
    ),
    Mutant(
        name="trace-context-forced-on-a-wallet",
        guard="a wallet that does not know the trace context gets the batch without it",
        changes=[
            Change(
                "services/transaction/wallet_client.py",
                "            if refusal.code != InvalidRequest.code:\n                raise\n            return None\n",
                "            raise refusal\n",
            )
        ],
        works="tests/integration/transaction/test_path.py::test_transfer_is_completed",
        caught_by=["tests/integration/transaction/test_two_releases.py::test_wallet_that_knows_no_trace_context"],
    ),
)
