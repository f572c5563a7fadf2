"""After an erasure: replays go as far as they go, and what was done once is not done again."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead import (
    Engine,
    child_run,
    persona,
    signal,
    state,
    tool,
)
from playhead.errors import BadValue, ErasedPayload
from playhead.events.codec import CATALOG
from playhead.events.erasing import leaves
from playhead.log.envelope import NewEvent
from playhead.log.memory_store import MemoryStore
from playhead.log.sqlite_store import SqliteStore
from playhead.runtime.binding import Binding, Trigger
from playhead.runtime.dispatcher import Dispatcher
from playhead.runtime.needles import BOUNDS
from playhead.runtime.redacting import redact
from tests.runtime.letters import (
    Echo,
    correspond,
    greet,
    greeted,
    helper,
    look_up,
    send,
    seq_of,
    wait,
)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncGenerator[Engine]:
    personas: list[Any] = [correspond, helper, greet, wait]
    async with Engine.open(tmp_path / "runs.db", personas=personas, model=Echo()) as opened:
        yield opened


# --- replay ---------------------------------------------------------------------------------------


async def test_a_replay_says_up_to_where_it_goes(engine: Engine) -> None:
    run = await greeted(engine)
    seq = await seq_of(engine, run, "tool.completed")
    await engine.redact(run, seq, reason="gone now", by="ada")

    outcome = await engine.replay(run)

    assert (outcome.verdict, outcome.matched) == ("incomplete", 1)
    assert f"event {seq} (tool.completed) was erased by ada: gone now." in outcome.lost
    assert outcome.erased == (seq,)


async def test_what_a_program_caused_and_was_erased_is_not_compared(engine: Engine) -> None:
    run = await greeted(engine)
    for type_ in ("tool.requested", "run.completed"):
        await engine.redact(run, await seq_of(engine, run, type_), reason="test")

    outcome = await engine.replay(run)

    assert outcome.identical
    assert len(outcome.erased) == 2


async def test_a_program_that_is_told_a_mark_is_compared_around_it(engine: Engine) -> None:
    run = await greeted(engine)
    await engine.redact(
        run, await seq_of(engine, run, "tool.completed"), "/result/email", reason="test", everywhere=True
    )

    assert (await engine.replay(run)).identical


async def test_only_one_side_of_a_value_erased_is_still_compared_around_the_mark(engine: Engine) -> None:
    run = await greeted(engine)
    await engine.redact(run, await seq_of(engine, run, "tool.completed"), "/result/email", reason="test")
    assert (await engine.replay(run)).identical

    @persona(name="greet")
    async def other(name: str) -> str:
        address = await look_up(name)
        await send(address["email"], "hello")
        return f"finished: {address['email']} in {address['city']}"

    engine.personas = type(engine.personas)([other])
    outcome = await engine.replay(run)

    assert outcome.verdict == "diverged"
    assert outcome.divergence is not None
    assert any("was erased, and the program was told a mark" in cause for cause in outcome.divergence.causes)


@tool(side_effect_level="read_only")
async def weigh(name: str) -> int:
    return 1_234_567


@persona
async def counted() -> int:
    return 7_654_321


@persona
async def weighs() -> int:
    return await weigh("ada") + 1


@persona(mode="relaxed")
async def weighs_in_your_loop() -> int:
    return await weigh("ada") + 1


@persona
async def is_told() -> int:
    told: int = await signal("go", int)
    return told + 1


@persona
async def has_it_counted() -> int:
    found: int = await child_run(counted)
    return found + 1


@pytest.mark.parametrize(
    ("program", "type_", "part"),
    [
        (weighs, "tool.completed", "/result"),
        (weighs_in_your_loop, "tool.completed", "/result"),
        (is_told, "signal.received", "/value"),
        (has_it_counted, "child.completed", "/result"),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
async def test_a_mark_in_place_of_a_number_ends_the_replay_with_the_reason(
    tmp_path: Path, program: Any, type_: str, part: str
) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[program, counted]) as engine:
        run = await engine.start(program)
        await run.signal("go", 8_765_432)
        await run.result()
        seq = await seq_of(engine, run.id, type_)
        await engine.redact(run.id, seq, part, reason="gone now", by="ada")

        outcome = await engine.replay(run.id)

    assert (outcome.verdict, outcome.divergence) == ("incomplete", None)
    assert f"event {seq} ({type_}) was erased in part ({part}) by ada: gone now." in outcome.lost


@tool(name="weigh", side_effect_level="read_only")
async def weighs_parts(name: str) -> list[int]:
    return [1_234_567]


@persona(name="weighs")
async def weighs_otherwise() -> int:
    return sum(await weighs_parts("ada"))


@pytest.mark.parametrize("erased", [True, False])
async def test_a_whole_value_that_fits_no_more_is_the_program_s_doing(tmp_path: Path, erased: bool) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[weighs]) as engine:
        run = await engine.start(weighs)
        await run.result()
        if erased:
            seq = await seq_of(engine, run.id, "tool.requested")
            await engine.redact(run.id, seq, "/args/name", reason="test")
        engine.personas = type(engine.personas)([weighs_otherwise])

        outcome = await engine.replay(run.id)

    assert (outcome.verdict, outcome.lost) == ("diverged", "")
    assert outcome.divergence is not None
    assert outcome.divergence.now_type == "run.failed"


@tool(side_effect_level="read_only")
async def refuses(name: str) -> int:
    raise BadValue(f"there is no {name}", found=name)


@persona
async def is_refused() -> str:
    try:
        await refuses("ada lovelace")
    except BadValue as error:
        return type(error).__name__
    return "done"


async def test_a_failure_that_was_erased_in_part_is_still_one(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[is_refused]) as engine:
        run = await engine.start(is_refused)
        assert await run.result() == "BadValue"
        await engine.redact(
            run.id, await seq_of(engine, run.id, "tool.failed"), "/failure/message", reason="test"
        )

        assert (await engine.replay(run.id)).identical


@persona
async def hands_over(pin: str) -> str:
    notes = await state("notes", "shared")
    await notes.handoff(
        {"source_persona": "me", "target": "legal", "task": f"unlock with {pin}", "reason": "x"}
    )
    return "done"


async def test_whoever_guesses_what_a_handoff_said_finds_no_id_to_make_sure_by(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[hands_over]) as engine:
        run = await engine.start(hands_over, "7391")
        await run.result()
        streams = [f"run/{run.id}", "state/notes/shared/__handoff.json"]
        before = [event.payload for each in streams for event in await engine.store.read(each)]
        ids = {
            found for payload in before if payload for found in re.findall(rb"handoff_[0-9a-f]{24}", payload)
        }
        await engine.redact(run.id, 0, "/args/pin", reason="test", everywhere=True)
        after = [event.payload or b"" for each in streams for event in await engine.store.read(each)]

        assert len(ids) == 1
        assert not [payload for payload in after if any(found in payload for found in ids)]
        assert (await engine.replay(run.id)).identical


async def test_arguments_that_are_gone_end_it_with_the_reason(engine: Engine) -> None:
    run = await greeted(engine)
    await engine.redact(run, 0, reason="gone now")

    with pytest.raises(ErasedPayload, match="gone now"):
        await engine.replay(run)


async def test_a_relaxed_run_is_compared_around_the_mark_too(tmp_path: Path) -> None:
    @persona(name="relaxed", mode="relaxed")
    async def relaxed(name: str) -> str:
        address = await look_up(name)
        return f"done: {address['email']}"

    async with Engine.open(tmp_path / "runs.db", personas=[relaxed]) as engine:
        run = await engine.start(relaxed, "grace-hopper")
        await run.result()
        seq = await seq_of(engine, run.id, "tool.completed")
        await engine.redact(run.id, seq, "/result/email", reason="test", everywhere=True)
        assert (await engine.replay(run.id)).identical
        await engine.redact(run.id, seq, reason="test")
        assert (await engine.replay(run.id)).verdict == "incomplete"


async def test_a_store_in_memory_erases_as_well() -> None:
    async with MemoryStore.open() as store, Engine.open(store, personas=[greet]) as engine:
        run = await greeted(engine)
        done = await engine.redact(run, 0, "/args/name", reason="test", everywhere=True)
        events = await store.feed(0)
        assert done.everywhere
        assert all(event.payload is None or b"grace-hopper" not in event.payload for event in events)
        assert (await store.verify()).ok


def test_the_leaves_of_a_payload_are_found_under_their_paths() -> None:
    payload = msgspec.msgpack.encode({"args": {"name": "x", "more": [1, "y"]}})

    assert {path: leaf for path, leaf in leaves(payload) if not isinstance(leaf, str) or leaf in "xy"} == {
        ("args", "name"): "x",
        ("args", "more", 0): 1,
        ("args", "more", 1): "y",
    }


# --- strange payloads, and personas on duty -------------------------------------------------------


@pytest.mark.parametrize(
    "payload", [b"\xc1 ada-lovelace", b"ada-lovelace \xff", b"\x91" * 3000 + b"\xacada-lovelace"]
)
async def test_what_nobody_can_read_is_searched_and_erased_whole(engine: Engine, payload: bytes) -> None:
    run = await greeted(engine)
    odd = NewEvent("moon.landed", 9, 5, "", None, payload)
    await engine.store.append("other/x", 0, [odd, NewEvent("moon.landed", 9, 5, "", None, b"fine")])
    await engine.store.append("other/y", 0, [odd])

    with pytest.raises(BadValue, match="no parts that can be told"):
        await redact(engine.store, CATALOG, "other/x", 0, "/args", reason="test")
    await redact(engine.store, CATALOG, "other/x", 0, reason="test")
    started = await engine.start(greet, "ada-lovelace")
    await started.result()
    done = await engine.redact(started.id, 0, "/args/name", reason="test", everywhere=True)

    assert ("other/y", 0, ()) in done.everywhere
    assert [event.payload for event in await engine.store.read("other/x", 0, 2)] == [None, b"fine"]
    assert not (await engine.redact(run, 0, reason="test")).left
    assert (await engine.store.verify()).ok


@pytest.mark.parametrize(("reason", "by"), [("\udcff", ""), ("fine", "\udcff")])
async def test_words_that_no_log_can_hold_are_refused(engine: Engine, reason: str, by: str) -> None:
    run = await greeted(engine)

    with pytest.raises(BadValue, match="surrogate"):
        await engine.redact(run, 0, reason=reason, by=by)


async def test_work_that_was_done_is_not_done_again_when_what_set_it_off_is_erased(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    did: list[str] = []

    @tool
    async def note(name: str) -> None:
        did.append(name)

    @persona
    async def clerk(name: str) -> None:
        await note(name)

    async def trigger() -> list[str]:
        async with Engine.open(path, personas=[clerk]) as engine:
            duty = Dispatcher(engine, [Binding(clerk)])
            mail = Trigger(
                "mail", {"name": "ada-lovelace"}, source_event_id="1", metadata={"from": "ada-lovelace"}
            )
            word = await duty.trigger("clerk", mail)
            return [word, *(receipt.status for receipt in await duty.tick("clerk"))]

    await trigger()
    async with SqliteStore.open(path) as store:
        for event in await store.read("persona/clerk"):
            if event.type in BOUNDS:
                with pytest.raises(BadValue, match="bound by"):
                    await redact(store, CATALOG, "persona/clerk", event.seq, reason="test")
            elif event.type in ("trigger.received", "work.started"):
                await redact(store, CATALOG, "persona/clerk", event.seq, reason="test", everywhere=True)
                with pytest.raises(BadValue, match="what bounds it"):
                    await redact(store, CATALOG, "persona/clerk", event.seq, "/work_key", reason="test")
        assert all(b"ada-lovelace" not in (event.payload or b"") for event in await store.feed(0))
    again = await trigger()

    assert did == ["ada-lovelace"]
    assert again == ["duplicate"], again


async def test_state_keeps_its_versions_when_a_value_is_erased_in_part(engine: Engine) -> None:
    run = await engine.start(correspond, "ada-lovelace")
    await run.signal("go", "now")
    await run.result()
    (stream,) = {e.stream for e in await engine.store.feed(0) if e.type == "state.written"}

    await redact(engine.store, CATALOG, stream, 0, "/content/who", reason="test", everywhere=True)
    desk = await state("desk", "letters", engine=engine)

    assert await desk.read("letter.json") is None
    assert await desk.list() == []
    await desk.write("letter.json", {"who": "somebody"})
    entry = await desk.entry("letter.json")
    assert entry is not None
    assert entry.version == 2
