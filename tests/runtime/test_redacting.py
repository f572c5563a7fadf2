"""What was recorded and should not have been: erased everywhere, and said so."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from playhead import (
    Engine,
    persona,
)
from playhead.errors import BadValue, ErasedPayload, Held, KeyReuse, NotFound
from playhead.events.codec import CATALOG
from playhead.events.erasing import MARK
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.runtime.binding import Binding, Trigger
from playhead.runtime.dispatcher import Dispatcher
from playhead.runtime.needles import BOUNDS, Needles
from playhead.runtime.redacting import redact
from playhead_projections.projector import ReadModels
from playhead_projections.run_report import RunReport
from playhead_projections.runs import Runs
from tests.log.evidence_helpers import both
from tests.runtime.letters import (
    Echo,
    correspond,
    greet,
    greeted,
    helper,
    holding,
    recorded,
    seq_of,
    wait,
)


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with a run of a little of everything, and read models beside it."""
    path = tmp_path_factory.mktemp("rich") / "runs.db"
    run = asyncio.run(recorded(path))
    with LogReader(path) as log, ReadModels.open(path, [Runs(), RunReport()]) as models:
        models.catch_up(log)
    return path, run


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncGenerator[Engine]:
    personas: list[Any] = [correspond, helper, greet, wait]
    async with Engine.open(tmp_path / "runs.db", personas=personas, model=Echo()) as opened:
        yield opened


# --- every payload --------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.long)])
async def test_any_payload_of_a_run_goes_from_every_file_and_the_chain_holds(
    rich: tuple[Path, str], tmp_path: Path, every: int
) -> None:
    source, _ = rich
    with LogReader(source) as log:
        events = log.feed(0)
    assert len({event.type for event in events}) > 18
    for n, event in enumerate(events):
        if n % every or event.type in BOUNDS:
            continue
        directory = tmp_path / str(n)
        shutil.copytree(source.parent, directory)
        path = directory / "runs.db"
        assert event.payload is not None
        async with SqliteStore.open(path) as store:
            done = await redact(
                store, CATALOG, event.stream, event.seq, reason="test", by="me", everywhere=True
            )
            await store.backup(directory / "backup.db")
        assert not done.left
        assert all(not place.erasable for place in done.also), done.also
        stays = {place.part for place in done.also}
        for needle in Needles(event.payload, event.type).texts.values():
            assert stays or holding(directory, needle) == [], (event.type, needle[:80])
        if [other.payload for other in events].count(event.payload) == 1:
            assert holding(directory, event.payload) == [], event.type
        assert both(path).ok
        assert both(directory / "backup.db").ok
        shutil.rmtree(directory)


async def test_without_everywhere_the_other_places_are_told(rich: tuple[Path, str], tmp_path: Path) -> None:
    source, run = rich
    shutil.copytree(source.parent, tmp_path / "copy")
    async with SqliteStore.open(tmp_path / "copy/runs.db") as store:
        done = await redact(store, CATALOG, f"run/{run}", 0, "/args/name", reason="test")
        events = await store.read(f"run/{run}")
    told = {(place.type, place.part, place.how) for place in done.also}

    assert ("tool.requested", "/args/name", "same") in told
    assert ("attempt.finished", "/failure/message", "inside") in told
    assert ("model.called", "/request/prompt", "inside") in told
    assert ("state.written", "/content/who", "same") in told
    for event in events[1:]:
        if event.payload is not None and b"ada-lovelace" in event.payload:
            assert any((place.stream, place.seq) == (event.stream, event.seq) for place in done.also)


async def test_read_models_are_folded_again_without_it(rich: tuple[Path, str], tmp_path: Path) -> None:
    source, run = rich
    shutil.copytree(source.parent, tmp_path / "copy")
    path = tmp_path / "copy/runs.db"
    assert holding(path.parent, b"nick-name-3") == ["runs.db", "runs.db-readmodels"]

    async with SqliteStore.open(path) as store:
        await redact(store, CATALOG, f"run/{run}", 0, "/name", reason="test")

    assert holding(path.parent, b"nick-name-3") == []
    with LogReader(path) as log, ReadModels.open(path, [Runs()]) as models:
        models.catch_up(log)
        line = models.get(Runs(), run)
    assert line is not None
    assert (line.life.persona, line.life.name, line.life.status) == ("correspond", MARK, "completed")


# --- what may be erased, and what not -------------------------------------------------------------


async def test_a_part_goes_and_the_rest_stays_readable(engine: Engine) -> None:
    run = await greeted(engine)
    seq = await seq_of(engine, run, "tool.completed")

    done = await engine.redact(run, seq, "/result/email", reason="asked to", by="ada")
    again = await engine.redact(run, seq, "/result/email", reason="twice")

    assert done.kept["result"] == {"email": MARK, "city": "Löwenstadt-am-Meer"}
    assert (again.already, again.earlier and again.earlier.reason) == (True, "asked to")
    assert (await engine.store.verify()).erased == 1


async def test_a_second_part_takes_back_what_the_first_erasure_kept(engine: Engine, tmp_path: Path) -> None:
    run = await greeted(engine)
    seq = await seq_of(engine, run, "tool.completed")
    await engine.redact(run, seq, "/result/email", reason="one", everywhere=True)

    done = await engine.redact(run, seq, "/result/city", reason="two", everywhere=True)

    assert done.parts == ("/result/city", "/result/email")
    assert done.kept["result"] == {"email": MARK, "city": MARK}
    for event in await engine.store.read(f"run/{run}"):
        assert event.payload is None or "Löwenstadt".encode() not in event.payload
    verified = await engine.store.verify()
    assert (verified.ok, verified.erased > 2) == (True, True)
    whole = await engine.redact(run, seq, reason="three")
    assert (whole.parts, whole.kept) == ((), None)
    assert (await engine.redact(run, seq, "/result/city", reason="four")).already


async def test_a_reason_is_asked_for_and_may_not_hold_the_value(engine: Engine) -> None:
    run = await greeted(engine)

    for reason in ("", "  ", "because grace-hopper asked"):
        with pytest.raises(BadValue, match="reason"):
            await engine.redact(run, 0, "/args/name", reason=reason)
    assert (await engine.store.verify()).erased == 0


async def test_what_says_which_run_it_is_stays(engine: Engine) -> None:
    run = await greeted(engine)

    with pytest.raises(BadValue, match="says what this is"):
        await engine.redact(run, 0, "/policy", reason="test")
    done = await engine.redact(run, 0, reason="test")

    assert done.parts == ("/args", "/args_digest", "/key")
    assert done.kept["persona"] == "greet"
    assert await engine.persona_of(run) == "greet"


async def test_the_record_of_an_erasure_is_not_erased(engine: Engine) -> None:
    run = await greeted(engine)
    end = (await engine.store.head(f"run/{run}")).seq
    await engine.redact(run, 0, reason="test")

    with pytest.raises(BadValue, match="name the event that it is about"):
        await engine.redact(run, end, reason="test")


@pytest.mark.parametrize("part", ["/result/nothing", "result", "/result/email/x"])
async def test_a_part_that_is_not_there_is_refused(engine: Engine, part: str) -> None:
    run = await greeted(engine)

    with pytest.raises(BadValue):
        await engine.redact(run, await seq_of(engine, run, "tool.completed"), part, reason="test")
    with pytest.raises(NotFound):
        await engine.redact(run, 99, reason="test")
    with pytest.raises(NotFound):
        await engine.redact("nobody", 0, reason="test")


async def test_a_dry_run_changes_nothing(engine: Engine) -> None:
    run = await greeted(engine)
    before = await engine.store.feed(0)

    done = await engine.redact(run, 0, reason="test", dry_run=True, everywhere=True)

    assert done.also
    assert await engine.store.feed(0) == before


async def test_a_run_that_somebody_runs_is_left_alone(engine: Engine) -> None:
    run = await engine.start(wait, "somebody-1")
    await asyncio.sleep(0.02)

    with pytest.raises(Held):
        await engine.redact(run.id, 0, reason="test")
    await run.signal("go", "on")
    await run.result()

    assert not (await engine.redact(run.id, 0, reason="test")).left


@pytest.mark.parametrize("part", ["", "/result"])
async def test_a_run_that_sleeps_cannot_go_on_past_what_was_erased(tmp_path: Path, part: str) -> None:
    path = tmp_path / "runs.db"
    async with Engine.open(path, personas=[wait], suspend_after_s=0.01) as engine:
        run = await engine.start(wait, "somebody-1")
        while (await engine.store.head(f"run/{run.id}")).status != "suspended":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        seq = await seq_of(engine, run.id, "tool.completed")
        done = await engine.redact(run.id, seq, part, reason="gone now")
    async with Engine.open(path, personas=[wait]) as engine:
        with pytest.raises(ErasedPayload, match=r"was erased.*: gone now"):
            await engine.resume(run.id)

    assert not done.left


async def test_the_same_key_finds_the_run_whose_arguments_are_gone(engine: Engine) -> None:
    run = await greeted(engine)
    await engine.redact(run, 0, reason="test")

    assert (await engine.start(greet, "grace-hopper", key="k")).id == run
    with pytest.raises(KeyReuse):
        await engine.start(wait, "grace-hopper", key="k")


async def test_many_erasures_do_not_hide_how_a_run_ended(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    run = await recorded(path)
    async with SqliteStore.open(path) as store:
        for event in await store.read(f"run/{run}"):
            if event.type != "run.completed" and event.payload:
                await redact(store, CATALOG, event.stream, event.seq, reason="test")
    async with Engine.open(path, personas=[correspond, helper]) as engine:
        assert await engine.status(run) == "completed"
        assert await engine.handle(run).result() == "receipt-for-ada-lovelace@mail.example"
        await engine.redact(run, await seq_of(engine, run, "run.completed"), reason="test")
        with pytest.raises(ErasedPayload, match="what it ended with was erased"):
            await engine.handle(run).result()


async def test_state_goes_on_after_its_value_was_erased(engine: Engine) -> None:
    run = await engine.start(correspond, "ada-lovelace")
    await run.signal("go", "now")
    await run.result()
    (stream,) = {e.stream for e in await engine.store.feed(0) if e.type == "state.written"}
    seq = next(e.seq for e in await engine.store.read(stream) if e.type == "state.written")

    await redact(engine.store, CATALOG, stream, seq, reason="test")
    again = await engine.start(correspond, "ada-lovelace")
    await again.signal("go", "now")
    await again.result()

    assert (await engine.store.verify()).ok


# --- interrupted, and held ------------------------------------------------------------------------


async def test_an_erasure_everywhere_that_was_cut_off_is_finished_by_the_same_words(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await engine.start(correspond, "ada-lovelace")
    await run.signal("go", "now")
    await run.result()
    known, left = engine.store.erase, [1]

    async def dies(erasure: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("the power went")
        return await known(erasure)

    monkeypatch.setattr(engine.store, "erase", dies)
    with pytest.raises(OSError, match="the power went"):
        await engine.redact(run.id, 0, "/args/name", reason="test", everywhere=True)
    assert (await engine.store.verify()).erased > 0
    assert (await engine.store.read(f"run/{run.id}"))[0].payload is not None

    monkeypatch.undo()
    await engine.redact(run.id, 0, "/args/name", reason="test", everywhere=True)

    events = await engine.store.feed(0)
    assert all(b"ada-lovelace" not in (event.payload or b"") for event in events)
    assert (await engine.store.verify()).ok


async def test_what_somebody_is_working_on_is_left_and_told(engine: Engine) -> None:
    run = await greeted(engine)
    busy = await engine.start(wait, "grace-hopper")
    await asyncio.sleep(0.05)

    done = await engine.redact(run, 0, "/args/name", reason="test", everywhere=True)

    assert done.held == (f"run/{busy.id}",)
    assert {place.stream for place in done.also} == {f"run/{busy.id}"}
    await busy.signal("go", "on")
    await busy.result()
    for place in done.also:
        await redact(engine.store, CATALOG, place.stream, place.seq, place.part, reason="test")
    events = await engine.store.feed(0)
    assert all(b"grace-hopper" not in (event.payload or b"") for event in events)


async def test_two_who_erase_at_once_both_get_what_they_asked_for(engine: Engine) -> None:
    run = await greeted(engine)
    seqs = [event.seq for event in await engine.store.read(f"run/{run}") if event.type.startswith("tool.")]

    await asyncio.gather(*(engine.redact(run, seq, reason="test") for seq in seqs))

    events = await engine.store.read(f"run/{run}")
    assert all(events[seq].payload is None for seq in seqs)
    assert (await engine.store.verify()).ok


async def test_a_trigger_that_waits_and_is_erased_stays_known_and_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    did: list[str] = []

    @persona
    async def clerk(name: str) -> None:
        did.append(name)

    mail = Trigger("mail", {"name": "ada-lovelace"}, source_event_id="1")
    async with Engine.open(path, personas=[clerk]) as engine:
        assert await Dispatcher(engine, [Binding(clerk)]).trigger("clerk", mail) == "queued"
        (event,) = await engine.store.read("persona/clerk", types=["trigger.received"])
        await redact(engine.store, CATALOG, "persona/clerk", event.seq, reason="test")
    async with Engine.open(path, personas=[clerk]) as engine:
        duty = Dispatcher(engine, [Binding(clerk)])
        assert await duty.trigger("clerk", mail) == "duplicate"
        receipts = await duty.tick("clerk")

    assert did == []
    assert [receipt.status for receipt in receipts] == ["failed"]
