"""Who passed which task to whom in a run: every handoff in what it kept, was told and gave back.

    for each in handoffs_of(log, "4wq2mzkq7xha"):
        print(each.artifact["task"], each.seqs)

A handoff is one by what it says (`playhead.agent_state.handoff`), whether it was passed on with
`handoff()`, written under any key, or returned by a tool, a child or the run itself, alone or in a
list. Those of one id are one: the first wins, later ones fill gaps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, cast

import msgspec

from playhead.agent_state.handoff import artifact_of, merged
from playhead.errors import BadEvent, BadValue
from playhead.events import catalog as facts
from playhead.events.codec import CATALOG
from playhead.events.erasing import mended
from playhead.events.fact import Fact
from playhead.events.state import StateCompleted, StateRequested
from playhead.log.envelope import Event
from playhead.log.reader import LogReader

PAGE_EVENTS: Final = 200


class Found(NamedTuple):
    """One handoff of a run. `seqs` are the events of the run that say it, the first one first."""

    artifact: dict[str, Any]
    seqs: list[int]


class Flawed(NamedTuple):
    """A value that says that it is a handoff, and lacks what one needs."""

    seq: int
    why: str


def handoffs_of(log: LogReader, run: str, last: int | None = None) -> tuple[list[Found], list[Flawed]]:
    """The handoffs of a run up to its event `last`, in the order of the log, and what is none for a flaw.

    What was written counts once it is kept, and under the event that asked for it.
    """
    told: list[tuple[int, dict[str, Any]]] = []
    flawed: list[Flawed] = []
    for seq, value in _values(log, run, last):
        for each in cast("list[object]", value) if isinstance(value, list) else [value]:
            try:
                artifact = artifact_of(each, run=run)
            except BadValue as error:
                flawed.append(Flawed(seq, error.message))
            else:
                told += [(seq, artifact)] if artifact is not None else []
    seqs: dict[str, list[int]] = {}
    for seq, artifact in told:
        seqs.setdefault(artifact["id"], []).append(seq)
    found = merged(artifact for _, artifact in told)
    return [Found(artifact, seqs[artifact["id"]]) for artifact in found], flawed


_TYPES: Final = (
    *("state.requested", "state.completed"),
    *("tool.completed", "child.completed", "run.completed"),
)


def _values(log: LogReader, run: str, last: int | None) -> Iterator[tuple[int, Any]]:
    """Every value that may be a handoff, with the event of the run that says it."""
    asked: dict[str, tuple[int, Any]] = {}
    for event in _events(log, run, last):
        match _readable(event):
            case StateRequested(action="write" | "handoff", content=content):
                asked[event.op] = (event.seq, msgspec.msgpack.decode(content))
            case StateCompleted():
                if event.op in asked:
                    yield asked.pop(event.op)
            case (
                facts.ToolCompleted(result=raw)
                | facts.ChildCompleted(result=raw)
                | facts.RunCompleted(result=raw)
            ):
                yield event.seq, msgspec.msgpack.decode(raw)
            case _:
                pass


def _events(log: LogReader, run: str, last: int | None) -> Iterator[Event]:
    start = 0
    while page := log.read(f"run/{run}", start, PAGE_EVENTS, types=_TYPES):
        for event in mended(log, page):
            if last is not None and event.seq > last:
                return
            yield event
        start = page[-1].seq + 1


def _readable(event: Event) -> Fact | None:
    try:
        fact = CATALOG.decode(event)
    except BadEvent:  # one that nobody can read hides no other
        return None
    return fact if isinstance(fact, Fact) else None
