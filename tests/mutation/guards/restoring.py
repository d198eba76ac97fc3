"""The guards of a restore: what does not fit is found, what is newer than the data is discarded, data are never replaced."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

FINDINGS = "deploy/backup/findings.py"
COMPARE = "deploy/backup/compare.py"
RESET = "deploy/backup/reset.py"
SCRIPT = "deploy/backup/backup.sh"

COMPARISON = "tests/integration/deploy/test_comparison.py"
RESETTING = "tests/integration/deploy/test_reset.py"
BACKUP = "tests/integration/deploy/test_backup.py"
AGREE = f"{COMPARISON}::test_databases_of_a_healthy_system_agree"
EVERY_KIND = f"{COMPARISON}::test_every_kind_of_mismatch_is_found"
LOST_COMMAND = f"{RESETTING}::test_command_of_a_lost_transfer_moves_no_money"
REFUSED = f"{RESETTING}::test_nothing_is_discarded_while_a_role_runs"
COMES_BACK = f"{BACKUP}::test_a_lost_server_comes_back"

MUTANTS = (
    Mutant(
        name="outcome-without-transfer-accepted",
        guard="the comparison finds an outcome without its transfer: a retry would pay again",
        changes=[
            Change(
                FINDINGS, "        if outcome is not None:\n            detail", "        if False:\n            detail"
            )
        ],
        works=AGREE,
        caught_by=[f"{COMPARISON}::test_an_older_transaction_dump_lets_a_retry_pay_twice", EVERY_KIND],
    ),
    Mutant(
        name="completed-without-outcome-accepted",
        guard="the comparison finds a final transfer without its outcome",
        changes=[
            Change(
                FINDINGS,
                "    if outcome is None:\n        yield from _without_outcome(transfer)\n    else:",
                "    if outcome is not None:",
            )
        ],
        works=AGREE,
        caught_by=[f"{COMPARISON}::test_an_older_wallet_dump_is_no_backup", EVERY_KIND],
    ),
    Mutant(
        name="money-not-compared",
        guard="the comparison finds entries that are not those of the transfer",
        changes=[Change(FINDINGS, " or (is_posted and outcome.money != transfer.money)", "")],
        works=AGREE,
        caught_by=[EVERY_KIND],
    ),
    Mutant(
        name="keys-not-compared",
        guard="the comparison finds a transfer without its key: a retry would pay again",
        changes=[Change(COMPARE, "FULL JOIN (", "RIGHT JOIN (")],
        works=AGREE,
        caught_by=[EVERY_KIND],
    ),
    Mutant(
        name="suspects-not-read-again",
        guard="what looks wrong in snapshots of different moments is read again",
        changes=[
            Change(
                COMPARE,
                "            if any(_examine(transfer, outcome, events)):\n                suspects.append(id_)\n",
                "            for finding in _examine(transfer, outcome, events):\n                yield finding\n",
            )
        ],
        works=AGREE,
        caught_by=[f"{COMPARISON}::test_a_running_system_is_compared_without_false_findings"],
    ),
    Mutant(
        name="broker-kept-after-a-restore",
        guard="the broker is emptied: the command of a lost transfer must not be posted",
        changes=[
            Change(RESET, "            for vhost, name in names:\n", "            for vhost, name in ():\n"),
            Change(RESET, "    if left:\n", "    if not names:\n"),
        ],
        works=REFUSED,
        caught_by=[LOST_COMMAND],
    ),
    Mutant(
        name="redis-kept-after-a-restore",
        guard="Redis is emptied: the response to a lost request must not be given again",
        changes=[Change(RESET, "        await client.flushall()\n", "        await client.ping()\n")],
        works=REFUSED,
        caught_by=[f"{RESETTING}::test_cached_responses_and_feed_positions_are_discarded"],
    ),
    Mutant(
        name="sessions-kept-after-a-restore",
        guard="sessions, signing keys and links end: some had been ended in the lost time",
        changes=[
            Change(
                RESET, "FROM ended WHERE sessions.id = ended.id", "FROM ended WHERE sessions.id = ended.id AND false"
            )
        ],
        works=REFUSED,
        caught_by=[f"{RESETTING}::test_access_granted_before_ends"],
    ),
    Mutant(
        name="reset-beside-running-roles",
        guard="nothing is discarded while a role runs, which could act on what it has in memory",
        changes=[Change(RESET, "    if connected:\n", "    if False:\n")],
        works=LOST_COMMAND,
        caught_by=[REFUSED],
    ),
    Mutant(
        name="restore-over-existing-data",
        guard="a restore never replaces data",
        changes=[
            Change(
                SCRIPT,
                '    [ ! -e "$data" ] || [ -z "$(ls -A "$data")" ] || fail "$data is not empty: nothing was restored"\n',
                "",
            )
        ],
        works=f"{BACKUP}::test_a_moment_comes_back",
        caught_by=[COMES_BACK],
    ),
    Mutant(
        name="log-not-fetched",
        guard="a restore goes on to the last of the log that was received, also of an incomplete segment",
        changes=[Change(SCRIPT, '        *) cp "$wal/$2.partial" "$3" 2>/dev/null ;;\n', "        *) return 1 ;;\n")],
        works=f"{BACKUP}::test_damage_is_found",
        caught_by=[COMES_BACK],
    ),
    Mutant(
        name="damaged-backup-restored",
        guard="a base backup is verified before it is restored",
        changes=[Change(SCRIPT, '    pg_verifybackup --quiet "$from/data" || fail "$from is damaged"\n', "")],
        works=COMES_BACK,
        caught_by=[f"{BACKUP}::test_damage_is_found"],
    ),
    Mutant(
        name="gap-in-the-log-not-seen",
        guard="a missing segment of the log fails the verification",
        changes=[Change(SCRIPT, '        [ "$name" = "$expected" ] || fail', '        [ -n "$name" ] || fail')],
        works=COMES_BACK,
        caught_by=[f"{BACKUP}::test_damage_is_found"],
    ),
    Mutant(
        name="data-of-a-starting-server-moved",
        guard="the data of a server that refuses connections are not moved aside",
        changes=[Change(SCRIPT, '    [ "$status" -gt 1 ] || fail', '    [ "$status" -gt 0 ] || fail')],
        works=COMES_BACK,
        caught_by=[f"{BACKUP}::test_a_server_that_refuses_connections_keeps_its_data"],
    ),
)
