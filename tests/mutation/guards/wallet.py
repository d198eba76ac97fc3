"""The ledger's guards."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

COMMANDS = "services/wallet/commands.py"
LEDGER = "services/wallet/ledger.py"
STORE = "services/wallet/store.py"
QUERIES = "services/wallet/sql/queries.sql"
MIGRATIONS = "services/wallet/sql/migrations"
SCHEMA = f"{MIGRATIONS}/0001.sql"

POSTING = "tests/integration/wallet/test_posting.py"
GUARDS = "tests/integration/wallet/test_guards.py"
RACES = "tests/integration/wallet/test_races.py"
TABLES = "tests/integration/wallet/test_schema.py"
WORKS = f"{POSTING}::test_posting_moves_money_once"

WITHOUT_BARRIER = Change(
    COMMANDS, "        else:\n            await replication.await_replication(connection)\n    _count", "    _count"
)
"""The barrier requires a transaction: a mutant without one could not repeat a posting."""

MUTANTS = (
    Mutant(
        name="outcome-not-unique",
        guard="a transfer id has one outcome: the first insert decides",
        changes=[
            Change(SCHEMA, "    transfer_id     uuid        PRIMARY KEY,", "    transfer_id     uuid        NOT NULL,"),
            Change(
                QUERIES,
                "AS given(id, reason, request_hash)\nON CONFLICT DO NOTHING\nRETURNING",
                "AS given(id, reason, request_hash)\nRETURNING",
            ),
        ],
        works=WORKS,
        caught_by=[
            f"{GUARDS}::test_a_second_outcome_is_not_written",
            f"{RACES}::test_a_concurrent_void_rejects_its_dependants",
        ],
        faults=("rabbitmq/duplicate", "transaction-worker-1>wallet/drop-responses"),
    ),
    # The unique outcome still keeps the money safe: each copy that waited would only fail once before it reads the first outcome.
    Mutant(
        name="outcomes-read-before-the-locks",
        guard="outcomes are read in a second statement, after the accounts are locked",
        changes=[
            Change(
                COMMANDS,
                "        recorded, now = await store.read_outcomes(connection, transfer_ids)\n",
                "",
            ),
            Change(
                COMMANDS,
                "        accounts, last_entry_at = await store.lock_accounts(connection, account_ids)\n",
                "        recorded, now = await store.read_outcomes(connection, transfer_ids)\n"
                "        accounts, last_entry_at = await store.lock_accounts(connection, account_ids)\n",
            ),
        ],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_a_copy_that_waited_for_the_accounts_reads_the_outcome"],
    ),
    Mutant(
        name="clock-read-before-the-locks",
        guard="the clock that expires a transfer is read after the wait for the accounts",
        changes=[
            Change(
                COMMANDS,
                "        recorded, now = await store.read_outcomes(connection, transfer_ids)\n",
                "        recorded, _ = await store.read_outcomes(connection, transfer_ids)\n",
            ),
            Change(
                COMMANDS,
                "        accounts, last_entry_at = await store.lock_accounts(connection, account_ids)\n",
                "        _, now = await store.read_outcomes(connection, transfer_ids)\n"
                "        accounts, last_entry_at = await store.lock_accounts(connection, account_ids)\n",
            ),
        ],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_a_transfer_that_expires_while_it_waits_is_voided"],
    ),
    Mutant(
        name="ledger-clock-runs-backwards",
        guard="the times of entries along an account never decrease, whatever the server's clock does",
        changes=[Change(COMMANDS, "max(now, last_entry_at or now)", "now")],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_a_clock_set_back_does_not_reach_the_entries"],
    ),
    Mutant(
        name="lost-race-ignored",
        guard="a decision is written only if none of its transfers has an outcome",
        changes=[
            Change(
                QUERIES,
                "source_seq, destination_seq, description, $1\n    FROM given\n",
                "source_seq, destination_seq, description, $1\n    FROM given ON CONFLICT DO NOTHING\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{RACES}::test_a_concurrent_void_rejects_its_dependants"],
        faults=("postgres/lock-wallets", "rabbitmq/duplicate", "transaction-worker-1>wallet/black-hole"),
    ),
    Mutant(
        name="locks-released-early",
        guard="the accounts stay locked until the decision is committed",
        changes=[
            Change(
                COMMANDS,
                "    async with database.transaction(pool) as connection:\n        accounts, last_entry_at",
                "    async with database.connection(pool) as connection:\n        accounts, last_entry_at",
            ),
            WITHOUT_BARRIER,
        ],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_accounts_stay_locked_until_the_decision_is_committed"],
        faults=("postgres/lock-wallets",),
    ),
    Mutant(
        name="accounts-locked-in-any-order",
        guard="accounts are locked in id order",
        changes=[
            Change(
                COMMANDS,
                "sorted({id_ for posting in postings for id_ in (posting.source_id, posting.destination_id)})",
                "list(dict.fromkeys(id_ for posting in postings for id_ in (posting.source_id, posting.destination_id)))",
            ),
            Change(
                QUERIES,
                "ORDER BY id FOR NO KEY UPDATE",
                "ORDER BY array_position($1::uuid[], id) FOR NO KEY UPDATE",
            ),
        ],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_accounts_are_locked_in_one_order"],
    ),
    Mutant(
        name="outcomes-inserted-unsorted",
        guard="outcomes are inserted in id order",
        changes=[
            Change(STORE, "    rows = sorted(_rows(decision), key=_first)\n", "    rows = list(_rows(decision))\n")
        ],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_outcomes_are_inserted_in_one_order"],
    ),
    Mutant(
        name="voids-inserted-unsorted",
        guard="voids are inserted in id order",
        changes=[
            Change(
                COMMANDS,
                "sorted({void.transfer_id: void for void in voids}.values())",
                "list({void.transfer_id: void for void in voids}.values())",
            )
        ],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_voids_are_inserted_in_one_order"],
    ),
    Mutant(
        name="rejection-not-recorded",
        guard="a rejection is an outcome: it is recorded permanently",
        changes=[
            Change(
                COMMANDS,
                "            await store.write_decision(connection, decision)\n",
                "            kept = [outcome for outcome in decision.outcomes if outcome.outcome != ledger.REJECTED]\n"
                "            await store.write_decision(connection, decision._replace(outcomes=kept))\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{POSTING}::test_a_recorded_rejection_stays"],
        faults=("rabbitmq/duplicate",),
    ),
    Mutant(
        name="void-in-one-statement",
        guard="void reads the outcome in a second statement, which sees the row it waited for",
        changes=[
            Change(
                COMMANDS,
                "        inserted = await store.insert_voids(\n",
                "        recorded, now = await store.read_outcomes(connection, ids)\n"
                "        inserted = await store.insert_voids(\n",
            ),
            Change(COMMANDS, "        recorded, _ = await store.read_outcomes(connection, ids)\n", ""),
            Change(
                COMMANDS,
                "return [ledger.result_of(recorded[void.transfer_id], void.request_hash) for void in voids]",
                "return [\n"
                "        ledger.result_of(recorded[void.transfer_id], void.request_hash)\n"
                "        if void.transfer_id in recorded\n"
                "        else Answer(void.transfer_id, ledger.VOIDED, void.reason, now)\n"
                "        for void in voids\n"
                "    ]",
            ),
        ],
        works=WORKS,
        caught_by=[f"{RACES}::test_a_void_reads_what_was_decided_while_it_waited"],
        faults=("postgres/lock-wallets",),
    ),
    Mutant(
        name="void-only-reads",
        guard="void decides: it writes the outcome that prevents a late post",
        changes=[
            Change(
                COMMANDS,
                "        inserted = await store.insert_voids(\n"
                "            connection, ids, [void.reason for void in ordered], [void.request_hash for void in ordered]\n"
                "        )\n",
                "        inserted = 0\n",
            ),
            Change(
                COMMANDS,
                "        recorded, _ = await store.read_outcomes(connection, ids)\n",
                "        recorded, now = await store.read_outcomes(connection, ids)\n",
            ),
            Change(
                COMMANDS,
                "return [ledger.result_of(recorded[void.transfer_id], void.request_hash) for void in voids]",
                "return [\n"
                "        ledger.result_of(recorded[void.transfer_id], void.request_hash)\n"
                "        if void.transfer_id in recorded\n"
                "        else Answer(void.transfer_id, ledger.VOIDED, void.reason, now)\n"
                "        for void in voids\n"
                "    ]",
            ),
        ],
        works=WORKS,
        caught_by=[f"{POSTING}::test_a_hot_account_does_not_hold_up_a_void"],
        faults=("transaction-worker-1/freeze-long", "rabbitmq/duplicate"),
    ),
    Mutant(
        name="expiry-ignored",
        guard="the ledger posts nothing past its expiry",
        changes=[Change(LEDGER, "    if now > posting.expires_at:", "    if False:")],
        works=WORKS,
        caught_by=[f"{POSTING}::test_late_transfer_is_voided_by_the_ledgers_clock"],
    ),
    Mutant(
        name="request-hash-not-compared",
        guard="a transfer id belongs to one request: another amount under it is a conflict",
        changes=[Change(LEDGER, "    if outcome.request_hash != request_hash:", "    if False:")],
        works=WORKS,
        caught_by=[f"{POSTING}::test_same_id_with_another_amount_is_a_conflict"],
    ),
    # In the database the unique outcome and the halving of batches repair it, so only a check of the rules fails.
    Mutant(
        name="duplicate-in-a-batch-decided-twice",
        guard="an id that occurs twice in a batch is decided once",
        changes=[Change(LEDGER, "            known[posting.transfer_id] = outcome\n", "")],
        works=f"{POSTING}::test_a_recorded_rejection_stays",
        caught_by=[
            "tests/unit/wallet/test_concurrent_duplicates.py::test_an_id_that_occurs_twice_in_a_batch_is_decided_once"
        ],
    ),
    Mutant(
        name="withdrawn-currency-opens-wallets",
        guard="no new wallet is opened in a withdrawn currency",
        changes=[
            Change(COMMANDS, "    may_open = currency not in money.WITHDRAWN\n", "    may_open = True\n"),
            Change(COMMANDS, "from services.contracts import money\n", ""),
        ],
        works=WORKS,
        caught_by=[
            "tests/integration/wallet/test_api.py::test_a_withdrawn_currency_works_for_existing_wallets",
        ],
    ),
    Mutant(
        name="balance-limit-removed",
        guard="a credit above the limit of a user's account is rejected",
        changes=[
            Change(
                LEDGER,
                "    balance_max = EXTERNAL_BALANCE_MAX if destination.account.external else BALANCE_MAX\n",
                "    balance_max = EXTERNAL_BALANCE_MAX\n",
            ),
            Change(LEDGER, "import BALANCE_MAX, EXTERNAL_BALANCE_MAX\n", "import EXTERNAL_BALANCE_MAX\n"),
            Change(
                f"{MIGRATIONS}/0004.sql", " CHECK (owner_id IS NULL OR posted <= 9007199254740991);", " CHECK (true);"
            ),
        ],
        works=WORKS,
        caught_by=[
            f"{POSTING}::test_a_credit_above_the_limit_is_rejected_for_good",
            "tests/unit/wallet/test_ledger.py::test_a_balance_has_an_upper_limit",
        ],
    ),
    # The rules reject it first; this guards against faults in them.
    Mutant(
        name="balance-limit-not-in-the-table",
        guard="the table refuses a user's balance above the limit",
        changes=[
            Change(
                f"{MIGRATIONS}/0004.sql", " CHECK (owner_id IS NULL OR posted <= 9007199254740991);", " CHECK (true);"
            )
        ],
        works=WORKS,
        caught_by=[f"{TABLES}::test_users_accounts_cannot_exceed_the_limit"],
    ),
    Mutant(
        name="overdraft-not-decided",
        guard="a sender with insufficient funds gets a recorded rejection",
        changes=[
            Change(
                LEDGER,
                "    if not source.account.external and source.posted - source.account.held < posting.amount:\n"
                "        return INSUFFICIENT_FUNDS\n",
                "",
            )
        ],
        works=WORKS,
        caught_by=[f"{POSTING}::test_a_recorded_rejection_stays"],
    ),
    Mutant(
        name="overdraft-not-refused-by-the-table",
        guard="the table itself refuses a customer's balance below zero",
        changes=[Change(SCHEMA, "CHECK (owner_id IS NULL OR posted - held >= 0)", "CHECK (true)")],
        works=WORKS,
        caught_by=[f"{TABLES}::test_accounts_cannot_go_below_zero"],
    ),
    Mutant(
        name="freeze-ignored",
        guard="a frozen wallet accepts neither debit nor credit",
        changes=[
            Change(
                LEDGER,
                "    if source.account.frozen or destination.account.frozen:\n        return WALLET_FROZEN\n",
                "",
            )
        ],
        works=WORKS,
        caught_by=[f"{POSTING}::test_every_refusal_has_its_reason"],
    ),
    Mutant(
        name="external-account-frozen",
        guard="an external account cannot be frozen: all deposits would stop",
        changes=[
            Change(
                QUERIES,
                "UPDATE accounts SET frozen = $2 WHERE id = $1 AND owner_id IS NOT NULL\n",
                "UPDATE accounts SET frozen = $2 WHERE id = $1\n",
            )
        ],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_api.py::test_an_external_account_cannot_be_frozen"],
    ),
    Mutant(
        name="freeze-recorded-as-its-opposite",
        guard="the audit log says which action it was",
        changes=[
            Change(
                "services/wallet/commands.py",
                '"wallet_frozen" if frozen else "wallet_unfrozen"',
                '"wallet_unfrozen" if frozen else "wallet_frozen"',
            )
        ],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_api.py::test_freezing_is_audited"],
    ),
    Mutant(
        name="hold-spent-by-the-ledger",
        guard="held money cannot be sent",
        changes=[
            Change(
                "services/wallet/ledger.py",
                "source.posted - source.account.held < posting.amount",
                "source.posted < posting.amount",
            )
        ],
        works=WORKS,
        caught_by=["tests/unit/wallet/test_ledger.py::test_a_hold_cannot_be_spent"],
    ),
    Mutant(
        name="hold-shown-as-available",
        guard="held money is not shown as available",
        changes=[
            Change(QUERIES, "SELECT id, posted - held AS available, frozen", "SELECT id, posted AS available, frozen")
        ],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_api.py::test_what_is_on_hold_is_not_available"],
    ),
    Mutant(
        name="external-account-without-limit",
        guard="the total of deposits stays within 64 bits",
        changes=[
            Change("services/wallet/ledger.py", " or source.posted - posting.amount < -EXTERNAL_BALANCE_MAX:", ":"),
        ],
        works=WORKS,
        caught_by=["tests/unit/wallet/test_ledger.py::test_an_external_account_has_a_lower_limit"],
    ),
    Mutant(
        name="outcome-and-entries-apart",
        guard="outcome, entries and balances are one commit",
        changes=[
            Change(
                COMMANDS,
                "    async with database.transaction(pool) as connection:\n        accounts, last_entry_at",
                "    async with database.connection(pool) as connection:\n        accounts, last_entry_at",
            ),
            WITHOUT_BARRIER,
            Change(
                COMMANDS,
                "            await store.write_decision(connection, decision)\n",
                "            await store.write_decision(connection, decision._replace(changed=[]))\n"
                "            await store.write_decision(connection, decision._replace(outcomes=[]))\n",
            ),
        ],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_an_outcome_without_its_entries_is_rolled_back"],
        faults=("wallet/kill", "postgres/kill"),
    ),
    Mutant(
        name="entries-may-be-unbalanced",
        guard="the database refuses entries of a transfer that do not sum to zero",
        changes=[
            Change(
                SCHEMA,
                "    IF EXISTS (\n        SELECT FROM written GROUP BY transfer_id, currency HAVING sum(amount) <> 0\n    ) THEN",
                "    IF false THEN",
            )
        ],
        works=WORKS,
        caught_by=[f"{TABLES}::test_unbalanced_entries_are_refused"],
    ),
    Mutant(
        name="entries-in-any-currency",
        guard="the database refuses an entry in another currency than its account's",
        changes=[
            Change(
                SCHEMA, "        WHERE accounts.currency IS DISTINCT FROM written.currency\n", "        WHERE false\n"
            )
        ],
        works=WORKS,
        caught_by=[f"{TABLES}::test_unbalanced_entries_are_refused"],
    ),
    *(
        Mutant(
            name=f"{table}-may-be-rewritten",
            guard=f"the rows of {table} are append-only, also for their owner",
            changes=[
                Change(
                    SCHEMA,
                    f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}\n"
                    "    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();\n",
                    "",
                )
            ],
            works=WORKS,
            caught_by=[f"{TABLES}::test_history_cannot_be_rewritten"],
        )
        for table in ("entries", "outcomes", "audit_log")
    ),
    Mutant(
        name="accounts-may-be-removed",
        guard="an account is never removed, not even by the owner of the table",
        changes=[
            Change(
                SCHEMA,
                "CREATE TRIGGER accounts_never_removed BEFORE DELETE OR TRUNCATE ON accounts\n"
                "    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();\n",
                "",
            )
        ],
        works=WORKS,
        caught_by=[f"{GUARDS}::test_an_account_cannot_be_removed"],
    ),
    Mutant(
        name="outcomes-pruned",
        guard="outcomes are permanent: the service cannot delete one",
        changes=[
            Change(
                SCHEMA,
                "CREATE TRIGGER outcomes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON outcomes\n"
                "    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();\n",
                "GRANT DELETE ON outcomes TO payflow_wallet;\n",
            ),
            Change(
                COMMANDS,
                "    async with database.transaction(pool) as connection:\n        accounts, last_entry_at",
                "    async with database.transaction(pool) as connection:\n"
                "        await connection.execute(\"DELETE FROM outcomes WHERE outcome <> 'posted'\")\n"
                "        accounts, last_entry_at",
            ),
        ],
        works=WORKS,
        caught_by=[f"{POSTING}::test_a_recorded_rejection_stays"],
        faults=("rabbitmq/duplicate",),
    ),
    Mutant(
        name="any-service-may-post",
        guard="only the worker may post transfers",
        changes=[
            Change(
                "services/wallet/api.py",
                '    worker = callers(verifier, ["transaction-worker"])',
                '    worker = callers(verifier, ["transaction-worker", "gateway", "transaction"])',
            )
        ],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_callers.py"],
    ),
    Mutant(
        name="any-wallet-is-read",
        guard="a wallet is read for its owner only",
        changes=[
            Change(
                STORE,
                '    return {(row["id"], row["owner_id"]): (Wallet',
                '    return {row["id"]: (Wallet',
            ),
            Change(
                COMMANDS,
                "    return [found.get(pair) for pair in wanted]\n",
                "    return [found.get(wallet_id) for wallet_id, _ in wanted]\n",
            ),
        ],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_api.py::test_wallets_are_read_for_their_owners"],
    ),
    Mutant(
        name="wallet-reads-share-connections",
        guard="reads of users have connections of their own: the ledger does not wait for them",
        changes=[Change("services/wallet/app.py", "app[api.READ_POOL] = read_pool\n", "app[api.READ_POOL] = pool\n")],
        works=WORKS,
        caught_by=["tests/integration/test_budgets.py::test_the_ledger_does_not_wait_for_reads"],
    ),
)
