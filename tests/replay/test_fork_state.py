"""A fork and state: what the run changed itself is not what its source had read."""

from typing import Any

import pytest

from playhead import Engine, persona, state, tool
from playhead.log.memory_store import MemoryLog, MemoryStore
from playhead.replay.edits import Edits
from playhead.testing import TurnedClock


@tool(effect="read_only")
async def look(place: str) -> str:
    return f"<{place}>"


@persona
async def notes_down(session: str) -> list[Any]:
    notes = await state("notes", session)
    await notes.write("plan", await look("first"))
    await look("second")
    return [await notes.read("plan"), await notes.list()]


def engine(log: MemoryLog, *personas: Any, **options: Any) -> Any:
    return Engine.open(MemoryStore(log=log), personas=personas, **options)


@pytest.mark.parametrize("edited", ["look#0", "look#1"])
async def test_what_a_fork_wrote_otherwise_it_reads_otherwise(edited: str) -> None:
    log = MemoryLog()
    async with engine(log, notes_down) as live:
        run = await live.start(notes_down, "shared")
        assert await run.result() == ["<first>", ["plan"]]

        edits = Edits(outcomes={edited: "edited"})
        fork = await live.fork(run.id, edits=edits, allow=["state"])

        wrote = "edited" if edited == "look#0" else "<first>"
        assert await fork.result() == [wrote, ["plan"]]
        assert (await live.replay(fork.id)).identical


async def test_an_answer_that_is_kept_ready_is_not_for_what_was_written_otherwise() -> None:
    log = MemoryLog()

    @persona
    async def copies() -> list[Any]:
        notes = await state("notes", "shared")
        await notes.write("plan", await look(await look("first")))
        return [await notes.read("plan"), await notes.read("other")]

    async with engine(log, copies) as live:
        run = await live.start(copies)
        assert await run.result() == ["<<first>>", None]
        await (await state("notes", "shared", engine=live)).write("other", "new since")
        edits = Edits(outcomes={"look#0": "edited"})

        plan = await live.plan_fork(run.id, edits=edits, allow=["state"])
        fork = await live.fork(run.id, edits=edits, allow=["state"])

        assert [each.op for each in plan.imagined.live] == ["0/look#1"]
        assert {"0/state.read#0", "0/state.read#1"} <= set(plan.started.prepared or ())
        assert await fork.result() == ["<edited>", None]
        assert (await live.replay(fork.id)).identical


@tool(effect="idempotent")
async def files(page: str) -> str:
    notes = await state("notes")
    await notes.write(f"pages/{page}", page)
    await notes.write("last", page)
    return page


@persona
async def keeps_its_own() -> list[Any]:
    notes = await state("notes")
    await notes.write("plan", {"n": 1})
    await files("one")
    await notes.write("plan", {"n": 2}, expected_version=1)
    await notes.write("draft", "gone soon")
    await notes.delete("draft")
    await notes.handoff({"task": "judge", "kind": "agent_handoff"})
    await files("two")
    last = await notes.write("plan", {"n": 3}, expected_version=2)
    found = [await notes.read(key) for key in ("plan", "draft", "pages/one", "last")]
    return [*found, await notes.list(), last.version]


KEPT = [
    {"n": 3},
    None,
    "one",
    "two",
    ["__handoff.json", "last", "pages/one", "pages/two", "plan"],
    3,
]


def kept_by(log: MemoryLog, run: str) -> list[tuple[str, list[str]]]:
    """What is in the run's own session: the types of the events of each stream."""
    prefix = f"state/notes/{run}"
    streams = ((name, events) for name, events in log.streams.items() if name.startswith(prefix))
    return sorted((name.removeprefix(prefix), [event.type for event in events]) for name, events in streams)


async def test_a_fork_finds_in_its_own_session_what_its_source_had_kept_by_then() -> None:
    log = MemoryLog()
    async with engine(log, keeps_its_own) as live:
        run = await live.start(keeps_its_own)
        assert await run.result() == KEPT
        source = kept_by(log, run.id)
        for at in range(len(log.streams[f"run/{run.id}"])):
            fork = await live.fork(run.id, at=at, key=f"at {at}", allow=["files"])

            assert await fork.result() == KEPT, at
            assert kept_by(log, fork.id) == source, at
            assert (await live.replay(fork.id)).identical
        assert kept_by(log, run.id) == source


async def test_a_fork_that_is_made_again_after_a_crash_has_its_own_session_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = MemoryLog()
    async with engine(log, keeps_its_own) as live:
        run = await live.start(keeps_its_own)
        await run.result()
        source = kept_by(log, run.id)
        append = live.store.append

        async def dies(stream: str, *args: Any, **named: Any) -> Any:
            if stream.startswith("run/"):
                raise OSError("the process dies here")
            return await append(stream, *args, **named)

        with monkeypatch.context() as patched:
            patched.setattr(live.store, "append", dies)
            with pytest.raises(OSError, match="dies here"):
                await live.fork(run.id, at=27, key="again", allow=["files"])
        fork = await live.fork(run.id, at=27, key="again", allow=["files"])

        assert await fork.result() == KEPT
        assert kept_by(log, fork.id) == source


async def test_a_fork_of_a_fork_finds_what_both_had_kept() -> None:
    log = MemoryLog()
    async with engine(log, keeps_its_own) as live:
        run = await live.start(keeps_its_own)
        await run.result()
        for at, then in ((9, 30), (None, 20)):
            first = await live.fork(run.id, at=at, allow=["files"])
            await first.result()
            second = await live.fork(first.id, at=then, allow=["files"])

            assert await second.result() == KEPT
            assert kept_by(log, second.id) == kept_by(log, run.id)


@persona
async def changes_its_mind() -> list[Any]:
    notes = await state("notes")
    await notes.write("plan", "the first words of it")
    await notes.write("plan", "the second words of it")
    await look("somewhere")
    return [await notes.read("plan"), (await notes.write("plan", "the third")).version]


async def test_a_version_that_was_erased_is_no_value_in_a_fork_either_and_counts() -> None:
    log = MemoryLog()
    async with engine(log, changes_its_mind) as live:
        run = await live.start(changes_its_mind)
        assert await run.result() == ["the second words of it", 3]
        second = next(event for event in log.streams[f"run/{run.id}"] if event.op == "0/state.write#1")
        erased = await live.redact(run.id, second.seq, "/content", reason="not for the log", everywhere=True)
        assert f"state/notes/{run.id}/plan" in {stream for stream, _, _ in erased.everywhere}
        looked = next(event for event in log.streams[f"run/{run.id}"] if event.type == "tool.completed")

        fork = await live.fork(run.id, at=looked.seq, allow=["state"])

        assert await fork.result() == [None, 3]
        kinds = [event.type for event in log.streams[f"state/notes/{fork.id}/plan"]]
        assert kinds == ["state.written", "state.deleted", "state.written"]
        assert (await live.replay(fork.id)).identical


@persona
async def hands_over_twice() -> list[Any]:
    notes = await state("notes")
    await notes.handoff({"task": "the first words of it", "kind": "agent_handoff"})
    await notes.handoff({"task": "the second words of it", "kind": "agent_handoff"})
    await look("somewhere")
    return [await notes.read("__handoff.json")]


async def test_a_handoff_that_was_erased_leaves_none_in_a_fork_either() -> None:
    log = MemoryLog()
    async with engine(log, hands_over_twice) as live:
        run = await live.start(hands_over_twice)
        await run.result()
        second = next(event for event in log.streams[f"run/{run.id}"] if event.op == "0/state.handoff#1")
        await live.redact(
            run.id, second.seq, "/content/summary/task", reason="not for the log", everywhere=True
        )
        place = f"state/notes/{run.id}/__handoff.json"
        assert [event.payload is None for event in log.streams[place]][:4] == [False, False, True, False]
        looked = next(event for event in log.streams[f"run/{run.id}"] if event.type == "tool.completed")

        fork = await live.fork(run.id, at=looked.seq, allow=["state"])

        kinds = [event.type for event in log.streams[f"state/notes/{fork.id}/__handoff.json"]]
        assert kinds == ["state.written", "handoff.emitted", "state.deleted", "handoff.emitted"]
        assert await fork.result() == [None]


@persona
async def hands_over(place: str) -> str:
    notes = await state("notes", "shared")
    found = await look(place)
    await notes.handoff({"source_persona": "me", "target": "legal", "task": found, "reason": "x"})
    await look("second")
    return "done"


@pytest.mark.parametrize(
    "edits", [Edits(), Edits(args={"place": "first"}), Edits(outcomes={"look#1": "edited"})]
)
async def test_a_handoff_that_nothing_edited_leads_to_is_not_made_again(edits: Edits) -> None:
    log, clock = MemoryLog(), TurnedClock()
    async with Engine.open(MemoryStore(clock, log=log), personas=[hands_over]) as live:
        run = await live.start(hands_over, "first")
        assert await run.result() == "done"
        clock.turn(hours=1)

        fork = await live.fork(run.id, edits=edits, allow=["state"])

        assert await fork.result() == "done"
        assert (await live.replay(fork.id)).identical
    handed = [event for event in log.streams["state/notes/shared/__handoff.json"] if "emitted" in event.type]
    assert len(handed) == 1


async def test_a_handoff_that_says_something_else_is_another() -> None:
    log = MemoryLog()
    async with engine(log, hands_over) as live:
        run = await live.start(hands_over, "first")
        await run.result()

        plan = await live.plan_fork(run.id, edits=Edits(outcomes={"look#0": "edited"}), allow=["state"])

    assert "0/state.handoff#0" in [each.op for each in plan.imagined.live]
