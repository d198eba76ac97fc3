"""Periods and sizes on the money path that depend on each other, and the defaults stated in the manual."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from services.auth.commands import emails as auth_emails
from services.chassis import audit, broker, client, consumer, database, leaderless, outbox
from services.contracts import limits, topology
from services.contracts.money import AMOUNT_MAX, BALANCE_MAX, EXTERNAL_BALANCE_MAX
from services.gateway import intake as gateway_intake
from services.gateway import live
from services.gateway.clients import service
from services.notification import catch_up, channels, deliver, pending, poller, sender
from services.notification import schemas as notification_schemas
from services.notification import settings as notification_settings
from services.transaction import (
    affordability,
    app,
    auth_client,
    backlog,
    commands,
    directory,
    monitor,
    queue_zone,
    reversal,
    schemas,
    simulation,
    steps,
    store,
    transfer,
    waiting,
    wallet_client,
    worker,
)
from services.transaction import settings as transaction_settings
from services.wallet import api as wallet_api
from services.wallet import app as wallet_app
from services.wallet import chain, proof, seal, sealer
from services.wallet import commands as wallet_commands
from services.wallet import settings as wallet_settings

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs/operations/settings.md").read_text()
PROVISION = (ROOT / "deploy/postgres/provision.sql").read_text()


def default(settings: type[BaseSettings], name: str) -> float:
    """The default of a setting, in its unit."""
    return float(settings.model_fields[name].default)


def of_the_database(setting: str) -> float:
    """A limit of every service's role in PostgreSQL, in seconds."""
    [seconds] = re.findall(rf"\('{setting}', '(\d+)s'\)", PROVISION)
    return float(seconds)


REVERSAL_AFTER = default(transaction_settings.ApiSettings, "reversal_after_seconds")
REVERSAL_EVERY = default(transaction_settings.ReversalSettings, "reversal_every_seconds")
BACKLOG_MAX = default(transaction_settings.ApiSettings, "backlog_seconds_max")
CATCH_UP = default(notification_settings.WorkerSettings, "catch_up_seconds")
SEAL_EVERY = default(wallet_settings.SealSettings, "seal_every_seconds")
PROOF_EVERY = default(wallet_settings.SealSettings, "proof_every_seconds")
FINALIZE_MARGIN = transfer.FINALIZE_MARGIN.total_seconds()


def test_a_call_to_the_wallet_outlives_the_work_on_it() -> None:
    """The wallet returns `retry` a second before its caller times out, and after its statements have waited for locks."""
    assert of_the_database("lock_timeout") < wallet_api.POST_SECONDS <= wallet_client.CALL_SECONDS - 1
    assert wallet_client.CALL_SECONDS <= database.COMMAND_SECONDS <= 2 * of_the_database("statement_timeout")


def test_server_timeouts_are_shorter_than_the_drivers() -> None:
    """Limits of the database are shorter than those of the driver, so that the error says what happened."""
    assert of_the_database("lock_timeout") < of_the_database("statement_timeout") < database.COMMAND_SECONDS
    assert database.ACQUIRE_SECONDS < database.COMMAND_SECONDS / 2
    assert app.INTAKE_SETTINGS["lock_timeout"] == "500ms"


def test_the_intake_responds_before_the_gateway_times_out() -> None:
    """Looking up recipients and wallets, the funds check and two waits for a key fit into one call of the gateway."""
    waits = auth_client.RECIPIENTS_SECONDS + wallet_client.FIND_SECONDS + wallet_client.AFFORD_SECONDS + 2 * 0.5

    assert waits + database.ACQUIRE_SECONDS <= service.CALL_SECONDS
    assert 0.05 <= wallet_client.AFFORD_SECONDS <= 0.5 < wallet_client.FIND_SECONDS
    assert auth_client.RECIPIENTS_SECONDS == wallet_client.FIND_SECONDS <= service.CALL_SECONDS / 4


def test_a_transfer_lives_longer_than_a_short_outage() -> None:
    """After a short broker outage, the death of a relay and a slow response of the wallet there is time left to post."""
    relay_died = outbox.LEASE_SECONDS + broker.OPEN_SECONDS + broker.CONFIRM_SECONDS
    wallet_late = client.ATTEMPTS_MAX * wallet_client.CALL_SECONDS

    assert relay_died + wallet_late < REVERSAL_AFTER
    assert 2 * BACKLOG_MAX < REVERSAL_AFTER <= 6 * BACKLOG_MAX
    assert simulation.EXPIRES_SECONDS_MAX == REVERSAL_AFTER
    assert simulation.DELAY_SECONDS_MAX == 2 * REVERSAL_AFTER


def test_an_expired_transfer_ends_in_time() -> None:
    """A pass that has just ended, a call to the wallet with its second attempt and a wait for a row fit into the margin."""
    a_pass = REVERSAL_EVERY + client.ATTEMPTS_MAX * wallet_client.CALL_SECONDS + database.COMMAND_SECONDS

    assert a_pass < FINALIZE_MARGIN <= REVERSAL_AFTER / 2
    assert re.search(rf"the expiry and {FINALIZE_MARGIN:.0f} s", (ROOT / "docs/glossary.md").read_text())


def test_dead_letters_have_expired() -> None:
    """An item that always fails is retried until its transfer has ended, and becomes a dead letter soon after."""
    attempts = int(default(transaction_settings.WorkerSettings, "consumer_attempts_max"))
    delays = [topology.DELAY_SECONDS[min(n, len(topology.DELAY_SECONDS)) - 1] for n in range(1, attempts)]

    assert attempts == consumer.ATTEMPTS_MAX
    assert len(topology.DELAY_SECONDS) < attempts < topology.DELIVERY_LIMIT <= 10 * attempts
    assert REVERSAL_AFTER < sum(delays) < 2 * REVERSAL_AFTER
    assert all(
        short < long <= 2 * short
        for short, long in zip(topology.DELAY_SECONDS, topology.DELAY_SECONDS[1:], strict=False)
    )


def test_a_frozen_relay_is_replaced_within_ten_seconds() -> None:
    """The lease ends, another relay takes it, perhaps after a wait for a lock, and looks for rows. A live relay renews it."""
    wait = of_the_database("lock_timeout")

    assert outbox.LEASE_SECONDS + outbox.RENEW_SECONDS + outbox.POLL_SECONDS + wait < 10
    assert 3 * outbox.RENEW_SECONDS <= outbox.LEASE_SECONDS
    assert outbox.POLL_SECONDS <= outbox.RELEASE_SECONDS <= REVERSAL_AFTER / 16
    assert broker.BLOCKED_SECONDS < broker.CONFIRM_SECONDS


def test_a_commit_that_does_not_notify_is_published_soon() -> None:
    """A relay under load looks again five times before a process would notify it."""
    assert 5 * outbox.PAUSE_SECONDS_MIN <= outbox.NOTIFY_SECONDS <= outbox.POLL_SECONDS / 5
    assert 1 <= broker.CONFIRM_SECONDS < broker.CONNECT_SECONDS <= broker.OPEN_SECONDS / 2 <= REVERSAL_AFTER / 8
    assert 3 * broker.CONFIRM_SECONDS <= broker.HEARTBEAT_SECONDS + 1 < REVERSAL_AFTER / 2


def test_published_rows_are_kept_until_their_transfer_ends() -> None:
    """Until the last pass has ended a row still shows when it was queued; then it is deleted, as fast as rows arrive."""
    assert 2 * (REVERSAL_AFTER + FINALIZE_MARGIN) < outbox.KEEP_PUBLISHED_SECONDS <= 3600
    assert 10 * outbox.PRUNE_SECONDS <= outbox.KEEP_PUBLISHED_SECONDS
    assert 1_000 <= outbox.PRUNE_MAX / outbox.PRUNE_SECONDS <= 10_000
    assert outbox.PRUNE_SECONDS >= 5


def test_windows_bundles_and_batches_fit_into_each_other() -> None:
    """Whatever is collected on one side is accepted by the other in one piece."""
    assert outbox.CLAIM_MAX % topology.BUNDLE_MAX == 0
    assert 4 <= outbox.CLAIM_MAX / topology.BUNDLE_MAX <= consumer.PREFETCH
    assert 2 * consumer.WINDOW_MESSAGES_MAX == consumer.PREFETCH
    window = consumer.WINDOW_MESSAGES_MAX * topology.BUNDLE_MAX
    assert limits.ITEMS_MAX / 4 <= window <= limits.ITEMS_MAX
    assert limits.ITEMS_MAX / 4 <= reversal.BATCH_MAX <= limits.ITEMS_MAX
    assert limits.ITEMS_MAX / 4 <= store.PENDING_MAX <= limits.ITEMS_MAX
    assert gateway_intake.BATCH_MAX <= limits.ITEMS_MAX


def test_pages_and_waits_are_those_of_the_gateway() -> None:
    """What the gateway allows is what the services allow, to the last item and second."""
    assert audit.PAGE_MAX == limits.PAGE_MAX + 1
    assert live.POSITIONS_MAX <= notification_schemas.FEEDS_MAX <= 4 * live.POSITIONS_MAX
    assert live.LINES_MAX <= limits.PAGE_MAX


def test_memory_caches_are_bounded() -> None:
    """A hundred thousand balances and the facts of as many wallets: tens of megabytes."""
    assert 50_000 <= affordability.WALLETS_MAX <= 500_000
    assert affordability.WALLETS_MAX <= directory.CACHED_MAX <= 5 * affordability.WALLETS_MAX


def test_connections_are_enough_and_not_more() -> None:
    """A relay does six things at a time; drafts tried one by one leave half of the intake's connections to others."""
    pool = default(transaction_settings.ApiSettings, "transaction_pool_size_max")

    assert 4 <= transaction_settings.BACKGROUND_POOL_SIZE_MAX <= pool
    assert pool / 4 <= commands.ALONE_MAX <= pool / 2
    assert 2 <= notification_settings.DELIVER_POOL_SIZE_MAX <= notification_settings.WORKER_POOL_SIZE_MAX <= 10


def test_limits_of_proof_queries_match_its_lists() -> None:
    """The queries of the proof have the limits of its lists."""
    queries = (ROOT / "services/wallet/sql/queries.sql").read_text()

    assert 8 == len(re.findall(rf"\bLIMIT {chain.FAULTS_MAX}\b", queries))


def test_page_sizes_fit_the_transaction_service() -> None:
    """The pages of the notification service are within the bounds of the transaction service."""
    assert schemas.EVENTS_MAX / 2 <= catch_up.EVENTS_MAX <= schemas.EVENTS_MAX
    assert schemas.FINALIZED_MAX / 2 <= catch_up.PAGE_MAX <= schemas.FINALIZED_MAX
    assert schemas.FINALIZED_MAX / 2 <= poller.PAGE_MAX <= schemas.FINALIZED_MAX
    # All transfers of a batch have the same times, and a page continues at the last of them.
    assert gateway_intake.BATCH_MAX < poller.PAGE_MAX
    assert catch_up.CALL_SECONDS == poller.CALL_SECONDS <= database.COMMAND_SECONDS


def test_silence_is_detected_soon() -> None:
    """A consumer checks more often than the broker's heartbeat; a queue counts as silent after two missed confirms."""
    assert broker.HEARTBEAT_SECONDS / 4 <= consumer.WATCH_SECONDS <= broker.HEARTBEAT_SECONDS
    assert broker.CONFIRM_SECONDS < consumer.CONSUME_SECONDS <= broker.OPEN_SECONDS
    assert (
        leaderless.TIMEOUTS_MIN * broker.CONFIRM_SECONDS < leaderless.LEADERLESS_SECONDS <= 3 * broker.HEARTBEAT_SECONDS
    )
    assert leaderless.LEADERLESS_SECONDS < REVERSAL_AFTER / 4


def test_unavailable_after_a_few_missed_heartbeats() -> None:
    """After three to ten missed heartbeats a process counts as unavailable."""
    for every in (worker.HEARTBEAT_SECONDS, monitor.MEASURE_SECONDS, backlog.POLL_SECONDS, outbox.MEASURE_SECONDS):
        assert 3 * every < steps.SILENT_SECONDS <= 10 * every
    assert steps.SILENT_SECONDS < BACKLOG_MAX


def test_early_refusals_begin_where_a_queue_is_long() -> None:
    """No request is refused because of a queue that is merely busy; after a refusal Retry-After is within a minute."""
    assert queue_zone.BUSY_FROM < queue_zone.DELAYED_FROM < backlog.PENDING_MIN <= 10 * queue_zone.DELAYED_FROM
    assert queue_zone.DELAYED_AGE_SECONDS < BACKLOG_MAX < backlog.RETRY_AFTER_SECONDS_MAX <= 60
    assert 0.1 <= monitor.SMOOTHING <= 0.5


def test_fast_transfers_send_no_pending_event() -> None:
    """Most transfers are terminal before a PENDING event is due; it is sent a few passes later."""
    assert 0.005 <= waiting.POLL_SECONDS <= commands.PENDING_AGE_SECONDS / 10
    assert 2 * commands.PENDING_AGE_SECONDS <= poller.EVERY_SECONDS <= 2
    overlap = pending.SOURCE.overlap.total_seconds()
    assert poller.EVERY_SECONDS + commands.PENDING_AGE_SECONDS < overlap <= 5 * poller.EVERY_SECONDS


def test_the_manual_states_the_delay_of_a_lost_event() -> None:
    """The pause between two passes, and the grace period for an event to arrive."""
    assert f"A lost event arrives up to {commands.FINALIZED_GRACE_SECONDS:.0f} s later than that" in MANUAL
    assert commands.FINALIZED_GRACE_SECONDS >= database.ACQUIRE_SECONDS + outbox.RELEASE_SECONDS
    assert CATCH_UP + commands.FINALIZED_GRACE_SECONDS < FINALIZE_MARGIN


def test_sealing_waits_for_running_transactions() -> None:
    """An outcome may be dated earlier than its transaction by the time it may idle and work, not more."""
    writes = of_the_database("idle_in_transaction_session_timeout") + of_the_database("statement_timeout")
    slack = seal.SLACK.total_seconds()

    assert writes < slack <= 2 * writes
    assert SEAL_EVERY <= seal.OVERLAP.total_seconds() < writes


def test_unsealed_rows_are_reported_in_time() -> None:
    """A row is sealed after a thorough pass at the latest; the proof reports a missing seal then, not before."""
    thorough = sealer.THOROUGH_PASSES * SEAL_EVERY
    outcomes, accounts = chain.OUTCOME_GRACE.total_seconds(), chain.ACCOUNT_GRACE.total_seconds()

    assert 5 <= sealer.THOROUGH_PASSES
    assert seal.SLACK.total_seconds() + thorough < outcomes <= PROOF_EVERY
    assert PROOF_EVERY < accounts <= 30 * PROOF_EVERY
    assert sealer.WORK_SHARE * outcomes <= accounts
    assert "at least forty times as long as the run, up to ten minutes" in MANUAL
    assert (40, 600) == (sealer.PROOF_SHARE, sealer.PROOF_PAUSE_SECONDS_MAX)
    assert sealer.WORK_SHARE < sealer.PROOF_SHARE < sealer.WHOLE_PROOF_SHARE


def test_full_scans_have_their_own_limits() -> None:
    """The driver waits as long as the database works on the proof; the head is logged every few proofs, drift more often."""
    limits = re.findall(r"ALTER ROLE payflow_wallet_(?:proof|seal) SET statement_timeout = '(\d+)s'", PROVISION)
    assert [wallet_app.LONG_SECONDS] * 2 == [float(limit) for limit in limits]
    assert PROOF_EVERY < sealer.HEAD_LOG_SECONDS <= 10 * PROOF_EVERY
    assert 1 <= proof.DRIFT_SECONDS <= PROOF_EVERY / 4


def test_a_block_is_half_a_megabyte() -> None:
    """With ids and digests, however many rows remain; some blocks are read at a time."""
    assert 400_000 <= wallet_commands.SEAL_MAX * (16 + seal.DIGEST_BYTES) <= 600_000
    assert wallet_commands.SEAL_MAX <= chain.ROWS <= 10 * wallet_commands.SEAL_MAX


@pytest.mark.parametrize("lease", [deliver.LEASE_SECONDS, auth_emails.LEASE_SECONDS], ids=["deliveries", "emails"])
def test_a_lease_outlives_the_e_mail_it_is_for(lease: float) -> None:
    """Half of it is enough to look up the addresses, to connect, and for two e-mails at their slowest."""
    assert deliver.CONTACTS_SECONDS + channels.CONNECT_SECONDS + 2 * channels.SEND_SECONDS <= lease / 2
    assert lease <= 120
    assert channels.QUIT_SECONDS < channels.CONNECT_SECONDS <= channels.SEND_SECONDS


def test_an_e_mail_is_tried_for_hours() -> None:
    """First within a minute, later every hour, for several hours but not days."""
    pauses = [min(sender.RETRY_SECONDS * 2**n, sender.RETRY_SECONDS_MAX) for n in range(sender.ATTEMPTS_MAX - 1)]

    assert 10 <= sender.RETRY_SECONDS <= 60
    assert 3600 == sender.RETRY_SECONDS_MAX
    assert 4 * 3600 <= sum(pauses) <= 12 * 3600
    assert 5 <= sender.PAUSE_SECONDS_MAX <= deliver.LEASE_SECONDS
    assert 0.5 <= sender.POLL_SECONDS <= 5
    assert 10 <= sender.CLAIM_MAX <= 200


def test_one_more_transfer_always_fits_into_a_balance() -> None:
    """A user's balance is a number that JSON represents exactly; the largest external balance and a transfer fit into 64 bits."""
    assert BALANCE_MAX == 2**53 - 1
    assert AMOUNT_MAX <= BALANCE_MAX / 4
    assert EXTERNAL_BALANCE_MAX + AMOUNT_MAX < 2**63 <= EXTERNAL_BALANCE_MAX + 500 * AMOUNT_MAX
