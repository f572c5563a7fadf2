"""An answer to one call never serves another, however the program is edited, cut, resumed, played or forked.

Programs that ask people are drawn and run, and people who say what they like answer some of it. Then the
log is cut at any event, the program edited, the run resumed as itself or as a copy, and answered again.
Whatever happened on the disk must have been allowed by enough people who saw exactly that, in time, and
whatever did not must have a reason in the log.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from playhead import Engine
from playhead.errors import BadValue, Diverged, NotFound
from playhead.events.approval import AnswerSent, ApprovalAnswered, ApprovalRequested
from playhead.events.values import encode_value
from playhead.log.envelope import NewEvent
from playhead.log.memory_store import MemoryLog
from playhead.policy.quorum import Answer, Counted, Terms, count
from playhead.runtime import approving, enforcing
from tests.replay.prefixes import RUN, copied, play
from tests.runtime.asked_and_answered import Judged, Ledger, Said, call_of, judge, packed
from tests.runtime.asking_programs import (
    PRINCIPAL,
    Disk,
    Edit,
    Program,
    edited,
    edits,
    leaves,
    persona_of,
    programs,
)
from tests.simulation.world import BIRTH_NS

OTHER = "another-run"
PEOPLE = ("ada", "bob", "cy", PRINCIPAL, "helper")
ENDS = ("completed", "failed", "cancelled")


class Move(NamedTuple):
    """Something that somebody does `after_s` seconds. `pick` is which request it is about."""

    word: Literal["agree", "approve", "deny", "withdraw", "forge", "echo"]
    pick: int
    who: str
    edit: Any
    after_s: float


EDITS = (
    None,
    None,
    None,
    {"to": "a", "copies": 1},
    {"to": "b", "copies": 1},
    {"to": "b"},
    {"copies": "many", "to": "b"},
)
moves = st.lists(
    st.builds(
        Move,
        st.sampled_from(
            ("agree", "agree", "agree", "approve", "approve", "deny", "withdraw", "forge", "echo")
        ),
        st.integers(0, 5),
        st.sampled_from(PEOPLE),
        st.sampled_from(EDITS),
        st.sampled_from((0.0, 0.3, 0.3, 7.1, 61.7)),
    ),
    max_size=8,
)


@dataclass
class World:
    """A log, what everybody meant who put something into its mailboxes, and how much time has gone by."""

    log: MemoryLog = field(default_factory=MemoryLog)
    ledger: Ledger = field(default_factory=dict)
    begins_s: float = 0.0


class People:
    """Everybody who answers one run."""

    def __init__(self, world: World, engine: Engine, run: str) -> None:
        self.log, self.ledger = world.log, world.ledger
        self.engine = engine
        self.run = run

    async def live(self, script: Sequence[Move]) -> None:
        for move in script:
            await asyncio.sleep(move.after_s)
            requests = [
                (op, fact)
                for op, fact in await self.engine.facts_of(self.run)
                if isinstance(fact, ApprovalRequested)
            ]
            waiting = {fact.request for fact in await self.engine.requests(self.run)}
            if move.word == "agree":
                requests = [each for each in requests if each[1].request in waiting]
            if requests:
                await self.do(move, *requests[move.pick % len(requests)])

    async def do(self, move: Move, op: str, asked: ApprovalRequested) -> None:
        if move.word == "agree":
            able = [name for name in asked.reviewers or PEOPLE if name != asked.principal]
            for name in able[: asked.quorum]:
                await self.say("approve", op, asked, name, move.edit)
        elif move.word == "forge":
            await self.forge(op, asked, move.who)
        elif move.word == "echo":
            await self.echo(move.pick)
        else:
            await self.say(move.word, op, asked, move.who, move.edit)

    async def say(self, word: Any, op: str, asked: ApprovalRequested, who: str, edit: Any) -> None:
        value: Any = ...
        if word == "approve" and asked.kind == "question":
            value = 7 if edit is None else edit
        elif word == "approve" and asked.kind == "approval" and edit is not None:
            value = edit
        with suppress(BadValue, NotFound):  # it is over by now
            await self.engine.answer(self.run, asked.request, word, value, reviewer=who)
            call = call_of(self.run, op, asked)
            self.note(Said(call, who, word, None if value is ... else packed(value)))

    async def forge(self, op: str, asked: ApprovalRequested, who: str) -> None:
        """Mail that brings other arguments than those whose digest it claims."""
        claimed = msgspec.Raw(encode_value({"copies": 9, "to": "b"}, where="", plain=True, ordered=True))
        brought = msgspec.Raw(encode_value({"copies": 1, "to": "b"}, where="", plain=True, ordered=True))
        digest = approving.digest_of(asked.kind, asked.action, claimed)
        sent = AnswerSent(request=asked.request, word="approve", reviewer=who, value=brought, digest=digest)
        event = self.engine.catalog.new_event(sent, at=self.engine.clock.now())
        await self.post(event, Said(call_of(self.run, op, asked), who, "approve", forged=True))

    async def echo(self, pick: int) -> None:
        """The very same letter once more."""
        mail = self.log.streams.get(f"mailbox/{self.run}", [])
        if mail:
            old = mail[pick % len(mail)]
            event = NewEvent(
                old.type, old.version, self.engine.clock.now(), old.op, old.cause, old.payload or b""
            )
            await self.post(event, self.ledger[self.run, old.seq])

    async def post(self, event: NewEvent, said: Said) -> None:
        mailbox = f"mailbox/{self.run}"
        await self.engine.store.append(mailbox, len(self.log.streams.get(mailbox, [])), [event])
        self.note(said)
        await self.engine.look(self.run)

    def note(self, said: Said) -> None:
        self.ledger[self.run, len(self.log.streams[f"mailbox/{self.run}"]) - 1] = said


# Lives.


class Plan(NamedTuple):
    """What is done to one program."""

    program: Program
    mode: Literal["strict", "relaxed"]
    first: Sequence[Move]
    cut_at: int
    before_a_request: bool
    changes: Sequence[Edit]
    forked: bool
    pause_s: float
    meanwhile: Sequence[Move]
    then: Sequence[Move]


anything = st.builds(
    Plan,
    programs,
    st.sampled_from(("strict", "strict", "strict", "relaxed")),
    moves,
    st.integers(0, 60),
    st.booleans(),
    edits,
    st.sampled_from((False, False, False, True)),
    st.sampled_from((0.0, 0.0, 20.0, 60.0)),
    moves,
    moves,
)


# One call that is agreed to, forgotten by a crash, and perhaps another one afterwards.
forgotten = st.builds(
    Plan,
    st.tuples(leaves()),
    st.just("strict"),
    st.just([Move("agree", 0, "ada", None, 0.3)]),
    st.just(0),
    st.just(True),
    edits,
    st.booleans(),
    st.sampled_from((0.0, 60.0)),
    moves,
    moves,
)
plans = st.one_of(anything, anything, forgotten)


PATIENCE_S = 100.0


def live(
    world: World, program: Any, run: str | None, script: Sequence[Move], meanwhile: Sequence[Move] = ()
) -> tuple[str, str, Any]:
    """Start or resume `run`, answer it, and see how it stands: its id, a status, and its result.

    `meanwhile` is done while no process holds it.
    """

    async def work(engine: Engine) -> tuple[str, str, Any]:
        if run is not None:
            await People(world, engine, run).live(meanwhile)
        try:
            name = (await engine.start(program)).id if run is None else (await engine.resume(run)).id
        except Diverged:
            return run or "", "diverged", None
        await People(world, engine, name).live(script)
        await asyncio.sleep(PATIENCE_S)
        status = await engine.status(name)
        result = await engine.result(name) if status == "completed" else None
        world.begins_s = (engine.clock.now() - BIRTH_NS) / 1e9
        engine.store.kill()  # type: ignore[attr-defined]
        return name, status, result

    found: tuple[str, str, Any] = play(world.log, work, begins_s=world.begins_s, personas=[program])
    return found


def again(world: World, run: str, plan: Plan) -> tuple[World, str, int]:
    """The world as it is after a crash at some event, and the run that it is continued as."""
    events = world.log.streams[RUN + run]
    asking = [event.seq for event in events if event.type == "approval.requested"]
    places = asking if plan.before_a_request and asking else range(1, len(events))
    length = places[plan.cut_at % len(places)]
    name = OTHER if plan.forked else run
    log = copied(world.log, run, lambda events: events[:length], name=name)
    ledger = {(name, seq): said for (_, seq), said in world.ledger.items()}
    return World(log, ledger, world.begins_s + plan.pause_s), name, length


def reasons(world: World, run: str, status: str, result: Any, judged: Judged) -> list[str]:
    """What is wrong about how the run says that it stands."""
    types = Counter(event.type for event in world.log.streams[RUN + run])
    if status == "completed":
        became = Counter(result)
        said = {"done": types["tool.completed"], "denied": judged.decided["ApprovalDenied"]}
        said["late"] = judged.decided["ApprovalTimedOut"]
        return [f"{became} where the tape says {said}"] if became != Counter(said) else []
    if status in ENDS:
        return [f"it {status}"]
    return [] if judged.open or judged.doubts else [f"it is {status}, and waits for nothing"]


def lived(plan: Plan, place: Path, seen: Counter[str]) -> list[str]:
    """Everything that is wrong with what came of `plan`; `seen` counts what it was good for."""
    world = World()
    Disk.begin(place / "effects")
    run, status, result = live(world, persona_of(plan.program, plan.mode), None, plan.first)
    judged = judge(world.log, run, world.ledger, before=0, effects=Disk.effects())
    faults = [*judged.faults, *reasons(world, run, status, result, judged)]
    seen.update(judged.decided)

    changed = persona_of(edited(plan.program, plan.changes), plan.mode)
    world, run, length = again(world, run, plan)
    Disk.begin(place / "effects")
    replayed(world, changed, run)
    status, result = live(world, changed, run, plan.then, plan.meanwhile)[1:]
    effects = Disk.effects()
    seen[status] += 1
    seen["effects after a cut"] += len(effects)
    if status == "diverged":
        more = {event.type for event in world.log.streams[RUN + run][length:]}
        wrong = more - {"run.claimed", "run.resumed", "run.released"}
        return [*faults, *(["a diverged run went on"] if effects or wrong else [])]
    judged = judge(world.log, run, world.ledger, before=length, effects=effects)
    faults += [*judged.faults, *reasons(world, run, status, result, judged)]
    seen.update(judged.decided)
    outcome = replayed(world, changed, run)
    if outcome.divergence is not None or outcome.identical != (status in ENDS):
        faults.append(f"the replay is another: {outcome.divergence}")
    if Disk.effects() != effects:
        faults.append("a replay did something")
    return faults


def replayed(world: World, program: Any, run: str) -> Any:
    length = len(world.log.events)
    outcome = play(world.log, lambda engine: engine.replay(run), personas=[program])
    assert len(world.log.events) == length, "a replay wrote something"
    return outcome


EXAMPLES = 200
EXAMPLES_LONG = 20_000
EXAMPLES_CONTROL = 2_000


def attack(place: Path, examples: int, **options: Any) -> Counter[str]:
    """Try that many plans; what they were good for."""
    seen: Counter[str] = Counter()

    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow], **options)
    @given(plans)
    def holds(plan: Plan) -> None:
        assert lived(plan, place, seen) == []

    holds()
    return seen


def test_no_answer_serves_another_call(tmp_path: Path) -> None:
    seen = attack(tmp_path, EXAMPLES, derandomize=True)  # so that what is counted is the same every time
    words = ("ApprovalGranted", "ApprovalDenied", "ApprovalTimedOut", "given up", "completed", "diverged")
    assert all(seen[word] > EXAMPLES / 20 for word in (*words, "suspended", "effects after a cut")), seen


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_answer_serves_another_call_in_very_many_programs(tmp_path: Path) -> None:
    attack(tmp_path, EXAMPLES_LONG)


# The controls: what the oracle must find out.


def of_any_run(kind: Any, run: str, op: str, digest: str) -> str:
    return request_of(kind, "", op, digest)


def of_any_operation(kind: Any, run: str, op: str, digest: str) -> str:
    return request_of(kind, run, "", digest)


def of_any_call(kind: Any, run: str, op: str, digest: str) -> str:
    return request_of(kind, run, op, "")


def by_one(terms: Terms, answers: Sequence[Answer]) -> Counted:
    return count(terms._replace(quorum=1), answers)


def as_it_was_asked(terms: Terms, answers: Sequence[Answer]) -> Counted:
    return count(terms, [answer._replace(digest="") for answer in answers])


def whatever_was_said_before(terms: Terms, answers: Sequence[Answer]) -> Counted:
    return count(terms, [answer for answer in answers if answer.word == "approve"])


def in_any_time(asked: Any, fact: ApprovalAnswered) -> bool:
    due, asked.due = asked.due, None
    try:
        return COUNTS(asked, fact)
    finally:
        asked.due = due


GRANTED_BEFORE: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()


async def once_for_all(scope: Any, op: str, wish: Any, *more: Any) -> Any:
    known = GRANTED_BEFORE.setdefault(scope.machine, {})
    call = (wish.tool, bytes(wish.recorded))
    if call not in known:
        known[call] = await approved(scope, op, wish, *more)
        return known[call]
    return replace(known[call], effect=None)


request_of, approved, COUNTS = approving.request_of, enforcing._approved, approving.Asked._counts


def by_anybody(terms: Terms, answers: Sequence[Answer]) -> Counted:
    return count(terms._replace(reviewers=None, principal=""), answers)


BROKEN: dict[str, list[tuple[Any, str, Any]]] = {
    "any run": [(approving, "request_of", of_any_run)],
    "any operation": [(approving, "request_of", of_any_operation)],
    "any call": [(approving, "request_of", of_any_call)],
    "anybody": [(approving, "count", by_anybody), (approving, "has_say", lambda terms, reviewer: True)],
    "one of two": [(approving, "count", by_one)],
    "no edit": [(approving, "count", as_it_was_asked)],
    "no way back": [(approving, "count", whatever_was_said_before)],
    "too late": [(approving.Asked, "_counts", in_any_time)],
    "forged": [(approving.Asked, "_counts", lambda asked, fact: True)],
    "once for all": [(enforcing, "_approved", once_for_all)],
}


SLOW = ("too late", "any call", "once for all")
"""Controls that need many plans until one shows them: tried in the long form."""


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(broken, id=name, marks=[pytest.mark.long] if name in SLOW else [])
        for name, broken in BROKEN.items()
    ],
)
def test_whoever_lets_an_answer_serve_another_call_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: list[tuple[Any, str, Any]]
) -> None:
    for change in broken:
        monkeypatch.setattr(*change)
    with pytest.raises(AssertionError):
        attack(tmp_path, EXAMPLES_CONTROL, phases=[Phase.generate], derandomize=True)
