"""Why an event is there: the chain of what led to it, back to the start of the run and beyond.

    told = why(log, "4wq2mzkq7xha", 6)
    [(link.event.type, [because.relation for because in link.because]) for link in told.links]

Each link has a main reason, which the next link is, and others beside it. An outcome is there because its
operation was asked for; what a program did, because of the news that it was told last before; news from
outside, because somebody sent it. The log says all of that: `cause` names the outcome whose delivery let the
program go on. What else it had been told by then is beside it, because a program may have waited for several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, NamedTuple

from playhead.agent_state.keys import Place
from playhead.errors import BadEvent, BadValue, NotFound
from playhead.events import approval as approvals
from playhead.events import autonomy, rules, state
from playhead.events import catalog as facts
from playhead.events import composition as compositions
from playhead.events.codec import CATALOG
from playhead.events.duty import ScheduleFired, TriggerReceived, WorkStarted
from playhead.events.erasing import mended
from playhead.events.fact import Fact
from playhead.events.words import ForkWords
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead_projections.accounts import (
    KINDS,
    OUTCOMES,
    RUN_ENDS,
    STEP_ENDS,
    Ledger,
    enclosing,
    move,
    name_of,
)

Relation = Literal[
    "answers",
    "attempt_of",
    "told",
    "had_been_told",
    "from_the_start",
    "in_step",
    "decided",
    "agreed",
    "agreed_by",
    "retries",
    "taken_up_after",
    "resolved_by",
    "sent_by",
    "waited_for",
    "child_ended",
    "asked_by_parent",
    "work_of",
    "written_by",
    "under",
    "died_under",
    "follows",
    "erases",
    "forked_from",
    "withheld",
    "asked_otherwise",
]
MAIN: Final = frozenset(
    {
        "answers",
        "attempt_of",
        "told",
        "from_the_start",
        "waited_for",
        "asked_by_parent",
        "work_of",
        "follows",
        "erases",
    }
)
"""The relations that the chain goes on along."""
LINKS_MAX: Final = 1_000_000
TOLD_SHOWN: Final = 5
LOOKED_BACK_MAX: Final = 5_000
"""How many events before one are looked through for what else its program had been told."""
PARENTS_MAX: Final = 100
NEVER: Final = -1

_TAKEN: Final = (
    facts.SignalReceived,
    facts.RunCancelRequested,
    facts.OperationResolved,
    facts.AttemptFinished,
    approvals.ApprovalAnswered,
)
"""Facts about something that was taken from the mailbox."""
_BEGINNINGS: Final = frozenset({"run.started", "trigger.received", "schedule.fired", "work.started"})
_INTENTS: Final = frozenset({*KINDS, "standing.requested"})
_ENDS: Final = frozenset({*OUTCOMES, "standing.found", "standing.failed", "composition.expired"})
_INNER_ENDS: Final = frozenset({*STEP_ENDS, "stage.exited", "persona.exited", "step.retried"})
"""What is written when the code of a step ends: no move of the code around it."""
_BEFORE_AN_ATTEMPT: Final[dict[str, tuple[Relation, str]]] = {
    "retry": ("retries", "attempt.finished"),
    "resume": ("taken_up_after", "run.resumed"),
    "resolution": ("resolved_by", "operation.resolved"),
}
_LIFE: Final = frozenset(
    {"run.claimed", "run.resumed", "run.suspended", "run.released", "run.parked", "operation.outcome_unknown"}
)


class Because(NamedTuple):
    """One reason: the event that is one, and in which way. `more` are others of the same kind, not listed."""

    relation: Relation
    stream: str
    seq: int
    more: int = 0


class Link(NamedTuple):
    """One event of the chain. `site` is the line of the program that asked, `step` the step around it."""

    event: Event
    step: str | None
    site: str | None
    because: list[Because]


class Why(NamedTuple):
    """The chain, newest first, each event that it names, and how many links are not shown.

    `complete` says whether it ends where a run was started or work came in; else the log does not say more.
    """

    links: list[Link]
    beside: dict[tuple[str, int], Event]
    left_out: int
    complete: bool


def why(log: LogReader, run: str, seq: int, *, limit: int = LINKS_MAX) -> Why:
    """The chain of causes of event `seq` of a run. Raises `NotFound` where there is no such event."""
    stream = f"run/{run}"
    tapes: dict[str, _Tape] = {}
    here: tuple[str, int] | None = (stream, seq)
    if not 0 <= seq < log.head(stream).seq:
        raise NotFound(
            f"run {run} has no event {seq}.", expected=f"{run}@0 to @{log.head(stream).seq - 1}", found=seq
        )
    links: list[Link] = []
    beside: dict[tuple[str, int], Event] = {}
    seen: set[tuple[str, int]] = set()
    left_out, last = 0, ""
    while here is not None and here not in seen:
        seen.add(here)
        tape = tapes.get(here[0])
        if tape is None:
            if len(tapes) >= PARENTS_MAX:
                break
            tape = tapes[here[0]] = _Tape(log, here[0], here[1])
        event = tape.event(here[1])
        because = list(_reasons(tape, event, whole=len(links) < limit))
        if len(links) < limit:
            links.append(_link(tape, event, because))
            beside.update(_named(log, because))
        else:
            left_out += 1
        main = next((reason for reason in because if reason.relation in MAIN), None)
        last = event.type if main is None else main.relation
        here = None if main is None else (main.stream, main.seq)
    return Why(links, beside, left_out, last in _BEGINNINGS)


def _link(tape: _Tape, event: Event, because: list[Because]) -> Link:
    fact = tape.fact(event)
    site = getattr(fact, "site", None)
    around = tape.around(event.op, event.seq)
    return Link(event, name_of(around) if around else None, None if site is None else str(site), because)


def _named(log: LogReader, because: list[Because]) -> Iterator[tuple[tuple[str, int], Event]]:
    for reason in because:
        for found in mended(log, log.read(reason.stream, reason.seq, 1)):
            yield (reason.stream, reason.seq), found


class _Tape:
    """One stream up to an event, without its payloads, and where each operation's events stand."""

    def __init__(self, log: LogReader, stream: str, last: int) -> None:
        self.log = log
        self.stream = stream
        self.types: list[str] = []
        self.ops: list[str] = []
        self.causes: list[int | None] = []
        self.by_op: dict[str, list[int]] = {}
        self.steps: dict[str, int] = {}
        for event in log.scan(stream):
            if event.seq > last:
                break
            self.types.append(event.type)
            self.ops.append(event.op)
            self.causes.append(event.cause)
            if event.op:
                self.by_op.setdefault(event.op, []).append(event.seq)
            if event.type == "step.started":
                self.steps[event.op] = event.seq

    def event(self, seq: int) -> Event:
        (event,) = mended(self.log, self.log.read(self.stream, seq, 1))
        return event

    def fact(self, event: Event) -> Any:
        try:
            return CATALOG.decode(event)
        except BadEvent:  # one that nobody can read still has its place in the chain
            return None

    def around(self, op: str, seq: int) -> str:
        """The id of the innermost step around an operation that had begun before `seq`, "" where none had."""
        return next((step for step in enclosing(op, self.steps) if self.steps[step] < seq), "")

    def before(self, seq: int, *types: str, op: str | None = None) -> int:
        """The newest event before `seq` of one of these types, of that operation where one is given."""
        seqs: Any = range(seq - 1, -1, -1) if op is None else reversed(self.by_op.get(op, []))
        return next((one for one in seqs if one < seq and self.types[one] in types), NEVER)

    def intent_of(self, op: str, seq: int) -> int:
        """Where an operation was asked for; NEVER where no event before `seq` says so."""
        seqs = self.by_op.get(op, [])
        return next((one for one in seqs if one < seq and self.types[one] in _INTENTS), NEVER)


# ---------------------------------------------------------------- reasons


def _reasons(tape: _Tape, event: Event, *, whole: bool) -> Iterator[Because]:
    """Why an event is there; without `whole`, only what the chain goes on along."""
    fact = tape.fact(event)
    yield from _main(tape, event, fact)
    if whole:
        yield from _told_before(tape, event, fact)
        yield from _of_the_world(tape, event, fact)
        yield from _of_people(tape, event, fact)
        yield from _of_rules(tape, event, fact)
        yield from _in_step(tape, event)


def _main(tape: _Tape, event: Event, fact: Any) -> Iterator[Because]:
    here, seq = tape.stream, event.seq
    match fact:
        case facts.RunStarted():
            yield from _from_outside(tape, fact)
        case WorkStarted():
            if (trigger := _trigger(tape, fact.work_key, seq)) != NEVER:
                yield Because("work_of", here, trigger)
        case TriggerReceived() | ScheduleFired():
            return
        case facts.PayloadErased():
            if event.cause is not None:
                yield Because("erases", here, event.cause)
        case facts.SignalReceived():
            wait = _wait_for(tape, event)
            if wait != NEVER:
                yield Because("waited_for", here, wait)
            elif seq:
                yield Because("from_the_start", here, 0)
        case approvals.ApprovalAnswered():
            asked = _request(tape, fact.request, seq)
            yield Because("waited_for", here, asked) if asked != NEVER else Because("from_the_start", here, 0)
        case _ if event.type in _LIFE and not event.op:
            if seq:
                yield Because("follows", here, seq - 1)
        case _:
            yield from _of_program(tape, event)


def _of_program(tape: _Tape, event: Event) -> Iterator[Because]:
    """The operation that an event is about, or else what the program had been told."""
    here, seq = tape.stream, event.seq
    program = getattr(CATALOG.facts.get(event.type), "PROGRAM", False)
    intent = NEVER if program else tape.intent_of(event.op, seq)
    if intent != NEVER:
        yield Because("answers" if event.type in _ENDS else "attempt_of", here, intent)
    elif event.cause is not None and 0 <= event.cause < seq:
        yield Because("told", here, event.cause)
    elif seq and program:
        yield Because("from_the_start", here, 0)
    elif seq:
        yield Because("follows", here, seq - 1)


def _from_outside(tape: _Tape, started: facts.RunStarted) -> Iterator[Because]:
    """Which run or which work of a persona on duty started this one."""
    if started.parent is not None and started.parent_op is not None:
        stream = f"run/{started.parent}"
        asked = _first(tape.log, stream, ("child.requested",), lambda event, _: event.op == started.parent_op)
        if asked is not None:
            yield Because("asked_by_parent", stream, asked)
        return
    run = tape.stream.partition("/")[2]
    stream = f"persona/{started.persona}"
    work = _first(
        tape.log,
        stream,
        ("work.started",),
        lambda _, fact: isinstance(fact, WorkStarted) and fact.run == run,
    )
    if work is not None:
        yield Because("work_of", stream, work)


def _trigger(tape: _Tape, work_key: str, seq: int) -> int:
    """What a persona on duty was told, or which schedule came due, to begin this work."""
    for one in range(seq - 1, -1, -1):
        if tape.types[one] in ("trigger.received", "schedule.fired"):
            fact = tape.fact(tape.event(one))
            if getattr(fact, "work_key", None) == work_key:
                return one
    return NEVER


def _first(
    log: LogReader, stream: str, types: tuple[str, ...], fits: Callable[[Event, object], bool]
) -> int | None:
    start = 0
    while page := log.read(stream, start, types=types):
        for event in page:
            try:
                fact = CATALOG.decode(event)
            except BadEvent:
                fact = None
            if fits(event, fact):
                return event.seq
        start = page[-1].seq + 1
    return None


def _wait_for(tape: _Tape, signal: Event) -> int:
    """The wait that a signal answered when it came; NEVER where nobody waited yet."""
    ledger = Ledger()
    types = ("wait.started", "signal.received", "operation.cancelled")
    for seq, type_ in enumerate(tape.types[: signal.seq + 1]):
        if type_ not in types or (type_ == "operation.cancelled" and tape.ops[seq] not in ledger.open):
            continue
        event = tape.event(seq)
        fact = tape.fact(event)
        for moved in move(ledger, event, fact if isinstance(fact, Fact) else None):
            if seq == signal.seq:
                return moved.was.seq
    return NEVER


def _request(tape: _Tape, request: str, seq: int) -> int:
    """Where people were asked what has this id."""
    for one in range(seq - 1, -1, -1):
        if tape.types[one] == "approval.requested":
            fact = tape.fact(tape.event(one))
            if isinstance(fact, approvals.ApprovalRequested) and fact.request == request:
                return one
    return NEVER


def _told_before(tape: _Tape, event: Event, fact: Any) -> Iterator[Because]:
    """What else a program had been told since its last move in the same step, the newest first."""
    cause = event.cause
    if cause is None or not (isinstance(fact, Fact) and fact.PROGRAM) or event.type in OUTCOMES:
        return
    scope = event.op if event.type in STEP_ENDS else tape.around(event.op, event.seq)
    found: list[int] = []
    for seq in range(cause - 1, max(cause - LOOKED_BACK_MAX, 0), -1):
        op, type_ = tape.ops[seq], tape.types[seq]
        if not _lies_in(op, scope):
            continue
        kind = CATALOG.facts.get(type_)
        if kind is not None and kind.OUTCOME:
            found.append(seq)
        elif kind is None or not kind.PROGRAM or tape.causes[seq] == cause or type_ in _INNER_ENDS:
            continue
        elif op == scope or tape.around(op, seq) == scope:
            break
    for n, seq in enumerate(found[:TOLD_SHOWN]):
        last = n == TOLD_SHOWN - 1
        yield Because("had_been_told", tape.stream, seq, len(found) - TOLD_SHOWN if last else 0)


def _lies_in(op: str, scope: str) -> bool:
    return not scope or (op.startswith(scope) and (len(op) == len(scope) or op[len(scope)] in "/."))


def _of_the_world(tape: _Tape, event: Event, fact: Any) -> Iterator[Because]:
    """Attempts, crashes, children and state."""
    here, seq, op = tape.stream, event.seq, event.op
    match fact:
        case facts.AttemptStarted():
            relation, type_ = _BEFORE_AN_ATTEMPT.get(fact.reason, _BEFORE_AN_ATTEMPT["resume"])
            found = tape.before(seq, type_, op=None if type_ == "run.resumed" else op)
            if found != NEVER:
                yield Because(relation, here, found)
        case facts.OperationOutcomeUnknown():
            asked = tape.intent_of(op, seq)
            claim = tape.before(seq if asked == NEVER else asked, "run.claimed")
            if claim != NEVER:
                yield Because("died_under", here, claim)
        case facts.RunStarted(forked=ForkWords() as forked) if tape.log.head(f"run/{forked.run}").seq > (
            forked.event
        ):
            yield Because("forked_from", f"run/{forked.run}", forked.event)
        case facts.ChildCompleted() | facts.ChildFailed():
            intent = tape.fact(tape.event(tape.intent_of(op, seq))) if tape.intent_of(op, seq) >= 0 else None
            if isinstance(intent, facts.ChildRequested):
                yield from _end_of(tape.log, f"run/{intent.run}")
        case state.StateCompleted() if fact.version:
            yield from _writer_of(tape, op, seq, fact.version)
        case _:
            pass
    if event.type in OUTCOMES and (withheld := tape.before(seq, "effect.withheld", op=op)) != NEVER:
        yield Because("withheld", here, withheld)
    if getattr(fact, "attempt", 1) > 1 and event.type in OUTCOMES:
        started = tape.before(seq, "attempt.started", op=op)
        if started != NEVER:
            yield Because("retries", here, started)
    if getattr(fact, "resolved_by", None):
        resolved = tape.before(seq, "operation.resolved", op=op)
        if resolved != NEVER:
            yield Because("resolved_by", here, resolved)


def _end_of(log: LogReader, stream: str) -> Iterator[Because]:
    ended = log.read(stream, types=tuple(RUN_ENDS))
    if ended:
        yield Because("child_ended", stream, ended[-1].seq)


def _writer_of(tape: _Tape, op: str, seq: int, version: int) -> Iterator[Because]:
    """The event that wrote the version which an operation on state read or made."""
    intent = tape.intent_of(op, seq)
    asked = tape.fact(tape.event(intent)) if intent != NEVER else None
    if not isinstance(asked, state.StateRequested) or not asked.key:
        return
    try:
        stream = Place.of(asked.root, asked.session).stream_of(asked.key)
    except BadValue:  # names that only another playhead takes
        return
    found = _first(
        tape.log,
        stream,
        ("state.written", "state.deleted"),
        lambda _, fact: getattr(fact, "version", None) == version,
    )
    if found is not None:
        yield Because("written_by", stream, found)


def _of_people(tape: _Tape, event: Event, fact: Any) -> Iterator[Because]:
    """What was sent, by whom, and who agreed."""
    here, seq = tape.stream, event.seq
    message = getattr(fact, "message", None) if isinstance(fact, _TAKEN) else None
    mailbox = f"mailbox/{here.partition('/')[2]}"
    if isinstance(message, int) and tape.log.head(mailbox).seq > message:
        yield Because("sent_by", mailbox, message)
    match fact:
        case approvals.ApprovalGranted() | approvals.ApprovalDenied():
            who = (
                {grant.reviewer for grant in fact.granted}
                if isinstance(fact, approvals.ApprovalGranted)
                else {fact.reviewer}
            )
            for one in _answers(tape, seq):
                answer = tape.fact(tape.event(one))
                fits = isinstance(answer, approvals.ApprovalAnswered) and answer.request == fact.request
                if fits and answer.reviewer in who:
                    yield Because("agreed_by", here, one)
            yield from _asked_otherwise(tape, fact, seq)
        case facts.ToolRequested() | facts.ModelCalled() | state.StateRequested():
            granted = tape.before(seq, "approval.granted", op=f"{event.op}{approvals.OF_A_CALL}")
            if granted != NEVER:
                yield Because("agreed", here, granted)
                yield from _asked_otherwise(tape, tape.fact(tape.event(granted)), seq)
        case _:
            pass


def _asked_otherwise(tape: _Tape, granted: Any, seq: int) -> Iterator[Because]:
    """What had been asked for, where people agreed to another call."""
    if isinstance(granted, approvals.ApprovalGranted) and granted.edited:
        asked = _request(tape, granted.request, seq)
        if asked != NEVER:
            yield Because("asked_otherwise", tape.stream, asked)


def _answers(tape: _Tape, seq: int) -> list[int]:
    return [one for one in range(seq) if tape.types[one] == "approval.answered"]


def _of_rules(tape: _Tape, event: Event, fact: Any) -> Iterator[Because]:
    """What a policy decided about it."""
    here, seq, op = tape.stream, event.seq, event.op
    intents = (facts.ToolRequested, facts.ModelCalled, state.StateRequested, approvals.ApprovalRequested)
    if isinstance(fact, (*intents, autonomy.TrustRecorded, approvals.ApprovalGranted)):
        call = op.removesuffix(approvals.OF_A_CALL)
        decided = tape.before(seq, "autonomy.decided", op=call)
        if decided != NEVER:
            yield Because("decided", here, decided)
    if isinstance(fact, (rules.ToolDenied, autonomy.AutonomyDecided)):
        scope = next((one for one in (*enclosing(op, tape.by_op), "") if _bounds(tape, one, seq)), None)
        if scope is not None:
            yield Because("under", here, _bounds(tape, scope, seq)[-1])
    if isinstance(fact, (compositions.CompositionStarted,)):
        manifest = tape.before(seq, "manifest.recorded")
        if manifest != NEVER:
            yield Because("under", here, manifest)


def _bounds(tape: _Tape, scope: str, seq: int) -> list[int]:
    """Where a policy was put around a scope; around all of the program for ""."""
    types = ("stage.entered", "policy.narrowed", "persona.entered")
    seqs: Any = tape.by_op.get(scope, []) if scope else range(min(seq, TOLD_SHOWN))
    return [one for one in seqs if one < seq and tape.types[one] in types and tape.ops[one] == scope]


def _in_step(tape: _Tape, event: Event) -> Iterator[Because]:
    around = event.op if event.type in STEP_ENDS else tape.around(event.op, event.seq)
    started = tape.steps.get(around)
    if started is not None and started < event.seq:
        yield Because("in_step", tape.stream, started)
