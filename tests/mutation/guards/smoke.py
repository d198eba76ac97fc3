"""The guards of the smoke test: what it must not accept of a deployment."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

TRANSFER = "deploy/smoke/transfer.py"
TESTS = "tests/deploy/smoke/test_smoke.py"
WORKS = f"{TESTS}::test_an_unreachable_gateway_is_one_line"

MUTANTS = (
    Mutant(
        name="smoke-accepts-a-second-transfer",
        guard="the same key again must lead to the same transfer",
        changes=[
            Change(TRANSFER, '    expect(second.id, first.id, "the transfer of the repeated request")\n', ""),
        ],
        works=WORKS,
        caught_by=[f"{TESTS}::test_a_replay_must_be_the_same_transfer"],
    ),
    Mutant(
        name="smoke-ignores-entries",
        guard="the transfer must be in each statement exactly once",
        changes=[Change(TRANSFER, "    expect(entries, [amount], ", "    expect(entries[:1], [amount], ")],
        works=WORKS,
        caught_by=[f"{TESTS}::test_each_side_must_be_right_to_the_cent"],
    ),
    Mutant(
        name="smoke-assumes-the-demo-operator",
        guard="there is no default operator",
        changes=[
            Change(
                "deploy/smoke/settings.py",
                "        if not api_key and not (email and password):\n",
                "        if not api_key and not email:\n            email, password = 'ops@example.com', 'payflow-demo-1'\n"
                "        if not api_key and not (email and password):\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{TESTS}::test_an_operator_is_never_assumed"],
    ),
)
