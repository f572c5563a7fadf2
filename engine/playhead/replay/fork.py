"""A fork: a new run that begins with the tape of another, up to one event, and goes on for itself.

    plan = plan_fork(tape, persona, Wish(at=12, edits=Edits(outcomes={"fetch#0": "EDITED"})), ...)
    plan.imagined.live     # what would have to happen in the world

What the program does when it is told what the tape holds is a tape again. It is appended
as the beginning of the new run, which is then resumed like any other.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Raw

from playhead.agent_state.keys import Place
from playhead.errors import BadValue, ForkUnavailable, KeyReuse, NotFound
from playhead.events.approval import OF_A_CALL, ApprovalAnswered, ApprovalRequested
from playhead.events.autonomy import StandingRequested
from playhead.events.catalog import (
    EffectWithheld,
    ModelCalled,
    RunForked,
    RunReleased,
    RunStarted,
    TimerSet,
    ToolRequested,
    WaitStarted,
)
from playhead.events.codec import Catalog, Erased, Unknown
from playhead.events.composition import CompositionStarted
from playhead.events.fact import Fact, type_of
from playhead.events.rules import HookFired
from playhead.events.state import StateRequested
from playhead.events.words import ForkWords, PreparedWords
from playhead.log.envelope import APPEND_EVENTS_MAX, NewEvent
from playhead.replay.edits import Edited, Edits, apply
from playhead.replay.imagine import Imagined, Live, Terms, imagine
from playhead.replay.script import Answer, Script, asks
from playhead.runtime.building import MachineHost
from playhead.runtime.difference import Gone
from playhead.runtime.fence import check_known, fence_of, withheld_by, would_open
from playhead.runtime.likeness import question_of
from playhead.runtime.persona import Persona
from playhead.runtime.tape import Tape
from playhead.runtime.tool import TOOLS

Verdict = Literal["waits", "withheld", "begins", "live"]
Mode = Literal["exact", "with_overrides", "from_checkpoint"]
MODES: Final[tuple[Mode, ...]] = ("exact", "with_overrides", "from_checkpoint")
OWN_EVENTS: Final = 2
_NAMING: Final = (type_of(ToolRequested), type_of(ModelCalled))
_NOT_PREPARED: Final = (
    TimerSet,
    WaitStarted,
    ApprovalRequested,
    HookFired,
    StandingRequested,
    CompositionStarted,
)
"""What time, people and rules answer: they are asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wanted of a fork: at the last event, in the mode that fits the edits, behind a fence."""

    at: int | None = None
    edits: Edits = field(default_factory=Edits)
    allow: Iterable[str] = ()
    mode: Mode | None = None
    name: str | None = None
    key: str | None = None
    reason: str = ""


class Origin(NamedTuple):
    """Where a fork is made: the id of the new run, the time, and what stands in for an engine.

    It must not be an engine, whose model client may be another or none: see `playhead.replay.player.on_tape`.

    `digest` is that of the source's event in the log, and `key` what digests of edits are made with.
    """

    run: str
    now: int
    host: MachineHost
    digest: str = ""
    key: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A fork that is ready to be made: its first fact, when that is, and the tape that it begins with."""

    run: str
    started: RunStarted
    started_at: int
    imagined: Imagined
    absent: frozenset[str] = frozenset()
    """Operations that would open a session that is not there."""

    @property
    def words(self) -> ForkWords:
        assert self.started.forked is not None
        return self.started.forked

    def withheld(self, live: Live) -> EffectWithheld | None:
        """What would keep `live` from happening; None where it would happen."""
        if live.op in self.absent:
            return would_open(self.started.fence, self.run, live.request)
        return withheld_by(self.started.fence, self.run, live.request, live.executor)

    @property
    def opens(self) -> dict[str, str]:
        """By operation, the streams of sessions that it may look into and not make."""
        return {
            live.op: Place(live.request.root, live.request.session).stream
            for live in self.imagined.live
            if isinstance(live.request, StateRequested)
            and would_open(self.started.fence, self.run, live.request)
        }

    def verdict(self, live: Live) -> Verdict:
        """What becomes of `live` in the fork: `begins` is a run of its own, behind the same fence."""
        if live.kind in ("timer", "signal", "approval"):
            return "waits"
        if self.withheld(live):
            return "withheld"
        return "begins" if live.kind == "child" else "live"

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Operations whose edited outcome waits until the program comes to them: nobody knows if it fits."""
        return tuple(op for op, words in (self.started.prepared or {}).items() if not words.asked)

    def events(self, catalog: Catalog, now: int) -> list[NewEvent]:
        """All that is appended: the whole beginning of the run. Raises `BadValue` where that is too much."""
        events = [catalog.new_event(self.started, at=self.started_at), *self.imagined.events]
        if self.imagined.finished is None:
            said = RunReleased(reason=f"forked from {self.words.run}@{self.words.event}")
            events.append(catalog.new_event(said, at=now))
        if len(events) > APPEND_EVENTS_MAX:
            raise BadValue(
                f"a fork begins with at most {APPEND_EVENTS_MAX - OWN_EVENTS} events.",
                found=len(self.imagined.events),
                next_step="Fork at an earlier event.",
            )
        return events

    def mention(self, sender: str) -> RunForked:
        """What the source is told."""
        words = self.words
        return RunForked(run=self.run, event=words.event, mode=words.mode, reason=words.reason, sender=sender)


def plan_fork(tape: Tape, persona: Persona[..., Any], wish: Wish, origin: Origin) -> Plan:
    """What the fork that is wished for comes to. Touches nothing.

    Raises `NotFound` for an event or operation that is not there, `BadValue` for edits that make no sense,
    and `ForkUnavailable` where a mode wants what the tape does not have.
    """
    at = tape.events[-1].seq if wish.at is None else wish.at
    if not 0 <= at <= tape.events[-1].seq:
        raise NotFound(f"run {tape.run} has no event {at}.", expected=f"0 to {tape.events[-1].seq}", found=at)
    mode = wish.mode or ("with_overrides" if wish.edits else "exact")
    whole = Script.of(tape)
    edited = apply(wish.edits, whole, persona, origin.host.redaction, origin.key)
    _check_mode(mode, wish, edited, at)
    script = _with(Script.of(tape, at), edited.answers)
    words = ForkWords(
        run=tape.run,
        event=at,
        digest=origin.digest,
        mode=mode,
        events=0,
        outcomes=0,
        edits=edited.words,
        model=wish.edits.model,
        reason=wish.reason,
        code=tape.started.code if tape.started.code != persona.code else "",
    )
    started = _started(edited.started, persona, wish, origin)
    forked = tape.started.forked
    terms = Terms(
        host=origin.host,
        run=origin.run,
        started=started,
        started_at=tape.started_at,
        patches=tape.patches,
        passed=frozenset(forked.passed) if forked is not None else frozenset(),
        again=True,
    )
    found = imagine(script, persona, terms)
    if wish.edits and found.departure is not None and (found.doubtful or found.finished is None):
        # It may come to a patch another way: the unedited program says which were passed.
        plain = replace(terms, started=_started(tape.started, persona, wish, origin))
        passed = imagine(Script.of(tape, at), persona, plain).passed
        terms = replace(terms, passed=passed)
        if found.doubtful & passed:
            found = imagine(script, persona, terms)
    if mode != "with_overrides":
        _check_whole(script, mode)
        _check_exact(tape, found, mode)
    _check_agreed(edited, whole, found)
    words = msgspec.structs.replace(words, outcomes=found.outcomes)
    found, terms = _settled(script, persona, terms, found, words, origin.now)
    if mode != "with_overrides" and wish.edits.model is None:  # that comes of it is what is written
        _check_exact(tape, found, mode)
    going = found.finished is None
    if going:
        _check_client(found, tape.run)
    _check_allowed(wish.allow, tape, found, started.model)
    kept = tuple(sorted(found.passed.union(terms.passed or ()))) if going else ()
    words = msgspec.structs.replace(words, events=len(found.events), passed=kept)
    prepared = _prepared(found, words.run, words.mode) if going else {}
    started = msgspec.structs.replace(started, forked=words, prepared=prepared or None)
    return Plan(run=origin.run, started=started, started_at=terms.started_at, imagined=found)


def _settled(
    script: Script, persona: Persona[..., Any], terms: Terms, first: Imagined, words: ForkWords, now: int
) -> tuple[Imagined, Terms]:
    """What the fork begins with. What the program was told last comes now, so that its next limits are new.

    Where that alone makes it do something else than its tape, it comes when it came.
    """
    if first.finished is not None:
        return first, terms
    terms = replace(
        terms,
        started=msgspec.structs.replace(terms.started, forked=words),
        passed=terms.passed | first.passed if terms.passed else first.passed,
        until=first.outcomes,
        dropped=first.dropped,
    )
    renewed = replace(
        terms, started_at=terms.started_at if first.outcomes else max(terms.started_at, now), last_at=now
    )
    found = imagine(script, persona, renewed)
    if found.departure is None or first.departure is not None:
        return found, renewed
    as_it_was = imagine(script, persona, terms)
    return (found, renewed) if as_it_was.departure is not None else (as_it_was, terms)


def _prepared(found: Imagined, source: str, mode: str) -> dict[str, PreparedWords]:
    """What is kept ready for when the program comes to it: edited outcomes, and what its tape has left.

    An edited outcome answers whatever is asked there, a recorded one its own question. Raises `BadValue` for
    an edit of a message or a time that the program has not come to.
    """
    prepared: dict[str, PreparedWords] = {}
    for answer in found.unused:
        by_executor = answer.asked is not None and not isinstance(answer.asked, (*_NOT_PREPARED, Gone))
        if answer.edited and not by_executor:
            raise BadValue(
                f"the program waits for something else before it comes to {answer.op or 'that message'}.",
                expected="an edit of what comes before the cut, or of what a tool or a model answers",
                found=type_of(answer.fact),
            )
        whole = not answer.asked_erased and answer.ground is not None
        kept = answer.edited or (mode == "with_overrides" and whole)
        if not by_executor or answer.asked is None or not kept:
            continue
        prepared[answer.op] = PreparedWords(
            type=type_of(answer.fact),
            version=answer.fact.VERSION,
            fact=Raw(answer.payload),
            asked="" if answer.edited else question_of(answer.asked, source, answer.ground or ""),
        )
    return prepared


def check_made_before(plan: Plan, first: Fact | Unknown | Erased) -> None:
    """Raise `KeyReuse` where the run that has the id of the fork, and begins with `first`, is another."""
    words, wanted = first.forked if isinstance(first, RunStarted) else None, plan.words
    if words is None or (words.run, words.event, words.mode, words.edits) != (
        wanted.run,
        wanted.event,
        wanted.mode,
        wanted.edits,
    ):
        raise KeyReuse(
            f"the key {plan.started.key!r} belongs to run {plan.run}, which is another.",
            expected=f"a fork of {wanted.run}@{wanted.event} with the same edits",
            found="no fork" if words is None else f"a fork of {words.run}@{words.event}",
            next_step="Use another key for another fork.",
        )
    if isinstance(first, RunStarted) and first.fence != plan.started.fence:
        raise KeyReuse(
            f"the key {plan.started.key!r} belongs to run {plan.run}, which may do something else.",
            expected=f"--allow {', --allow '.join(first.fence or ())}" if first.fence else "nothing allowed",
            found=list(plan.started.fence or ()),
            next_step="Use another key for a fork that may do more, or less.",
        )


def _check_client(found: Imagined, run: str) -> None:
    """Raise `ForkUnavailable` where the fork goes on with a model that nobody here can ask."""
    if found.stood_in is not None:
        raise ForkUnavailable(
            f"run {run} asks the model client {found.stood_in!r}, and without one a fork of it cannot go on.",
            expected=found.stood_in,
            next_step='Give one: Engine.open(model=...), or PLAYHEAD = {"model": ...} in the program.',
        )


def _check_allowed(allow: Iterable[str], tape: Tape, found: Imagined, client: str | None) -> None:
    """Raise `BadValue` for a word of the fence that is the name of nothing."""
    words = list(allow)
    if not words:
        return
    tools, classes = {tool.name for tool in TOOLS}, {tool.wanted.kind for tool in TOOLS if tool.wanted}
    clients = {found.stood_in or "", tape.started.model or "", client or ""}
    requests = [
        tape.catalog.decode(event)
        for event in tape.events
        if event.type in _NAMING and event.payload is not None
    ]
    for request in (*requests, *(live.request for live in found.live)):
        if isinstance(request, ToolRequested):
            tools.add(request.tool)
            classes.add(request.side_effect)
        elif isinstance(request, ModelCalled):
            clients.add(request.client)
    check_known(words, tools, classes, clients)


def _check_mode(mode: str, wish: Wish, edited: Edited, at: int) -> None:
    if mode not in MODES:
        raise BadValue(f"a fork is not made {mode!r}.", expected=", ".join(MODES), found=mode)
    if mode == "exact" and wish.edits:
        raise BadValue(
            "an exact fork has no edits.",
            found=", ".join(f"{words.what} {words.of}" for words in edited.words),
            next_step="Fork with mode with_overrides.",
        )
    if mode != "from_checkpoint":
        return
    if wish.at is None:
        raise BadValue("a fork from a checkpoint names its event.", expected="RUN@N")
    before = [words for words in edited.words if words.event is not None and words.event <= at]
    if before:
        raise BadValue(
            f"{before[0].what} {before[0].of} stands before the checkpoint, event {at}.",
            expected="edits of what comes after it",
            found=before[0].event,
            next_step="Fork with mode with_overrides, or from an earlier event.",
        )


def _check_agreed(edited: Edited, script: Script, found: Imagined) -> None:
    """Raise `BadValue` for an edited yes to a call that would have to happen: only people agree to that."""
    for answer in edited.answers:
        if answer.op in found.dropped and isinstance(answer.fact, ApprovalAnswered):
            call = answer.op.removesuffix(OF_A_CALL)
            raise BadValue(
                f"the edited answer to {answer.op} would let {call} happen, and to that only people say yes.",
                expected="a no",
                found=answer.fact.word,
                next_step=f"Say what came of it as well: --outcome {call}=JSON."
                if any(told.event.op == call for told in script.program if asks(told.fact))
                else "Fork before it, and have people answer.",
            )


def _check_whole(script: Script, mode: str) -> None:
    """Raise `ForkUnavailable` naming the first outcome that was erased and is not given."""
    for lost in script.lost.values():
        what = script.tape.erasure_of(lost.event)
        name = lost.op or f"@{lost.event.seq}"
        raise ForkUnavailable(
            f"an {mode} fork of {script.tape.run} is not possible: {what}.",
            expected=f"what came of {name}",
            found=lost.event.seq,
            next_step=f"Give it with --outcome {name}=JSON, fork at an earlier event, or with --mode"
            " with_overrides.",
        )


def _check_exact(tape: Tape, found: Imagined, mode: str) -> None:
    """Raise `ForkUnavailable` naming the first thing that the tape does not answer as it did."""
    if found.dropped:
        return  # people are asked again, so the story goes on from there
    left = next((answer for answer in found.unused if not answer.edited), None)
    parted, undone = found.departure, found.undone
    if parted is not None and parted.now_op:
        said = f"{parted.now} {parted.now_op} is not on the tape at event {parted.event}"
    elif parted is not None:
        now, then = parted.now or "nothing", parted.recorded or "nothing"
        said = f"the program comes to {now} where the tape has {then}, at event {parted.event}"
    elif undone is not None:
        said = (
            f"the program does not come to {undone.event.type} {undone.event.op} of event {undone.event.seq}"
        )
    elif left is not None:
        said = f"nobody asks any more for what event {left.seq} answers, {left.op or 'news'}"
    else:
        return
    raise ForkUnavailable(
        f"an {mode} fork of {tape.run} is not possible: {said}.",
        expected="a program that does up to there what its tape says",
        found=parted.now_op if parted else undone.event.seq if undone else left.seq if left else None,
    )


def _with(script: Script, answers: Iterable[Answer]) -> Script:
    """`script` with `answers` in place of those that were recorded at the same events."""
    for answer in answers:
        script.lost.pop(answer.seq, None)
        into = script.news if answer.news else script.answers.setdefault(answer.op, [])
        for place, known in enumerate(into):
            if known.seq == answer.seq:
                into[place] = answer
                break
        else:
            into.append(answer)
    return script


def _started(started: RunStarted, persona: Persona[..., Any], wish: Wish, origin: Origin) -> RunStarted:
    client = getattr(getattr(origin.host, "model", None), "name", None)
    return msgspec.structs.replace(
        started,
        name=wish.name,
        key=wish.key,
        parent=None,
        parent_op=None,
        module=persona.function.__module__ or "",
        code=persona.code,
        python=platform.python_version(),
        model=client or started.model,
        fence=fence_of(wish.allow),
        forked=None,
        prepared=None,
    )
