"""The guards of the Python client: a given argument is sent or refused, never replaced."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

CLIENT = "payflow/client.py"
SUBMISSION = "payflow/submission.py"

ARGUMENTS = "tests/integration/payflow/test_empty_arguments.py"
WORKS = "tests/integration/payflow/test_send.py::test_uses_the_callers_key"

MUTANTS = (
    Mutant(
        name="empty-key-replaced",
        guard="only for None does the client generate an idempotency key",
        changes=[
            Change(
                SUBMISSION,
                "    key = new_key() if key is None else check_key(key)\n",
                "    key = check_key(key) if key else new_key()\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{ARGUMENTS}::test_impossible_key_is_refused_before_anything_is_sent"],
    ),
    Mutant(
        name="invalid-key-is-sent",
        guard="a key that the gateway would refuse is refused before anything is sent",
        changes=[
            Change(
                SUBMISSION,
                "    if not isinstance(key, str) or not KEY.fullmatch(key) or len(key) > IDEMPOTENCY_KEY_LENGTH_MAX:\n",
                "    if not isinstance(key, str) or not key:\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{ARGUMENTS}::test_impossible_key_is_refused_before_anything_is_sent"],
    ),
    Mutant(
        name="empty-wallet-is-the-default",
        guard="an empty wallet id is not the wallet in the default currency",
        changes=[
            Change(
                CLIENT,
                "        wallet_id = await self._default_wallet_id() if wallet_id is None else wallet_id\n"
                '        path = f"/wallets/{segment(wallet_id)}/balance"\n',
                "        wallet_id = wallet_id or await self._default_wallet_id()\n"
                '        path = f"/wallets/{segment(wallet_id)}/balance"\n',
            )
        ],
        works=WORKS,
        caught_by=[f"{ARGUMENTS}::test_empty_wallet_is_not_the_default_one"],
    ),
    Mutant(
        name="empty-id-is-another-path",
        guard="an empty id does not turn the path of one session into that of all sessions",
        changes=[Change("payflow/request.py", '    if text in ("", ".", ".."):\n', '    if text == ".":\n')],
        works=WORKS,
        caught_by=[f"{ARGUMENTS}::test_empty_id_never_becomes_another_address"],
    ),
)
