"""The guards of messages: outbox, publisher, consumer."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

BROKER = "services/chassis/broker.py"
DATABASE = "services/chassis/database.py"
READINESS = "services/chassis/readiness.py"
CONSUMER = "services/chassis/consumer.py"
OUTBOX = "services/chassis/outbox.py"
QUERIES = "services/chassis/sql/queries.sql"
DEAD_LETTERS = "services/chassis/dead_letters.py"
DEAD_LETTER_QUERIES = "services/chassis/sql/queries_dead_letters.sql"

ACKNOWLEDGING = "tests/integration/chassis/test_acknowledging.py"
CONSUMING = "tests/integration/chassis/test_consuming.py"
DEAD_LETTER_TESTS = "tests/integration/transaction/test_dead_letters.py"
PUBLISHING = "tests/integration/chassis/test_publishing.py"
STOPPING = "tests/integration/chassis/test_stopping.py"
UNUSABLE = "tests/integration/chassis/test_unusable_databases.py"
RELAYING = "tests/integration/chassis/test_relaying.py"
RELAY_COUNTS = "tests/integration/chassis/test_relay_counts.py"
WORKS = "tests/integration/transaction/test_path.py::test_transfer_is_completed"

TOPOLOGY = "tests/integration/chassis/test_topology.py"
DELETED = f"{TOPOLOGY}::test_retired_queues_are_deleted"
DELAYS_NOTHING = f"{TOPOLOGY}::test_a_retired_queue_that_does_not_respond_delays_no_publish"

MUTANTS = (
    Mutant(
        name="publishes-wait-for-retired-queues",
        guard="no publish waits for the deletion of a retired queue",
        changes=[
            Change(
                BROKER,
                "        await _declare_queue(channel, queue)\n\n\n",
                "        await _declare_queue(channel, queue)\n"
                "    for queue in topology.RETIRED_QUEUES:\n"
                "        for name in queue.names:\n"
                "            await channel.queue_delete(name)\n\n\n",
            )
        ],
        works=DELETED,
        caught_by=[DELAYS_NOTHING],
    ),
    Mutant(
        name="ack-before-the-commit",
        guard="a window is acknowledged after its commit, not before",
        changes=[
            Change(CONSUMER, "        await window[-1].ack(multiple=True)\n", ""),
            Change(
                CONSUMER,
                "        entries, exceptions = self._read(window)\n",
                "        await window[-1].ack(multiple=True)\n        entries, exceptions = self._read(window)\n",
            ),
        ],
        works=WORKS,
        caught_by=[f"{CONSUMING}::test_the_window_of_a_dead_worker_is_redelivered"],
        faults=("notification-worker/kill", "transaction-worker-1/kill"),
    ),
    Mutant(
        name="batch-not-halved",
        guard="a failing item does not fail the other items of its batch",
        changes=[
            Change(
                "services/chassis/halving.py",
                "        if len(batch) == 1:\n            return [on_failure(batch[0], error)]\n",
                "        if batch:\n            return [on_failure(item, error) for item in batch]\n",
            )
        ],
        works="tests/unit/chassis/test_halving.py::test_a_good_batch_is_processed_once",
        caught_by=["tests/unit/chassis/test_halving.py::test_bad_items_fail_alone"],
    ),
    Mutant(
        name="lost-window-counts-an-attempt",
        guard="a window that is lost during a pause is returned unchanged, not treated as a failure of its items",
        changes=[Change(CONSUMER, "raises=(WindowLost,)", "raises=()")],
        works=WORKS,
        caught_by=[f"{ACKNOWLEDGING}::test_a_stop_during_a_pause_returns_the_window_unchanged"],
    ),
    Mutant(
        name="ack-without-the-delayed-copy",
        guard="a window is acknowledged only once each delayed or dead-lettered item in it is confirmed",
        changes=[
            Change(
                CONSUMER,
                "            exceptions = [message for message, failed in zip(exceptions, results, strict=True)"
                " if failed is not None]\n",
                "            exceptions = []\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{CONSUMING}::test_an_item_whose_delay_queue_is_gone_is_not_lost"],
    ),
    Mutant(
        name="poison-dropped",
        guard="an unreadable message is kept as a dead letter",
        changes=[
            Change(
                CONSUMER,
                '                poison.append(self._dead_letter(message.body, 0, f"malformed: {error}"))\n',
                "                del error\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{CONSUMING}::test_an_unreadable_body_becomes_a_dead_letter"],
    ),
    Mutant(
        name="mandatory-off",
        guard="a message that no queue accepts is returned to its publisher",
        changes=[Change(BROKER, "mandatory=True", "mandatory=False")],
        works=WORKS,
        caught_by=[f"{PUBLISHING}::test_an_unroutable_message_is_not_published"],
    ),
    Mutant(
        name="channel-without-confirms",
        guard="the broker confirms each message",
        changes=[
            Change(
                BROKER,
                "channel(publisher_confirms=True, on_return_raises=True)",
                "channel(publisher_confirms=False)",
            )
        ],
        works=WORKS,
        caught_by=[f"{PUBLISHING}::test_a_refused_message_is_not_published"],
        faults=("rabbitmq/kill",),
    ),
    Mutant(
        name="marked-without-the-confirm",
        guard="the relay marks a row only if its message was confirmed",
        changes=[
            Change(
                OUTBOX,
                "            done = [bundle for bundle, error in zip(bundles, results, strict=True) if error is None]\n"
                "            left = [bundle for bundle, error in zip(bundles, results, strict=True) if error is not None]\n",
                "            done, left = bundles, list[_Bundle]()\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{RELAYING}::test_rows_wait_for_an_unavailable_broker"],
        faults=("transaction-relay>rabbitmq",),
    ),
    Mutant(
        name="marked-before-the-confirm",
        guard="the relay marks a row only after its confirm",
        changes=[
            Change(
                OUTBOX,
                "            results = await self._publisher.publish(",
                "            await self._mark_and_claim(bundles)\n            results = await self._publisher.publish(",
            )
        ],
        works=WORKS,
        caught_by=[
            f"{RELAYING}::test_rows_are_marked_only_after_their_confirm",
            f"{RELAYING}::test_rows_of_a_dead_relay_are_published",
        ],
        faults=("transaction-relay/kill",),
    ),
    Mutant(
        name="marked-rows-read-again",
        guard="rows that a statement marks as published are not among those that it reads",
        changes=[
            Change(
                QUERIES,
                "    WHERE published_at IS NULL AND id <> ALL($6::uuid[])\n",
                "    WHERE published_at IS NULL\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{RELAY_COUNTS}::test_the_oldest_rows_go_first"],
    ),
    Mutant(
        name="published-after-the-stop",
        guard="a relay that stops marks what was confirmed, and publishes no more",
        changes=[
            Change(
                OUTBOX, "        return rows if not self._runtime.stopping.is_set() else ()\n", "        return rows\n"
            )
        ],
        works=WORKS,
        caught_by=[f"{RELAY_COUNTS}::test_a_stop_ends_a_pass"],
    ),
    # Quorum queues keep every message, persistent or not. The mark matters only for another queue type.
    Mutant(
        name="persistent-off",
        guard="messages are marked as persistent",
        changes=[Change(BROKER, "DeliveryMode.PERSISTENT", "DeliveryMode.NOT_PERSISTENT")],
        works=WORKS,
        caught_by=[f"{PUBLISHING}::test_messages_are_persistent"],
    ),
    Mutant(
        name="refused-message-marked-as-published",
        guard="of several messages only the rows of confirmed ones are marked",
        changes=[
            Change(
                OUTBOX,
                "                await self._postpone(left)\n",
                "                await self._postpone(left)\n            done += left\n",
            )
        ],
        works=f"{RELAY_COUNTS}::test_a_delayed_row_waits",
        caught_by=[f"{RELAY_COUNTS}::test_only_confirmed_rows_are_marked_published"],
    ),
    Mutant(
        name="lease-ignored",
        guard="only the relay that has the lease publishes",
        changes=[Change(QUERIES, "WHERE name = 'outbox' AND holder = $1 AND EXISTS", "WHERE $1 <> '' AND EXISTS")],
        works=WORKS,
        caught_by=[
            f"{RELAYING}::test_a_relay_without_the_lease_publishes_nothing",
            f"{RELAYING}::test_a_frozen_relay_that_continues_does_no_harm",
        ],
    ),
    Mutant(
        name="lease-taken-from-a-live-relay",
        guard="a lease is taken only when it has expired",
        changes=[
            Change(
                QUERIES,
                "ELSE leases.holder = excluded.holder OR leases.expires_at < clock_timestamp() END",
                "ELSE leases.holder <> '' END",
            )
        ],
        works=WORKS,
        caught_by=[f"{RELAYING}::test_a_relay_without_the_lease_publishes_nothing"],
    ),
    Mutant(
        name="lease-not-renewed",
        guard="a relay that works renews its lease",
        changes=[
            Change(QUERIES, "ELSE leases.holder = excluded.holder OR leases.expires_at", "ELSE leases.expires_at")
        ],
        works=WORKS,
        caught_by=[f"{RELAYING}::test_a_working_relay_keeps_its_lease"],
    ),
    Mutant(
        name="lease-without-an-end",
        guard="a relay that died or is frozen is replaced by another one",
        changes=[
            Change(
                QUERIES,
                "ELSE leases.holder = excluded.holder OR leases.expires_at < clock_timestamp() END",
                "ELSE leases.holder = excluded.holder END",
            )
        ],
        works=WORKS,
        caught_by=[
            f"{RELAYING}::test_rows_of_a_dead_relay_are_published",
            f"{RELAYING}::test_a_relay_that_is_gone_is_replaced",
            f"{RELAYING}::test_a_frozen_process_is_replaced",
        ],
        faults=("transaction-relay/kill",),
    ),
    Mutant(
        name="window-of-any-size",
        guard="a handler gets no more items at once than it can do in its time",
        changes=[Change(CONSUMER, "WINDOW_ITEMS_MAX = WINDOW_MESSAGES_MAX * BUNDLE_MAX", "WINDOW_ITEMS_MAX = 10**9")],
        works=WORKS,
        caught_by=["tests/unit/chassis/test_consumer.py::test_a_handler_gets_a_limited_number_of_items"],
    ),
    Mutant(
        name="lease-of-a-wrong-clock-respected",
        guard="a lease that would last longer than any can is free",
        changes=[Change(QUERIES, "make_interval(secs => 2 * $2)", "make_interval(days => 1)")],
        works=WORKS,
        caught_by=[f"{RELAYING}::test_a_lease_from_a_clock_that_was_set_back_is_free"],
    ),
    Mutant(
        name="topics-share-a-pass",
        guard="rows that the broker refuses hold up no other topic",
        changes=[
            Change(QUERIES, "OVER (PARTITION BY topic ORDER BY id)", "OVER (ORDER BY id)"),
        ],
        works=WORKS,
        caught_by=[f"{RELAYING}::test_refused_rows_hold_up_no_other_topic"],
    ),
    Mutant(
        name="lease-kept-without-the-broker",
        guard="a relay that can publish nothing leaves the lease to another one",
        changes=[
            Change(
                OUTBOX,
                "            if self._stuck:\n                # Another",
                "            if self._stuck:\n                break\n                # Another",
            )
        ],
        works=WORKS,
        caught_by=[f"{RELAYING}::test_a_relay_without_its_broker_is_replaced"],
    ),
    Mutant(
        name="prune-deletes-unpublished",
        guard="only published rows are pruned from the outbox",
        changes=[
            Change(QUERIES, "WHERE id < $1 AND published_at IS NOT NULL ORDER BY id", "WHERE id < $1 ORDER BY id")
        ],
        works=WORKS,
        caught_by=[f"{RELAYING}::test_only_published_rows_are_pruned"],
    ),
    Mutant(
        name="replay-marked-without-the-confirm",
        guard="a dead letter is marked as replayed only after the broker has confirmed it",
        changes=[
            Change(
                DEAD_LETTERS,
                "    if failed is not None:\n        raise BrokerUnavailable(",
                "    if False:\n        raise BrokerUnavailable(",
            )
        ],
        works=f"{DEAD_LETTER_TESTS}::test_replay_moves_money_once",
        caught_by=[f"{DEAD_LETTER_TESTS}::test_unconfirmed_replay_marks_nothing"],
    ),
    Mutant(
        name="replay-of-an-altered-command",
        guard="a command is replayed only as it was accepted",
        changes=[
            Change(
                "services/transaction/replay.py",
                "return state is not None and state.terms == (",
                "return True or (",
            )
        ],
        works=f"{DEAD_LETTER_TESTS}::test_replay_moves_money_once",
        caught_by=[f"{DEAD_LETTER_TESTS}::test_refused_replay_publishes_nothing"],
    ),
    Mutant(
        name="returned-dead-letter-marked-done",
        guard="a dead letter that returns before its replay is marked stays waiting",
        changes=[
            Change(
                DEAD_LETTER_QUERIES, "state = 'waiting' AND seen = $2::integer", "state = 'waiting' AND $2::integer > 0"
            )
        ],
        works=f"{DEAD_LETTER_TESTS}::test_replay_moves_money_once",
        caught_by=[f"{DEAD_LETTER_TESTS}::test_dead_letter_that_fails_again_stays_waiting"],
    ),
    Mutant(
        name="redelivered-dead-letter-recorded-twice",
        guard="a redelivered dead letter is recognised, also after it was resolved",
        changes=[
            Change(
                DEAD_LETTER_QUERIES,
                "WHERE NOT EXISTS (SELECT FROM dead_letters WHERE queue = $2 AND message_id = $5)\n",
                "WHERE true\n",
            )
        ],
        works=f"{DEAD_LETTER_TESTS}::test_replay_moves_money_once",
        caught_by=[f"{DEAD_LETTER_TESTS}::test_copies_share_one_row"],
    ),
    Mutant(
        name="stop-without-an-end",
        guard="a role that was asked to stop exits in time, whatever it waits for",
        changes=[Change("services/chassis/roles.py", "    clock.start()\n", "")],
        works=f"{STOPPING}::test_an_orderly_stop_exits_with_0",
        caught_by=[f"{STOPPING}::test_a_hanging_stop_is_aborted"],
    ),
    Mutant(
        name="read-only-session-back-to-the-pool",
        guard="a session that cannot write is not used again",
        changes=[
            Change(DATABASE, "            borrowed.terminate()\n", "            del borrowed\n"),
            Change(DATABASE, "        await pool.expire_connections()\n        # With its", "        # With its"),
        ],
        works=f"{UNUSABLE}::test_an_error_of_a_statement_keeps_its_session",
        caught_by=[f"{UNUSABLE}::test_one_refused_request_replaces_every_session"],
    ),
    Mutant(
        name="only-the-failed-session-replaced",
        guard="if one session cannot write, all sessions of its pool are replaced",
        changes=[Change(DATABASE, "        await pool.expire_connections()\n        # With its", "        # With its")],
        works=f"{UNUSABLE}::test_an_error_of_a_statement_keeps_its_session",
        caught_by=[f"{UNUSABLE}::test_one_refused_request_replaces_every_session"],
    ),
    Mutant(
        name="readiness-only-selects",
        guard="a process is ready only while its database accepts writes",
        changes=[Change(READINESS, "execute(statements.probe_writable)", 'execute("SELECT 1")')],
        works=f"{UNUSABLE}::test_an_error_of_a_statement_keeps_its_session",
        caught_by=[f"{UNUSABLE}::test_readiness_follows_the_database"],
    ),
    Mutant(
        name="sessions-on-a-standby",
        guard="a session on a standby is not used",
        changes=[Change(DATABASE, "SessionAttribute.primary", "SessionAttribute.any")],
        works=f"{UNUSABLE}::test_an_error_of_a_statement_keeps_its_session",
        caught_by=[f"{UNUSABLE}::test_a_standby_serves_nothing_until_it_is_promoted"],
    ),
    Mutant(
        name="changed-settings-not-followed",
        guard="sessions opened with other settings are replaced, also if they raise no error",
        changes=[Change(READINESS, "                await pool.expire_connections()\n", "                del pool\n")],
        works=f"{UNUSABLE}::test_an_error_of_a_statement_keeps_its_session",
        caught_by=[f"{UNUSABLE}::test_settings_that_raise_no_error_are_followed"],
    ),
)
