"""The protocol of one transfer as a model, and a search of all its interleavings.

A state is a value; a step is one commit or one hop of a message, a request or a response. From the accepting commit on,
`explore` takes every step that is possible in every state, breadth first, so the first violation it finds has a
shortest trace. A weakened variant without one guard of the real protocol must lose money; the real protocol must not.

The model and the code:

- `transfers.status` and its events: services/transaction/commands.py `finalize_transfers`
- post, in two steps (read under the account locks, then commit) and void: services/wallet/commands.py
- the worker: services/transaction/worker.py inside services/chassis/consumer.py; the reversal (a sender's cancel takes the
  same way): services/transaction/reversal.py; the relay: services/chassis/outbox.py

    python -m tests.simulation.transfer_protocol [VARIANT ...] [--faults-max N] [--reversals N] ...

prints the table of the variants and a trace to each loss.

Left out: other transfers and batches (row locks; covered by the race tests), another request under the same id (`conflict`,
for an operator), the way from the client to the accepting commit, and loss of committed data by a database.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from services.transaction.transfer import COMPLETED, FAILED, PENDING
from services.wallet.ledger import POSTED, REJECTED, RETRY, VOIDED

NOTHING = ""

# The outbox row.
WAITING, PUBLISHED, MARKED = "waiting", "published", "marked"

# The state of a worker.
IDLE, HOLDING, CALLING, DECIDING, RESPONDED, FINALIZED = (
    "idle",
    "holding",
    "calling",
    "deciding",
    "responded",
    "finalized",
)

# The action of the reversal, and of weaker ones.
VOIDS, READS_THEN_WRITES, WRITES_BLINDLY, ABSENT = "voids", "reads, then writes", "writes blindly", "absent"

# Violations.
MOVED_TWICE = "money moved twice"
FAILED_BUT_MOVED = "FAILED, but the money moved"
COMPLETED_BUT_NOT_MOVED = "COMPLETED, but no money moved"
STATUS_CHANGED = "a terminal status changed"
NOT_ONE_EVENT = "not exactly one event for a terminal status"
STUCK = "stuck in PENDING"


class Guards(NamedTuple):
    """The guards of the protocol; a variant removes one of them."""

    outcomes_read: bool = True
    """Post reads the recorded outcome before it decides. The key below is the guard; this alone only saves work."""
    outcome_unique: bool = True
    """The outcome's primary key: a decision that lost a race is not written but made again."""
    rejections_recorded: bool = True
    """A rejection is an outcome that commits."""
    outcomes_kept: bool = True
    """Outcomes are never deleted."""
    status_written_once: bool = True
    """`UPDATE ... WHERE status = 'PENDING'`; the event is written only if a row was updated."""
    timeout_unknown: bool = True
    """A call without a response is repeated, and says nothing about the transfer."""
    reversal: str = VOIDS


class Bounds(NamedTuple):
    """Bounds on the number of faults and of concurrent copies."""

    faults_max: int = 2
    """Deaths of workers and relays, expired deliveries and duplicates, together. Losses and timeouts are not counted."""
    copies_max: int = 3
    """Copies of the message, waiting or delivered."""
    late_max: int = 2
    """Requests to the wallet whose caller has timed out."""
    reversals: int = 1
    """Concurrent reversals; a sender's cancel is one too."""


class Process(NamedTuple):
    """A worker or a reversal."""

    at: str = IDLE
    response: str = NOTHING
    """What the wallet is deciding for it, or has returned."""
    owns: bool = False
    """Whether the broker still counts its copy as delivered to it."""


class State(NamedTuple):
    """The complete state of one transfer."""

    status: str = PENDING
    events: int = 0
    outbox: str = WAITING
    ready: int = 0
    workers: tuple[Process, Process] = (Process(), Process())
    late: int = 0
    late_decision: str = NOTHING
    outcome: str = NOTHING
    moved: int = 0
    funds: bool = False
    expired: bool = False
    reversals: tuple[Process, ...] = (Process(),)
    faults: int = 0


class Step(NamedTuple):
    """One possible step. `fault` if progress must not depend on it."""

    text: str
    after: State
    fault: bool = False


class Protocol:
    """The possible steps of a state, under these guards and within these bounds."""

    def __init__(self, guards: Guards, bounds: Bounds) -> None:
        self._guards = guards
        self._bounds = bounds

    def steps(self, state: State) -> Iterator[Step]:
        """All possible next steps."""
        yield from self._environment(state)
        yield from self._relay(state)
        yield from self._broker(state)
        for index in (0, 1):
            yield from self._worker(state, index)
        yield from self._late_requests(state)
        for index in range(len(state.reversals)):
            yield from self._reversal(state, index)

    def _environment(self, state: State) -> Iterator[Step]:
        if state.funds:
            yield Step("the sender spends: too little is left", state._replace(funds=False))
        else:
            yield Step("a top-up arrives: the sender has enough", state._replace(funds=True))
        if not state.expired:
            yield Step("the ledger's clock passes the expiry", state._replace(expired=True))
        if not self._guards.outcomes_kept and state.expired and state.outcome:
            yield Step(f"the clean-up deletes the old outcome {state.outcome}", state._replace(outcome=NOTHING))

    def _relay(self, state: State) -> Iterator[Step]:
        if state.outbox == WAITING and self._has_room(state):
            yield Step("the relay publishes the command", state._replace(outbox=PUBLISHED, ready=state.ready + 1))
        if state.outbox == PUBLISHED:
            yield Step("the relay marks the row published", state._replace(outbox=MARKED))
            if self._may_fail(state):
                after = state._replace(outbox=WAITING, faults=state.faults + 1)
                yield Step("the relay dies before it marks the row: its lease expires", after, fault=True)

    def _broker(self, state: State) -> Iterator[Step]:
        if not state.ready:
            return
        yield Step("the broker loses a copy", state._replace(ready=state.ready - 1), fault=True)
        if self._may_fail(state) and self._has_room(state):
            after = state._replace(ready=state.ready + 1, faults=state.faults + 1)
            yield Step("the broker has a second copy", after, fault=True)

    def _worker(self, state: State, index: int) -> Iterator[Step]:
        worker, name = state.workers[index], f"worker {index + 1}"
        if worker.at == IDLE:
            if state.ready:
                after = _set(state, index, Process(HOLDING, owns=True))._replace(ready=state.ready - 1)
                yield Step(f"{name} receives a copy", after)
            return
        if worker.at == HOLDING:
            yield Step(f"{name} sends its call to the wallet", _set(state, index, worker._replace(at=CALLING)))
        elif worker.at in (CALLING, DECIDING):
            yield from self._call(state, index)
            yield self._timeout(state, index)
        elif worker.at == RESPONDED:
            yield from self._responded(state, index)
        elif worker.at == FINALIZED:
            yield Step(f"{name} acknowledges its copy", _set(state, index, Process()))
        yield from self._worker_faults(state, index)

    def _call(self, state: State, index: int) -> Iterator[Step]:
        """The wallet's side of a call: read under the locks, commit, respond."""
        worker, call = state.workers[index], f"the wallet, for worker {index + 1},"
        if worker.at == CALLING:
            after = _set(state, index, worker._replace(at=RESPONDED, response=RETRY))
            yield Step(f"{call} is busy: retry", after)
            if _is_locked(state):
                return
            found, decision = self._look(state)
            at = RESPONDED if found else DECIDING
            after = _set(state, index, worker._replace(at=at, response=decision))
            yield Step(f"{call} locks the accounts and {'finds' if found else 'decides'} {decision}", after)
        else:
            written, response = self._commit(state, worker.response)
            after = _set(written, index, worker._replace(at=RESPONDED, response=response))
            yield Step(f"{call} commits and returns {response}", after)
            after = _set(state, index, worker._replace(at=CALLING, response=NOTHING))
            yield Step(f"{call} rolls back; the request is still there", after)

    def _timeout(self, state: State, index: int) -> Step:
        """No response in time. The request continues without a caller."""
        worker, after = state.workers[index], self._abandon(state, index)
        if self._guards.timeout_unknown:
            after = _set(after, index, Process(HOLDING, owns=worker.owns))
            return Step(f"worker {index + 1} times out: unknown", after)
        after = _set(self._finalize(after, VOIDED), index, Process(FINALIZED, owns=worker.owns))
        return Step(f"worker {index + 1} times out and writes {after.status}", after)

    def _responded(self, state: State, index: int) -> Iterator[Step]:
        worker, name = state.workers[index], f"worker {index + 1}"
        done = Process(FINALIZED, owns=worker.owns)
        if worker.response == RETRY:
            if self._has_room(state):
                after = _set(state, index, done)._replace(ready=state.ready + 1)
                yield Step(f"{name} publishes its copy to the delay queue", after)
        else:
            after = _set(self._finalize(state, worker.response), index, done)
            yield Step(f"{name} reads {worker.response}; {_describe_write(state, after)}", after)
        after = _set(state, index, Process(HOLDING, owns=worker.owns))
        yield Step(
            f"{name} loses the response {worker.response}, or its own database is unavailable: it keeps its copy", after
        )

    def _worker_faults(self, state: State, index: int) -> Iterator[Step]:
        worker, name = state.workers[index], f"worker {index + 1}"
        if not self._may_fail(state):
            return
        returned = state.ready + 1 if worker.owns else state.ready
        failed = state._replace(ready=returned, faults=state.faults + 1)
        yield Step(f"{name} dies", _set(self._abandon(failed, index), index, Process()), fault=True)
        if worker.owns:
            after = _set(failed, index, worker._replace(owns=False))
            yield Step(f"{name} is frozen: the broker takes its copy back", after, fault=True)

    def _abandon(self, state: State, index: int) -> State:
        """The worker's request, if any, becomes a late one; beyond the bound it is lost."""
        worker = state.workers[index]
        if worker.at not in (CALLING, DECIDING) or state.late == self._bounds.late_max:
            return state
        decision = worker.response if worker.at == DECIDING else state.late_decision
        return state._replace(late=state.late + 1, late_decision=decision)

    def _late_requests(self, state: State) -> Iterator[Step]:
        """Late requests affect the wallet like all requests."""
        if state.late_decision:
            written, response = self._commit(state, state.late_decision)
            after = written._replace(late=state.late - 1, late_decision=NOTHING)
            yield Step(f"the wallet, for a late call, commits {response}; its caller is gone", after)
        elif state.late and not _is_locked(state):
            found, decision = self._look(state)
            if found:
                after = state._replace(late=state.late - 1)
                yield Step(f"the wallet, for a late call, finds {decision}; its caller is gone", after)
            else:
                after = state._replace(late_decision=decision)
                yield Step(f"the wallet, for a late call, locks the accounts and decides {decision}", after)

    def _look(self, state: State) -> tuple[bool, str]:
        """Post's first half: whether an outcome is recorded, and that one or the one to write."""
        if state.outcome and self._guards.outcomes_read:
            return True, state.outcome
        return False, decide(expired=state.expired, funds=state.funds)

    def _commit(self, state: State, decision: str) -> tuple[State, str]:
        """Post's second half: the wallet after the commit, and its response."""
        if state.outcome and self._guards.outcome_unique:
            return state, state.outcome
        moved = state.moved + (decision == POSTED)
        if decision == REJECTED and not self._guards.rejections_recorded:
            return state, decision
        # Without the unique key there are two rows now; readers get the older one.
        return state._replace(outcome=state.outcome or decision, moved=moved), decision

    def _finalize(self, state: State, response: str) -> State:
        """Apply an outcome: the status and its event in one commit."""
        if state.status != PENDING and self._guards.status_written_once:
            return state
        return state._replace(status=COMPLETED if response == POSTED else FAILED, events=state.events + 1)

    def _reversal(self, state: State, index: int) -> Iterator[Step]:
        """It may run at any moment: its safety does not depend on a clock."""
        reversal, name = state.reversals[index], f"reversal {index + 1}"
        if reversal.at == IDLE and state.status == PENDING and self._guards.reversal != ABSENT:
            yield Step(f"{name} finds the transfer PENDING", _set_reversal(state, index, Process(CALLING)))
        elif reversal.at == CALLING:
            yield self._reversal_call(state, index)
        elif reversal.at == RESPONDED:
            after = _set_reversal(self._finalize(state, reversal.response), index, Process())
            yield Step(f"{name} takes it as {reversal.response}; {_describe_write(state, after)}", after)
            yield Step(f"{name} dies with its response", _set_reversal(state, index, Process()))

    def _reversal_call(self, state: State, index: int) -> Step:
        """The reversal's call to the wallet."""
        outcome, name = state.outcome or VOIDED, f"reversal {index + 1}"
        after = _set_reversal(state, index, Process(RESPONDED, outcome))
        if self._guards.reversal == VOIDS:
            action = "finds" if state.outcome else "records"
            return Step(f"the wallet, for {name}, {action} {outcome}", after._replace(outcome=outcome))
        if self._guards.reversal == READS_THEN_WRITES:
            return Step(f"the wallet returns to {name}: {state.outcome or 'nothing recorded'}", after)
        return Step(f"{name} skips the wallet", _set_reversal(state, index, Process(RESPONDED, VOIDED)))

    def _has_room(self, state: State) -> bool:
        held = state.workers[0].owns + state.workers[1].owns
        return state.ready + held < self._bounds.copies_max

    def _may_fail(self, state: State) -> bool:
        return state.faults < self._bounds.faults_max


def decide(*, expired: bool, funds: bool) -> str:
    """The decision of post for a transfer without an outcome."""
    if expired:
        return VOIDED
    return POSTED if funds else REJECTED


def broken_rule(before: State, after: State) -> str | None:
    """The rule violated by this step, if any."""
    if after.moved > 1:
        return MOVED_TWICE
    if after.status == FAILED and after.moved:
        return FAILED_BUT_MOVED
    if after.status == COMPLETED and not after.moved:
        return COMPLETED_BUT_NOT_MOVED
    if before.status not in (PENDING, after.status):
        return STATUS_CHANGED
    if after.events != (after.status != PENDING):
        return NOT_ONE_EVENT
    return None


class Search(NamedTuple):
    """The result of a search: a shortest trace for each violation, and the number of stuck states."""

    states: int
    texts: frozenset[str]
    losses: dict[str, list[Step]]
    stuck: int


class _Graph:
    """The states found so far, each with the state it was first reached from."""

    def __init__(self, first: State) -> None:
        self.states = [first]
        self.parents = [0]
        self.origins: list[list[int]] = [[]]
        """For each state, those from which a step other than a fault leads to it."""
        self._indices = {first: 0}

    def add(self, origin: int, step: Step) -> None:
        """Record that this step leads from the state `origin` to another, which may be new."""
        canonical = _canonical(step.after)
        index = self._indices.get(canonical)
        if index is None:
            index = self._indices[canonical] = len(self.states)
            self.states.append(step.after)
            self.parents.append(origin)
            self.origins.append([])
        if not step.fault:
            self.origins[index].append(origin)

    def stuck(self) -> list[int]:
        """The states from which no terminal status can be reached without another fault."""
        reached = [index for index, state in enumerate(self.states) if state.status != PENDING]
        safe = set(reached)
        while reached:
            for origin in self.origins[reached.pop()]:
                if origin not in safe:
                    safe.add(origin)
                    reached.append(origin)
        return [index for index in range(len(self.states)) if index not in safe]

    def trace_to(self, index: int) -> list[State]:
        """The states from the first one to this one."""
        states = [self.states[index]]
        while index:
            index = self.parents[index]
            states.append(self.states[index])
        return states[::-1]


def explore(guards: Guards, bounds: Bounds | None = None, *, sought: Sequence[str] = ()) -> Search:
    """Search every interleaving, but not beyond a violation.

    With `sought`, stop once each of these violations was found; the number of stuck states is unknown then.
    """
    bounds = bounds or Bounds()
    protocol = Protocol(guards, bounds)
    graph = _Graph(State(reversals=(Process(),) * bounds.reversals))
    texts: set[str] = set()
    losses: dict[str, list[Step]] = {}
    # The list grows during the loop: it is the queue of a breadth-first search.
    for origin, before in enumerate(graph.states):
        for step in protocol.steps(before):
            texts.add(step.text)
            rule = broken_rule(before, step.after)
            if rule is None:
                graph.add(origin, step)
            elif rule not in losses:
                losses[rule] = [*_trace(protocol, graph.trace_to(origin)), step]
                if sought and set(sought) <= losses.keys():
                    return Search(len(graph.states), frozenset(texts), losses, 0)
    stuck = graph.stuck()
    if stuck:
        losses[STUCK] = _trace(protocol, graph.trace_to(stuck[0]))
    return Search(len(graph.states), frozenset(texts), losses, len(stuck))


def _trace(protocol: Protocol, states: list[State]) -> list[Step]:
    """The steps between these states."""
    return [
        next(step for step in protocol.steps(before) if step.after == after)
        for before, after in itertools.pairwise(states)
    ]


def _canonical(state: State) -> State:
    """Workers are interchangeable, and so are reversals: states that differ only in their order are equal."""
    first, second = state.workers
    if second < first:
        state = state._replace(workers=(second, first))
    if len(state.reversals) > 1:
        state = state._replace(reversals=tuple(sorted(state.reversals)))
    return state


def _set(state: State, index: int, worker: Process) -> State:
    first, second = state.workers
    return state._replace(workers=(first, worker) if index else (worker, second))


def _set_reversal(state: State, index: int, reversal: Process) -> State:
    reversals = state.reversals
    return state._replace(reversals=(*reversals[:index], reversal, *reversals[index + 1 :]))


def _is_locked(state: State) -> bool:
    """Whether a post holds the locks of the accounts. A void takes none."""
    return bool(state.late_decision) or DECIDING in (state.workers[0].at, state.workers[1].at)


def _describe_write(before: State, after: State) -> str:
    if after.events == before.events:
        return f"the status is {before.status} already"
    return f"it writes {after.status} and the event"


class Variant(NamedTuple):
    """A protocol without one guard, and the losses it must have."""

    name: str
    removed: str
    guards: Guards
    losses: tuple[str, ...]


OURS = Guards()
VARIANTS = [
    Variant(
        "no-unique-outcome",
        "the outcome's primary key: post and void look first, then insert",
        Guards(outcome_unique=False),
        (FAILED_BUT_MOVED,),
    ),
    Variant(
        "rejected-not-recorded",
        "a rejection is an outcome that commits",
        Guards(rejections_recorded=False),
        (FAILED_BUT_MOVED,),
    ),
    Variant(
        "unconditional-status",
        "WHERE status = 'PENDING' of the status write",
        Guards(status_written_once=False),
        (NOT_ONE_EVENT,),
    ),
    Variant(
        "timeout-is-failed",
        "a call without an response is unknown, never failed",
        Guards(timeout_unknown=False),
        (FAILED_BUT_MOVED,),
    ),
    Variant(
        "outcomes-pruned",
        "outcomes are never deleted; here only those past their expiry are",
        Guards(outcomes_kept=False),
        (FAILED_BUT_MOVED,),
    ),
    Variant(
        "reversal-reads-first",
        "void: the reversal reads the outcome, then writes",
        Guards(reversal=READS_THEN_WRITES),
        (FAILED_BUT_MOVED,),
    ),
    Variant(
        "wallet-without-dedupe",
        "outcomes: post neither reads nor checks them",
        Guards(outcomes_read=False, outcome_unique=False),
        (FAILED_BUT_MOVED, MOVED_TWICE),
    ),
    Variant("reversal-blind", "the reversal calls the wallet", Guards(reversal=WRITES_BLINDLY), (FAILED_BUT_MOVED,)),
    Variant("no-reversal", "the reversal", Guards(reversal=ABSENT), (STUCK,)),
]


def describe(loss: str, trace: Sequence[Step]) -> str:
    """The trace to a loss: one step per line, the loss last."""
    return "\n".join([*(f"{number:4}  {step.text}" for number, step in enumerate(trace, start=1)), f"   =>  {loss}"])


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table and the trace to each loss, for all variants or some."""
    known = {variant.name: variant for variant in [Variant("ours", "nothing", OURS, ()), *VARIANTS]}
    parser = argparse.ArgumentParser(description="Search all interleavings of one transfer.")
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=", ".join(known))
    for name, value in Bounds()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, metavar="N")
    arguments = vars(parser.parse_args(argv))
    names = arguments.pop("variants") or list(known)
    if unknown := set(names) - known.keys():
        parser.error(f"no variant {', '.join(unknown)}; there are {', '.join(known)}")
    print(f"{'variant':<22} {'states':>8} {'seconds':>8}  {'found':<56} without")
    searches = {name: _run(known[name], Bounds(**arguments)) for name in names}
    for name, search in searches.items():
        for loss, trace in search.losses.items():
            print(f"\n{name}\n{describe(loss, trace)}")


def _run(variant: Variant, bounds: Bounds) -> Search:
    started = time.perf_counter()
    search = explore(variant.guards, bounds, sought=variant.losses)
    seconds = time.perf_counter() - started
    found = "; ".join(search.losses) or "0 violations, 0 stuck"
    print(f"{variant.name:<22} {search.states:>8} {seconds:>8.1f}  {found:<56} {variant.removed}", flush=True)
    return search


if __name__ == "__main__":
    main()
