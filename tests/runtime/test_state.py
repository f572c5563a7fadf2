"""State in runs and beside them: what is an operation, who writes, and what a replay and a crash see."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from playhead import (
    Engine,
    NotFound,
    Policy,
    RunFailed,
    Stage,
    State,
    StateConflict,
    ToolRejected,
    now,
    persona,
    resume_state,
    side_value,
    state,
    step,
)
from playhead.errors import BadValue, OutsideRun
from playhead.events import state as facts
from playhead.events.catalog import RunClaimed
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact
from playhead.log.envelope import Append, Appended, Event, NewEvent
from playhead.log.memory_store import MemoryLog
from playhead.testing import MemoryStore
from tests.replay.prefixes import play
from tests.runtime.conftest import Home, until
from tests.simulation.world import SimulatedLoop, World


async def once(home: Home, program: Any, *args: Any, **options: Any) -> Any:
    """The result of one run of `program`, whose replay agrees."""
    made = persona(program) if not hasattr(program, "signature") else program
    async with home.engine(made, **options) as engine:
        run = await engine.start(made, *args)
        result = await run.result()
        (await engine.replay(run.id)).check()
        return result


async def test_what_a_run_writes_the_next_one_reads(home: Home) -> None:
    async def writes() -> list[Any]:
        notes = await state("notes", "s1")
        first = await notes.write("plan.md", "read, then write")
        second = await notes.write("evidence/a.json", {"pages": [1, 2], "done": None})
        return [list(first), list(second), await notes.list()]

    async def reads() -> list[Any]:
        notes = await resume_state("notes", "s1")
        return [
            await notes.read("plan.md"),
            await notes.read("evidence/a.json"),
            await notes.read("evidence/a.json", "/pages/1"),
            await notes.read("evidence/a.json", "/pages/7"),
            await notes.read("nothing"),
        ]

    assert await once(home, writes) == [[1, False], [1, False], ["evidence/a.json", "plan.md"]]
    assert await once(home, reads) == ["read, then write", {"pages": [1, 2], "done": None}, 2, None, None]


async def test_a_replay_reads_what_the_run_read_then_and_not_what_is_there_now(home: Home) -> None:
    @persona
    async def reads() -> Any:
        notes = await state("notes", "s1")
        before = await notes.read("k")
        await notes.write("k", f"{before}+")
        return [before, await notes.read("k"), await notes.list()]

    async with home.engine(reads) as engine:
        outside = await state("notes", "s1", engine=engine)
        await outside.write("k", "first")
        run = await engine.start(reads)
        assert await run.result() == ["first", "first+", ["k"]]
        await outside.write("k", "now another")
        await outside.write("more", "!")
        outcome = await engine.replay(run.id)
        assert outcome.identical
        assert await outside.read("k") == "now another"


async def test_a_session_without_a_name_is_the_runs_own_and_elsewhere_a_new_one(home: Home) -> None:
    @persona
    async def opens() -> str:
        notes = await state("notes")
        return notes.place.session

    async with home.engine(opens) as engine:
        run = await engine.start(opens)
        assert await run.result() == run.id
        one, other = await state("notes", engine=engine), await state("notes", engine=engine)
        assert one.place.session != other.place.session


async def test_taking_up_a_session_needs_one_and_opening_it_makes_it(home: Home) -> None:
    async def asks() -> str:
        try:
            await resume_state("notes", "s9")
        except NotFound as error:
            await state("notes", "s9")
            await resume_state("notes", "s9")
            return error.message
        return ""

    assert await once(home, asks) == "session 's9' not found under 'notes'."


async def test_taking_up_a_session_needs_its_name_also_in_a_run(home: Home) -> None:
    @persona
    async def asks() -> str:
        await state("notes")
        try:
            await resume_state("notes", None)  # type: ignore[arg-type]
        except BadValue as error:
            return error.message
        return ""

    assert await once(home, asks) == "a session is a text."


async def test_a_handle_of_another_spelling_or_of_no_session_opens_nothing(home: Home) -> None:
    async with home.engine() as engine:
        await (await state("notes", "s", engine=engine)).write("k", "x")
        for root, session in (("NOTES", "s"), ("notes", "S")):
            handle = {"_type": "state_handle", "root": root, "session_id": session}
            for ask in (lambda other: other.write("k", "y"), lambda other: other.read("k"), State.list):
                with pytest.raises(BadValue):
                    await ask(State.of(handle, engine=engine))
        nowhere = State.of({"_type": "state_handle", "root": "no", "session_id": "s"}, engine=engine)
        for change in (nowhere.write("k", "y"), nowhere.handoff({"done": True})):
            with pytest.raises(NotFound):
                await change
        assert await nowhere.list() == []  # nothing is in no session
        assert await nowhere.read("k") is None
        assert await nowhere.delete("k") == (0, False)
        tails = await engine.store.tails("state")
        assert [last.stream for last in tails] == ["state/notes/s", "state/notes/s/k"]


async def test_outside_of_a_run_state_needs_an_engine() -> None:
    with pytest.raises(OutsideRun, match="needs the engine"):
        await state("notes", "s1")
    with pytest.raises(OutsideRun, match="needs the engine"):
        await State.of({"_type": "state_handle", "root": "notes", "session_id": "s1"}).read("k")


async def test_a_handle_is_plain_and_opens_the_same_session_for_the_same_writer(home: Home) -> None:
    async with home.engine() as engine:
        notes = await state("notes", "s1", conflict_policy="Strict", writer_id="us", engine=engine)
        handle = notes.handle
        assert handle == {
            "_type": "state_handle",
            "backend": "playhead",
            "root": "notes",
            "session_id": "s1",
            "handoff_key": "__handoff.json",
            "conflict_policy": "error",
            "writer": {
                "writer_id": "us",
                "stage_id": engine.store.worker,
                "session_id": "s1",
                "worker_id": engine.store.worker,
            },
        }
        again = State.of(msgspec.json.decode(msgspec.json.encode(handle)), engine=engine)
        assert (again.place, again.writer, again.policy) == (notes.place, notes.writer, notes.policy)
        assert (await again.write("k", "x")).version == 1


@pytest.mark.parametrize(
    ("handle", "why"),
    [
        (None, "must be a state_handle dict"),
        ("state_handle", "must be a state_handle dict"),
        ({"_type": "other"}, "must be a state_handle dict"),
        ({"_type": "state_handle", "session_id": "s1"}, "missing `root`"),
        ({"_type": "state_handle", "root": "notes"}, "missing `session_id`"),
        ({"_type": "state_handle", "root": "", "session_id": "s1"}, "missing `root`"),
        ({"_type": "state_handle", "root": "notes", "session_id": None}, "missing `session_id`"),
        ({"_type": "state_handle", "root": "notes", "session_id": "../up"}, "session"),
        ({"_type": "state_handle", "root": "notes", "session_id": "s", "writer": "me"}, "is a dict"),
    ],
)
def test_what_is_no_handle_opens_nothing(handle: object, why: str) -> None:
    with pytest.raises(BadValue, match=why):
        State.of(handle)


def test_a_writer_that_a_handle_does_not_name_is_nobody_and_not_the_word_nil() -> None:
    words = {"writer_id": None, "worker_id": "", "stage_id": " "}
    handle = {"_type": "state_handle", "root": "r", "session_id": "s", "writer": words}
    nobody = State.of(handle)
    assert nobody.writer.writer_id is None
    assert nobody.handle["writer"] == dict.fromkeys(("writer_id", "stage_id", "session_id", "worker_id"))


@pytest.mark.parametrize("content", [None, b"bytes", {"a": b"x"}, float("nan"), {1: 2}, object(), ("a",)])
async def test_content_is_a_text_or_plain_json(home: Home, content: Any) -> None:
    async with home.engine() as engine:
        notes = await state("notes", "s1", engine=engine)
        with pytest.raises(BadValue):
            await notes.write("k", content)
        assert await notes.list() == []


async def test_an_empty_text_and_falsy_values_are_values(home: Home) -> None:
    async with home.engine() as engine:
        notes = await state("notes", "s1", engine=engine)
        for n, value in enumerate(("", 0, False, [], {}, 2**63 - 1, -1.5, "é\u2028")):
            assert (await notes.write("k", value)).version == n + 1
            assert await notes.read("k") == value


async def test_a_large_value_comes_back_whole(home: Home) -> None:
    text = "x" * 1_000_000

    async def writes() -> bool:
        notes = await state("notes", "s1")
        await notes.write("k", text)
        return bool(await notes.read("k") == text)

    assert await once(home, writes) is True


async def test_state_keeps_no_secrets(home: Home) -> None:
    async def writes() -> str:
        notes = await state("notes", "s1")
        try:
            await notes.write("k", {"api_key": "hunter2"})
        except BadValue as error:
            return error.message
        return ""

    assert "no secrets" in await once(home, writes, secrets=["api_key"])
    async with home.store() as store:
        assert all(b"hunter2" not in (event.payload or b"") for event in await store.feed(0, 1000))


async def test_a_session_is_handed_on_as_its_handle_and_whoever_hands_on_the_session_is_told(
    home: Home,
) -> None:
    @step
    async def writes(handle: dict[str, Any]) -> None:
        await State.of(handle).write("k", "x")

    @persona
    async def hands_on(whole: bool) -> Any:
        notes = await state("notes", "s1")
        await writes(notes if whole else notes.handle)  # type: ignore[arg-type]
        return await notes.read("k")

    async with home.engine(hands_on) as engine:
        assert await (await engine.start(hands_on, False)).result() == "x"
        with pytest.raises(RunFailed, match=r"record its \.handle, from which State\.of"):
            await (await engine.start(hands_on, True)).result()


async def test_a_handoff_is_a_version_of_its_own_key_with_its_typed_form(home: Home) -> None:
    said = {
        "source_persona": "triage",
        "target": "legal",
        "task": "judge it",
        "reason": "asked to",
    }

    @persona
    async def hands_over() -> Any:
        notes = await state("notes", "s1")
        first = await notes.handoff(said)
        assert await notes.read("__handoff.json") == first.kept
        second = await notes.handoff({"done": True}, expected_version=first.version)
        assert (first.version, second.version, second.conflict) == (1, 2, False)
        with pytest.raises(StateConflict, match="has version 2"):
            await notes.handoff({"done": "twice"}, expected_version=first.version)
        return first.kept

    async with home.engine(hands_over) as engine:
        run = await engine.start(hands_over)
        kept = await run.result()
        (await engine.replay(run.id)).check()
        events = await engine.store.read("state/notes/s1/__handoff.json", 0, 10)
    assert {name: kept[name] for name in ("_type", "version", "session_id", "root", "key")} == {
        "_type": "agent_state_handoff",
        "version": 1,
        "session_id": "s1",
        "root": "notes",
        "key": "__handoff.json",
    }
    assert kept["summary"] == said
    assert kept["handoff"]["parent_run_id"] == run.id
    assert kept["writer"]["writer_id"] == run.id
    assert [event.type for event in events] == [
        *["state.written", "handoff.emitted"] * 2,
        "state.conflict_detected",
    ]
    emitted = [CATALOG.decode(event) for event in events[1:4:2]]
    artifacts = [msgspec.msgpack.decode(fact.artifact) for fact in emitted]  # type: ignore[union-attr]
    assert artifacts == [kept["handoff"], None]


async def test_an_envelope_says_where_by_whom_and_in_which_second_it_was_written(home: Home) -> None:
    @persona
    async def hands_over() -> Any:
        notes = await state("notes/deep", "s1")
        second = int(now().timestamp())
        passed = await notes.handoff({"done": True})
        return [passed.kept, notes.handle["writer"], second, second]

    async with home.engine(hands_over) as engine:
        run = await engine.start(hands_over)
        in_a_run = await run.result()
        (await engine.replay(run.id)).check()
        notes = await state("notes/deep", "s1", engine=engine)
        first = engine.clock.now() // 1_000_000_000
        passed = await notes.handoff({"done": True})
        beside: list[Any] = [passed.kept, notes.handle["writer"], first]
        beside.append(engine.clock.now() // 1_000_000_000)
        for kept, who, since, before in (in_a_run, beside):
            assert since <= kept.pop("written_at") <= before
            assert kept == {
                "_type": "agent_state_handoff",
                "version": 1,
                "session_id": "s1",
                "root": "notes/deep",
                "key": "__handoff.json",
                "summary": {"done": True},
                "handoff": None,
                "writer": who,
            }


async def test_a_summary_that_no_log_could_keep_is_refused_in_our_words(home: Home) -> None:
    deep: dict[str, Any] = {}
    for _ in range(3_000):
        deep = {"data": deep}
    said = {"source_persona": "a", "target": "b", "task": "c", "reason": "d"}
    async with home.engine() as engine:
        notes = await state("notes", "s1", engine=engine)
        for summary in (deep, {**said, "confidence": 10**400}, {**said, "reason": "\ud800"}):
            with pytest.raises(BadValue):
                await notes.handoff(summary)
        kept = (await notes.handoff({**said, "reason": " "})).kept
        assert (kept["handoff"], kept["summary"]["task"]) == (None, "c")


async def test_a_handoff_obeys_the_conflict_policy_like_any_write(home: Home) -> None:
    async with home.engine() as one, home.engine() as other:
        a = await state("notes", "s1", conflict_policy="error", engine=one)
        await a.handoff({"done": 1})
        with pytest.raises(StateConflict, match="key '__handoff"):
            await (await state("notes", "s1", conflict_policy="error", engine=other)).handoff({"done": 2})
        passed = await (await state("notes", "s1", engine=other)).handoff({"done": 3})
        assert (passed.version, passed.conflict, passed.kept["summary"]) == (2, True, {"done": 3})
        with pytest.raises(BadValue, match="must be a JSON object"):
            await a.handoff("done")
        with pytest.raises(BadValue, match="a handoff needs a target"):
            await a.handoff({"_type": "handoff_artifact", "source_persona": "x"})


async def test_operations_on_state_obey_the_policy_around_them(home: Home) -> None:
    @step
    async def looks() -> Any:
        notes = await resume_state("notes", "s1")
        found = [await notes.read("k"), await notes.list()]
        for change in (notes.write("k", "x"), notes.delete("k"), notes.handoff({"a": 1})):
            try:
                await change
            except ToolRejected as error:
                found.append(error.tool)
        return found

    @persona(stages=[Stage("looks", side_effect_level="read_only")])
    async def staged() -> Any:
        await (await state("notes", "s1")).write("k", "before")
        return await looks()

    assert await once(home, staged) == [
        "before",
        ["k"],
        "state.write",
        "state.delete",
        "state.handoff",
    ]

    @persona(policy=Policy(tools=["state.init", "state.read"]))
    async def allowed() -> Any:
        notes = await state("notes", "s1")
        try:
            await notes.write("k", "x")
        except ToolRejected as error:
            return [await notes.read("k"), error.tool]
        return None

    assert await once(home, allowed) == ["before", "state.write"]


async def test_a_bad_key_is_refused_before_anything_is_asked(home: Home) -> None:
    async def writes() -> list[str]:
        notes = await state("notes", "s1")
        said: list[str] = []
        for key in ("../up", "/abs", "", "a\x00"):
            for ask in (notes.read(key), notes.write(key, "x"), notes.delete(key)):
                try:
                    await ask
                except BadValue as error:
                    said.append(error.message[:3])
        return said

    assert await once(home, writes) == ["key"] * 12
    async with home.store() as store:
        assert [last.stream for last in await store.tails("state")] == ["state/notes/s1"]


async def test_an_expected_version_is_a_whole_number(home: Home) -> None:
    async with home.engine() as engine:
        notes = await state("notes", "s1", engine=engine)
        for odd in (-1, True, 1.5, "1", 2**63, 2**70):
            with pytest.raises(BadValue, match="whole number"):
                await notes.write("k", "x", expected_version=odd)  # type: ignore[arg-type]


async def test_a_change_on_which_nobody_waits_any_more_is_made_or_not_and_the_run_goes_on(home: Home) -> None:
    async def gives_up() -> bool:
        notes = await state("notes", "s1")
        writing = asyncio.create_task(notes.write("k", "x"))
        await side_value("tick", lambda: 1)
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
        return await notes.read("k") in (None, "x")

    assert await once(home, gives_up) is True


# ------------------------------------------------------------------- killed


def cut_at(log: MemoryLog, length: int) -> MemoryLog:
    """A log of the first `length` events of all streams, by a process that is dead."""
    shorter = MemoryLog()
    world = World(1)
    loop = SimulatedLoop(world)
    store = MemoryStore(world, shorter)

    async def copy() -> None:
        ends: dict[str, int] = {}
        for event in log.events[:length]:
            again = NewEvent(event.type, event.version, event.at, event.op, event.cause, event.payload or b"")
            owner = store.worker if event.stream.startswith("run/") else None
            first = event.stream not in ends
            await store.append(
                event.stream,
                event.seq,
                [again],
                claim=owner if first else None,
                epoch=1 if owner and not first else 0,
                status="running" if owner else None,
            )
            ends[event.stream] = event.seq

    loop.live(copy())
    store.kill()
    return shorter


def versions(events: list[Event]) -> dict[str, list[tuple[int, Any]]]:
    found: dict[str, list[tuple[int, Any]]] = {}
    for event in events:
        fact = CATALOG.decode(event)
        if isinstance(fact, facts.StateWritten):
            found.setdefault(fact.key, []).append((fact.version, msgspec.msgpack.decode(fact.content)))
        elif isinstance(fact, facts.StateDeleted):
            found.setdefault(fact.key, []).append((fact.version, None))
        else:
            assert isinstance(fact, Fact)
    return found


def test_killed_at_every_append_each_change_of_a_run_is_made_exactly_once() -> None:
    @persona
    async def works() -> list[Any]:
        notes = await state("notes", "s1")
        mine = await state("notes", "s1", writer_id="other", conflict_policy="error")
        said: list[Any] = []
        for n in range(3):
            both = await asyncio.gather(notes.write("a/k", n), notes.write(f"b/{n}", n))
            said += [list(one) for one in both]
            try:
                await mine.write("a/k", "refused")
            except StateConflict as error:
                said.append(error.message.partition(" by ")[0])
        await notes.delete("b/0")
        await notes.handoff({"done": True})
        return [said, await notes.list(), await notes.read("a/k")]

    async def first(engine: Engine) -> tuple[str, Any]:
        run = await engine.start(works)
        return run.id, await run.result()

    log = MemoryLog()
    run, result = play(log, first, personas=[works])
    whole = versions(log.events)
    assert whole["a/k"] == [(1, 0), (2, 1), (3, 2)]
    starts = [n for n, event in enumerate(log.events) if event.append_id is not None]
    assert len(starts) > 25
    for length in starts[1:]:
        shorter = cut_at(log, length)

        async def resume(engine: Engine) -> Any:
            await engine.recover()
            return await engine.result(run), await engine.replay(run)

        again, replayed = play(shorter, resume, personas=[works])

        assert again == result, length
        assert replayed.identical, f"{length}: {replayed.divergence}"
        assert versions(shorter.events) == whole, length


async def test_an_owner_that_lost_its_run_changes_nothing_any_more() -> None:
    log = MemoryLog()
    mine, other = MemoryStore(log=log, lease_ttl_s=0.0), MemoryStore(log=log)
    lost: list[Append] = []

    def takes_it_over(appends: Sequence[Append]) -> None:
        started = next((one for one in appends if one.stream.startswith("run/")), None)
        if started is None or lost:
            return
        mine.stop()
        claimed = CATALOG.new_event(RunClaimed(worker=other.worker, pid=1, host="h"), at=1)
        claim = Append(
            started.stream, 2, [claimed], append_id=b"1" * 16, claim=other.worker, done=lost.append
        )
        other.submit(claim)

    @persona
    async def works(handle: dict[str, Any]) -> None:
        await State.of(handle).write("k", "by one that is not the owner any more")

    async with Engine.open(mine, personas=[works]) as engine:
        handle = (await state("notes", "s1", engine=engine)).handle
        mine.before_settling = takes_it_over
        await engine.start(works, handle)
        await until(lambda: bool(lost) and not engine.runners)
        await asyncio.sleep(0)
    assert isinstance(lost[0].outcome, Appended)
    assert not log.streams.get("state/notes/s1/k")
