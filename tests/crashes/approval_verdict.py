"""What must be true of one store after all who asked and answered in it are gone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from playhead import Engine
from playhead.events import approval as approvals
from playhead.events.approval import (
    AnswerSent,
    ApprovalAnswered,
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRequested,
    ApprovalTimedOut,
)
from playhead.events.catalog import OperationOutcomeUnknown, RunClaimed, ToolCompleted, ToolRequested
from playhead.log.envelope import Event
from tests.cli.shell import Shell
from tests.crashes.approval_program import RUN, STORE, effects, publishes
from tests.crashes.workload import testimony
from tests.runtime.asked_and_answered import Said, call_of, tally

WORDS: Mapping[type[Any], str] = {
    ApprovalGranted: "granted",
    ApprovalDenied: "denied",
    ApprovalTimedOut: "timed_out",
}
EVENTS_MAX = 10_000


class Verdict(NamedTuple):
    """How the request ended, how many effects were in doubt and answers without effect, and what is wrong."""

    end: str
    doubts: int
    without_effect: int
    faults: list[str]


async def verdict(place: Path) -> Verdict:
    """Look at the store in `place`, play its run again, and ask the command line."""
    async with Engine.open(place / STORE, personas=[publishes]) as engine:
        faults = [] if (await engine.store.verify()).ok else ["the log does not verify"]
        tape = await engine.store.read(f"run/{RUN}", 0, EVENTS_MAX)
        mail = await engine.store.read(f"mailbox/{RUN}", 0, EVENTS_MAX)
        facts = [(event, engine.catalog.decode(event)) for event in tape]
        sent = [(event, engine.catalog.decode(event)) for event in mail]
        before = effects(place)
        outcome = await engine.replay(RUN)
        if not outcome.identical or effects(place) != before or len(await engine.facts_of(RUN)) != len(tape):
            faults.append(f"the replay is another: {outcome.divergence}")
        result = await engine.result(RUN)
    answers = [(event, fact) for event, fact in sent if isinstance(fact, AnswerSent)]
    faults += [*_mail(place, answers, facts), *_unheard(answers, facts)]
    end, late, more = _decision(facts, len(sent))
    faults += [*more, *_effects(place, end, result, facts), *_record(place, end, facts)]
    doubts = sum(isinstance(fact, OperationOutcomeUnknown) for _, fact in facts)
    return Verdict(end, doubts, late, faults)


def _mail(
    place: Path, sent: Sequence[tuple[Event, AnswerSent]], facts: Sequence[tuple[Event, Any]]
) -> list[str]:
    """Every answer is there whole, as often as it was given, and taken as it was sent."""
    faults: list[str] = []
    there = Counter(fact.reason for _, fact in sent)
    asked: dict[str, tuple[str, str]] = {}
    for word, tag, who, what in testimony(place / "answers"):
        if word == "ask":
            asked[tag] = (who, what)
        elif word == "told" and there[tag] != 1:
            faults.append(f"{who} was told that {tag} is there, and it is there {there[tag]} times")
    for _, fact in sent:
        if asked.get(fact.reason) != (fact.reviewer, fact.word) or there[fact.reason] > 1:
            faults.append(f"nobody said {fact}, or not so often")
    by_seq = {event.seq: (event, fact) for event, fact in sent}
    taken = [fact for _, fact in facts if isinstance(fact, ApprovalAnswered)]
    if [fact.message for fact in taken] != sorted({fact.message for fact in taken}):
        faults.append("an answer was taken twice")
    for answered in taken:
        event, said = by_seq[answered.message]
        if answered != approvals.taken(said, message=event.seq, said_at=event.at):
            faults.append(f"{said} was taken as {answered}")
    return faults


def _unheard(sent: Sequence[tuple[Event, AnswerSent]], facts: Sequence[tuple[Event, Any]]) -> list[str]:
    """Answers that were there in time, before the owner who declared that the time was over."""
    over = next((event.seq for event, fact in facts if isinstance(fact, ApprovalTimedOut)), 0)
    before = [(event, fact) for event, fact in facts if event.seq < over]
    claims = [event.position for event, fact in before if isinstance(fact, RunClaimed)]
    due = [fact.due or 0 for _, fact in before if isinstance(fact, ApprovalRequested)]
    taken = {fact.message for _, fact in before if isinstance(fact, ApprovalAnswered)}
    return [
        f"{fact} was not heard before the time was over"
        for event, fact in sent
        if over and event.at <= due[0] and event.position < claims[-1] and event.seq not in taken
    ]


def _decision(facts: Sequence[tuple[Event, Any]], messages: int) -> tuple[str, int, list[str]]:
    """How the one request ended, how many answers did not help, and what speaks against that."""
    requests = [(event, fact) for event, fact in facts if isinstance(fact, ApprovalRequested)]
    decided = [(event, fact) for event, fact in facts if type(fact) in WORDS]
    if len(requests) != 1 or len(decided) != 1:
        return "?", 0, [f"{len(requests)} requests were decided {len(decided)} times"]
    (asking, asked), (deciding, decision) = requests[0], decided[0]
    call = call_of(RUN, asking.op, asked)
    heard = [
        (Said(call, fact.reviewer, fact.word), fact.said_at)
        for event, fact in facts
        if isinstance(fact, ApprovalAnswered) and event.seq < deciding.seq
    ]
    found = tally(asked, call, heard)
    end = WORDS[type(decision)]
    people = frozenset[str]()
    if isinstance(decision, ApprovalGranted):
        people = frozenset(each.reviewer for each in decision.granted)
    elif isinstance(decision, ApprovalDenied):
        people = frozenset({decision.reviewer})
    fits = (found.word, found.people) == ("open" if end == "timed_out" else end, people)
    without = messages - len(people)
    return end, without, [] if fits else [f"it was {end} by {sorted(people)}, and it is {found}"]


def _effects(place: Path, end: str, result: list[Any], facts: Sequence[tuple[Event, Any]]) -> list[str]:
    """The effect ran exactly once where it was granted, and else not at all."""
    ran = effects(place)
    asked = [fact for _, fact in facts if isinstance(fact, ToolRequested)]
    done = [fact for _, fact in facts if isinstance(fact, ToolCompleted)]
    if result[0] != end:
        return [f"it was {end}, and the run says {result}"]
    wanted = 1 if asked else 0
    if (len(asked), len(done)) != (wanted, wanted) or (asked and end != "granted"):
        return [f"it was {end}, and {len(asked)} effects were asked for, {len(done)} done"]
    if end == "granted" and bool(result[1]) != bool(asked):
        return [f"it was granted, and came to {result}"]
    repeatable = bool(asked) and asked[0].effect != "effect"
    times = len({line["key"] for line in ran}) if repeatable else len(ran)
    return [] if times == wanted else [f"it was {end}, and the effect ran {times} times: {ran}"]


def _record(place: Path, end: str, facts: Sequence[tuple[Event, Any]]) -> list[str]:
    """What people read: the decision stands in the run once, with who and why, and nobody is asked."""
    shell = Shell(place)
    (code, shown, _), asked = shell.here("show", RUN), shell.here("approvals").out
    words = [line.split() for line in shown.splitlines()]
    lines = [
        line for line in words if len(line) > 1 and line[1] in {f"approval.{word}" for word in WORDS.values()}
    ]
    if code or [line[1] for line in lines] != [f"approval.{end}"] or "nobody is asked" not in asked:
        return [f"the record of what was {end} says {shown}{asked}"]
    names = next((fact.granted for _, fact in facts if isinstance(fact, ApprovalGranted)), ())
    missing = [each.reviewer for each in names if each.reviewer not in shown]
    return [f"the record does not name {missing}"] if missing else []
