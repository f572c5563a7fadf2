"""How long it takes to say who wrote a value, and what state was as of an event, on a long log.

    python benchmarks/state.py [--events 1000000]

Builds a log in a temporary directory: sessions with many keys, one key with very many
versions, and runs between them. Then asks, and compares with a fold of the whole log,
in time and in what comes out.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from msgspec import Raw

from playhead.agent_state.keys import Place
from playhead.agent_state.writers import writer
from playhead.events.catalog import ValueRequested
from playhead.events.codec import CATALOG
from playhead.events.state import StateRequested, StateWritten
from playhead.log.envelope import NewEvent
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead_projections.state_at import blame, fold_all, keys_at, sessions_of

BATCH = 1_000
SESSIONS = 20
KEYS = 200
RUN = "4wq2mzkq7xha"
HOT = "hot.json"


def written(place: Place, key: str, version: int, value: Any) -> NewEvent:
    content = Raw(msgspec.msgpack.encode(value))
    who = writer(f"writer{version % 3}")
    fact = StateWritten(
        root=place.root, session=place.session, key=key, version=version, content=content, writer=who
    )
    return CATALOG.new_event(fact, at=version)


async def build(path: Path, events: int) -> list[Place]:
    """A log of that many events: a tenth are of state, of which half are versions of one key."""
    random = Random(7)
    places = [Place.of("notes", f"s{n}") for n in range(SESSIONS)]
    asked = StateRequested(
        action="list",
        root="notes",
        session="s0",
        key="",
        content=Raw(b"\xc0"),
        policy="ignore",
        writer=writer("w"),
    )
    ends: dict[str, int] = {}
    hot = 0
    async with SqliteStore.open(path) as store:

        async def append(stream: str, new: list[NewEvent]) -> None:
            await store.append(stream, ends.get(stream, 0), new)
            ends[stream] = ends.get(stream, 0) + len(new)

        for n in range(events // (BATCH * 10)):
            for batch in range(9):
                filler = [CATALOG.new_event(ValueRequested(name="tick"), at=n, op="0/tick#0")] * BATCH
                if batch == 0:
                    filler[0] = CATALOG.new_event(asked, at=n, op="0/state.list#0")
                await append(f"run/{RUN}" if batch == 0 else f"run/other{n % 50}", filler)
            await append(
                places[0].stream_of(HOT),
                [
                    written(places[0], HOT, hot + k + 1, {"n": hot + k, "same": "x"})
                    for k in range(BATCH // 2)
                ],
            )
            hot += BATCH // 2
            for _ in range(BATCH // 2):
                place, key = random.choice(places), f"folder/{random.randrange(KEYS)}"
                stream = place.stream_of(key)
                await append(stream, [written(place, key, ends.get(stream, 0) + 1, random.random())])
    return places


def took_ms(ask: Callable[[], Any], times: int = 9) -> tuple[float, Any]:
    """The median of several, and what came of the last."""
    spent: list[float] = []
    found: Any = None
    for _ in range(times):
        start = time.perf_counter()
        found = ask()
        spent.append((time.perf_counter() - start) * 1000)
    return sorted(spent)[len(spent) // 2], found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=1_000_000)
    events = options.parse_args().events
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "runs.db"
        places = asyncio.run(build(path, events))
        with LogReader(path) as log:
            end = log.position()
            middle = log.positions(f"run/{RUN}", log.head(f"run/{RUN}").seq // 2, 1)[0]
            print(f"{end:,} events, {len(log.streams('state', '', end)):,} keys")
            fold, folded = took_ms(lambda: fold_all(log, middle), 1)
            print(f"{'fold of the whole log up to the middle':<58}{fold:>10,.1f} ms")
            place = places[0]
            questions: list[tuple[str, Callable[[], Any]]] = [
                ("blame of a key with very many versions", lambda: blame(log, place, HOT)),
                ("blame of a place in it, as of the middle", lambda: blame(log, place, HOT, "/n", middle)),
                (f"state at the middle, {KEYS + 1} keys of a session", lambda: keys_at(log, place, middle)),
                ("the sessions of a run", lambda: sessions_of(log, RUN, middle)),
            ]
            answers: list[Any] = []
            for name, ask in questions:
                spent, found = took_ms(ask)
                answers.append(found)
                print(f"{name:<58}{spent:>10,.1f} ms   1/{fold / spent:,.0f} of the fold")
            state = {
                standing.key: standing.version
                for stream, standing in folded.items()
                if stream.startswith(f"{place.stream}/")
            }
            assert {key: version.version for key, version in answers[2].items()} == state
            print("what was found at the middle is what the fold came to")


if __name__ == "__main__":
    main()
