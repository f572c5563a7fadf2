"""Questions to the read models of a log, which are answered rightly whatever others do to the file meanwhile.

    ask(ReadModels, log, store, [Runs()], lambda models: list(models.newest(Runs())))

A file that turns out to be damaged is thrown away and made anew. States that another process dropped while
they were being read, as a rebuild does, are asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from playhead.errors import Busy
from playhead.log.reader import LogReader
from playhead_projections.models_file import models_path, undamaged
from playhead_projections.projection import Projection
from playhead_projections.projector import ReadModels

M = TypeVar("M", bound=ReadModels)
T = TypeVar("T")
ASKED_MAX: Final = 20


def ask(
    kind: type[M],
    log: LogReader,
    store: Path,
    projections: Sequence[Projection[Any]],
    work: Callable[[M], T],
) -> T:
    """What `work` makes of the read models of the log at `store`, all that it has. It may be called again.

    Raises `Busy`, what reading the log raises, and what `work` raises.
    """

    def asked() -> T:
        with kind.open(store, projections) as models:
            for _ in range(ASKED_MAX):
                before = models.dropped()
                models.catch_up(log)
                found = work(models)
                if models.dropped() == before:
                    return found
        raise Busy("the read models are made anew by others.", next_step="Try again.")

    return undamaged(models_path(store), asked)
