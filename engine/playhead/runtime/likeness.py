"""Whether two runs ask the same: what follows from the run itself does not count.

The id of a child, the request that people see, the session of a run's own state and the
time at which a timer is due are other in every run, and are no other question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import Raw

from playhead.agent_state.handoff import is_derived_id
from playhead.events.approval import ApprovalRequested
from playhead.events.autonomy import TrustRecorded
from playhead.events.catalog import ChildRequested, TimerSet
from playhead.events.fact import NEVER_COMPARED, ProgramFact, compared, type_of
from playhead.events.rules import HookFired
from playhead.events.state import StateRequested
from playhead.events.words import CHANGES, WriterWords
from playhead.runtime.difference import Recorded, agrees

QUESTION_HEX: Final = 32
OF_A_HANDOFF: Final = ("written_at",)
"""What an envelope of a handoff says that is other in every run, beside ids."""
_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def alike(
    recorded: ProgramFact,
    now: ProgramFact,
    runs: frozenset[str] = frozenset(),
    erased: Literal["", "part", "all"] = "",
) -> bool:
    """Whether two runs, whose ids are `runs`, ask or say the same here: names of the run itself do not count.

    When a timer is due follows from when the run was, so it does not count either. Nor does what was
    `erased` of what is recorded: it agrees with anything.
    """
    if erased and agrees(Recorded(0, "", _nameless(recorded, runs), erased), _nameless(now, runs)):
        return True
    if type(recorded) is not type(now):
        return False
    content = compared(type(now))
    if content(recorded) == content(now):
        return True
    if isinstance(now, TrustRecorded):
        return len(runs) > 1
    return bool(content(_nameless(recorded, runs)) == content(_nameless(now, runs)))


def _nameless(fact: ProgramFact, runs: frozenset[str]) -> ProgramFact:
    replace = msgspec.structs.replace
    if isinstance(fact, TimerSet):
        return replace(fact, due=0)
    if len(runs) > 1:
        if isinstance(fact, ChildRequested):
            return replace(fact, run="")
        if isinstance(fact, StateRequested):
            session = "" if fact.session in runs else fact.session
            content = _without(fact.content, runs, OF_A_HANDOFF) if fact.action == "handoff" else fact.content
            return replace(fact, session=session, writer=_anybody(fact.writer, runs), content=content)
        if isinstance(fact, HookFired):
            asks = fact.event == "OnApprovalRequested"
            return replace(fact, shown=_without(fact.shown, runs, ("request", "due") if asks else ()))
    if isinstance(fact, ApprovalRequested):
        fact = replace(fact, due=None)
    if len(runs) > 1 and isinstance(getattr(fact, "request", None), str):
        return replace(fact, request="")
    return fact


def _without(content: Raw, runs: frozenset[str], names: Collection[str] = ()) -> Raw:
    return Raw(_encode(of_no_run(msgspec.msgpack.decode(content), runs, names)))


def of_no_run(value: Any, runs: Collection[str], names: Collection[str] = ()) -> Any:
    """Values without the ids of the runs, as the envelope of a handoff has them, and without `names`.

    Nor with the id of a handoff that follows from all that it says, and so from the run.
    """
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        return {key: of_no_run(each, runs, names) for key, each in members if key not in names}
    if isinstance(value, list):
        return [of_no_run(each, runs, names) for each in cast("list[object]", value)]
    return "" if isinstance(value, str) and (value in runs or is_derived_id(value)) else value


def _anybody(writer: WriterWords, runs: frozenset[str]) -> WriterWords:
    return writer.renamed(dict.fromkeys(runs))


def question_of(request: ProgramFact, run: str, ground: str = "") -> str:
    """What stands for a question that `run` asks: equal where two are alike.

    `ground` is what it is asked about, where that is something that the run made: see `Changes`.
    """
    fact = _nameless(request, frozenset((run, "")))
    said = {name: getattr(fact, name) for name in fact.__struct_fields__ if name not in NEVER_COMPARED}
    return _digest([type_of(fact), said, *([ground] if ground else [])])


def _digest(said: Any) -> str:
    return hashlib.sha256(_encode(said)).hexdigest()[:QUESTION_HEX]


class Changes:
    """What a run has changed in state. Who reads after another change asks about something else.

        changes.before(asked)       # what it is asked about: "" is nothing that the run made

    Every request is shown once, in the order in which they are made.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._last: dict[tuple[str, str], dict[str, str]] = {}

    def before(self, asked: StateRequested) -> str:
        """The ground of `asked`, which stands for what the run made of what it reads, or lists."""
        keys = self._last.setdefault((asked.root, asked.session), {})
        if asked.action in CHANGES:
            keys[asked.key] = f"{asked.action} {question_of(asked, self._run)}"
        elif asked.action == "read":
            return keys.get(asked.key, "")
        elif asked.action == "list" and keys:
            return _digest(sorted((key, said.startswith("delete ")) for key, said in keys.items()))
        return ""
