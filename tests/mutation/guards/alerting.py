"""The guards of the figures that alerts read: a job that does not succeed must not look like one that does."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

CONSUMER = "services/chassis/consumer.py"
DATABASE = "services/chassis/database.py"
OUTBOX = "services/chassis/outbox.py"
SENDER = "services/notification/sender.py"
ALERT_LOG = "deploy/monitoring/alert_log.py"
LOCAL = "deploy/monitoring/local.py"

CONSUMING = "tests/integration/chassis/test_consuming.py"
RELAYING = "tests/integration/chassis/test_relaying.py"
POOLS = "tests/integration/chassis/test_pool_timeouts.py"
DELIVER = "tests/integration/notification/test_deliver.py"
ALERTING = "tests/deploy/monitoring/test_alerting.py"
BESIDE = "tests/deploy/monitoring/test_local.py"

MUTANTS = (
    Mutant(
        name="held-window-is-a-success",
        guard="a consumer that holds an unfinished window records no success",
        changes=[Change(CONSUMER, "            if not self._working:\n", "            if self._working or True:\n")],
        works=f"{CONSUMING}::test_an_idle_consumer_succeeds",
        caught_by=[f"{CONSUMING}::test_an_unfinished_window_is_no_success"],
    ),
    Mutant(
        name="stuck-relay-is-a-success",
        guard="a relay that cannot publish records no success between its attempts",
        changes=[Change(OUTBOX, "not failures and not self._stuck:", "not failures:")],
        works=f"{RELAYING}::test_success_of_a_relay_that_leads",
        caught_by=[f"{RELAYING}::test_no_success_without_a_confirm"],
    ),
    Mutant(
        name="success-after-the-backlog",
        guard="a relay that always finds more to publish records its success meanwhile",
        changes=[Change(OUTBOX, "        if done:\n            # A pass", "        if False:\n            # A pass")],
        works=f"{RELAYING}::test_success_of_a_relay_that_leads",
        caught_by=[f"{RELAYING}::test_success_of_a_relay_that_never_idles"],
    ),
    Mutant(
        name="standby-relay-is-a-success",
        guard="a relay without the lease records no success",
        changes=[Change(OUTBOX, "if self.leads and not failures", "if not failures")],
        works=f"{RELAYING}::test_success_of_a_relay_that_leads",
        caught_by=[f"{RELAYING}::test_a_relay_that_stands_by_records_no_success"],
    ),
    Mutant(
        name="unsent-is-a-success",
        guard="a sender that did not reach the mail server records no success",
        changes=[
            Change(
                SENDER,
                "            try:\n                claimed_count",
                "            try:\n                self._success.set_to_current_time()\n                claimed_count",
            )
        ],
        works=f"{DELIVER}::test_sent",
        caught_by=[f"{DELIVER}::test_success_needs_the_mail_server"],
    ),
    Mutant(
        name="sender-without-a-figure",
        guard="a sender that never succeeded exports the time 0, so that its alert fires",
        changes=[
            Change(
                SENDER,
                '        self._success = metrics.JOB_LAST_SUCCESS.labels(f"delivery-{source.name}")\n',
                "",
            ),
            Change(
                SENDER,
                "            self._success.set_to_current_time()\n",
                '            metrics.JOB_LAST_SUCCESS.labels(f"delivery-{self._source.name}").set_to_current_time()\n',
            ),
        ],
        works=f"{DELIVER}::test_sent",
        caught_by=[f"{DELIVER}::test_a_sender_without_success_is_visible"],
    ),
    Mutant(
        name="away-database-is-an-exhausted-pool",
        guard="only a pool whose connections are all in use counts as exhausted",
        changes=[Change(DATABASE, "isinstance(error, TimeoutError) and _is_exhausted(pool)", "is_unavailable(error)")],
        works=f"{POOLS}::test_exhausted_pool_is_counted",
        caught_by=[f"{POOLS}::test_unavailable_database_is_no_exhausted_pool"],
    ),
    Mutant(
        name="watchdog-never-missing",
        guard="the alert that always fires is reported when it does not arrive",
        changes=[Change(ALERT_LOG, "if self._is_missing or seconds <= self._seconds:", "if seconds > self._seconds:")],
        works=f"{ALERTING}::test_the_watchdog_is_written_when_it_changes",
        caught_by=[f"{ALERTING}::test_a_missing_watchdog_is_written_once"],
    ),
    Mutant(
        name="missing-alertmanager-is-down",
        guard="where no Alertmanager is run, no alert reports it as down",
        changes=[Change(LOCAL, "*(() if managers else NEED_ALERTMANAGER)", "*()")],
        works=f"{BESIDE}::test_every_rule_is_read_beside_everything",
        caught_by=[f"{BESIDE}::test_without_alertmanager_no_rule_reports_it_missing"],
    ),
)
