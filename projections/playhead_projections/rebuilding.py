"""Read models folded from zero by several processes: each folds some of the projections.

    rebuild(models, log, processes=2)
    fold_side_by_side(log.path, place, [Runs(), RunReport()], until=4711, processes=2)

Processes share nothing but the file, in which each projection has a place of its own. So what comes of it
does not depend on how many there are, and one that dies leaves what the others, or whoever comes next, go on
from. A process of its own makes a projection from its class; one that needs arguments is folded here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from playhead.log.reader import LogReader
from playhead_projections.projection import Projection
from playhead_projections.projector import ReadModels

PROCESSES_MAX: Final = 8
WORTH_IT_EVENTS: Final = 50_000
"""Below that, starting a process takes longer than it saves."""

_CHILD: Final = "from playhead_projections.rebuilding import child; child()"


def processors() -> int:
    """How many processes this one could run on at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rebuild(models: ReadModels, log: LogReader, *, processes: int | None = None) -> int:
    """As `ReadModels.rebuild`, by as many processes as there are processors, or by `processes`.

    Returns how many events the log has. Raises what `ReadModels.rebuild` raises.
    """
    models.drop()
    count = log.count()
    if processes is None:
        processes = processors() if count >= WORTH_IT_EVENTS else 1
    if models.path is not None and models.is_usual:
        fold_side_by_side(log.path, models.path, models.projections, processes=processes)
    models.catch_up(log)
    return count


def fold_side_by_side(
    store: Path,
    place: Path,
    projections: Sequence[Projection[Any]],
    *,
    until: int | None = None,
    processes: int = 1,
) -> None:
    """Fold what the log at `store` has into the file at `place`, up to a position.

    What another process does not finish is left for the next `catch_up`. Raises `Busy`.
    """
    ours, *theirs = shared_out(projections, min(processes, PROCESSES_MAX))
    children = [_start(store, place, group, until) for group in theirs if group]
    try:
        with LogReader(store) as log, ReadModels.open(store, ours, path=place) as models:
            models.catch_up(log, until=until)
        for each in children:
            each.wait()
    finally:
        for each in children:
            if each.poll() is None:
                each.kill()
                each.wait()


def shared_out(projections: Sequence[Projection[Any]], groups: int) -> list[list[Projection[Any]]]:
    """The projections in so many groups of about the same effort. The first one has all that must stay."""
    shared: list[list[Projection[Any]]] = [[] for _ in range(max(groups, 1))]
    efforts = [0] * len(shared)
    for each in sorted(projections, key=lambda one: (_is_found_by_name(one), -one.effort)):
        place = efforts.index(min(efforts)) if _is_found_by_name(each) else 0
        shared[place].append(each)
        efforts[place] += each.effort
    return shared


def _name_of(projection: Projection[Any]) -> str:
    return f"{type(projection).__module__}:{type(projection).__qualname__}"


def _is_found_by_name(projection: Projection[Any]) -> bool:
    """Whether another process can make it from the name of its class."""
    made = type(projection)
    home = sys.modules.get(made.__module__)
    is_there = made.__module__ != "__main__" and getattr(home, made.__qualname__, None) is made
    return is_there and made.__init__ is object.__init__ and not vars(projection)


def _start(
    store: Path, place: Path, projections: Sequence[Projection[Any]], until: int | None
) -> subprocess.Popen[bytes]:
    words = [os.fspath(store), os.fspath(place), "" if until is None else str(until)]
    return subprocess.Popen(  # noqa: S603  this very program
        [sys.executable, "-P", "-c", _CHILD, *words, *map(_name_of, projections)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def child() -> None:
    """What such a process does. The names come from the one that started it, never from a log."""
    store, place, until, *names = sys.argv[1:]
    made = [getattr(import_module(module), name)() for module, _, name in (n.partition(":") for n in names)]
    with LogReader(store) as log, ReadModels.open(store, made, path=Path(place)) as models:
        models.catch_up(log, until=int(until) if until else None)
