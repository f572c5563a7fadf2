"""At random events of a long run, every answer as of then is what a fold from zero comes to.

A slice of it runs always. All of it, a thousand events of a run of 100,000, is marked long.
"""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
import pytest

from playhead.agent_state.deciding import Standing
from playhead.agent_state.keys import KIND, Place
from playhead.events.codec import CATALOG
from playhead.log.reader import LogReader
from playhead.trust.book import Filters, query
from playhead.trust.record import TrustRecord
from playhead_projections.as_of import AsOf
from playhead_projections.projection import Projection
from playhead_projections.receipts import Receipts
from playhead_projections.reports.fold import Reports
from playhead_projections.run_report import RunReport
from playhead_projections.runs import Runs
from playhead_projections.state_at import keys_at
from playhead_projections.timeline import Timeline
from playhead_projections.trace import Traces
from playhead_projections.trust_graph.graph import chain_of
from playhead_projections.trust_graph.kept import kept_of
from tests.long_run import recorded

pytestmark = pytest.mark.timeout(3600)

encode = msgspec.msgpack.encode
FOUND_AT = 40
"""Trust records are looked for, and not only counted, at so many of the events."""


class Long(NamedTuple):
    """A log with one long run, and the events of it that are asked for with their positions."""

    store: Path
    stream: str
    asked: dict[int, int]


@pytest.fixture(
    scope="module", params=[(1_000, 25), pytest.param((100_000, 1_000), marks=pytest.mark.long)], ids=str
)
def long(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Long:
    events, asked = request.param
    store = tmp_path_factory.mktemp("long") / "runs.db"
    recorded(store, events)
    with LogReader(store) as log:
        stream = log.streams("run")[0]
        end = log.head(stream).seq
        seqs = Random(11).sample(range(end), asked)
        return Long(store, stream, {seq: log.positions(stream, seq, 1)[0] for seq in seqs})


PROJECTIONS: tuple[Projection[Any], ...] = (Reports(), RunReport(), Receipts(), Timeline(), Traces(), Runs())


def digest(state: Any) -> bytes:
    return sha256(encode(state)).digest()


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda one: one.name)
def test_what_is_folded_of_the_run(long: Long, projection: Projection[Any]) -> None:
    with LogReader(long.store) as log:
        with AsOf(log) as answers:
            found = {seq: digest(answers.state(projection, long.stream, seq).state) for seq in long.asked}
        state = projection.initial(long.stream.partition("/")[2])
        for event in log.scan(long.stream):
            state = projection.take(state, event, CATALOG.decode(event))
            if event.seq in found:
                assert digest(state) == found.pop(event.seq), event.seq
    assert not found


def standings(log: LogReader, positions: set[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """What every key held at each of these positions, by one fold of the whole log."""
    held: dict[str, Standing] = {}
    after = 0
    while page := log.feed(after):
        for event in page:
            if event.stream.startswith(f"{KIND}/"):
                before = held.get(event.stream, Standing())
                held[event.stream] = before.after(event.seq, CATALOG.decode(event))
            if event.position in positions:
                values = {one.key: (one.version, one.content) for one in held.values() if one.kind == "value"}
                yield event.position, values
        after = page[-1].position


def test_the_state_that_it_kept(long: Long) -> None:
    place, positions = Place.of("survey", "wards"), set(long.asked.values())
    stood = set[int]()
    with LogReader(long.store) as log:
        for position, held in standings(log, positions):
            found = keys_at(log, place, position)
            assert {key: (one.version, one.content) for key, one in found.items()} == {
                key: (version, msgspec.msgpack.decode(content)) for key, (version, content) in held.items()
            }
            stood.add(sum(one.version for one in found.values()))
    assert len(stood) > 1


def test_the_trust_records_that_it_left(long: Long) -> None:
    positions = sorted(long.asked.values())
    often = Filters(agent="survey_wards", limit=100)
    with LogReader(long.store) as log, kept_of(log, long.store) as kept:
        chain = list(chain_of(log))
        seqs = [int(each.metadata["event"].rpartition("@")[2]) for each in chain]
        places = [log.positions(long.stream, seq, 1)[0] for seq in seqs]
        told: list[TrustRecord] = []
        for number, position in enumerate(positions):
            while len(told) < len(chain) and places[len(told)] <= position:
                told.append(chain[len(told)])
            last = kept.last_at(position)
            assert last == len(told)
            assert kept.root_at(last) == (told[-1].entry_hash if told else None)
            if number % (len(positions) // FOUND_AT or 1) == 0:
                assert kept.find(often, last=last) == query(told, often)
    assert len(chain) > 10
