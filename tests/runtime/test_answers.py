"""Whoever waits for a run is answered: with its result, with what went wrong, or with why nobody can know."""

import asyncio
import concurrent.futures
import gc
import sys
import weakref
from asyncio.subprocess import PIPE
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from playhead import (
    Engine,
    ModelClient,
    NotFound,
    Reply,
    Request,
    RunFailed,
    child_run,
    model_call,
    persona,
    signal,
    sleep,
    step,
    tool,
)
from playhead.errors import BadValue, Held, KeyReuse, StorageFull
from playhead.log.envelope import Append
from playhead.log.memory_store import MemoryStore
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.transfer import export_lines, import_lines
from playhead.runtime.holders import hold
from tests.runtime.conftest import Home, until


async def answer(home: Home, program: Any, *args: Any, within_s: float = 60, **options: Any) -> Any:
    """What a run of `program` returns; its replay agrees."""
    async with home.engine(program, **options) as engine:
        run = await engine.start(program, *args)
        async with asyncio.timeout(within_s):
            result = await run.result()
            outcome = await engine.replay(run.id)
    assert outcome.identical, str(outcome.divergence)
    return result


async def failure(home: Home, program: Any, *args: Any) -> str:
    with pytest.raises(RunFailed) as told:
        await answer(home, program, *args)
    return str(told.value)


# What a tool can end with.


@tool(side_effect_level="none")
def stops_iterating() -> int:
    return next(iter(()))


@tool(side_effect_level="none")
def is_cancelled_in_a_thread() -> None:
    raise concurrent.futures.CancelledError


class ApiError(Exception):
    """Its own attribute is broken, and has the name of one that playhead's errors have."""

    @property
    def failure(self) -> str:
        nothing: dict[str, str] = {}
        return nothing["failure"]


class Nowhere(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta | None:
        raise OSError("no map")

    def tzname(self, when: datetime | None) -> str | None:
        return None

    def dst(self, when: datetime | None) -> timedelta | None:
        return None


@tool(side_effect_level="none")
async def is_broken() -> None:
    raise ApiError("x")


@tool(side_effect_level="none")
async def brings_what_nobody_can_look_at() -> None:
    raise LookupError(datetime(2026, 1, 1, tzinfo=Nowhere()))


@tool(side_effect_level="none")
async def says_it_in_a_number() -> None:
    raise NotFound(7)  # type: ignore[arg-type]


@persona
async def hears_of_all() -> list[str]:
    said: list[str] = []
    for call in (
        stops_iterating,
        is_cancelled_in_a_thread,
        is_broken,
        brings_what_nobody_can_look_at,
        says_it_in_a_number,
    ):
        try:
            await call()
        except Exception as error:  # noqa: BLE001  that is the question
            said.append(type(error).__name__)
    return said


async def test_a_tool_may_raise_anything_and_the_program_hears_of_it(home: Home) -> None:
    kinds = ["RuntimeError", "ToolFailed", "ToolFailed", "LookupError", "NotFound"]
    assert await answer(home, hears_of_all) == kinds


@persona
async def returns_what_it_should_not(what: str) -> Any:
    await sleep(0.001)
    if what == "a time nowhere":
        return datetime(2026, 1, 1, tzinfo=Nowhere())
    return object()


@pytest.mark.parametrize("what", ["a time nowhere", "an object"])
async def test_a_result_that_cannot_be_recorded_fails_the_run(home: Home, what: str) -> None:
    assert "failed" in await failure(home, returns_what_it_should_not, what)


class OutOfStock(Exception):
    def __init__(self, item: str) -> None:
        super().__init__(f"out of stock: {item}")


@tool(side_effect_level="none", raises=[OutOfStock])
async def order(what: str) -> None:
    if what == "a pair":
        raise KeyError((1, 2))
    raise OutOfStock(what)


@persona
async def shops() -> list[str]:
    said: list[str] = []
    for what in ("tea", "a pair"):
        try:
            await order(what)
        except (OutOfStock, KeyError) as error:
            said.append(f"{type(error).__name__} {error.args[0]}")
    return said


async def test_an_error_comes_back_as_its_type_and_says_what_it_said(home: Home) -> None:
    assert await answer(home, shops) == ["OutOfStock out of stock: tea", "KeyError (1, 2)"]


# Much at once.


@tool(side_effect_level="none")
async def big(size: int) -> bytes:
    return bytes(size)


@persona
async def gathers(count: int, size: int) -> int:
    return sum(map(len, await asyncio.gather(*(big(size) for _ in range(count)))))


@persona
async def naps(count: int) -> int:
    await asyncio.gather(*(sleep(0.001) for _ in range(count)))
    return count


@pytest.mark.parametrize(("program", "args"), [(gathers, (40, 100_000)), (naps, (5_000,))])
async def test_more_than_the_queue_of_the_log_takes_at_once_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Any, args: tuple[int, ...]
) -> None:
    for limit, size in (("committer.QUEUE_EVENTS_MAX", 100), ("committer.QUEUE_BYTES_MAX", 100_000)):
        monkeypatch.setattr(f"playhead.log.{limit}", size)
    for limit, size in (("BATCH_EVENTS_MAX", 100), ("BATCH_BYTES_MAX", 100_000)):
        for module in ("outbox", "runner"):
            monkeypatch.setattr(f"playhead.runtime.{module}.{limit}", size)

    async with Engine.open(tmp_path / "runs.db", personas=[program]) as engine:
        run = await engine.start(program, *args)
        async with asyncio.timeout(100):
            assert await run.result() in (4_000_000, 5_000)
        assert (await engine.replay(run.id)).identical


@step
async def nests(depth: int) -> int:
    return 0 if depth == 0 else 1 + await nests_with_a_name_that_is_rather_long_for_a_step(depth - 1)


nests_with_a_name_that_is_rather_long_for_a_step = step(name="n" * 90)(nests.function)


@persona
async def nests_deep(depth: int) -> int:
    return await nests_with_a_name_that_is_rather_long_for_a_step(depth)


async def test_steps_nested_deeper_than_an_id_is_long_fail_the_run_in_words(home: Home) -> None:
    assert await answer(home, nests_deep, 20) == 20
    assert "nested so deep" in await failure(home, nests_deep, 200)


@persona
async def keys() -> list[int]:
    return [await count.with_key(key)(n) for n, key in enumerate(("b", "a]/count[b", "b%5D", "b]"))]


@tool(side_effect_level="none")
async def count(n: int) -> int:
    return n


async def test_no_key_reads_as_another(home: Home) -> None:
    assert await answer(home, keys) == [0, 1, 2, 3]
    ops = [event.op for event in await home.events(await _only_run(home))]
    assert len({op for op in ops if op}) == 4


async def _only_run(home: Home) -> str:
    async with home.store() as store:
        heads = await store.heads("run", limit=1)
        return str(heads[0].stream.partition("/")[2])


# What a body is handed is its own.


@tool(side_effect_level="none")
async def rank(items: list[int]) -> int:
    items.sort()
    return items[0]


@tool(side_effect_level="none")
async def show(items: list[int]) -> str:
    return repr(items)


class Chatty:
    name = "chatty"

    async def complete(self, request: Request) -> Reply:
        request.messages.append({"role": "model", "content": "mine"})
        return Reply(text=str(len(request.messages)))


@persona
async def counts_first(items: list[int]) -> int:
    items.append(0)
    return len(items)


@persona
async def shares(items: list[int]) -> list[str]:
    await rank(items)
    said = [await show(items)]
    later = asyncio.create_task(show(items))
    child = asyncio.create_task(child_run(counts_first, items))
    await asyncio.sleep(0)
    items.append(9)
    said += [await later, str(await child)]
    request = Request(prompt="?", messages=[])
    said += [(await model_call(request)).text, (await model_call(request)).text]
    return said


async def test_neither_a_tool_nor_its_caller_sees_what_the_other_does_to_an_argument(home: Home) -> None:
    client: ModelClient = Chatty()
    async with home.engine(shares, counts_first, model=client) as engine:
        run = await engine.start(shares, [3, 1, 2])
        assert await run.result() == ["[3, 1, 2]", "[3, 1, 2]", "4", "1", "1"]
        outcome = await engine.replay(run.id)
    assert outcome.identical, str(outcome.divergence)


# Engines beside each other.


@tool(side_effect_level="network")
async def pays() -> int:
    await asyncio.sleep(0.3)
    return 1


@persona
async def buys(x: int) -> int:
    return await pays()


async def test_two_engines_on_one_store_leave_each_other_their_runs(tmp_path: Path) -> None:
    async with (
        SqliteStore.open(tmp_path / "runs.db") as store,
        Engine.open(store, personas=[buys]) as one,
        Engine.open(store, personas=[buys]) as other,
    ):
        run = await one.start(buys, 1, key="k")
        assert await other.recover() == []
        with pytest.raises(Held):
            await other.resume(run.id)
        again = await other.start(buys, 1, key="k")
        async with asyncio.timeout(20):
            assert (await run.result(), await again.result()) == (1, 1)
        assert [event.type for event in await store.read(f"run/{run.id}")].count("run.claimed") == 1


async def test_two_engines_that_start_one_key_at_once_get_one_run(tmp_path: Path) -> None:
    async with (
        SqliteStore.open(tmp_path / "runs.db") as store,
        Engine.open(store, personas=[buys]) as one,
        Engine.open(store, personas=[buys]) as other,
    ):
        for number in range(5):
            starts = [engine.start(buys, 1, key=f"k{number}") for engine in (one, other, one, other)]
            runs = await asyncio.gather(*starts)
            assert len({run.id for run in runs}) == 1
            async with asyncio.timeout(20):
                assert {await run.result() for run in runs} == {1}


async def test_who_held_a_run_and_never_let_go_leaves_memory(home: Home) -> None:
    engine = Engine(MemoryStore(log=home.log), personas=[waits])
    assert hold(engine.store, "4wq2mzkq7xha", engine)
    gone = weakref.ref(engine)
    engine.threads.shutdown()
    del engine
    gc.collect()

    assert gone() is None


@persona(name="asks")
async def asks_a_number(x: int) -> str:
    return str(await signal("go"))


@persona(name="asks")
async def asks_a_text(x: str) -> str:
    return str(await signal("go"))


@persona
async def waits(x: int) -> str:
    return str(await signal("go"))


async def test_a_run_that_cannot_be_taken_up_keeps_no_other_waiting(home: Home) -> None:
    async with home.engine(asks_a_number, waits) as engine:
        runs = [await engine.start(program, 1) for program in (waits, asks_a_number, waits)]

    for _ in range(7):  # more often than a run may die
        async with home.engine(asks_a_text, waits) as engine:
            taken = await engine.recover()
            assert [run.id for run in taken] == [runs[0].id, runs[2].id]

    async with home.engine(asks_a_number, waits) as engine:
        assert len(await engine.recover()) == 3
        for run in runs:
            await engine.signal(run.id, "go", "now")
            async with asyncio.timeout(20):
                assert await engine.result(run.id) == "now"


@pytest.mark.parametrize(
    "said",
    [
        lambda engine, run: engine.cancel(run, None),
        lambda engine, run: engine.signal(run, 5),
        lambda engine, run: engine.signal(run, "go", 1, sender=None),
        lambda engine, run: engine.resolve(run, "0/pays#0", "skip"),
    ],
)
async def test_a_message_that_its_owner_could_not_read_is_refused(
    home: Home, said: Callable[[Any, str], Any]
) -> None:
    async with home.engine(waits) as engine:
        run = await engine.start(waits, 1)
        with pytest.raises(BadValue, match="no message"):
            await said(engine, run.id)
        await run.signal("go", 2)
        async with asyncio.timeout(20):
            assert await run.result() == "2"


@pytest.mark.parametrize("wrong", [20251125, "", "\ud800"])
async def test_a_name_or_key_that_is_no_text_is_refused(home: Home, wrong: Any) -> None:
    async with home.engine(waits) as engine:
        with pytest.raises(BadValue, match="name of a run"):
            await engine.start(waits, 1, name=wrong)
        with pytest.raises(BadValue, match="key of a run"):
            await engine.start(waits, 1, key=wrong)
        assert await engine.recover() == []


async def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[buys]) as engine:
        submit = SqliteStore.submit

        def full(store: SqliteStore, append: Append) -> None:
            append.outcome = StorageFull("no room.")
            assert append.done is not None
            append.done(append)

        run = await engine.start(buys, 1)
        monkeypatch.setattr(SqliteStore, "submit", full)
        with pytest.raises(StorageFull):
            async with asyncio.timeout(20):
                await run.result()
        monkeypatch.setattr(SqliteStore, "submit", submit)

        (taken,) = await engine.recover()
        await engine.resolve(run.id, "0/pays#0", "value", 7)
        async with asyncio.timeout(20):
            assert await taken.result() == 7


async def test_a_run_that_came_from_another_store_stands_where_it_stood(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "one.db", personas=[buys, waits]) as engine:
        done = await engine.start(buys, 1, key="nightly")
        await done.result()
        open_ = await engine.start(waits, 1, key="waiting")
    with LogReader(tmp_path / "one.db") as log:
        lines = list(export_lines(log, [f"run/{done.id}", f"run/{open_.id}"]))
    async with SqliteStore.open(tmp_path / "two.db") as store:
        await store.graft(import_lines(lines))

    async with Engine.open(tmp_path / "two.db", personas=[buys, waits]) as engine:
        assert await engine.status(done.id) == "completed"
        async with asyncio.timeout(20):
            assert await (await engine.start(buys, 1, key="nightly")).result() == 1
            with pytest.raises(KeyReuse):
                await engine.start(buys, 2, key="nightly")
            assert [run.id for run in await engine.recover()] == [open_.id]
            await engine.signal(open_.id, "go", "on")
            assert await engine.result(open_.id) == "on"


# A replay says nothing to anybody.

engines: list[Engine] = []


@persona
async def meddles(run: str, how: str) -> str:
    engine = engines[0]
    match how:
        case "signal":
            await engine.signal(run, "hello", 1)
        case "status":
            await engine.status(run)
        case "start":
            await engine.start(waits, 1)
        case _:
            await engine.recover()
    return "done"


@pytest.mark.parametrize("how", ["signal", "status", "start", "recover"])
async def test_program_code_that_calls_its_engine_is_refused_and_its_replay_says_nothing(
    home: Home, how: str
) -> None:
    engines.clear()
    async with home.engine(meddles, waits) as engine:
        engines.append(engine)
        other = await engine.start(waits, 1)
        run = await engine.start(meddles, other.id, how)
        with pytest.raises(RunFailed, match="WorldTouched"):
            async with asyncio.timeout(20):
                await run.result()
        for _ in range(3):
            assert (await engine.replay(run.id)).identical

        assert (await engine.store.head(f"mailbox/{other.id}")).seq == 0


# Leases are looked after whatever happens to the store.

HOLDS = """
import fcntl, sys
with open(sys.argv[1], "rb+") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.readline()
"""


async def test_an_engine_whose_store_is_held_by_another_process_stops_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with (
        SqliteStore.open(path, lease_ttl_s=1.2, busy_budget_s=0.1) as store,
        Engine.open(store, personas=[waits], suspend_after_s=60) as engine,
    ):
        run = await engine.start(waits, 1)
        holder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOLDS, f"{path}-lock", stdin=PIPE, stdout=PIPE
        )
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"held\n"
        await until(lambda: not engine.runners)
        holder.stdin.write(b"\n")
        await holder.communicate()

        async with Engine.open(path, personas=[waits]) as other:
            await until(lambda: _taken(other, run.id))
            await other.signal(run.id, "go", "on")
            async with asyncio.timeout(20):
                assert await run.result() == "on"


async def _taken(engine: Engine, run: str) -> bool:
    return run in [taken.id for taken in await engine.recover()] or run in engine.runners


# Secrets stay out of the log on every way in.


@tool(side_effect_level="none")
async def logs_in(api_key: str) -> str:
    return "in"


@persona
async def waits_for_a_key() -> str:
    await logs_in("sk-first")
    return str((await signal("go"))["what"])


async def test_what_is_secret_gets_into_the_log_neither_by_a_message_nor_by_a_report(home: Home) -> None:
    async with home.engine(waits_for_a_key, secrets=["api_key"]) as engine:
        run = await engine.start(waits_for_a_key)

    async with home.engine(waits_for_a_key) as forgetful:
        assert await forgetful.recover() == []
        assert await forgetful.status(run.id) == "diverged"

    async with home.engine(waits_for_a_key, secrets=["api_key"]) as engine:
        if home.kind == "sqlite":  # in memory every engine redacts with a key of its own
            await engine.resume(run.id)
            await engine.signal(run.id, "go", {"api_key": "sk-second", "what": "done"})
            async with asyncio.timeout(20):
                assert await engine.result(run.id) == "done"

    async with home.store() as store:
        for stream in (f"run/{run.id}", f"mailbox/{run.id}"):
            assert not [event for event in await store.read(stream) if b"sk-" in (event.payload or b"")]


@tool(secret=["token"])
async def mints(n: int) -> dict[str, str]:
    await asyncio.sleep(60)
    return {}


@persona
async def wants_a_token() -> str:
    return (await mints(1))["what"]


async def test_an_answer_for_an_effect_in_doubt_is_redacted_as_its_result_would_be(home: Home) -> None:
    async with home.engine(wants_a_token) as engine:
        run = await engine.start(wants_a_token)
        await until(lambda: _has(engine, run.id, "tool.requested"))
    async with home.engine(wants_a_token) as engine:
        (taken,) = await engine.recover()
        await engine.resolve(run.id, "0/mints#0", "value", {"token": "t0p-s3cret", "what": "done"})
        async with asyncio.timeout(20):
            assert await taken.result() == "done"

    assert not [event for event in await home.events(run.id) if b"t0p-s3cret" in (event.payload or b"")]


async def _has(engine: Engine, run: str, type_: str) -> bool:
    return type_ in [event.type for event in await engine.store.read(f"run/{run}")]
