"""Whether a tape and a disk agree about what people allowed: an oracle that shares no code with the engine.

    judged = judge(log, run, ledger, before=0, effects=Disk.effects())
    assert judged.faults == []

It knows what each person saw when they answered, from a ledger that whoever posts the answers keeps. So
an answer is worth something for the call that was seen, whatever the mail claims to be about.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from playhead.events.approval import (
    ApprovalAnswered,
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRequested,
    ApprovalTimedOut,
)
from playhead.events.catalog import (
    OperationCancelled,
    OperationOutcomeUnknown,
    TimerFired,
    ToolCompleted,
    ToolRequested,
)
from playhead.events.codec import CATALOG
from playhead.log.memory_store import MemoryLog

GATED = ("send", "wipe")
"""Tools of which every call waits for a yes."""
DECISIONS = (ApprovalGranted, ApprovalDenied, ApprovalTimedOut)


class Call(NamedTuple):
    """What exactly is asked for, where: no two requests of a store are about the same."""

    run: str
    op: str
    kind: str
    action: str
    args: bytes


class Said(NamedTuple):
    """One answer, as whoever gave it meant it. `edit` is the other call; `forged` mail means nothing."""

    call: Call
    reviewer: str
    word: str
    edit: bytes | None = None
    forged: bool = False


Ledger = dict[tuple[str, int], Said]
"""What each message of each mailbox was meant as: by run and seq."""


def packed(value: Any) -> bytes:
    """Equal values have equal bytes, and 1 is not True."""
    return msgspec.msgpack.Encoder(order="deterministic").encode(value)


def call_of(run: str, op: str, asked: ApprovalRequested) -> Call:
    return Call(run, op, asked.kind, asked.action, packed(msgspec.msgpack.decode(asked.args)))


class Verdict(NamedTuple):
    """How a request stands: `open`, `denied`, or `granted` with what was agreed to."""

    word: str
    agreed: bytes = b""
    people: frozenset[str] = frozenset()


def tally(asked: ApprovalRequested, call: Call, answers: Iterable[tuple[Said, int]]) -> Verdict:
    """What `answers`, with when they were said, come to."""
    agreed: dict[str, bytes] = {}
    for said, at in answers:
        if said.forged or said.call != call or (asked.due is not None and at > asked.due):
            continue
        may = asked.reviewers is None or said.reviewer in asked.reviewers
        if not may or said.reviewer in (asked.principal, *asked.within):
            continue
        if said.word == "deny":
            return Verdict("denied", people=frozenset({said.reviewer}))
        if said.word == "withdraw":
            agreed.pop(said.reviewer, None)
        elif _sensible(call, said.edit):
            agreed[said.reviewer] = call.args if said.edit is None else said.edit
            people = [name for name, what in agreed.items() if what == agreed[said.reviewer]]
            if len(people) >= asked.quorum:
                return Verdict("granted", agreed[said.reviewer], frozenset(people))
    return Verdict("open")


def _sensible(call: Call, edit: bytes | None) -> bool:
    """Whether something could be done with what was agreed to."""
    if edit is None:
        return call.kind != "question"
    value = msgspec.msgpack.decode(edit)
    if call.kind == "question":
        return type(value) is int
    if call.action in GATED:
        return type(value) is dict and {name: type(each) for name, each in value.items()} == {
            "to": str,
            "copies": int,
        }
    return call.kind == "approval"


@dataclass
class Judged:
    """All that is wrong, and what came of the requests."""

    faults: list[str] = field(default_factory=list)
    decided: Counter[str] = field(default_factory=Counter)
    open: int = 0
    doubts: int = 0


def judge(
    log: MemoryLog, run: str, ledger: Ledger, *, before: int, effects: Sequence[Mapping[str, Any]]
) -> Judged:
    """The verdict on `run`, of which the first `before` events were there before its last life.

    `effects` are what the disk says of that life.
    """
    judged = Judged()
    tape = [(event.seq, event.op, CATALOG.decode(event)) for event in log.streams[f"run/{run}"]]
    grants = _judge_requests(judged, log, run, ledger, tape)
    _judge_effects(judged, run, tape, grants, before, [each for each in effects if each["run"] == run])
    return judged


def _judge_requests(
    judged: Judged, log: MemoryLog, run: str, ledger: Ledger, tape: Sequence[tuple[int, str, Any]]
) -> dict[tuple[int, str], tuple[Call, bytes]]:
    """Every grant that holds, by its place: the call that was asked for, and what was agreed to."""
    grants: dict[tuple[int, str], tuple[Call, bytes]] = {}
    requests = [(seq, op, fact) for seq, op, fact in tape if isinstance(fact, ApprovalRequested)]
    if len({op for _, op, _ in requests}) < len(requests):
        judged.faults.append("one operation asked twice")
    if len({fact.request for *_, fact in requests}) < len(requests):
        judged.faults.append("two requests have one id")
    answers = [(seq, fact) for seq, _, fact in tape if isinstance(fact, ApprovalAnswered)]
    if [fact.message for _, fact in answers] != sorted({fact.message for _, fact in answers}):
        judged.faults.append("an answer was taken twice, or out of order")
    for _, op, asked in requests:
        call = call_of(run, op, asked)
        decided = [(seq, fact) for seq, at, fact in tape if at == op and isinstance(fact, DECISIONS)]
        over = decided[0][0] if decided else len(tape)
        heard = [(ledger[run, fact.message], fact.said_at) for seq, fact in answers if seq < over]
        verdict = tally(asked, call, heard)
        if len(decided) > 1:
            judged.faults.append(f"{op} was decided {len(decided)} times")
        if not decided:
            if _given_up(tape, op):
                judged.decided["given up"] += 1
                continue
            judged.open += 1
            if verdict.word != "open":
                judged.faults.append(f"{op} is {verdict.word} and nobody decided")
            continue
        seq, decision = decided[0]
        judged.decided[type(decision).__name__] += 1
        judged.faults += _against(decision, verdict, op)
        if isinstance(decision, ApprovalGranted):
            grants[seq, op] = (call, verdict.agreed)
        if isinstance(decision, ApprovalTimedOut):
            judged.faults += _unheard(log, call, asked, ledger, tape[:seq])
    return grants


def _given_up(tape: Sequence[tuple[int, str, Any]], op: str) -> bool:
    return any(at == op and isinstance(fact, OperationCancelled) for _, at, fact in tape)


def _against(decision: Any, verdict: Verdict, op: str) -> list[str]:
    """What speaks against `decision`, where the answers came to `verdict`."""
    if isinstance(decision, ApprovalGranted):
        people = frozenset(each.reviewer for each in decision.granted)
        if (verdict.word, verdict.people) != ("granted", people):
            return [f"{op} was granted by {sorted(people)}, and it is {verdict}"]
        args = packed(msgspec.msgpack.decode(decision.args))
        # A question has no arguments; what its answer is worth is seen in the effect.
        fits = args == verdict.agreed or op.rpartition("/")[2].startswith("question#")
        return [] if fits else [f"{op} was granted with {args!r}, and it is {verdict}"]
    if isinstance(decision, ApprovalDenied):
        fits = verdict == Verdict("denied", people=frozenset({decision.reviewer}))
        return [] if fits else [f"{op} was denied by {decision.reviewer}, and it is {verdict}"]
    return [] if verdict.word == "open" else [f"{op} timed out, and it is {verdict}"]


def _unheard(
    log: MemoryLog, call: Call, asked: ApprovalRequested, ledger: Ledger, tape: Sequence[tuple[int, str, Any]]
) -> list[str]:
    """Why `asked` should not have timed out where `tape` ends."""
    fired = [fact for _, op, fact in tape if op == call.op and isinstance(fact, TimerFired)]
    if [fact.due for fact in fired] != [asked.due] or asked.due is None:
        return [f"{call.op} timed out, and its time was not over"]
    taken = {fact.message for *_, fact in tape if isinstance(fact, ApprovalAnswered)}
    mail = log.streams.get(f"mailbox/{call.run}", [])
    late = [event for event in mail if event.at < asked.due and event.seq not in taken]
    return [
        f"{call.op} timed out before {event.seq} was heard"
        for event in late
        if ledger[call.run, event.seq].call == call
    ]


def _judge_effects(
    judged: Judged,
    run: str,
    tape: Sequence[tuple[int, str, Any]],
    grants: Mapping[tuple[int, str], tuple[Call, bytes]],
    before: int,
    effects: Sequence[Mapping[str, Any]],
) -> None:
    """Each effect has a grant of its own, to exactly it, and ran where and as often as the tape says."""
    unused: defaultdict[tuple[str, str, bytes], int] = defaultdict(int)
    asked: dict[str, tuple[int, ToolRequested]] = {}
    ran = Counter(each["op"] for each in effects)
    over: dict[str, int] = {}
    doubted: set[str] = set()
    for seq, op, fact in tape:
        if (seq, op) in grants:
            call, agreed = grants[seq, op]
            where = op if call.action in GATED else ""
            unused[call.kind + where, call.action, agreed] += 1
        elif isinstance(fact, ToolRequested):
            asked[op] = (seq, fact)
            key = _needs(op, fact)
            unused[key] -= 1
            if unused[key] < 0:
                judged.faults.append(f"{op} has no grant of its own to {key}")
        elif isinstance(fact, ToolCompleted):
            over[op] = seq
            if seq >= before and ran[op] != 1:
                judged.faults.append(f"{op} is completed and ran {ran[op]} times")
        elif isinstance(fact, OperationCancelled):
            over[op] = seq
        elif isinstance(fact, OperationOutcomeUnknown):
            doubted.add(op)
    judged.doubts = len(doubted - set(over))
    for line in effects:
        op = line["op"]
        if op not in asked:
            judged.faults.append(f"{op} ran and is not on the tape")
            continue
        seq, fact = asked[op]
        if (line["tool"], packed(line["args"])) != (fact.tool, packed(msgspec.msgpack.decode(fact.args))):
            judged.faults.append(f"{op} did something else than its tape says: {line}")
        if ran[op] > 1 or over.get(op, before) < before:
            judged.faults.append(f"{op} ran again")
        if seq < before and fact.effect == "effect":
            judged.faults.append(f"{op} was in doubt and ran")


def _needs(op: str, fact: ToolRequested) -> tuple[str, str, bytes]:
    """What has to be granted before that call."""
    args = msgspec.msgpack.decode(fact.args)
    if fact.tool in GATED:
        return f"approval{op}/approval", fact.tool, packed(args)
    return args["kind"], args["what"], packed(args["args"])
