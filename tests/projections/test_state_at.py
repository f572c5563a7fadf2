"""State as of any event equals a fold of the whole log up to there, and says who wrote what."""

from collections.abc import AsyncGenerator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from playhead import Engine, State, child_run, persona, state, tool
from playhead.agent_state.deciding import By, Change
from playhead.agent_state.keeping import Keeper
from playhead.agent_state.keys import Place
from playhead.agent_state.writers import writer
from playhead.errors import BadValue, StateConflict
from playhead.events.codec import CATALOG
from playhead.events.state import StateWritten
from playhead.log.envelope import NewEvent
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.runtime.redacting import redact
from playhead_projections.state_at import (
    Met,
    Version,
    asked_at,
    blame,
    fold_all,
    history,
    key_at,
    keys_at,
    same,
    sessions,
    sessions_of,
    version_at,
)

ONE, OTHER = Place.of("notes", "s1"), Place.of("notes/deep", "s1")
KEYS = ["a", "b/c", "b/d", "e.json"]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    async with SqliteStore.open(tmp_path / "runs.db") as opened:
        yield opened


async def lived(store: SqliteStore, seed: int, changes: int) -> None:
    """Random changes by three writers, of which some are refused."""
    random, keeper = Random(seed), Keeper(store, CATALOG)
    for place in (ONE, OTHER):
        await keeper.open(place, writer("w0"), By("p"))
    for n in range(changes):
        who = writer(f"w{random.randrange(3)}")
        key, place = random.choice(KEYS), random.choice([ONE, OTHER])
        deletes = random.random() < 0.2
        content = None if deletes else Raw(msgspec.msgpack.encode({"n": n % 4, "all": n}))
        policy: Any = random.choice(["ignore", "warn", "error", "error"])
        expected = random.choice([None, None, None, 1])
        by = By("p", f"run{n % 3}", f"0/state.write#{n}")
        change = Change("delete" if deletes else "write", key, who, policy, by, content, expected)
        try:
            await keeper.change(place, change)
        except StateConflict:
            continue


@pytest.mark.parametrize("seed", range(4))
async def test_as_of_every_position_it_is_what_a_fold_of_the_whole_log_comes_to(
    store: SqliteStore, tmp_path: Path, seed: int
) -> None:
    await lived(store, seed, 90)
    with LogReader(tmp_path / "runs.db") as log:
        end = log.position()
        assert end > 100
        for position in (*range(1, end + 1), None):
            folded = fold_all(log, position)
            for place in (ONE, OTHER):
                wanted = {
                    standing.key: (standing.version, bytes(standing.content or b""), standing.writer)
                    for stream, standing in folded.items()
                    if stream.startswith(f"{place.stream}/") and standing.kind == "value"
                }
                found = {
                    key: (version.version, msgspec.msgpack.encode(version.content), version.writer)
                    for key, version in keys_at(log, place, position).items()
                }
                assert found == wanted, position


async def test_a_long_row_of_refusals_is_stepped_over(store: SqliteStore, tmp_path: Path) -> None:
    keeper = Keeper(store, CATALOG)
    content = Raw(msgspec.msgpack.encode("first"))
    await keeper.change(ONE, Change("write", "k", writer("a"), "error", By("p"), content))
    for _ in range(25):
        with pytest.raises(StateConflict):
            await keeper.change(ONE, Change("write", "k", writer("b"), "error", By("q"), content))
    with LogReader(tmp_path / "runs.db") as log:
        found = version_at(log, ONE.stream_of("k"))
        assert found is not None
        assert (found.version, found.content, found.seq) == (1, "first", 0)
        told = list(history(log, ONE, "k"))
        assert [type(each) for each in told] == [Version] + [Met] * 25
        assert {each.previous.writer_id for each in told if isinstance(each, Met)} == {"a"}


async def test_a_version_that_cannot_be_read_is_told_and_hides_no_other(
    store: SqliteStore, tmp_path: Path
) -> None:
    keeper = Keeper(store, CATALOG)
    content = Raw(msgspec.msgpack.encode("x"))
    for key in ("k", "other"):
        await keeper.change(ONE, Change("write", key, writer("a"), "error", By("p"), content))
    odd = NewEvent("state.written", 1, 1, "", None, b"\x81\xa7version\xa1x")
    await store.append(ONE.stream_of("k"), 1, [odd])
    with LogReader(tmp_path / "runs.db") as log:
        found = keys_at(log, ONE)
        assert (found["k"].erased, found["k"].content) == (True, None)
        assert found["other"].content == "x"
        told = [each for each in history(log, ONE, "k") if isinstance(each, Version)]
        assert [(each.version, each.erased) for each in told] == [(1, False), (2, True)]
        assert found["k"].version == 2  # it counts, as it does for whoever writes next


async def test_a_version_that_says_it_stands_elsewhere_is_told_as_one_that_cannot_be_read(
    store: SqliteStore, tmp_path: Path
) -> None:
    keeper = Keeper(store, CATALOG)
    content = Raw(msgspec.msgpack.encode("x"))
    await keeper.change(ONE, Change("write", "Kept", writer("a"), "error", By("p"), content))
    for stream in (ONE.stream_of("kept"), ONE.stream_of("fresh"), "state/odd"):
        stray = StateWritten(
            root="notes", session="s1", key="../../up", version=1, content=content, writer=writer("b")
        )
        head = await store.head(stream)
        await store.append(stream, head.seq, [CATALOG.new_event(stray, at=1)])
    with LogReader(tmp_path / "runs.db") as log:
        found = keys_at(log, ONE)
        assert {key: (one.erased, one.version) for key, one in found.items()} == {
            "Kept": (True, 2),
            "fresh": (True, 1),
        }
        assert sessions(log) == [ONE]
        assert key_at(log, ONE, "Kept") == found["Kept"]
        assert key_at(log, ONE, "kept") is None
        assert key_at(log, ONE, "Fresh") == found["fresh"]  # nobody knows how it was spelt


async def test_the_event_of_the_run_that_asked_for_a_version_is_found(tmp_path: Path) -> None:
    @tool(side_effect_level="workspace_write")
    async def jots() -> None:
        await (await state("notes", "s1")).write("b", "x")

    @persona
    async def writes() -> None:
        notes = await state("notes", "s1")
        await notes.write("a", "x")
        await jots()

    async with Engine.open(tmp_path / "runs.db", personas=[writes]) as engine:
        run = await engine.start(writes)
        await run.result()
        await (await state("notes", "s1", engine=engine)).write("c", "x")
    with LogReader(tmp_path / "runs.db") as log:
        found = keys_at(log, ONE)
        asked = {key: asked_at(log, one) for key, one in found.items()}
        types = {key: log.read(f"run/{run.id}", seq, 1)[0].type for key, seq in asked.items() if seq}
    assert types == {"a": "state.requested", "b": "tool.requested"}
    assert asked["c"] is None


async def test_a_version_of_a_newer_playhead_counts_here_as_it_does_for_the_engine(
    store: SqliteStore, tmp_path: Path
) -> None:
    keeper = Keeper(store, CATALOG)
    content = Raw(msgspec.msgpack.encode("old"))
    await keeper.change(ONE, Change("write", "k", writer("a"), "error", By("p"), content))
    newer = NewEvent("state.written", 99, 1, "", None, b"\x81\xa6shaped\xa4anew")
    await store.append(ONE.stream_of("k"), 1, [newer])
    standing = await keeper.read(ONE, "k")
    with LogReader(tmp_path / "runs.db") as log:
        found = keys_at(log, ONE)["k"]
        folded = fold_all(log)[ONE.stream_of("k")]
    assert (found.version, found.content, found.erased) == (2, None, True)
    assert (standing.version, standing.content) == (folded.version, folded.content) == (2, None)


async def test_the_events_until_a_position_are_found_by_halving(store: SqliteStore, tmp_path: Path) -> None:
    await lived(store, 9, 60)
    with LogReader(tmp_path / "runs.db") as log:
        for stream in log.streams("state"):
            positions = log.positions(stream, 0, 1_000)
            for position in range(log.position() + 2):
                assert log.count_at(stream, position) == sum(each <= position for each in positions)


async def test_who_is_to_blame_gave_a_place_its_value_and_not_who_wrote_the_same_again(
    store: SqliteStore, tmp_path: Path
) -> None:
    keeper = Keeper(store, CATALOG)
    values = [{"a": 1, "b": [1]}, {"a": 1, "b": [2]}, {"a": 1.0, "b": [2]}, {"a": 1.0, "b": [2, 3]}]
    for n, value in enumerate(values):
        content = Raw(msgspec.msgpack.encode(value))
        await keeper.change(ONE, Change("write", "k", writer(f"w{n}"), "ignore", By("p", f"run{n}"), content))
    with LogReader(tmp_path / "runs.db") as log:

        def to_blame(pointer: str, position: int | None = None) -> Any:
            found = blame(log, ONE, "k", pointer, position)
            return None if found is None else (found.version, found.run)

        assert to_blame("") == (4, "run3")
        assert to_blame("/a") == (3, "run2")  # 1.0 is another value than 1
        assert to_blame("/b/0") == (2, "run1")
        assert to_blame("/b/1") == (4, "run3")
        assert to_blame("/nowhere") is None
        second = log.positions(ONE.stream_of("k"), 3, 1)[0] - 1
        assert to_blame("/b", second) == (2, "run1")
        with pytest.raises(BadValue, match="JSON pointer"):
            to_blame("a")
        assert blame(log, ONE, "never") is None


async def test_blame_begins_anew_after_a_key_was_deleted(store: SqliteStore, tmp_path: Path) -> None:
    keeper = Keeper(store, CATALOG)
    content = Raw(msgspec.msgpack.encode("x"))
    write = Change("write", "k", writer("a"), "ignore", By("p"), content)
    for change in (write, Change("delete", "k", writer("a"), "ignore", By("p")), write):
        await keeper.change(ONE, change)
    with LogReader(tmp_path / "runs.db") as log:
        found = blame(log, ONE, "k")
        assert found is not None
        assert found.version == 3
        deleted = log.positions(ONE.stream_of("k"), 1, 1)[0]
        assert blame(log, ONE, "k", "", deleted) is None
        assert key_at(log, ONE, "k", deleted) is not None
        assert keys_at(log, ONE, deleted) == {}


async def test_the_sessions_of_the_log_and_those_of_a_run_with_its_children(tmp_path: Path) -> None:
    @persona
    async def inner() -> None:
        await (await state("inner", "s3")).write("k", "x")
        await (await state("notes", "s1")).write("k", "y")

    @persona
    async def uses() -> None:
        await (await state("notes", "s1")).write("k", "x")
        await (await state("Other Root", "s2")).list()
        await child_run(inner)

    async with Engine.open(tmp_path / "runs.db", personas=[uses, inner]) as engine:
        await (await state("before", "s0", engine=engine)).write("k", "x")
        run = await engine.start(uses)
        await run.result()
    with LogReader(tmp_path / "runs.db") as log:
        used = [Place("notes", "s1"), Place("Other Root", "s2"), Place("inner", "s3")]
        assert sessions(log) == [Place("before", "s0"), *used]
        assert sessions_of(log, run.id) == used
        first = next(e.seq for e in log.scan(f"run/{run.id}") if e.type == "state.requested")
        assert sessions_of(log, run.id, first) == used[:1]
        assert sessions_of(log, run.id, first - 1) == []
        asked = next(e.seq for e in log.scan(f"run/{run.id}") if e.type == "child.requested")
        assert sessions_of(log, run.id, asked) == used[:2]
        assert sessions_of(log, run.id, asked + 1) == used


async def test_a_handle_in_another_process_sees_the_same(store: SqliteStore, tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db") as engine:
        notes = await state("notes", "s1", engine=engine)
        await State.of(notes.handle, engine=engine).write("k", [1, 2])
    with LogReader(tmp_path / "runs.db") as log:
        found = key_at(log, ONE, "k")
        assert found is not None
        assert found.content == [1, 2]
        assert key_at(log, ONE, "K") is None


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (1, 1, True),
        (1, 1.0, False),
        (1, True, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ("1", 1, False),
    ],
)
def test_values_are_the_same_where_they_are_the_same_json(one: Any, other: Any, *, alike: bool) -> None:
    assert same(one, other) is alike


async def test_who_is_to_blame_cannot_be_told_past_what_was_erased(
    store: SqliteStore, tmp_path: Path
) -> None:
    keeper = Keeper(store, CATALOG)
    values = [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 2}]
    for n, value in enumerate(values):
        content = Raw(msgspec.msgpack.encode(value))
        await keeper.change(ONE, Change("write", "k", writer(f"w{n}"), "ignore", By("p", f"run{n}"), content))
    stream = ONE.stream_of("k")
    with LogReader(tmp_path / "runs.db") as log:
        assert [version.run for version in _to_blame(log, "/a", "/b")] == ["run0", "run1"]
        events = [event for event in log.scan(stream) if event.type == "state.written"]

    await redact(store, CATALOG, stream, events[1].seq, "/content/b", reason="asked to")
    with LogReader(tmp_path / "runs.db") as log:
        in_part = _to_blame(log, "/a", "/b", "")
    await redact(store, CATALOG, stream, events[0].seq, reason="asked to")
    with LogReader(tmp_path / "runs.db") as log:
        whole = _to_blame(log, "/a", "/b")

    assert [(version.erased, version.seq) for version in in_part] == [
        (False, events[0].seq),
        (True, events[1].seq),
        (True, events[1].seq),
    ]
    assert [(version.erased, version.seq) for version in whole] == [
        (True, events[0].seq),
        (True, events[1].seq),
    ]


def _to_blame(log: LogReader, *pointers: str) -> list[Version]:
    return [found for each in pointers if (found := blame(log, ONE, "k", each)) is not None]
