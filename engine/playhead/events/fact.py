"""What every fact is: frozen, complete, and either the program's or the world's.

A fact is the payload of an event. Its type is `noun.past_participle` and its
docstring says at which moment it is written, which is what a crash depends on.

*Program* facts are caused by the program, so a replay regenerates them and
compares. *World* facts came back or happened around it, so a replay takes them
from the tape. A released fact never changes meaning: a new need gets a new field
with a default, or a new fact.
"""

from __future__ import annotations

import functools
import re
from operator import attrgetter
from typing import Any, ClassVar, Final

import msgspec

NEVER_COMPARED: Final = frozenset({"site", "code", "effect", "declared", "side_effect", "copied"})
"""Recorded and shown, but declarations rather than behaviour: an edit of a comment is no divergence."""


_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{6,}")
"""Where an object lay in memory, as reprs in messages say it: never the same twice."""


class Site(msgspec.Struct, frozen=True, array_like=True):
    """A place in the user's code. Never a path of a machine."""

    module: str
    function: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.function}:{self.line}"


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, eq=False):
    """An error as it was recorded: enough to show it, to raise it again, and to count it.

    Two are equal when type, message and arguments are; the lines they passed through do not count,
    because an edited comment moves lines, and neither do addresses in a text.
    """

    type: str
    module: str = "builtins"
    message: str = ""
    category: str = "generic"
    arguments: list[Any] | None = None
    """The arguments of the exception where they were plain values, so that it can be raised again."""
    site: Site | None = None
    """Where it was raised, innermost first line of user or library code."""
    trace: list[Site] = []
    cause: Failure | None = None
    cause_suppressed: bool = False
    members: list[Failure] = []
    """The errors of an exception group."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Failure):
            return NotImplemented
        return _same_failure(self) == _same_failure(other)

    def __ne__(self, other: object) -> bool:
        # A struct has one of its own, which compares every field.
        return not self == other

    def __hash__(self) -> int:
        return hash((self.type, self.module, self.category))


def _same_failure(failure: Failure) -> tuple[Any, ...]:
    said = (failure.message, *(failure.arguments or ()))
    told = [_ADDRESS.sub("0x", text) if isinstance(text, str) else text for text in said]
    members = [_same_failure(member) for member in failure.members]
    return (failure.type, failure.module, failure.category, failure.arguments is None, told, members)


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Root of the catalog."""

    VERSION: ClassVar[int] = 1
    PROGRAM: ClassVar[bool] = False
    OUTCOME: ClassVar[bool] = False
    """Whether a replay hands it to the program: the answer to an operation, or news from outside."""


class ProgramFact(Fact, frozen=True):
    """Caused by the program: regenerated and compared by every replay."""

    PROGRAM: ClassVar[bool] = True


class WorldFact(Fact, frozen=True):
    """Came from the world: taken from the tape by every replay."""


class OutcomeFact(WorldFact, frozen=True):
    """World news that is handed to the program, one at a time, in the order of the log."""

    OUTCOME: ClassVar[bool] = True


_types: dict[type[Fact], str] = {}


@functools.cache
def compared(cls: type[Fact]) -> attrgetter[Any]:
    """Reads the fields of `cls` that a replay compares."""
    names = [name for name in cls.__struct_fields__ if name not in NEVER_COMPARED]
    return attrgetter(*names) if names else attrgetter("__class__")


def type_of(fact: Fact | type[Fact]) -> str:
    """The type under which a fact stands in the log."""
    cls = fact if isinstance(fact, type) else type(fact)
    name = _types.get(cls)
    if name is None:
        tag = cls.__struct_config__.tag
        assert isinstance(tag, str)
        name = _types[cls] = tag
    return name
