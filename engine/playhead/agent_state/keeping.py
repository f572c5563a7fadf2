"""Keeps state in a log: reads a key, and changes it by comparing and setting its version.

    keeper = Keeper(store, catalog)
    await keeper.open(place, writer, by)
    changed = await keeper.change(place, Change("write", "plan.md", ...))
    standing = await keeper.read(place, "plan.md")

A key is a stream. Whoever changes it appends where it read to, so of two that change it
at once one comes first, and the other decides again over what the first one left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from playhead.agent_state.deciding import By, Change, Standing, decide, error_of, folder_in, words_of
from playhead.agent_state.keys import KIND, Place, fits, folders
from playhead.errors import BadEvent, BadValue, Conflict, NotFound
from playhead.events import state as facts
from playhead.events.codec import Catalog, Erased
from playhead.events.fact import WorldFact
from playhead.events.words import WriterWords
from playhead.log.envelope import Event
from playhead.log.store import LogStore
from playhead.log.surely import append_surely

TAIL_EVENTS: Final = 4
PAGE_EVENTS: Final = 500
LIST_MAX: Final = 1_000_000

_KEYED: Final = (
    *(facts.StateWritten, facts.StateDeleted, facts.StateConflictDetected),
    *(facts.StateFolderMade, facts.HandoffEmitted),
)
_CHANGES: Final = (facts.StateWritten, facts.StateDeleted, facts.StateConflictDetected)


def belongs(stream: str, fact: object) -> bool:
    """Whether a fact of state stands where it says that it stands. Of others nothing is said."""
    if isinstance(fact, facts.SessionOpened):
        return fits(stream, fact.root, fact.session)
    if isinstance(fact, _KEYED):
        return fits(stream, fact.root, fact.session, fact.key)
    return True


def fact_in(event: Event, catalog: Catalog) -> object:
    """The fact in `event`, or what is left of one that nobody can read: it blocks no key."""
    try:
        fact = catalog.decode(event)
    except BadEvent:
        return Erased(event.type, event.version)
    return fact if belongs(event.stream, fact) else Erased(event.type, event.version)


class Changed(NamedTuple):
    """What a change came to: the version that stands now, and whose version it met."""

    version: int
    conflict: facts.StateConflictDetected | None


class Keeper:
    """State on one log. Any number of them may keep one session, in any number of processes."""

    def __init__(self, store: LogStore, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog

    async def open(self, place: Place, writer: WriterWords, by: By) -> None:
        """Make the session at `place` where it is not there yet. Durable on return."""
        if await self.exists(place):
            return
        opened = facts.SessionOpened(
            root=place.root, session=place.session, writer=writer, run=by.run, op=by.op
        )
        try:
            await self._append(place.stream, 0, (opened,))
        except Conflict:
            await self.exists(place)  # somebody was faster; raises where it is spelt in another way

    async def exists(self, place: Place) -> bool:
        """Whether there is a session at `place`. Raises `BadValue` where it is spelt in another way."""
        events = await self._store.read(place.stream, 0, 1)
        if not events:
            return False
        opened = self._fact(events[0])
        if isinstance(opened, facts.SessionOpened):
            place.check_spelling(opened.root, opened.session)
        return True

    async def check_open(self, place: Place) -> None:
        """Raise `NotFound` where there is no session at `place`."""
        if not await self.exists(place):
            raise NotFound(
                f"session {place.session!r} not found under {place.root!r}.",
                next_step="Open it with state(root, session), or look at `playhead state show`.",
            )

    async def read(self, place: Place, key: str) -> Standing:
        """How `key` stands. Another spelling of its name is another key, which is not there."""
        standing = await self._standing(place.stream_of(key))
        return standing if standing.key == key else Standing(standing.next_seq)

    async def keys(self, place: Place) -> list[str]:
        """The keys that have a value, sorted by their bytes."""
        prefix = f"{place.stream}/"[len(KIND) + 1 :]
        found: list[str] = []
        after = ""
        while page := await self._store.tails(KIND, prefix, after, limit=PAGE_EVENTS):
            for last in page:
                standing = Standing(last.seq, sure=False).after(last.seq, self._fact(last))
                if standing.stands < 0 or not standing.sure:  # a conflict, a handoff or something erased
                    standing = await self._standing(last.stream)
                found += [standing.key] if standing.kind == "value" else []
            after = page[-1].stream
        if len(found) > LIST_MAX:
            raise BadValue(
                f"session {place.session!r} has too many keys to list.",
                expected=f"at most {LIST_MAX}",
                next_step="Use several sessions.",
            )
        return sorted(found, key=str.encode)

    async def change(self, place: Place, change: Change, *, again: bool = False) -> Changed:
        """Make `change`, all or nothing; durable on return. Raises `StateConflict` and `BadValue`.

        With `again` the operation that asks may have made it before: what it came to then is the answer.
        A crash leaves it made or not made; names of folders above the key may be taken.
        """
        stream = place.stream_of(change.key)
        above = folders(change.key) if change.action == "write" else []
        standing = await self._standing(stream)
        if again and (made := await self._made(stream, standing.next_seq, change.by)) is not None:
            return made
        while True:
            decision = decide(place, standing, change)
            while above and decision.error is None:  # what is refused takes no names
                await self._make_folder(place, above.pop(0), change.key)
            try:
                await self._append(stream, standing.next_seq, decision.facts)
            except Conflict:
                news = await self._all_from(stream, standing.next_seq)
                if (made := self._answer(news, change.by)) is not None:
                    return made  # whoever did the same operation before us was still about it
                standing = self._fold(standing, news)
                continue
            if decision.error is not None:
                raise decision.error
            return Changed(decision.version, decision.conflict)

    # --------------------------------------------------------------- inside

    async def _make_folder(self, place: Place, folder: str, child: str) -> None:
        stream = place.stream_of(folder)
        standing = await self._standing(stream)
        while True:
            decision = folder_in(place, standing, folder, child)
            if decision.error is not None:
                raise decision.error
            try:
                return await self._append(stream, standing.next_seq, decision.facts)
            except Conflict:
                standing = self._fold(standing, await self._all_from(stream, standing.next_seq))

    async def _append(self, stream: str, expected: int, new: tuple[WorldFact, ...]) -> None:
        if not new:
            return
        at = self._store.clock.now()
        events = [self._catalog.new_event(fact, at=at) for fact in new]
        await append_surely(self._store, stream, expected, events)

    async def _standing(self, stream: str) -> Standing:
        """How a stream stands: what its last accepted change says, or the conflicts after it name."""
        end = (await self._store.head(stream)).seq
        start = max(0, end - TAIL_EVENTS)
        while True:
            page = await self._all_from(stream, start)
            found = self._fold(Standing(start, sure=start == 0), page)
            if (found.stands >= 0 and found.sure) or start == 0:
                return found
            if found.stands < 0 and (named := self._first_conflict(page)) is not None:
                stood = await self._store.read(stream, named.stands, 1) if named.stands >= 0 else []
                stand = self._fold(Standing(), stood)
                return stand._replace(next_seq=found.next_seq, version=named.version)
            start = max(0, start - PAGE_EVENTS)

    def _first_conflict(self, events: Sequence[Event]) -> facts.StateConflictDetected | None:
        for event in events:
            if isinstance(fact := self._fact(event), facts.StateConflictDetected):
                return fact
        return None

    async def _all_from(self, stream: str, start: int) -> list[Event]:
        events: list[Event] = []
        while page := await self._store.read(stream, start + len(events), PAGE_EVENTS):
            events += page
        return events

    def _fold(self, standing: Standing, events: Sequence[Event]) -> Standing:
        for event in events:
            standing = standing.after(event.seq, self._fact(event))
        return standing

    def _fact(self, event: Event) -> object:
        return fact_in(event, self._catalog)

    async def _made(self, stream: str, end: int, by: By) -> Changed | None:
        """What an operation of a run came to before `end`, if it was made.

        The whole stream is looked through: in a log that was moved, positions say nothing of what came first.
        """
        while end > 0:
            start = max(0, end - PAGE_EVENTS)
            before = max(0, start - 1)  # the conflict that a change met stands right before it
            page = await self._store.read(stream, before, end - before)
            if (made := self._answer(page, by)) is not None:
                return made
            end = start
        return None

    def _answer(self, events: Sequence[Event], by: By) -> Changed | None:
        """What the operation `by` came to in `events`. Raises what it was refused with."""
        if by.op is None or not by.once:
            return None
        met: facts.StateConflictDetected | None = None
        for event in events:
            fact = self._fact(event)
            if not isinstance(fact, _CHANGES) or (fact.run, fact.op) != (by.run, by.op):
                continue
            if not isinstance(fact, facts.StateConflictDetected):
                return Changed(fact.version, met)
            if fact.refused:
                raise error_of(words_of(fact))
            met = fact
        return None
