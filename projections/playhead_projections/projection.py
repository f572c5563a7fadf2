"""What a projection is: a pure fold of events, one state for each key.

    class Count(Projection[Counted]):
        name, version, state = "count", 1, Counted

        def initial(self, key: str) -> Counted: ...
        def apply(self, state: Counted, event: Event, fact: Fact) -> Counted: ...

A fold asks nothing but its state and the event: no clock, no file, no other key. So
the same events give the same bytes, whoever folds them, in however many sittings,
and the state as of a past event is the fold up to there. The state that is handed
in belongs to the fold, which may change it in place and return it.

No event is dropped: one of a type or version that only a newer playhead knows goes to
`newer` and is counted, one whose payload was erased goes to `erased`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Final, Generic, NamedTuple, TypeVar

import msgspec

from playhead.events.codec import CATALOG, Catalog, Erased, Unknown
from playhead.events.fact import Fact
from playhead.log.envelope import Event

S = TypeVar("S", bound=msgspec.Struct)

RUN_STREAMS: Final = "run/"


class Projection(ABC, Generic[S]):
    """One read model. `version` grows whenever the same events would give another state."""

    name: ClassVar[str]
    version: ClassVar[int]
    state: type[S]
    paged: ClassVar[tuple[str, ...]] = ()
    """Dictionaries and lists of the state that grow with a run. Snapshots of it then share what is in them.

    `apply` must reach their entries by key, by index or by iterating. It costs nothing not to name any.
    """

    effort: ClassVar[int] = 3
    """About how long an event takes, where reading it takes 6. It only says how a rebuild is shared out."""

    def key(self, event: Event) -> str | None:
        """Which state the event belongs to; None where it belongs to none. By default its run's."""
        return event.stream[len(RUN_STREAMS) :] if event.stream.startswith(RUN_STREAMS) else None

    @abstractmethod
    def initial(self, key: str) -> S:
        """The state before the first event of `key`."""

    @abstractmethod
    def apply(self, state: S, event: Event, fact: Fact) -> S:
        """One event forward."""

    def erased(self, state: S, event: Event) -> S:
        """One event forward whose payload was erased."""
        return state

    def newer(self, state: S, event: Event) -> S:
        """One event forward that only a newer playhead can read. By default it is skipped.

        A type never changes its meaning, so one that is known counts by its type, its operation and its time.
        """
        return state

    def label(self, state: S) -> str | None:
        """A name for people under which the state can be found, beside its key."""
        return None

    def take(self, state: S, event: Event, fact: Fact | Unknown | Erased) -> S:
        """One decoded event forward, whatever it is."""
        if isinstance(fact, Fact):
            return self.apply(state, event, fact)
        return self.erased(state, event) if isinstance(fact, Erased) else self.newer(state, event)


class Folded(NamedTuple, Generic[S]):
    """A state, how many events it was folded from, and how many of them only a newer playhead can read."""

    state: S
    events: int
    skipped: int


def fold(
    projection: Projection[S], key: str, events: Iterable[Event], *, catalog: Catalog = CATALOG
) -> Folded[S]:
    """The state of `key` after `events`. Raises `BadEvent` for one that cannot be read."""
    state = projection.initial(key)
    count = skipped = 0
    for event in events:
        if projection.key(event) != key:
            continue
        fact = catalog.decode(event)
        state = projection.take(state, event, fact)
        count += 1
        skipped += isinstance(fact, Unknown)
    return Folded(state, count, skipped)
