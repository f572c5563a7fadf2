"""State that a fork has of its own: what its source had kept in its own session by then.

    await carry_over(store, catalog, plan)

A run that opens a session without a name has it under its own id, so its fork has another
one. Operations that the fork is told about from the tape of its source have happened for
it: what they and the tools among them left is there when it goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from playhead.agent_state.keeping import PAGE_EVENTS, fact_in
from playhead.agent_state.keys import KIND, Place, folders
from playhead.errors import Conflict
from playhead.events.codec import Catalog, Erased, Unknown
from playhead.events.fact import WorldFact
from playhead.events.state import (
    HandoffEmitted,
    SessionOpened,
    StateCompleted,
    StateDeleted,
    StateFolderMade,
    StateRequested,
    StateWritten,
)
from playhead.events.words import WriterWords
from playhead.log.envelope import Event
from playhead.log.store import LogStore
from playhead.log.surely import append_surely
from playhead.replay.fork import Plan

_Kept = StateWritten | StateDeleted | HandoffEmitted
_KEPT: Final = (StateWritten, StateDeleted, HandoffEmitted)
_GONE: Final = ("state.written", "state.deleted")


async def carry_over(store: LogStore, catalog: Catalog, plan: Plan) -> None:
    """Make the sessions of the fork's own that it is told to have opened, with what its source kept there.

    Done again it finds what is there and makes the rest.
    """
    for root, opened in _opened(plan).items():
        await _Carrying(store, catalog, plan, root).carry(opened)


def _opened(plan: Plan) -> dict[str, tuple[str, StateRequested]]:
    """By root, which operation opened the source's own session there, and its request."""
    found: dict[str, tuple[str, StateRequested]] = {}
    for answer in plan.imagined.delivered:
        asked = answer.asked
        if not isinstance(asked, StateRequested) or not isinstance(answer.fact, StateCompleted):
            continue
        if asked.session == plan.words.run and asked.action == "init":
            found.setdefault(asked.root, (answer.op, asked))
    return found


def _gone_after(kept: list[_Kept]) -> _Kept:
    """What stands where a change was erased after these: no value, in the version after the last one."""
    last = next(fact for fact in reversed(kept) if not isinstance(fact, HandoffEmitted))
    return StateDeleted(
        root=last.root, session=last.session, key=last.key, version=last.version + 1, writer=last.writer
    )


class _Carrying:
    """One root. Used once."""

    def __init__(self, store: LogStore, catalog: Catalog, plan: Plan, root: str) -> None:
        self._store = store
        self._catalog = catalog
        self._source, self._run = plan.words.run, plan.run
        self._from, self._to = Place(root, self._source), Place(root, self._run)
        self._told = {answer.op for answer in plan.imagined.delivered if not answer.edited}
        self._until = max((answer.at for answer in plan.imagined.delivered), default=0)

    async def carry(self, opened: tuple[str, StateRequested]) -> None:
        op, asked = opened
        writer = self._renamed(asked.writer)
        first = SessionOpened(
            root=self._to.root, session=self._to.session, writer=writer, run=self._run, op=op
        )
        await self._append(self._to.stream, [first])
        streams: dict[str, list[WorldFact]] = {}
        async for key, kept in self._keys():
            streams.setdefault(self._to.stream_of(key), []).extend(kept)
            for folder in folders(key):
                made = streams.setdefault(self._to.stream_of(folder), [])
                if not made or not isinstance(made[-1], StateFolderMade):
                    made.append(StateFolderMade(root=self._to.root, session=self._to.session, key=folder))
        for stream, facts in streams.items():
            await self._append(stream, facts)

    async def _keys(self) -> AsyncIterator[tuple[str, list[WorldFact]]]:
        """Each key that something was left under, with its versions, oldest first."""
        prefix = f"{self._from.stream}/"[len(KIND) + 1 :]
        after = ""
        while page := await self._store.tails(KIND, prefix, after, limit=PAGE_EVENTS):
            for last in page:
                kept = self._left(await self._all(last.stream))
                if kept:
                    yield kept[0].key, [self._carried(fact) for fact in kept]
            after = page[-1].stream

    async def _all(self, stream: str) -> list[Event]:
        events: list[Event] = []
        while page := await self._store.read(stream, len(events), PAGE_EVENTS):
            events += page
        return events

    def _left(self, events: list[Event]) -> list[_Kept]:
        """What stood under a key when an operation that the fork is told about had changed it last.

        A change that was erased counts, and left nothing, as for whoever reads the key of the source. Which
        operation made it nobody knows any more: it is told of if it was made by then.
        """
        kept: list[_Kept] = []
        length = 0
        for event in events:
            fact = fact_in(event, self._catalog)
            if isinstance(fact, _KEPT):
                kept.append(fact)
                told = fact.run == self._source and fact.op in self._told
            elif isinstance(fact, Erased | Unknown) and fact.type in _GONE and kept:
                kept.append(_gone_after(kept))
                told = event.at <= self._until
            else:
                continue
            length = len(kept) if told else length
        return kept[:length]

    def _carried(self, fact: _Kept) -> WorldFact:
        run = self._run if fact.run == self._source else fact.run
        new = msgspec.structs.replace(fact, session=self._run, run=run)
        if isinstance(new, HandoffEmitted):
            return new
        held_by = None if new.held_by is None else self._renamed(new.held_by)
        return msgspec.structs.replace(new, writer=self._renamed(new.writer), held_by=held_by)

    def _renamed(self, writer: WriterWords) -> WriterWords:
        """A writer that is named after the source, as it is named in the fork."""
        return writer.renamed({self._source: self._run})

    async def _append(self, stream: str, facts: Sequence[WorldFact]) -> None:
        at = self._store.clock.now()
        with suppress(Conflict):  # an earlier try to make the same fork has made it
            await append_surely(
                self._store, stream, 0, [self._catalog.new_event(fact, at=at) for fact in facts]
            )
