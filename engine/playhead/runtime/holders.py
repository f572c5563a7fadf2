"""Which engine of this process holds which run.

Engines on one store share its worker, and so its leases: what keeps them apart
is kept here. Across stores and processes the lease does.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from playhead.errors import Held
from playhead.log.store import LogStore

# Weak on both sides: an engine knows its store, so neither would ever leave memory.
_held: Final[WeakKeyDictionary[Any, WeakValueDictionary[str, object]]] = WeakKeyDictionary()


def hold(store: LogStore, run: str, engine: object) -> bool:
    """`engine` runs `run` from now on; False where it did before.

    Raises `Held` where another engine on this store does.
    """
    if held_by_another(store, run, engine):
        raise Held(f"run/{run}", worker=store.worker)
    runs = _held.setdefault(store, WeakValueDictionary())
    if run in runs:
        return False
    runs[run] = engine
    return True


def let_go(store: LogStore, run: str, engine: object) -> None:
    """`engine` does not run `run` any more."""
    runs = _held.get(store)
    if runs is not None and runs.get(run) is engine:
        del runs[run]


def held_by_another(store: LogStore, run: str, engine: object) -> bool:
    """Whether another engine of this process, on the same store, runs `run`."""
    runs = _held.get(store)
    return runs is not None and runs.get(run, engine) is not engine
