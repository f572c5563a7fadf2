"""Sessions in a log: versions, conflicts, folders and spellings, by any number of writers."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from msgspec import Raw

from playhead.agent_state import keeping
from playhead.agent_state.deciding import By, Change
from playhead.agent_state.keeping import Keeper
from playhead.agent_state.keys import Place
from playhead.agent_state.writers import writer
from playhead.errors import BadValue, NotFound, StateConflict
from playhead.events import state as facts
from playhead.events.codec import CATALOG
from playhead.events.words import ConflictWord, WriterWords
from playhead.log.envelope import NewEvent
from playhead.log.memory_store import MemoryLog, MemoryStore
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.transfer import export_lines, import_lines

PLACE = Place.of("notes", "s1")
A, B, NOBODY = writer("a"), writer("b"), WriterWords()


def text(value: Any) -> Raw:
    return Raw(msgspec.msgpack.encode(value))


PROCESS = By("p")


def write(
    key: str,
    value: Any = "x",
    who: WriterWords = A,
    policy: ConflictWord = "ignore",
    expected: int | None = None,
    by: By = PROCESS,
) -> Change:
    return Change("write", key, who, policy, by, text(value), expected)


def delete(
    key: str, who: WriterWords = A, policy: ConflictWord = "ignore", expected: int | None = None
) -> Change:
    return Change("delete", key, who, policy, By("p"), None, expected)


class Kept:
    """A keeper with what is usually asked of it."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.keeper = Keeper(store, CATALOG)

    async def do(self, *changes: Change) -> Any:
        done = [await self.keeper.change(PLACE, change) for change in changes]
        return done[-1]

    async def value(self, key: str) -> Any:
        standing = await self.keeper.read(PLACE, key)
        return None if standing.content is None else msgspec.msgpack.decode(standing.content)

    async def facts(self, key: str) -> list[Any]:
        return [CATALOG.decode(event) for event in await self.store.read(PLACE.stream_of(key), 0, 10_000)]

    async def types(self, key: str) -> list[str]:
        return [event.type for event in await self.store.read(PLACE.stream_of(key), 0, 10_000)]


@pytest.fixture(params=["memory", "sqlite"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Kept]:
    if request.param == "memory":
        yield Kept(MemoryStore(log=MemoryLog()))
    else:
        async with SqliteStore.open(tmp_path / "runs.db") as store:
            yield Kept(store)


async def test_each_change_is_a_version_and_what_is_deleted_stays_in_the_log(kept: Kept) -> None:
    assert (await kept.do(write("k", "1"))).version == 1
    assert (await kept.do(write("k", "2"))).version == 2
    assert (await kept.do(delete("k"))).version == 3
    assert await kept.value("k") is None
    assert (await kept.do(write("k", "4"))).version == 4
    assert await kept.value("k") == "4"
    assert await kept.types("k") == ["state.written", "state.written", "state.deleted", "state.written"]


async def test_deleting_what_is_not_there_changes_nothing(kept: Kept) -> None:
    assert (await kept.do(delete("k"))).version == 0
    assert (await kept.do(write("k"), delete("k"), delete("k", B, "error"))).version == 2
    assert await kept.types("k") == ["state.written", "state.deleted"]


async def test_another_writer_is_let_pass_and_noted_or_refused_and_noted(kept: Kept) -> None:
    await kept.do(write("k", "a"))
    for who, policy, version in ((B, "ignore", 2), (A, "warn", 3)):
        done = await kept.do(write("k", who.writer_id, who, policy))  # type: ignore[arg-type]
        assert done.version == version
        assert done.conflict is not None
        assert done.conflict.policy == policy
    with pytest.raises(StateConflict) as caught:
        await kept.do(write("k", "b", B, "error"))
    assert caught.value.message == "key 'k' was previously written by 'a' and is now being written by 'b'"
    assert await kept.value("k") == "a"
    conflicts = [fact for fact in await kept.facts("k") if isinstance(fact, facts.StateConflictDetected)]
    assert [(one.policy, one.refused, one.version) for one in conflicts] == [
        ("ignore", False, 1),
        ("warn", False, 2),
        ("error", True, 3),
    ]
    assert {(one.previous.writer_id, one.writer.writer_id) for one in conflicts} == {("a", "b"), ("b", "a")}


async def test_the_same_writer_and_one_that_nobody_knows_meet_no_conflict(kept: Kept) -> None:
    await kept.do(write("k", "1", A, "error"), write("k", "2", A, "error"), write("k", "3", NOBODY, "error"))
    await kept.do(write("new", "1", NOBODY, "error"))
    assert (await kept.do(write("new", "2", B, "error"))).conflict is None


@pytest.mark.parametrize("times", [1, 9])
async def test_a_writer_that_nobody_knows_takes_no_key_over(kept: Kept, times: int) -> None:
    await kept.do(write("k", "a", A))
    for _ in range(times):
        await kept.do(write("k", "nobody", NOBODY, "error"), delete("k", NOBODY, "error"))
    with pytest.raises(StateConflict, match="previously written by 'a' and is now being written by 'b'"):
        await kept.do(write("k", "b", B, "error"))
    await kept.do(write("k", "nobody", NOBODY))
    assert (await kept.keeper.read(PLACE, "k")).writer == NOBODY
    assert (await kept.do(write("k", "a", A, "error"))).version == 2 * times + 3


async def test_each_of_two_that_take_turns_under_ignore_meets_the_other(kept: Kept) -> None:
    for who in (A, B, A):
        await kept.do(write("k", who.writer_id, who))
    met = [fact for fact in await kept.facts("k") if isinstance(fact, facts.StateConflictDetected)]
    assert [(one.previous.writer_id, one.writer.writer_id) for one in met] == [("a", "b"), ("b", "a")]
    assert await kept.value("k") == "a"


async def test_deleting_and_writing_again_is_no_way_around_a_conflict(kept: Kept) -> None:
    await kept.do(write("k", "a", A))
    with pytest.raises(StateConflict, match="is now being deleted by 'b'"):
        await kept.do(delete("k", B, "error"))
    await kept.do(delete("k", A))
    with pytest.raises(StateConflict, match="previously written by 'a' and is now being written by 'b'"):
        await kept.do(write("k", "b", B, "error"))


async def test_what_is_refused_takes_no_names(kept: Kept) -> None:
    with pytest.raises(StateConflict):
        await kept.do(write("plan/deep/x", expected=5))
    await kept.do(write("owned/x", "a", A))
    with pytest.raises(StateConflict):
        await kept.do(write("owned/x", "b", B, "error"))
    assert (await kept.do(write("plan", "free"))).version == 1


async def test_0_is_expected_where_there_is_no_value_also_after_one_was_deleted(kept: Kept) -> None:
    await kept.do(write("k", "1"), delete("k"))
    assert (await kept.do(write("k", "3", expected=0))).version == 3
    with pytest.raises(StateConflict) as caught:
        await kept.do(write("k", "4", expected=0))
    assert "policy" not in caught.value.next


@pytest.mark.parametrize("expected", [0, 2])
async def test_who_expected_what_stands_is_told_of_the_other_writer_and_of_no_version(
    kept: Kept, expected: int
) -> None:
    await kept.do(write("k", "1", A), delete("k", A))
    for policy in ("error", "ignore"):
        change = write("k", "b", B, policy, expected)
        if policy == "error":
            with pytest.raises(StateConflict, match="previously written by 'a' and is now being written"):
                await kept.do(change)
        else:
            await kept.do(change)
    met = [fact for fact in await kept.facts("k") if isinstance(fact, facts.StateConflictDetected)]
    assert [(one.refused, one.expected_version) for one in met] == [(True, None), (False, None)]


async def test_a_session_with_more_keys_than_can_be_listed_says_so(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LIST_MAX", 3)
    await kept.do(*(write(f"k{n}") for n in range(3)))
    assert len(await kept.keeper.keys(PLACE)) == 3
    await kept.do(write("one more"))
    with pytest.raises(BadValue, match="too many keys"):
        await kept.keeper.keys(PLACE)


async def test_a_version_that_is_expected_must_stand_whatever_the_policy(kept: Kept) -> None:
    assert (await kept.do(write("k", "1", expected=0))).version == 1
    for policy in ("ignore", "warn", "error"):
        with pytest.raises(StateConflict, match="key 'k' has version 1, by 'a', and 'a' expected 0"):
            await kept.do(write("k", "2", A, policy, expected=0))
    with pytest.raises(StateConflict, match="key 'new' has no version yet, and 'a' expected 3"):
        await kept.do(write("new", "2", expected=3))
    assert (await kept.do(write("k", "2", expected=1), delete("k", expected=2))).version == 3
    assert (await kept.types("k")).count("state.conflict_detected") == 3


async def test_many_refusals_in_a_row_do_not_hide_what_stands(kept: Kept) -> None:
    await kept.do(write("k", "a", A))
    for _ in range(30):
        with pytest.raises(StateConflict):
            await kept.do(write("k", "b", B, "error"))
    assert await kept.value("k") == "a"
    assert (await kept.do(write("k", "again", A, "error"))).version == 2
    for _ in range(10):
        with pytest.raises(StateConflict):
            await kept.do(write("never", "b", B, "ignore", expected=5))
    assert await kept.value("never") is None
    assert (await kept.do(write("never", "b", B, "ignore", expected=0))).version == 1


async def test_a_name_holds_a_value_or_other_keys_and_not_both(kept: Kept) -> None:
    await kept.do(write("a/b/c", "deep"))
    for name in ("a", "a/b"):
        with pytest.raises(BadValue, match=f"key '{name}' holds other keys"):
            await kept.do(write(name))
    await kept.do(write("x", "value"))
    with pytest.raises(BadValue, match="key 'x/y' would lie in 'x', which holds a value"):
        await kept.do(write("x/y"))
    await kept.do(delete("x"), write("x/y", "below"))
    assert await kept.keeper.keys(PLACE) == ["a/b/c", "x/y"]
    with pytest.raises(BadValue, match="holds other keys"):
        await kept.do(write("x"))


async def test_a_name_that_held_keys_stays_one_that_holds_keys(kept: Kept) -> None:
    await kept.do(write("a/b"), delete("a/b"))
    with pytest.raises(BadValue, match="holds other keys"):
        await kept.do(write("a"))
    assert (await kept.do(delete("a"))).version == 0
    assert await kept.keeper.keys(PLACE) == []


async def test_two_spellings_of_one_name_are_not_kept_side_by_side(kept: Kept) -> None:
    await kept.do(write("Plan.md", "1"))
    with pytest.raises(BadValue, match=r"key 'plan.md' is kept as 'Plan.md'"):
        await kept.do(write("plan.md", "2"))
    assert await kept.value("plan.md") is None
    await kept.do(delete("Plan.md"), write("plan.md", "2"))
    assert await kept.keeper.keys(PLACE) == ["plan.md"]
    await kept.do(write("Folder/a"))
    with pytest.raises(BadValue, match="'folder' is kept as 'Folder'"):
        await kept.do(write("folder/b"))


async def test_keys_are_listed_by_their_bytes_and_only_those_of_the_session(kept: Kept) -> None:
    await kept.do(write("ledger.md"), write("evidence/b.json"), write("evidence/a.json"))
    await kept.do(write("__handoff.json"), write("gone"), delete("gone"))
    other = Place.of("notes", "s10")
    await kept.keeper.change(other, write("elsewhere"))
    assert await kept.keeper.keys(PLACE) == [
        "__handoff.json",
        "evidence/a.json",
        "evidence/b.json",
        "ledger.md",
    ]
    assert await kept.keeper.keys(other) == ["elsewhere"]
    assert await kept.keeper.keys(Place.of("notes", "none")) == []


async def test_opening_a_session_twice_opens_it_once_and_taking_it_up_needs_it(kept: Kept) -> None:
    with pytest.raises(NotFound, match="session 's1' not found under 'notes'"):
        await kept.keeper.check_open(PLACE)
    await asyncio.gather(*(kept.keeper.open(PLACE, A, By("p")) for _ in range(5)))
    await kept.keeper.open(PLACE, B, By("q"))
    await kept.keeper.check_open(PLACE)
    opened = await kept.store.read(PLACE.stream, 0, 10)
    assert [event.type for event in opened] == ["session.opened"]
    with pytest.raises(BadValue, match="session 'S1' is kept as 's1'"):
        await kept.keeper.open(Place.of("notes", "S1"), A, By("p"))


async def test_of_writers_that_come_at_once_each_makes_a_version_of_its_own(kept: Kept) -> None:
    done = await asyncio.gather(*(kept.do(write("k", str(n), writer(f"w{n % 3}"))) for n in range(40)))
    assert sorted(one.version for one in done) == list(range(1, 41))
    written = [fact for fact in await kept.facts("k") if isinstance(fact, facts.StateWritten)]
    assert [fact.version for fact in written] == list(range(1, 41))


async def test_of_two_that_expect_one_version_one_makes_the_next(kept: Kept) -> None:
    await kept.do(write("k", "1"))
    both = await asyncio.gather(
        *(kept.do(write("k", who, writer(who), expected=1)) for who in ("b", "c", "d")),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in both) == ["Changed", "StateConflict", "StateConflict"]


@pytest.mark.parametrize("refusals", [0, 10])
@pytest.mark.parametrize("erased", [1, 6])
async def test_a_version_that_was_erased_counts_and_brings_no_older_value_back(
    erased: int, refusals: int
) -> None:
    log = MemoryLog()
    kept = Kept(MemoryStore(log=log))
    for n in range(7):
        await kept.do(write("k", str(n), A))
    stream = log.streams[PLACE.stream_of("k")]
    for event in stream[-erased:]:
        stream[event.seq] = event._replace(payload=None)
    for _ in range(refusals):
        with pytest.raises(StateConflict, match="version 7"):
            await kept.do(write("k", "never", A, expected=3))
    assert await kept.value("k") is None
    assert await kept.keeper.keys(PLACE) == []
    assert (await kept.do(write("k", "8", B, "error"))).version == 8
    assert await kept.value("k") == "8"


NEWER = ("state.written", 99, msgspec.msgpack.encode({"version": 2, "content": "of a newer playhead"}))


@pytest.mark.parametrize(
    ("kind", "version", "payload"),
    [(kind, 1, odd) for kind in ("state.written", "state.deleted") for odd in (b"\x81\xa7version\xa1x", b"")]
    + [NEWER],
)
async def test_a_version_that_cannot_be_read_counts_and_blocks_no_key(
    kept: Kept, kind: str, version: int, payload: bytes
) -> None:
    await kept.do(write("k", "1", A), write("other", "1", A))
    await kept.store.append(PLACE.stream_of("k"), 1, [NewEvent(kind, version, 1, "", None, payload)])
    assert await kept.value("k") is None
    assert await kept.keeper.keys(PLACE) == ["other"]
    assert (await kept.do(delete("k"))).version == 2
    by = By("p", "run1", "0/state.write#0")
    assert (await kept.keeper.change(PLACE, write("k", "3", B, "error", 2, by), again=True)).version == 3
    assert await kept.value("k") == "3"


STRAY: list[dict[str, str]] = [
    {"root": "notes", "session": "s1", "key": "/etc/passwd"},
    {"root": "notes", "session": "s1", "key": "../../up"},
    {"root": "notes", "session": "s1", "key": "other"},
    {"root": "notes", "session": "s2", "key": "k"},
    {"root": "/notes", "session": "s1", "key": "k"},
    {"root": "notes", "session": "s1", "key": "\ud800"},
]


@pytest.mark.parametrize("where", STRAY, ids=range(len(STRAY)))
async def test_a_version_that_says_it_stands_elsewhere_is_read_as_none(
    kept: Kept, where: dict[str, str]
) -> None:
    root, session, key = where.values()
    stray = facts.StateWritten(root=root, session=session, key=key, version=7, content=text("evil"), writer=B)
    payload = (
        msgspec.msgpack.encode(stray) if "\ud800" not in where["key"] else b"\x81\xa3key\xa3\xed\xa0\x80"
    )
    await kept.do(write("k", "1", A))
    await kept.store.append(PLACE.stream_of("k"), 1, [NewEvent("state.written", 1, 1, "", None, payload)])
    assert await kept.value("k") is None
    assert await kept.keeper.keys(PLACE) == []
    assert (await kept.do(write("k", "3", A))).version == 3


async def test_an_operation_is_not_made_again_in_a_log_that_was_moved(tmp_path: Path) -> None:
    by = By("p", "run1", "0/state.write#0")
    async with SqliteStore.open(tmp_path / "here.db") as here:
        await Keeper(here, CATALOG).change(PLACE, write("k", "made", A, by=by))
        for n in range(keeping.PAGE_EVENTS + 10):
            await Keeper(here, CATALOG).change(PLACE, write("k", str(n), A))
    with LogReader(tmp_path / "here.db") as log:
        lines = list(export_lines(log, [PLACE.stream_of("k")]))
    async with SqliteStore.open(tmp_path / "there.db") as there:
        await there.graft(import_lines(lines))
        claimed = facts.SessionOpened(root="r", session="s", writer=A)  # the run comes after what it wrote
        await there.append("run/run1", 0, [CATALOG.new_event(claimed, at=1)])
        again = await Keeper(there, CATALOG).change(PLACE, write("k", "made", A, by=by), again=True)
        assert again.version == 1
        assert (await there.head(PLACE.stream_of("k"))).seq == keeping.PAGE_EVENTS + 11


@pytest.mark.parametrize("kind", ["state.conflict_detected", "handoff.emitted", "state.of_tomorrow"])
async def test_what_cannot_be_read_beside_the_versions_of_a_key_blocks_none(kept: Kept, kind: str) -> None:
    await kept.do(write("k", "1", A))
    odd = [NewEvent(kind, 1, 1, "", None, b"\x81\xa7version\xa1x")] * 6
    await kept.store.append(PLACE.stream_of("k"), 1, odd)
    assert await kept.value("k") == "1"
    assert (await kept.do(write("k", "2", A, "error"))).version == 2
    opened = NewEvent("session.opened", 1, 1, "", None, b"\x81\xa7version\xa1x")
    await kept.store.append(PLACE.stream, 0, [opened])
    await kept.keeper.open(PLACE, A, By("p"))
    await kept.keeper.check_open(PLACE)


@pytest.mark.parametrize("gone", [True, False])
async def test_a_name_whose_mark_was_erased_or_cannot_be_read_holds_other_keys_still(*, gone: bool) -> None:
    log = MemoryLog()
    kept = Kept(MemoryStore(log=log))
    await kept.do(write("a/b", "deep"))
    mark = log.streams[PLACE.stream_of("a")]
    mark[0] = mark[0]._replace(payload=None if gone else b"\x80")
    with pytest.raises(BadValue, match="key 'a' holds other keys"):
        await kept.do(write("a"))
    await kept.do(write("a/c", "beside it"), delete("a"))
    assert await kept.keeper.keys(PLACE) == ["a/b", "a/c"]


async def test_a_conflict_that_is_let_pass_and_a_handoff_are_one_append_with_their_change() -> None:
    log = MemoryLog()
    kept = Kept(MemoryStore(log=log))
    await kept.do(write("k", "a", A))
    await kept.do(msgspec.structs.replace(write("k", "b", B, "warn"), handoff=text(None)))
    appends = [(event.type, event.append_id is not None) for event in log.streams[PLACE.stream_of("k")]]
    assert appends == [
        ("state.written", True),
        ("state.conflict_detected", True),
        ("state.written", False),
        ("handoff.emitted", False),
    ]


async def test_of_strangers_that_come_at_once_under_error_one_is_let_in(kept: Kept) -> None:
    came = [write("a/k", who, writer(who), "error") for who in ("a", "b", "c", "d", "e")]
    done = await asyncio.gather(*(kept.do(change) for change in came), return_exceptions=True)
    (first,) = [change for change, made in zip(came, done, strict=True) if made == (1, None)]
    assert sorted(type(one).__name__ for one in done) == ["Changed", *["StateConflict"] * 4]
    assert await kept.value("a/k") == first.writer.writer_id
    met = [fact for fact in await kept.facts("a/k") if isinstance(fact, facts.StateConflictDetected)]
    assert {one.previous.writer_id for one in met} == {first.writer.writer_id}


async def test_an_operation_that_is_asked_for_again_is_not_made_again(kept: Kept) -> None:
    by = By("p", "run1", "0/state.write#0")
    first = await kept.do(write("a/k", "1", by=by))
    await kept.do(write("a/k", "2", B))
    again = await kept.keeper.change(PLACE, write("a/k", "1", by=by), again=True)
    assert again == first == (1, None)
    refused = write("a/k", "3", A, "error", by=By("p", "run1", "0/state.write#1"))
    with pytest.raises(StateConflict):
        await kept.do(refused)
    await kept.do(write("a/k", "4", A, "warn"))
    with pytest.raises(StateConflict, match="previously written by 'b'"):
        await kept.keeper.change(PLACE, refused, again=True)
    fresh = write("a/k", "5", by=By("p", "run1", "0/state.write#2"))
    assert (await kept.keeper.change(PLACE, fresh, again=True)).version == 4


async def test_an_operation_that_met_another_writer_says_so_however_often_it_is_asked_for(kept: Kept) -> None:
    asked = write("k", "b", B, "warn", by=By("p", "run1", "0/state.write#0"))
    await kept.do(write("k", "a", A))
    first = await kept.do(asked)
    await kept.do(*(write("k", str(n), A) for n in range(9)))
    again = await kept.keeper.change(PLACE, asked, again=True)
    assert again == first
    assert again.version == 2
    assert again.conflict is not None
    assert again.conflict.previous.writer_id == "a"


class Model(RuleBasedStateMachine):
    """The keeper beside the plainest model of it: a dict of versions, and rules in a few lines."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.kept = Kept(MemoryStore(log=MemoryLog()))
        self.values: dict[str, tuple[int, str | None, str]] = {}
        self.folders: set[str] = set()

    def teardown(self) -> None:
        self.loop.close()

    @initialize()
    def opened(self) -> None:
        self.loop.run_until_complete(self.kept.keeper.open(PLACE, A, By("p")))

    def _say(self, change: Change) -> object:
        try:
            return self.loop.run_until_complete(self.kept.do(change)).version
        except (StateConflict, BadValue) as error:
            return type(error)

    def _expected(self, key: str, who: str, policy: str, expected: int | None, *, deletes: bool) -> object:
        version, value, last = self.values.get(key, (0, None, ""))
        parents = [key[:n] for n, char in enumerate(key) if char == "/"]
        if deletes and key in self.folders:
            return version
        if key in self.folders:
            return BadValue
        if expected is not None and expected != version and not (expected == 0 and value is None):
            return StateConflict
        if deletes and value is None:
            return version
        if policy == "error" and who and last not in ("", who):
            return StateConflict
        if not deletes:
            for parent in parents:
                if self._holds(parent):
                    return BadValue
                self.folders.add(parent)
        return version + 1

    def _last(self, key: str, who: str) -> str:
        return who or self.values.get(key, (0, None, ""))[2]

    def _holds(self, key: str) -> bool:
        return self.values.get(key, (0, None, ""))[1] is not None

    keys = st.sampled_from(["a", "b", "a/b", "a/c", "b/c/d"])
    who = st.sampled_from(["x", "y", "z", ""])  # the last is nobody
    policies = st.sampled_from(["ignore", "warn", "error"])
    versions = st.none() | st.none() | st.integers(0, 4)

    @rule(key=keys, value=st.text(max_size=3), who=who, policy=policies, expected=versions)
    def writes(self, key: str, value: str, who: str, policy: ConflictWord, expected: int | None) -> None:
        wanted = self._expected(key, who, policy, expected, deletes=False)
        assert self._say(write(key, value, writer(who), policy, expected)) == wanted
        if isinstance(wanted, int):
            self.values[key] = (wanted, value, self._last(key, who))

    @rule(key=keys, who=who, policy=policies, expected=versions)
    def deletes(self, key: str, who: str, policy: ConflictWord, expected: int | None) -> None:
        before = self.values.get(key, (0, None, ""))[0]
        wanted = self._expected(key, who, policy, expected, deletes=True)
        assert self._say(delete(key, writer(who), policy, expected)) == wanted
        if isinstance(wanted, int) and wanted > before:
            self.values[key] = (wanted, None, self._last(key, who))

    @rule()
    def another_process_goes_on(self) -> None:
        self.kept = Kept(MemoryStore(log=self.kept.store.log))

    @invariant()
    def all_values_are_those_of_the_model(self) -> None:
        live = {key: value for key, (_, value, _) in self.values.items() if value is not None}
        ask = self.loop.run_until_complete
        assert ask(self.kept.keeper.keys(PLACE)) == sorted(live, key=str.encode)
        assert {key: ask(self.kept.value(key)) for key in live} == live


def test_it_agrees_with_a_plain_model_over_generated_sequences() -> None:
    run_state_machine_as_test(
        Model, settings=settings(max_examples=300, stateful_step_count=25, deadline=None)
    )


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_it_agrees_with_a_plain_model_over_ten_thousand_sequences() -> None:
    many = settings(max_examples=10_000, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(Model, settings=many)
