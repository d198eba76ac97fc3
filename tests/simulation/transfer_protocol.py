"""The protocol of one transfer as a model, and the search of all its interleavings.

A state is a value; a step is one commit or one hop of a message, a request or an answer. From the accepting commit on,
`explore` takes every step that is possible in every state, breadth first, so the first broken rule it meets has a
shortest way to it. A weakened variant removes one guard of the real protocol and must lose; ours must not.

What stands for what:

- `transfers.status` and its events: services/transaction/commands.py `finalize_transfers`
- post, in two steps (look under the account locks, then commit) and void: services/wallet/commands.py
- the worker: services/transaction/worker.py inside services/chassis/consumer.py; the reversal (a sender's cancel takes the
  same way): services/transaction/reversal.py; the relay: services/chassis/outbox.py

    python -m tests.simulation.transfer_protocol [VARIANT ...] [--faults-max N] [--reversals N] ...

prints the table of the variants and the way to each loss.

Left out: other transfers and batches (row locks; the race tests have them), another request under the same id (`conflict`,
for a human), the way from the client to the accepting commit, and loss of what a database committed.
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

# What a worker is at.
IDLE, HOLDING, CALLING, DECIDING, ANSWERED, FINALIZED = (
    "idle",
    "holding",
    "calling",
    "deciding",
    "answered",
    "finalized",
)

# What the reversal does, and what weaker ones do.
VOIDS, READS_THEN_WRITES, WRITES_BLINDLY, ABSENT = "voids", "reads, then writes", "writes blindly", "absent"

# What must never be.
MOVED_TWICE = "money moved twice"
FAILED_BUT_MOVED = "FAILED, but the money moved"
COMPLETED_BUT_NOT_MOVED = "COMPLETED, but no money moved"
STATUS_CHANGED = "a terminal status changed"
NOT_ONE_EVENT = "not exactly one event for a terminal status"
STUCK = "stuck in PENDING"


class Guards(NamedTuple):
    """What the protocol does to be safe; a variant takes one of these away."""

    outcomes_read: bool = True
    """Post looks whether the transfer was decided before it decides. The key below is the guard; this alone saves work."""
    outcome_unique: bool = True
    """The outcome's primary key: a decision that somebody outran is not written but made again."""
    rejections_recorded: bool = True
    """A rejection is a decision that commits."""
    outcomes_kept: bool = True
    """Outcomes are never deleted, however old."""
    status_written_once: bool = True
    """`UPDATE ... WHERE status = 'PENDING'`, the event only for a row that came back."""
    timeout_unknown: bool = True
    """A call that got no answer is made again, and says nothing about the transfer."""
    reversal: str = VOIDS


class Bounds(NamedTuple):
    """How much may go wrong, and how much may be on its way at once."""

    faults_max: int = 2
    """Deaths of workers and relays, lapsed deliveries and duplicates, together. Losses and timeouts are not counted."""
    copies_max: int = 3
    """Copies of the message, waiting or held."""
    late_max: int = 2
    """Requests to the wallet that nobody waits for any more."""
    reversals: int = 1
    """Reversals at work at once; a sender's cancel is one too."""


class Process(NamedTuple):
    """A worker or a reversal."""

    at: str = IDLE
    answer: str = NOTHING
    """What the wallet is deciding for it, or has answered."""
    owns: bool = False
    """Whether the broker still counts the copy in its hands as delivered to it."""


class State(NamedTuple):
    """Everything there is about one transfer at one instant."""

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
    """One thing that can happen. `fault` when nobody may count on it."""

    text: str
    after: State
    fault: bool = False


class Protocol:
    """The steps that are possible in a state, under these guards and within these bounds."""

    def __init__(self, guards: Guards, bounds: Bounds) -> None:
        self._guards = guards
        self._bounds = bounds

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that can happen next."""
        yield from self._world(state)
        yield from self._relay(state)
        yield from self._broker(state)
        for index in (0, 1):
            yield from self._worker(state, index)
        yield from self._late_requests(state)
        for index in range(len(state.reversals)):
            yield from self._reversal(state, index)

    def _world(self, state: State) -> Iterator[Step]:
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
                yield Step("the relay dies before it marks the row: its lease runs out", after, fault=True)

    def _broker(self, state: State) -> Iterator[Step]:
        if not state.ready:
            return
        yield Step("the broker loses a copy", state._replace(ready=state.ready - 1), fault=True)
        if self._may_fail(state) and self._has_room(state):
            after = state._replace(ready=state.ready + 1, faults=state.faults + 1)
            yield Step("the broker holds a second copy", after, fault=True)

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
        elif worker.at == ANSWERED:
            yield from self._answered(state, index)
        elif worker.at == FINALIZED:
            yield Step(f"{name} acknowledges its copy", _set(state, index, Process()))
        yield from self._worker_faults(state, index)

    def _call(self, state: State, index: int) -> Iterator[Step]:
        """The wallet's side of a call: look under the locks, commit, answer."""
        worker, call = state.workers[index], f"the wallet, for worker {index + 1},"
        if worker.at == CALLING:
            after = _set(state, index, worker._replace(at=ANSWERED, answer=RETRY))
            yield Step(f"{call} is busy: retry", after)
            if _is_locked(state):
                return
            found, decision = self._look(state)
            at = ANSWERED if found else DECIDING
            after = _set(state, index, worker._replace(at=at, answer=decision))
            yield Step(f"{call} locks the accounts and {'finds' if found else 'decides'} {decision}", after)
        else:
            written, answer = self._commit(state, worker.answer)
            after = _set(written, index, worker._replace(at=ANSWERED, answer=answer))
            yield Step(f"{call} commits and answers {answer}", after)
            after = _set(state, index, worker._replace(at=CALLING, answer=NOTHING))
            yield Step(f"{call} rolls back; the request is still there", after)

    def _timeout(self, state: State, index: int) -> Step:
        """No answer in time. The request goes on without anybody waiting for it."""
        worker, after = state.workers[index], self._abandon(state, index)
        if self._guards.timeout_unknown:
            after = _set(after, index, Process(HOLDING, owns=worker.owns))
            return Step(f"worker {index + 1} waits no longer for its call: unknown", after)
        after = _set(self._finalize(after, VOIDED), index, Process(FINALIZED, owns=worker.owns))
        return Step(f"worker {index + 1} waits no longer for its call and writes {after.status}", after)

    def _answered(self, state: State, index: int) -> Iterator[Step]:
        worker, name = state.workers[index], f"worker {index + 1}"
        done = Process(FINALIZED, owns=worker.owns)
        if worker.answer == RETRY:
            if self._has_room(state):
                after = _set(state, index, done)._replace(ready=state.ready + 1)
                yield Step(f"{name} publishes its copy to the delay queue", after)
        else:
            after = _set(self._finalize(state, worker.answer), index, done)
            yield Step(f"{name} reads {worker.answer}; {_told(state, after)}", after)
        after = _set(state, index, Process(HOLDING, owns=worker.owns))
        yield Step(f"{name} loses the answer {worker.answer}, or its own database is away: it keeps its copy", after)

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
        """The worker's request, if it has one, becomes a late one; with too many of these it is lost."""
        worker = state.workers[index]
        if worker.at not in (CALLING, DECIDING) or state.late == self._bounds.late_max:
            return state
        decision = worker.answer if worker.at == DECIDING else state.late_decision
        return state._replace(late=state.late + 1, late_decision=decision)

    def _late_requests(self, state: State) -> Iterator[Step]:
        """Requests that nobody waits for do to the wallet what all requests do."""
        if state.late_decision:
            written, answer = self._commit(state, state.late_decision)
            after = written._replace(late=state.late - 1, late_decision=NOTHING)
            yield Step(f"the wallet, for a late call, commits {answer}; nobody listens", after)
        elif state.late and not _is_locked(state):
            found, decision = self._look(state)
            if found:
                after = state._replace(late=state.late - 1)
                yield Step(f"the wallet, for a late call, finds {decision}; nobody listens", after)
            else:
                after = state._replace(late_decision=decision)
                yield Step(f"the wallet, for a late call, locks the accounts and decides {decision}", after)

    def _look(self, state: State) -> tuple[bool, str]:
        """Post's first half: whether an outcome is recorded, and that one or the one to be written."""
        if state.outcome and self._guards.outcomes_read:
            return True, state.outcome
        return False, decide(expired=state.expired, funds=state.funds)

    def _commit(self, state: State, decision: str) -> tuple[State, str]:
        """Post's second half: the wallet after the commit, and its answer."""
        if state.outcome and self._guards.outcome_unique:
            return state, state.outcome
        moved = state.moved + (decision == POSTED)
        if decision == REJECTED and not self._guards.rejections_recorded:
            return state, decision
        # Without the unique key there are two rows now; whoever reads is shown the older one.
        return state._replace(outcome=state.outcome or decision, moved=moved), decision

    def _finalize(self, state: State, answer: str) -> State:
        """Apply an outcome, whoever asked: the status and its event in one commit."""
        if state.status != PENDING and self._guards.status_written_once:
            return state
        return state._replace(status=COMPLETED if answer == POSTED else FAILED, events=state.events + 1)

    def _reversal(self, state: State, index: int) -> Iterator[Step]:
        """It may fire at any moment: whether it is safe does not depend on any clock."""
        reversal, name = state.reversals[index], f"reversal {index + 1}"
        if reversal.at == IDLE and state.status == PENDING and self._guards.reversal != ABSENT:
            yield Step(f"{name} finds the transfer PENDING", _set_reversal(state, index, Process(CALLING)))
        elif reversal.at == CALLING:
            yield self._ask(state, index)
        elif reversal.at == ANSWERED:
            after = _set_reversal(self._finalize(state, reversal.answer), index, Process())
            yield Step(f"{name} takes it as {reversal.answer}; {_told(state, after)}", after)
            yield Step(f"{name} dies with its answer", _set_reversal(state, index, Process()))

    def _ask(self, state: State, index: int) -> Step:
        """The reversal's call to the wallet."""
        outcome, name = state.outcome or VOIDED, f"reversal {index + 1}"
        asked = _set_reversal(state, index, Process(ANSWERED, outcome))
        if self._guards.reversal == VOIDS:
            action = "finds" if state.outcome else "records"
            return Step(f"the wallet, for {name}, {action} {outcome}", asked._replace(outcome=outcome))
        if self._guards.reversal == READS_THEN_WRITES:
            return Step(f"the wallet tells {name}: {state.outcome or 'nothing recorded'}", asked)
        return Step(f"{name} asks nobody", _set_reversal(state, index, Process(ANSWERED, VOIDED)))

    def _has_room(self, state: State) -> bool:
        held = state.workers[0].owns + state.workers[1].owns
        return state.ready + held < self._bounds.copies_max

    def _may_fail(self, state: State) -> bool:
        return state.faults < self._bounds.faults_max


def decide(*, expired: bool, funds: bool) -> str:
    """What post comes to for a transfer that nobody has decided."""
    if expired:
        return VOIDED
    return POSTED if funds else REJECTED


def broken_rule(before: State, after: State) -> str | None:
    """The rule that this step broke, if any."""
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
    """What a search found: per broken rule a shortest way to it, and how many states are stuck."""

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
        """Per state those from which a step that is no fault leads to it."""
        self._indices = {first: 0}

    def add(self, origin: int, step: Step) -> None:
        """Note that this step leads from the state `origin` to another, which may be new."""
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
        """The states from which no terminal status can be reached any more without another fault."""
        reached = [index for index, state in enumerate(self.states) if state.status != PENDING]
        safe = set(reached)
        while reached:
            for origin in self.origins[reached.pop()]:
                if origin not in safe:
                    safe.add(origin)
                    reached.append(origin)
        return [index for index in range(len(self.states)) if index not in safe]

    def way_to(self, index: int) -> list[State]:
        """The states from the first one to this one."""
        way = [self.states[index]]
        while index:
            index = self.parents[index]
            way.append(self.states[index])
        return way[::-1]


def explore(guards: Guards, bounds: Bounds | None = None, *, sought: Sequence[str] = ()) -> Search:
    """Search every interleaving; what lies behind a broken rule is not looked at.

    With `sought`, stop as soon as each of these rules was seen broken: the states that are stuck are not known then.
    """
    bounds = bounds or Bounds()
    protocol = Protocol(guards, bounds)
    graph = _Graph(State(reversals=(Process(),) * bounds.reversals))
    texts: set[str] = set()
    losses: dict[str, list[Step]] = {}
    # The list of states grows under the loop: that is the queue of a breadth-first search.
    for origin, before in enumerate(graph.states):
        for step in protocol.steps(before):
            texts.add(step.text)
            rule = broken_rule(before, step.after)
            if rule is None:
                graph.add(origin, step)
            elif rule not in losses:
                losses[rule] = [*_trace(protocol, graph.way_to(origin)), step]
                if sought and set(sought) <= losses.keys():
                    return Search(len(graph.states), frozenset(texts), losses, 0)
    stuck = graph.stuck()
    if stuck:
        losses[STUCK] = _trace(protocol, graph.way_to(stuck[0]))
    return Search(len(graph.states), frozenset(texts), losses, len(stuck))


def _trace(protocol: Protocol, way: list[State]) -> list[Step]:
    """The steps between these states."""
    return [
        next(step for step in protocol.steps(before) if step.after == after)
        for before, after in itertools.pairwise(way)
    ]


def _canonical(state: State) -> State:
    """Workers are alike, and so are reversals: states that differ only in which of them is which are one."""
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


def _told(before: State, after: State) -> str:
    if after.events == before.events:
        return f"the status is {before.status} already"
    return f"it writes {after.status} and the event"


class Variant(NamedTuple):
    """A protocol that lacks a guard, and how it must lose."""

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
        "a call without an answer is unknown, never failed",
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
        "outcomes: post neither reads nor minds them",
        Guards(outcomes_read=False, outcome_unique=False),
        (FAILED_BUT_MOVED, MOVED_TWICE),
    ),
    Variant(
        "reversal-blind", "the reversal asks the wallet at all", Guards(reversal=WRITES_BLINDLY), (FAILED_BUT_MOVED,)
    ),
    Variant("no-reversal", "the reversal", Guards(reversal=ABSENT), (STUCK,)),
]


def describe(loss: str, trace: Sequence[Step]) -> str:
    """The way to a loss: one step a line, the loss last."""
    return "\n".join([*(f"{number:4}  {step.text}" for number, step in enumerate(trace, start=1)), f"   =>  {loss}"])


def main(given: Sequence[str] | None = None) -> None:
    """Print the table, and the way to each loss; or those of some variants."""
    known = {variant.name: variant for variant in [Variant("ours", "nothing", OURS, ()), *VARIANTS]}
    parser = argparse.ArgumentParser(description="Search all interleavings of one transfer.")
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=", ".join(known))
    for name, value in Bounds()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, metavar="N")
    arguments = vars(parser.parse_args(given))
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
