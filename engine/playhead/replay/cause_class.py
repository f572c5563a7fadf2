"""What kind of change makes a program leave its tape: one word of a closed set.

    classify(tape, persona, found, hints, host)      # 'added'

An edit is told from another by what the program does afterwards: it is imagined past
the difference, as if what no tape answers were answered like the last call of its kind.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from playhead.errors import PlayheadError
from playhead.events.approval import OF_A_CALL, ApprovalRequested
from playhead.events.autonomy import AutonomyDecided, AutonomyProposed, StandingRequested
from playhead.events.catalog import (
    PatchTaken,
    RunCancelled,
    RunCompleted,
    RunFailed,
    StepCompleted,
    StepFailed,
    StepStarted,
    ToolRequested,
)
from playhead.events.fact import Fact, ProgramFact, Site, type_of
from playhead.events.rules import PolicyNarrowed, StageEntered, StepDenied, ToolDenied
from playhead.replay.imagine import Terms, imagine
from playhead.replay.script import Script
from playhead.runtime.building import MachineHost
from playhead.runtime.difference import Divergence, Recorded
from playhead.runtime.likeness import alike
from playhead.runtime.persona import Persona
from playhead.runtime.step import Step
from playhead.runtime.tape import Tape

CauseClass = Literal[
    "argument",
    "result",
    "renamed",
    "moved",
    "reordered",
    "added",
    "removed",
    "branch",
    "replaced",
    "race",
    "exception",
    "policy",
    "patch",
    "stuck",
    "unrecorded_time",
    "unrecorded_chance",
    "unrecorded_environment",
    "unrecorded_order",
    "secret",
    "unknown",
]

MEANING: Final[dict[CauseClass, str]] = {
    "argument": "the same operation is asked something else",
    "result": "the same operations lead to another result",
    "renamed": "the same thing is asked under another name",
    "moved": "the operation is asked from another place: another task, step or call",
    "reordered": "what was done first is done later",
    "added": "something is done that was not done then",
    "removed": "something is not done any more",
    "branch": "the program takes another branch",
    "replaced": "something else is done in its place",
    "race": "another contender wins",
    "exception": "the program raises",
    "policy": "another policy holds: it refuses or asks where it did not, or the other way round",
    "patch": "a guarded change is gone, or is asked about elsewhere",
    "stuck": "the program waits for what never comes",
    "unrecorded_time": "the time is read past the tape",
    "unrecorded_chance": "chance is drawn past the tape",
    "unrecorded_environment": "the environment is read past the tape",
    "unrecorded_order": "the order of a set is used",
    "secret": "the digest of a secret is another, as of another secret or under another redaction key",
    "unknown": "the same code does something else: it reads what no tape holds",
}

_HINTS: Final[tuple[tuple[str, CauseClass], ...]] = (
    ("unrecorded time", "unrecorded_time"),
    ("unrecorded chance", "unrecorded_chance"),
    ("unrecorded environment", "unrecorded_environment"),
    ("a set", "unrecorded_order"),
)
_ENDS: Final = (RunCompleted, RunFailed, RunCancelled)
LOOK_AHEAD_MAX: Final = 1_000
LOOKED_AHEAD_MAX: Final = 20_000
"""How many events a tape may have for somebody to look past the difference."""


def classify(
    tape: Tape, persona: Persona[..., Any], found: Divergence, hints: Sequence[str], host: MachineHost | None
) -> CauseClass:
    """The class of the first difference between `tape` and `persona` as it is now."""
    changed = _code_changed(tape, persona, found)
    unrecorded = _unrecorded(found.site, hints, changed=changed)
    now = found.now[1] if found.now is not None else None
    recorded = found.recorded
    if found.kind == "changed" and found.field == "winner":
        return "race"
    if isinstance(now, (RunFailed, StepFailed)) and type(getattr(recorded, "fact", None)) is not type(now):
        return "exception"
    if unrecorded is not None:
        return unrecorded
    if found.kind == "missing":
        return "stuck"
    if isinstance(now, PatchTaken) or (recorded is not None and isinstance(recorded.fact, PatchTaken)):
        return "patch"
    if _is_ruled(recorded, found.now, found.field):
        return "policy"
    if not changed and recorded is not None and now is not None:
        return "unknown"
    if recorded is None or found.now is None:
        return "added" if found.kind == "extra" else "removed"
    return _edited(tape, persona, recorded, found.now, found.site, host)


def _is_ruled(recorded: Recorded | None, now: tuple[str, Fact] | None, name: str | None) -> bool:
    """Whether a policy or a stage says something else than it did then, or says something at all."""
    was = (recorded.op, recorded.fact) if recorded is not None else ("", None)
    op, fact = now if now is not None else ("", None)
    if type(was[1]) is type(fact):
        return isinstance(fact, _OF_RULES) or (isinstance(fact, _DENIED) and name in _SAID_BY_RULES)
    return any(
        isinstance(each, (*_DENIED, *_OF_RULES))
        or (isinstance(each, ApprovalRequested) and whose.endswith(OF_A_CALL))
        for whose, each in (was, (op, fact))
    )


_DENIED: Final = (ToolDenied, StepDenied)
_OF_RULES: Final = (PolicyNarrowed, StageEntered, AutonomyDecided, AutonomyProposed, StandingRequested)
_SAID_BY_RULES: Final = ("reason", "verdict", "by")


def _edited(
    tape: Tape,
    persona: Persona[..., Any],
    recorded: Recorded,
    now: tuple[str, Fact],
    site: Site | None,
    host: MachineHost | None,
) -> CauseClass:
    """The class of an edit: the same operation with another content, or another operation."""
    op, fact = now
    if recorded.op == op and type(recorded.fact) is type(fact):
        if isinstance(fact, (RunFailed, StepFailed)):
            return "exception"
        if isinstance(fact, (RunCompleted, StepCompleted)):
            return "result"
        return "branch" if _both_are_there(recorded.fact, site) else "argument"
    known = _on_tape(tape, op, fact)
    if isinstance(recorded.fact, _ENDS) or _ends_around(recorded.fact, recorded.op, op):
        return "added"
    if isinstance(fact, _ENDS) or _ends_around(fact, op, recorded.op):
        return "removed"
    if type(recorded.fact) is type(fact) and _arguments(recorded.fact) == _arguments(fact):
        if _name(recorded.op) == _name(op):
            return "moved"
        if not known:
            return "renamed"
    comes = recorded.op in _done_later(tape, persona, host)
    if known:
        return "reordered" if comes else "removed"
    if comes:
        return "added"
    return "branch" if _still_called(recorded.fact, site) else "replaced"


def _code_changed(tape: Tape, persona: Persona[..., Any], found: Divergence) -> bool:
    """Whether the program was edited since: its persona, or the step or tool that the difference is in."""
    if tape.started.code != persona.code or found.recorded is None or found.now is None:
        return tape.started.code != persona.code
    was, now = getattr(found.recorded.fact, "code", None), getattr(found.now[1], "code", None)
    if found.recorded.op == found.now[0] and was != now:
        return True
    known = {
        fact.step: fact.code
        for fact in map(tape.catalog.decode, tape.events)
        if isinstance(fact, StepStarted)
    }
    return any(known.get(name, code) != code for name, code in _steps(persona))


def _steps(persona: Persona[..., Any]) -> Iterator[tuple[str, str]]:
    """The steps in the module of a persona, as they are now: their names, and the digest of their code."""
    for value in vars(sys.modules.get(persona.function.__module__, object)).values():
        if isinstance(value, Step):
            yield value.name, value.code


def _unrecorded(site: Site | None, hints: Sequence[str], *, changed: bool) -> CauseClass | None:
    """The read past the tape that explains it: on its own line, or anywhere where nothing was edited."""
    for hint in hints:
        on_the_line = site is not None and hint.endswith(f":{site.line}")
        if on_the_line or not changed:
            for words, cause in _HINTS:
                if words in hint:
                    return cause
    return None


def _ends_around(end: Fact, step: str, op: str) -> bool:
    """Whether `end` is the end of a step that `op` stands in."""
    return isinstance(end, StepCompleted) and op.startswith(f"{step}/")


def _on_tape(tape: Tape, op: str, fact: Fact) -> bool:
    """Whether the tape has the same thing, at another place."""
    for event in tape.events:
        if event.op == op and event.type == type_of(fact):
            known = tape.catalog.decode(event)
            return isinstance(known, ProgramFact) and isinstance(fact, ProgramFact) and alike(known, fact)
    return False


def _both_are_there(recorded: Fact, site: Site | None) -> bool:
    """Whether the call that was recorded is still in its line, and this is another one in another line."""
    was = getattr(recorded, "site", None)
    if not isinstance(was, Site) or site is None or was.function != site.function:
        return False
    return was.line != site.line and _still_called(recorded, site)


def _still_called(recorded: Fact, now: Site | None) -> bool:
    """Whether the line in which `recorded` was asked still calls what it called."""
    site = getattr(recorded, "site", None)
    if not isinstance(site, Site) or now is None or site.module != now.module:
        return False
    file = getattr(sys.modules.get(site.module), "__file__", None)
    called = next((getattr(recorded, name) for name in _NAMES if hasattr(recorded, name)), None)
    if file is None or called is None:
        return False
    linecache.checkcache(file)
    return f"{called}(" in linecache.getline(file, site.line)


_NAMES: Final = ("tool", "step", "signal", "persona", "reason")


def _arguments(fact: Fact) -> Any:
    return getattr(fact, "args", None) or getattr(fact, "request", None)


def _name(op: str) -> str:
    return op.rpartition("/")[2].partition("#")[0]


def _done_later(tape: Tape, persona: Persona[..., Any], host: MachineHost | None) -> frozenset[str]:
    """Operations that the program still comes to, were it answered as on the tape and like calls before.

    Of a very long tape that would take as long as playing it, so nothing is known there.
    """
    if host is None or tape.started.mode != "strict" or len(tape.events) > LOOKED_AHEAD_MAX:
        return frozenset()
    script = Script.of(tape)
    for answer in list(script.all()):
        if isinstance(answer.asked, ToolRequested):
            script.alike[answer.asked.tool] = answer
    terms = Terms(
        host=host,
        run=tape.run,
        started=tape.started,
        started_at=tape.started_at,
        patches=tape.patches,
        timers=True,
        until=LOOK_AHEAD_MAX + len(tape.events),
    )
    try:
        found = imagine(script, persona, terms)
    except PlayheadError:
        return frozenset()
    return frozenset((*(event.op for event in found.events), *(live.op for live in found.live)))
