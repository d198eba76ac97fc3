"""The guards of the seal: every later change is reported."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

COMMANDS = "services/wallet/commands.py"
SEAL = "services/wallet/seal.py"
QUERIES = "services/wallet/sql/queries.sql"
SCHEMA = "services/wallet/sql/migrations/0002.sql"

RULES = "tests/unit/wallet/test_seal.py"
SEALING = "tests/integration/wallet/test_sealing.py"
ADMISSION = "services/wallet/commands_admission.py"
ADMISSIONS = "tests/integration/wallet/test_admissions.py"
REPLICATED = "tests/integration/replication/test_wallet.py"
TAMPERING = "tests/integration/wallet/test_tampering.py"
WORKS = f"{SEALING}::test_a_block_has_a_maximum_size"

MUTANTS = (
    Mutant(
        name="any-outcome-admitted",
        guard="only a late outcome is admitted",
        changes=[Change(ADMISSION, "            if not late:\n", "            if False:\n")],
        works=f"{ADMISSIONS}::test_an_admitted_outcome_is_sealed_once",
        caught_by=[f"{ADMISSIONS}::test_only_late_outcomes_are_admitted"],
    ),
    Mutant(
        name="admission-not-sealed",
        guard="an admitted outcome is in the next block",
        changes=[Change(COMMANDS, "dict.fromkeys([*outcomes, *admitted])", "dict.fromkeys(outcomes)")],
        works=WORKS,
        caught_by=[f"{ADMISSIONS}::test_an_admitted_outcome_is_sealed_once"],
    ),
    Mutant(
        name="admission-sealed-again",
        guard="an admitted outcome is sealed once",
        changes=[Change(COMMANDS, "        if head is not None and admitted:\n", "        if False:\n")],
        works=WORKS,
        caught_by=[f"{ADMISSIONS}::test_an_admitted_outcome_alone_makes_a_block"],
    ),
    Mutant(
        name="admission-audited-twice",
        guard="an admission has one audit entry, however often it is requested",
        changes=[Change("services/wallet/store_admission.py", "    if new is not None:\n", "    if True:\n")],
        works=f"{ADMISSIONS}::test_an_admitted_outcome_is_sealed_once",
        caught_by=[f"{ADMISSIONS}::test_an_admission_is_audited_once"],
    ),
    Mutant(
        name="concurrent-admission-unreplicated",
        guard="an admission that a concurrent request recorded is returned once it is replicated",
        changes=[
            Change(
                ADMISSION,
                "            is_new = await store_admission.insert",
                "            await store_admission.insert",
            )
        ],
        works=f"{REPLICATED}::test_admitted_before",
        caught_by=[f"{REPLICATED}::test_admitted_meanwhile"],
    ),
    Mutant(
        name="sealed-over-running-transactions",
        guard="a block does not include a time that a running transaction may still write to",
        changes=[
            Change(
                QUERIES,
                "(SELECT sealed_at FROM blocks WHERE xid <= pg_snapshot_xmin(pg_current_snapshot())::text::bigint\n"
                "        ORDER BY number DESC LIMIT 1) AS finalized_at",
                "statement_timestamp() AS finalized_at",
            )
        ],
        works=WORKS,
        caught_by=[f"{SEALING}::test_a_late_commit_is_sealed"],
    ),
    Mutant(
        name="frontier-past-unsealed-rows",
        guard="the frontier does not pass rows that did not fit into the block",
        changes=[
            Change(
                SEAL,
                "    return frontier if unread_from is None else min(frontier, unread_from)\n",
                "    return frontier\n",
            )
        ],
        works=f"{SEALING}::test_the_sealer_role",
        caught_by=[f"{RULES}::test_the_frontier_excludes_rows_that_may_still_appear"],
    ),
    Mutant(
        name="block-without-the-one-before",
        guard="the hash of a block covers that of the block before",
        changes=[Change(SEAL, "        block.previous.hex(),\n", '        "",\n')],
        works=WORKS,
        caught_by=[f"{RULES}::test_every_part_of_a_block_is_hashed"],
    ),
    Mutant(
        name="digests-not-sealed",
        guard="the hash of a block covers the content of its rows, not only their ids",
        changes=[Change(SEAL, "        content.update(members.digests)\n", "")],
        works=WORKS,
        caught_by=[f"{RULES}::test_every_part_of_a_block_is_hashed"],
    ),
    Mutant(
        name="lost-head-sealed-over",
        guard="a sealer whose last block is missing stops sealing",
        changes=[
            Change(
                COMMANDS,
                "        if recorded_head is not None and not await store.has_block(connection, recorded_head):\n"
                "            raise HeadLost(recorded_head)\n",
                "",
            )
        ],
        works=WORKS,
        caught_by=[f"{SEALING}::test_the_sealer_role"],
    ),
    Mutant(
        name="blocks-may-be-rewritten",
        guard="UPDATE, DELETE and TRUNCATE of blocks are refused, also to the owner",
        changes=[
            Change(
                SCHEMA,
                "CREATE TRIGGER blocks_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON blocks\n"
                "    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();\n",
                "",
            )
        ],
        works=WORKS,
        caught_by=[f"{TAMPERING}::test_the_service_and_the_sealer_cannot_rewrite_blocks"],
    ),
)
