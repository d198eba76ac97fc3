"""Requests that a fuzzer makes up from the OpenAPI document, against the whole running system."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy, one_of
from schemathesis import APIOperation, Case, GenerationMode, checks, openapi
from schemathesis.core.errors import InvalidSchema
from schemathesis.core.result import Ok, Result

from tests.harness.api import PASSWORD, ApiClient, Person
from tests.harness.document import Document
from tests.harness.drills import bound

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
EXAMPLES = bound(2, 150)
"""For each operation, of requests that fit the document, and as many of ones that do not."""

CALL_SECONDS = 20

AnyOperation = APIOperation[Any, Any, Any, Any]
AnyCase = Case[AnyOperation]


def _operation(found: Result[AnyOperation, InvalidSchema]) -> AnyOperation:
    assert isinstance(found, Ok), found
    return found.ok()


class Fuzzer:
    """An operator who tries whatever the document tells of; ends of sessions are among it, so a new one begins each time."""

    def __init__(self, api: ApiClient, document: Document, email: str, ids: dict[str, str]) -> None:
        self._base = api.base
        self._document = document
        self._email = email
        self._ids = ids
        self._token = ""
        self._line = requests.Session()
        self.sent: Counter[int] = Counter()

    def run(self) -> None:
        operations = [_operation(found) for found in openapi.from_dict(self._document.raw).get_all_operations()]
        for number, operation in enumerate(operations, start=1):
            print(f"{number}/{len(operations)} {operation.label}: {self.sent.total()} requests so far", flush=True)
            if "x-events" in str(operation.definition.raw):
                # It has no end that could be read; its events are checked by the tests of live events.
                continue
            for mode in GenerationMode:
                try:
                    self._try_out(self._requests(operation, mode))
                except Unsatisfiable:
                    # Nothing about it can be wrong.
                    assert mode is GenerationMode.NEGATIVE, operation.label

    def _requests(self, operation: AnyOperation, mode: GenerationMode) -> SearchStrategy[AnyCase]:
        known = self._ids.get(operation.path.partition("/{")[0])
        made_up: SearchStrategy[AnyCase] = operation.as_strategy(generation_mode=mode)
        if known is None or mode is GenerationMode.NEGATIVE:
            return made_up
        return one_of(made_up, operation.as_strategy(generation_mode=mode, path_parameters={"id": known}))

    def _try_out(self, strategy: SearchStrategy[AnyCase]) -> None:
        @seed(1)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def each(case: AnyCase) -> None:
            self._send(case)

        each()

    def _send(self, case: AnyCase) -> None:
        for _ in range(2):
            response = case.call(
                base_url=self._base,
                session=self._line,
                headers={"Authorization": f"Bearer {self._token}"},
                timeout=CALL_SECONDS,
            )
            self.sent[response.status_code] += 1
            if response.status_code != 401 or b"invalid_token" not in response.content:
                break
            self._log_in()
        case.validate_response(response, checks=CHECKS)

    def _log_in(self) -> None:
        who = {"email": self._email, "password": PASSWORD}
        response = requests.post(f"{self._base}/api/v1/auth/login", json=who, timeout=CALL_SECONDS)
        self._token = response.json()["access_token"]


@pytest.mark.timeout(bound(300, 7200))
async def test_whatever_a_fuzzer_makes_of_the_document(api: ApiClient, operator: Person, alice: Person) -> None:
    """Guarantee 60: no fault of ours, no status, type, header or body that is not documented; what does not fit is refused."""
    person = await api.register("Fuzz Test")
    made = await operator.send(
        "PUT",
        f"/ops/users/{person.user_id}/role",
        json={"role": "operator"},
        headers={"Authorization": f"Bearer {operator.token}"},
    )
    assert 200 == made.status, made
    await operator.fund(person, 1000)
    transfer_id = (await person.send_money(alice, 5)).body["id"]
    ids = {
        f"/api/v1{place}{noun}": identifier
        for place in ("", "/ops")
        for noun, identifier in (("/transfers", transfer_id), ("/wallets", person.wallet_id))
    }
    fuzzer = Fuzzer(api, await Document.of(api.session, api.base), person.email, ids)

    await asyncio.to_thread(fuzzer.run)

    print(f"{fuzzer.sent.total()} requests: {dict(sorted(fuzzer.sent.items()))}")
