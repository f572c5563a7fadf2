"""What must be true after the kills: the log against its witnesses."""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import msgspec

from playhead.events.catalog import (
    AttemptFinished,
    AttemptStarted,
    OperationOutcomeUnknown,
    RunClaimed,
    RunCompleted,
    RunStarted,
)
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact, OutcomeFact, ProgramFact
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead.log.verify import verify
from tests.crashes.worker import STORE
from tests.crashes.workload import RUNS, testimony

EVENTS_MAX = 1_000_000


class Body(NamedTuple):
    """A line of the witness: a body began."""

    at: int
    pid: int
    run: str
    op: str
    number: int
    effect: str


class RunTape:
    """One run, taken apart for comparing."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.pids: dict[int, int] = {}
        self.outcomes: dict[str, Event] = {}
        self.cancelled: set[str] = set()
        self.requested: set[str] = set()
        self.started: dict[tuple[str, int], str] = {}
        self.finished: set[tuple[str, int, int]] = set()
        self.doubts: set[tuple[str, int]] = set()
        self.number = -1
        self.result: list[str] | None = None
        for event in events:
            fact = CATALOG.decode(event)
            assert isinstance(fact, Fact)
            self._take(event, fact)

    def _take(self, event: Event, fact: Fact) -> None:
        match fact:
            case RunStarted(args=args):
                self.number = msgspec.msgpack.decode(args)["number"]
            case RunClaimed(pid=pid):
                self.pids[event.epoch] = pid
            case RunCompleted(result=result):
                self.result = msgspec.msgpack.decode(result)
            case AttemptStarted(attempt=number, reason=reason):
                self.started[event.op, number] = reason
            case AttemptFinished(attempt=number):
                self.finished.add((event.op, number, event.epoch))
            case OperationOutcomeUnknown(attempt=number):
                self.doubts.add((event.op, number))
            case OutcomeFact():
                self.outcomes[event.op] = event
            case ProgramFact():
                self.requested.add(event.op)
                if event.type == "operation.cancelled":
                    self.cancelled.add(event.op)
            case _:
                pass


class Verdict(NamedTuple):
    """What is wrong, in words, and how often an effect was in doubt."""

    faults: list[str]
    doubts: int


def check(place: Path, expected: dict[str, str]) -> Verdict:
    """Everything that is wrong at `place`. `expected` are results of uninterrupted runs."""
    verification = verify(place / STORE)
    faults = [f"chain: {fault}" for fault in verification.faults]
    reader = LogReader(place / STORE)
    try:
        streams = defaultdict(list)
        for event in reader.feed(0, EVENTS_MAX):
            streams[event.stream].append(event)
    finally:
        reader.close()
    faults += _acknowledged(place, streams)
    tapes = {name[4:]: RunTape(events) for name, events in streams.items() if name.startswith("run/")}
    faults += _results(place, tapes, expected)
    for run, bodies in _bodies(place).items():
        if run not in tapes:
            faults.append(f"run {run} had bodies and is not in the log")
            continue
        for op, mine in bodies.items():
            faults += [f"run {run} {op}: {fault}" for fault in _operation(tapes[run], op, mine)]
    return Verdict(faults, sum(len(tape.doubts) for tape in tapes.values()))


def _acknowledged(place: Path, streams: dict[str, list[Event]]) -> list[str]:
    faults = []
    for stream, next_seq, digest in testimony(place / "acks"):
        events = streams.get(stream, [])
        if len(events) < int(next_seq):
            faults.append(f"{stream} event {int(next_seq) - 1} was acknowledged and is not there")
        elif digest not in ("?", events[int(next_seq) - 1].digest.hex()):
            faults.append(f"{stream} event {int(next_seq) - 1} is not the one that was acknowledged")
    return faults


def _results(place: Path, tapes: dict[str, RunTape], expected: dict[str, str]) -> list[str]:
    faults = []
    logged = {str(tape.number): " | ".join(tape.result) for tape in tapes.values() if tape.result is not None}
    if len(tapes) != RUNS:
        faults.append(f"{len(tapes)} runs instead of {RUNS}")
    for number in map(str, range(RUNS)):
        if number not in logged:
            faults.append(f"run number {number} did not complete")
        elif expected and logged[number] != expected[number]:
            faults.append(f"run number {number} ended with {logged[number]} instead of {expected[number]}")
    for number, told in testimony(place / "results"):
        if logged.get(number) != told:
            faults.append(
                f"{told} was answered for run number {number}, and the log says {logged.get(number)}"
            )
    return faults


def _bodies(place: Path) -> dict[str, dict[str, list[Body]]]:
    found: dict[str, dict[str, list[Body]]] = defaultdict(lambda: defaultdict(list))
    for at, pid, run, op, number, effect, _ in testimony(place / "bodies"):
        found[run][op].append(Body(int(at), int(pid), run, op, int(number), effect))
    return found


def _operation(tape: RunTape, op: str, bodies: list[Body]) -> list[str]:
    faults: list[str] = []
    outcome = tape.outcomes.get(op)
    if op not in tape.requested:
        faults.append("a body began, and its intent is not in the log")
    if outcome is None and op not in tape.cancelled:
        faults.append("it never had an outcome")
    for body in bodies:
        if outcome is not None and body.at > outcome.at:
            faults.append(f"ran again after its outcome, event {outcome.seq}, was recorded")
        if body.effect == "effect":
            faults += _effect(tape, op, body, outcome)
    if bodies[0].effect == "effect":
        numbers = [body.number for body in bodies]
        if len(set(numbers)) != len(numbers):
            faults.append(f"an effect ran twice as the same attempt: {numbers}")
    return faults


def _effect(tape: RunTape, op: str, body: Body, outcome: Event | None) -> list[str]:
    """An effect that began: announced, and settled by its own process or in doubt."""
    faults: list[str] = []
    reason = tape.started.get((op, body.number))
    if body.number > 1 and reason not in ("retry", "resolution"):
        faults.append(f"attempt {body.number} of an effect began without anybody's word ({reason})")
    epochs = {epoch for epoch, pid in tape.pids.items() if pid == body.pid}
    settled = outcome is not None and outcome.epoch in epochs
    failed = any((op, body.number, epoch) in tape.finished for epoch in epochs)
    if not settled and not failed and (op, body.number) not in tape.doubts:
        faults.append(f"attempt {body.number} was in flight when its process died, and was never in doubt")
    return faults
