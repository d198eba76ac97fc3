"""The checks of the proof: a test fails without any one of them, or of their conditions."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

CHAIN = "services/wallet/chain.py"
PROOF = "services/wallet/proof.py"
QUERIES = "services/wallet/sql/queries.sql"

FAULTS = "tests/integration/wallet/test_proof.py::test_a_fault_fails_its_check"
BLOCKS = "tests/unit/wallet/test_chain.py::test_each_fault_of_a_block_is_named"
RUNS = "tests/integration/wallet/test_proof_runs.py"
WORKS = "tests/integration/wallet/test_tampering.py::test_a_genuine_history_is_verified"

CHECKS = {
    "entries_sum_to_zero": '    "prove_entries_sum_to_zero",\n',
    "transfers_balance": '    "prove_transfers_balance",\n',
    "balances_equal_entries": '    "prove_balances_equal_entries",\n',
    "held_equals_holds": '    "prove_held_equals_holds",\n',
    "chains_unbroken": '    "prove_chains_unbroken",\n',
    "outcomes_equal_entries": '    "prove_outcomes_equal_entries",\n',
    "admissions_audited": '    "prove_admissions_audited",\n',
    "blocks_unbroken": (
        '        _check("blocks_unbroken", report.blocks, passed=f"from block {start.number + 1 if start else 1}"),\n'
    ),
    "recorded_blocks_present": '        _check("recorded_blocks_present", report.lost),\n',
    "sealed_rows_unchanged": '        _check("sealed_rows_unchanged", report.altered),\n',
    "nothing_came_late": '        _check("nothing_came_late", report.late),\n',
    "sealing_keeps_up": '        _check("sealing_keeps_up", report.waiting),\n',
}

# Of the conditions of the last check, those for a missing side are implied by the comparison of both sides.
CONDITIONS = {
    "transfers-of-two-entries": ("HAVING count(*) <> 2 OR ", "HAVING "),
    "transfers-sum-to-zero": ("OR sum(amount) <> 0 OR count(DISTINCT currency)", "OR count(DISTINCT currency)"),
    "transfers-in-one-currency": (" OR count(DISTINCT currency) <> 1 LIMIT 20", " LIMIT 20"),
    "balances-of-their-entries": ("WHERE accounts.posted <> coalesce(history.total, 0)\n   OR ", "WHERE "),
    "accounts-count-their-entries": ("\n   OR accounts.seq <> coalesce(history.count, 0)", ""),
    "accounts-know-their-last-entry": ("\n   OR accounts.seq <> coalesce(history.last, 0)", ""),
    "entries-without-a-gap": ("WHERE seq <> seq_before + 1 OR ", "WHERE "),
    "balances-along-the-entries": ("OR balance_after <> balance_before + amount OR", "OR"),
    "entries-in-time-order": (" OR created_at < created_before\n", "\n"),
    "entries-in-the-account-currency": ("OR held_in IS DISTINCT FROM currency OR (", "OR ("),
    "users-never-overdrawn": (" OR (owner_id IS NOT NULL AND balance_after < 0)\n", "\n"),
    "admissions-have-entries": (
        "WHERE admissions.transfer_id IS NULL OR entry.transfer_id IS NULL\n",
        "WHERE admissions.transfer_id IS NULL\n",
    ),
    "entries-have-admissions": (
        "WHERE admissions.transfer_id IS NULL OR entry.transfer_id IS NULL\n",
        "WHERE entry.transfer_id IS NULL\n",
    ),
    "admissions-with-their-reason": (" AND entry.reason = admissions.reason AND", " AND"),
    "admissions-by-their-operator": (" AND entry.actor_id = admissions.operator_id\n", "\n"),
    "outcomes-point-at-their-entries": (
        "OR line.sides IS DISTINCT FROM ARRAY[",
        "OR false AND line.sides IS DISTINCT FROM ARRAY[",
    ),
}

OF_BLOCKS = {
    "block-numbers": ("    if block.number != number + 1:", "    if False:"),
    "block-order": ("    elif block.previous != previous:", "    elif False:"),
    "block-version": ("    if block.version != seal.VERSION:", "    if False:"),
    "block-hash": ("    elif seal.block_hash(block) != hash_:", "    elif False:"),
}

MUTANTS = (
    *(
        Mutant(
            name=f"proof-without-{name.replace('_', '-')}",
            guard=f"the proof makes the check {name}",
            changes=[Change(PROOF, line, "")],
            works=WORKS,
            caught_by=[FAULTS],
        )
        for name, line in CHECKS.items()
    ),
    *(
        Mutant(
            name=f"unproved-{name}",
            guard=f"the proof checks: {name.replace('-', ' ')}",
            changes=[Change(QUERIES, *change)],
            works=WORKS,
            caught_by=[FAULTS],
        )
        for name, change in CONDITIONS.items()
    ),
    *(
        Mutant(
            name=f"unproved-{name}",
            guard=f"the proof checks: {name.replace('-', ' ')}",
            changes=[Change(CHAIN, *change)],
            works=WORKS,
            caught_by=[BLOCKS],
        )
        for name, change in OF_BLOCKS.items()
    ),
    Mutant(
        name="failure-replaced-by-an-overlapping-run",
        guard="a run that passed replaces a failed one only if it began after it",
        changes=[Change(QUERIES, "(last_proof.ok OR last_proof.at", "(true OR last_proof.at")],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_proof.py::test_a_failure_is_replaced_by_a_run_that_began_after_it"],
    ),
    Mutant(
        name="failure-for-one-caller",
        guard="a contradiction that is found for one caller is stored for all",
        changes=[
            Change("services/wallet/commands_proof_run.py", "proof.is_stored(run.required)", "run.required is None")
        ],
        works=WORKS,
        caught_by=[f"{RUNS}::test_a_contradiction_is_stored_whatever_the_caller_requires"],
    ),
    Mutant(
        name="failure-behind-a-fast-clock",
        guard="a failed run is stored, although the stored one has a later time",
        changes=[
            Change(
                QUERIES, "WHERE NOT excluded.ok OR last_proof.at <= excluded.at", "WHERE last_proof.at <= excluded.at"
            )
        ],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_proof.py::test_a_failure_is_stored_whatever_the_clocks_show"],
    ),
    Mutant(
        name="partial-proof-after-a-failure",
        guard="after a failed proof everything is compared again",
        changes=[Change(PROOF, "last is not None and last.ok and not whole", "last is not None and not whole")],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_proof.py::test_a_run_continues_from_the_last_verified_block"],
    ),
    Mutant(
        name="partial-proof-without-repeated-rows",
        guard="a run that continues compares the newest verified rows again",
        changes=[
            Change(
                CHAIN,
                "    return await store.find_block_before_rows(connection, verified, REPEATED_ROWS)\n",
                "    return verified\n",
            )
        ],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_proof.py::test_a_small_ledger_is_compared_whole"],
    ),
    Mutant(
        name="proof-of-the-first-rows",
        guard="the proof reads the chain to its end",
        changes=[Change(CHAIN, "    while await _examine_part(", "    if await _examine_part(")],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_proof.py::test_the_last_rows_of_a_long_chain_are_compared"],
    ),
    Mutant(
        name="head-of-another-server",
        guard="a run returns only a head that exists on the server that confirms its replication",
        changes=[Change(PROOF, "and not report.lost and not await store", "and False and not await store")],
        works=WORKS,
        caught_by=[f"{RUNS}::test_a_head_that_is_lost_during_the_run_is_not_returned"],
    ),
    Mutant(
        name="drift-of-a-removed-currency",
        guard="drift is no longer exported when its currency has no account",
        changes=[Change(PROOF, "    metrics.DRIFT.clear()\n", "")],
        works=WORKS,
        caught_by=[
            "tests/integration/wallet/test_impossible_rows.py::test_drift_ends_with_the_last_account_of_its_currency"
        ],
    ),
    Mutant(
        name="impossible-amounts-stop-the-proof",
        guard="a check of the books that cannot be made has failed",
        changes=[
            Change(
                PROOF,
                "    except IMPOSSIBLE as error:\n        return [_cannot_be_made(error)]",
                "    except ZeroDivisionError as error:\n        return [_cannot_be_made(error)]",
            )
        ],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_impossible_rows.py::test_a_check_that_cannot_be_made_has_failed"],
    ),
    Mutant(
        name="impossible-blocks-stop-the-proof",
        guard="blocks that cannot be examined fail their checks",
        changes=[
            Change(
                PROOF,
                "    except IMPOSSIBLE as error:\n        log",
                "    except ZeroDivisionError as error:\n        log",
            )
        ],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_impossible_rows.py::test_a_check_that_cannot_be_made_has_failed"],
    ),
    Mutant(
        name="unreadable-run-stops-the-sealer",
        guard="an error of the periodic proof does not stop the sealer",
        changes=[
            Change(
                "services/wallet/sealer.py",
                "            except Exception:\n                # A stored",
                "            except ZeroDivisionError:\n                # A stored",
            )
        ],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_impossible_rows.py::test_a_run_that_cannot_begin_is_no_passed_one"],
    ),
    Mutant(
        name="periodic-proof-of-new-blocks-only",
        guard="periodic runs compare all blocks again and again",
        changes=[
            Change(
                "services/wallet/sealer.py",
                "started, whole = time.monotonic(), self._whole_proofs.is_due",
                "started, whole = time.monotonic(), False",
            )
        ],
        works=WORKS,
        caught_by=[f"{RUNS}::test_the_periodic_proof_compares_old_blocks_again"],
    ),
    Mutant(
        name="two-runs-at-once",
        guard="only one requested run of the proof is in progress",
        changes=[
            Change(
                "services/wallet/sql/migrations/0009.sql",
                "CREATE UNIQUE INDEX proof_runs_running",
                "CREATE INDEX proof_runs_running",
            )
        ],
        works=WORKS,
        caught_by=[f"{RUNS}::test_concurrent_requests_share_one_run"],
    ),
    Mutant(
        name="joined-a-smaller-run",
        guard="a request joins only a run that checks at least as much",
        changes=[Change("services/wallet/commands_proof_run.py", " or (whole and not run.whole))", ")")],
        works=WORKS,
        caught_by=[f"{RUNS}::test_a_run_with_other_options_is_refused"],
    ),
    Mutant(
        name="silent-run-kept",
        guard="the run of a process that died is abandoned by the next request",
        changes=[
            Change(
                "services/wallet/store_proof_run.py",
                "    await connection.execute(statements.abandon_silent_run, SILENT)\n",
                "",
            )
        ],
        works=WORKS,
        caught_by=[f"{RUNS}::test_a_silent_run_is_abandoned"],
    ),
    Mutant(
        name="result-of-an-abandoned-run",
        guard="a run that was abandoned stores no result",
        changes=[
            Change(
                "services/wallet/proof_runner.py",
                "                if not await self._is_running(run, progress):\n                    return None\n",
                "                await self._is_running(run, progress)\n",
            ),
            Change(
                "services/wallet/commands_proof_run.py", "if is_ended and proof is not None", "if proof is not None"
            ),
        ],
        works=WORKS,
        caught_by=[f"{RUNS}::test_a_run_that_was_declared_abandoned_stops"],
    ),
    Mutant(
        name="proof-of-one-caller-stored",
        guard="a run with a required block does not become the last proof",
        changes=[Change("services/wallet/commands_proof_run.py", " and proof.is_stored(run.required):", ":")],
        works=WORKS,
        caught_by=[f"{RUNS}::test_a_run_with_a_required_block_is_not_the_last_proof"],
    ),
    Mutant(
        name="recorded-head-not-checked",
        guard="the head recorded by the last run is checked, whichever head is given",
        changes=[
            Change(
                PROOF,
                "[head for head in (recorded, required) if head is not None]",
                "[head for head in (required or recorded,) if head is not None]",
            )
        ],
        works=WORKS,
        caught_by=["tests/integration/wallet/test_proof.py::test_both_the_recorded_and_the_given_block_must_exist"],
    ),
)
