"""The guards of the canary: what it reports is true."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

CIRCLE = "services/canary/circle.py"
COMMANDS = "services/notification/commands.py"
TESTS = "tests/e2e/test_canary.py"
REGISTERING = "tests/integration/auth/test_probes.py"
MONEY = "tests/unit/transaction/test_metrics.py"
RECORDING = "tests/integration/notification/test_recording.py"
WORKS = f"{TESTS}::test_the_money_circles"
RULES = "monitoring/prometheus/rules/canary.yml"
PROMTOOL = "tests/integration/deploy/monitoring/test_promtool.py"

MUTANTS = (
    Mutant(
        name="canary-address-for-anyone",
        guard="an address that no e-mail can reach is registered with the canary's password only",
        changes=[
            Change(
                "services/auth/commands/accounts.py",
                "    if not probes.may_register(email, password):\n",
                "    if False:\n",
            )
        ],
        works=f"{REGISTERING}::test_canary_registers_its_accounts",
        caught_by=[f"{REGISTERING}::test_address_of_the_canary_is_refused"],
    ),
    Mutant(
        name="canary-counted-as-money",
        guard="test money is not counted as money that moved",
        changes=[
            Change(
                "services/transaction/metrics.py",
                'if row["failure_code"] is None and row["currency"] != TEST_CURRENCY:\n',
                'if row["failure_code"] is None:\n',
            )
        ],
        works=f"{MONEY}::test_money_moved_is_counted",
        caught_by=[f"{MONEY}::test_test_money_is_not_counted"],
    ),
    Mutant(
        name="canary-ignores-the-sum",
        guard="a pass whose sum is wrong is no success",
        changes=[Change(CIRCLE, "        return not difference\n", "        return True\n")],
        works=WORKS,
        caught_by=[f"{TESTS}::test_a_wrong_sum_is_no_success"],
    ),
    Mutant(
        name="canary-forgets-an-unknown-transfer",
        guard="a transfer that may have been accepted is sent again with its key",
        changes=[
            Change(
                CIRCLE,
                "        attempt = self.unknown or Attempt(new_key(), source, target)\n",
                "        attempt = Attempt(new_key(), source, target)\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{TESTS}::test_an_unknown_transfer_is_sent_again_with_its_key"],
    ),
    Mutant(
        name="canary-sends-emails",
        guard="no e-mail is queued about test money",
        changes=[Change(COMMANDS, "                if notification.currency != TEST_CURRENCY\n", "")],
        works=f"{RECORDING}::test_both_users",
        caught_by=[f"{RECORDING}::test_test_money_causes_no_email"],
    ),
    Mutant(
        name="canary-alarm-at-the-start",
        guard="a Prometheus that has just started does not report that no payment completes",
        changes=[Change(RULES, "max(payflow_canary_funded offset 2m) == 1", "max(payflow_canary_funded) == 1")],
        works=f"{PROMTOOL}::test_the_configuration_of_prometheus_is_valid",
        caught_by=[f"{PROMTOOL}::test_every_alert_fires_at_its_limit_and_clears[canary]"],
    ),
    Mutant(
        name="canary-forgotten-after-an-hour",
        guard="a canary that disappears is reported for longer than its last success is known",
        changes=[Change(RULES, "unless max(max_over_time(payflow_canary_funded[50m]))", "unless vector(1)")],
        works=f"{PROMTOOL}::test_the_configuration_of_prometheus_is_valid",
        caught_by=[f"{PROMTOOL}::test_every_alert_fires_at_its_limit_and_clears[canary]"],
    ),
)
