"""What was done, counted twice: by the log, and by a file that the log knows nothing of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, NamedTuple

from playhead.log.envelope import Event

KINDS: Final = ("tool", "model")
ASKED: Final = frozenset({"tool.requested", "model.called"})
ENDED: Final = frozenset({"tool.completed", "tool.failed", "model.answered", "model.failed"})


class Body(NamedTuple):
    """One entry into a body of world code."""

    op: str
    attempt: int
    kind: str
    name: str
    pid: int


class Count(NamedTuple):
    """Operations of one kind, by what the kill meant for them."""

    finished: int
    finished_again: int
    in_flight: int
    in_flight_again: int
    later: int


def bodies(path: Path, run: str) -> list[Body]:
    """Every body that `run` entered, in order, from the file that world code wrote itself."""
    found: list[Body] = []
    for line in path.read_text().splitlines():
        said = json.loads(line)
        if said["run"] == run and said["is"] == "entered":
            found.append(Body(said["op"], said["attempt"], said["kind"], said["name"], said["pid"]))
    return found


def finished(events: list[Event]) -> set[str]:
    """Operations whose outcome is recorded."""
    return {event.op for event in events if event.type in ENDED}


def counted(kind: str, entered: list[Body], at_death: list[Event], first: int) -> Count:
    """The bodies of `kind`, given what was on the log when process `first` died."""
    done = finished(at_death)
    before = {body.op for body in entered if body.pid == first and body.kind == kind}
    after = {body.op for body in entered if body.pid != first and body.kind == kind}
    return Count(
        finished=len(before & done),
        finished_again=len(after & done),
        in_flight=len(before - done),
        in_flight_again=len(after & (before - done)),
        later=len(after - before),
    )
