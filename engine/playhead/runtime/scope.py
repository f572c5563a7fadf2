"""Where in the program we are: scopes, and the ids of operations.

An id says where, not when: scope path + name + occurrence in that scope, for
example `0.2.1/search#0`. Every task has a scope of its own, numbered by spawn
order inside the scope of the task that spawned it, and so has every step. The
completion order of concurrent branches therefore cannot change an id, and an
inserted operation changes only ids of the same name in the same scope.
"""

from __future__ import annotations

from contextvars import ContextVar
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec

from playhead.errors import OutsideRun, ProgramError
from playhead.runtime.around import NOTHING, Around

if TYPE_CHECKING:
    from playhead.runtime.machine import Machine

KEY_LENGTH_MAX = 200
PATH_LENGTH_MAX = 3_000
"""Leaves room for a name and a key, four bytes a character, in what the log takes for an id."""


class Scope(msgspec.Struct, eq=False):
    """One place in the structure of a running program."""

    path: str
    machine: Machine
    around: Around = NOTHING
    uuids: int = 0
    _counts: dict[str, int] | None = None
    _keys: set[str] | None = None
    _children: int = 0
    _random: Random | None = None

    def __repr__(self) -> str:
        return f"<Scope {self.path}>"

    def op(self, name: str, key: str | None = None) -> str:
        """The id of the next operation called `name` here, or of the one with `key`."""
        if key is not None:
            return self._keyed(name, key)
        counts = self._counts
        if counts is None:
            self._counts = {name: 1}
            return f"{self.path}/{name}#0"
        count = counts.get(name, 0)
        counts[name] = count + 1
        return f"{self.path}/{name}#{count}"

    def _keyed(self, name: str, key: str) -> str:
        if not key or not key.isprintable():
            raise ProgramError(
                f"the key {key[:40]!r} of {name} is empty or not printable.",
                next_step="Use a printable text that says which one it is.",
            )
        if "]" in key or "%" in key:
            key = key.replace("%", "%25").replace("]", "%5D")  # or it could end where another id goes on
        if len(key) > KEY_LENGTH_MAX:
            key = f"{key[: KEY_LENGTH_MAX - 17]}…{sha256(key.encode()).hexdigest()[:16]}"
        op = f"{self.path}/{name}[{key}]"
        if self._keys is None:
            self._keys = set()
        if op in self._keys:
            raise ProgramError(
                f"the key {key!r} of {name} is used twice in scope {self.path}.",
                next_step="Make keys unique inside one step or task, or leave the key out.",
            )
        self._keys.add(op)
        return op

    def task(self) -> Scope:
        """The scope of the next task spawned here."""
        self._children += 1
        return self.inner(f"{self.path}.{self._children}")

    def inner(self, op: str, around: Around | None = None) -> Scope:
        """The scope inside the operation `op` of this scope, for a step or an item.

        What encloses it is `around`, or what encloses this one.
        """
        if len(op) > PATH_LENGTH_MAX:
            raise ProgramError(
                f"steps and tasks are nested so deep that an id has {len(op)} characters: {op[:80]}…",
                expected=f"at most {PATH_LENGTH_MAX} characters",
                next_step="Nest less, or give shorter names and keys.",
            )
        return Scope(op, self.machine, self.around if around is None else around)

    def random(self) -> Random:
        """This scope's own generator, seeded by the run's seed and this path."""
        if self._random is None:
            self._random = Random(self.machine.seed_of(f"random:{self.path}"))  # noqa: S311  deterministic by design
        return self._random


CURRENT: ContextVar[Scope | None] = ContextVar("playhead_scope", default=None)
"""The scope of the code that runs now; None outside a run and inside tools."""


current: Final = CURRENT.get
"""What `CURRENT` holds, without looking up a method of what is imported, which Python does slowly."""


def require_scope(what: str) -> Scope:
    """The current scope. Raises `OutsideRun` where there is none."""
    scope = current()
    if scope is None:
        raise OutsideRun(
            f"{what} works only inside a run.",
            next_step="Call it from a function marked with @persona or @step that an Engine runs.",
        )
    return scope
