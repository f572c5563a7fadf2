"""Retries, races, time-outs, cancellation, children, errors, timers, and code that changed."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio

from playhead import (
    Retry,
    ToolFailed,
    ToolTimedOut,
    attempt,
    child_run,
    map_bounded,
    now,
    patched,
    persona,
    race,
    random,
    side_value,
    signal,
    sleep,
    sleep_until,
    step,
    task_group,
    timeout,
    tool,
    uuid,
)
from playhead.errors import ChildFailed, TimedOut
from tests.recorded.recording import SENDER, Recording, asleep, ended, engine, seen, simply

# ------------------------------------------------------------- retries


@tool(side_effect_level="read_only", retry=Retry(max_attempts=3, first_wait_s=0.001, on=(ConnectionError,)))
async def never_answers(url: str) -> str:
    raise ConnectionError(f"{url}: attempt {attempt().number}")


@tool(side_effect_level="read_only")
async def weigh(what: str) -> int:
    return len(what)


@step(retry=Retry(max_attempts=2, first_wait_s=0.001))
async def stubborn(url: str) -> int:
    await weigh(url)
    return len(await never_answers(url))


@persona
async def gives_up(url: str) -> str:
    try:
        return str(await stubborn(url))
    except ConnectionError as error:
        return f"gave up: {error}"


# --------------------------------------------------- races and time-outs


@tool(side_effect_level="read_only")
async def slow(what: str) -> str:
    await asyncio.sleep(60)
    return what


@tool(side_effect_level="network")
async def slow_effect(what: str) -> str:
    await asyncio.sleep(60)
    return what


@tool(side_effect_level="network", timeout_s=0.02)
async def impatient_effect(what: str) -> str:
    await asyncio.sleep(60)
    return what


@persona
async def races(what: str) -> list[int]:
    contenders: list[Any] = [slow(what), weigh(what), slow_effect(what)]
    winner, value = await race(*contenders)
    return [winner, value]


@persona
async def runs_out_of_time(what: str) -> list[str]:
    said: list[str] = []
    try:
        async with timeout(0.02):
            await slow(what)
    except TimedOut as error:
        said.append(type(error).__name__)
    try:
        await impatient_effect(what)
    except ToolTimedOut as error:
        said.append(type(error).__name__)
    async with timeout(60):
        said.append(str(await weigh(what)))
    return said


# ---------------------------------------------------------- cancellation


@tool(side_effect_level="workspace_write")
async def tidy(what: str) -> str:
    return f"tidied {what}"


@step
async def holds_something(what: str) -> str:
    try:
        return str(await signal("never", str))
    finally:
        await tidy(what)


@persona
async def is_cancelled(what: str) -> str:
    return await holds_something(what)


async def live_cancelled(store: Path) -> None:
    async with engine(store, is_cancelled) as opened:
        run = await opened.start(is_cancelled, "the desk")
        await seen(opened, run.id, "wait.started")
        await run.cancel("not wanted any more", sender=SENDER)
        await ended(run)


# -------------------------------------------------------------- children


@persona
async def fails(why: str) -> str:
    raise LookupError(why)


@persona
async def counts(what: str) -> int:
    await sleep(0.001)
    return await weigh(what)


@persona
async def has_children(names: list[str]) -> list[str]:
    counted: list[int] = [await child_run(counts, name) for name in names]
    found = [str(count) for count in counted]
    try:
        await child_run(fails, "nothing there")
    except ChildFailed as error:
        found.append(error.failure.message)
    return found


# ---------------------------------------------------------------- errors


@tool(side_effect_level="read_only")
async def breaks(n: int) -> int:
    try:
        return 1 // 0
    except ZeroDivisionError as error:
        raise RuntimeError(f"no {n}") from error


async def both_broken() -> list[Exception]:
    errors: list[Exception] = []
    for n in (1, 2):
        try:
            await breaks(n)
        except (RuntimeError, ToolFailed) as error:
            errors.append(error)
    return errors


@step
async def gathers_errors() -> None:
    raise ExceptionGroup("both broke", [*await both_broken(), ExceptionGroup("inside", [KeyError("deep")])])


@persona
async def ends_in_a_group() -> None:
    try:
        await gathers_errors()
    except* KeyError as group:
        raise ValueError("what is left of a group") from group


# ---------------------------------------------------- signals and timers


@persona
async def waits_for_all() -> list[str]:
    began = now()
    await sleep(0.05)
    await sleep_until(began + timedelta(seconds=0.1))
    await asyncio.sleep(0.01)
    first = await signal("first", str)
    early = await signal("early", int)
    return [first, str(early), str(now() >= began)]


async def live_signals(store: Path) -> None:
    async with engine(store, waits_for_all) as opened:
        run = await opened.start(waits_for_all)
        await run.signal("early", 7, sender=SENDER)
        await asleep(opened, run.id)
        await seen(opened, run.id, "wait.started")
        await run.signal("first", "héllo", sender=SENDER)
        await run.result()


# ----------------------------------------- other people's task groups


@persona
async def uses_anyio(names: list[str]) -> list[int]:
    found: list[int] = []
    sender, receiver = anyio.create_memory_object_stream[int](len(names))

    async def weighs(name: str) -> None:
        await sender.send(await weigh(name))

    async with sender, receiver:
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(weighs, name)
        with anyio.CancelScope():
            found += [await receiver.receive() for _ in names]
    with anyio.move_on_after(60) as scope:
        found.append(await weigh("in time"))
    return [*sorted(found), int(scope.cancelled_caught)]


@persona
async def uses_asyncio(names: list[str]) -> list[int]:
    queue: asyncio.Queue[str] = asyncio.Queue()
    gate = asyncio.Event()

    async def works() -> int:
        await gate.wait()
        return await weigh(await queue.get())

    tasks = [asyncio.create_task(works()) for _ in names]
    for name in names:
        queue.put_nowait(name)
    gate.set()
    async with asyncio.TaskGroup() as group:
        extra = group.create_task(works())
        queue.put_nowait("extra")
    return [*await asyncio.gather(*tasks), extra.result()]


# -------------------------------------------------- nesting and keys


@step
async def deeper(levels: int) -> int:
    return await weigh("x" * levels) + (await deeper(levels - 1) if levels > 1 else 0)


@persona
async def nests(levels: int) -> int:
    return await deeper(levels) + await nested_persona(2)


@persona
async def nested_persona(levels: int) -> int:
    return await deeper(levels)


@step
async def odd_fails(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return await weigh.with_key(f"n/{n}")("x" * n)


@persona
async def maps(numbers: list[int]) -> list[str]:
    mapped = await map_bounded(numbers, odd_fails, concurrency=3, key=lambda n: f"#{n}/[é]")
    plain = await map_bounded(["a", "bc"], weigh, concurrency=2)
    async with task_group() as group:
        tasks = [group.start(weigh(word), key=word) for word in ("left", "right")]
    return [*(f"{index}: {error}" for index, error in mapped.errors), *map(str, plain.values)] + [
        str(task.result()) for task in tasks
    ]


# ------------------------------------------------------ code that changed


def before_the_patch() -> Any:
    """The program as it was: a run of it replays with what it has become."""

    @persona(name="tidies_up")
    async def tidied_up(what: str) -> str:
        return await tidy(what)

    return tidied_up


@persona
async def tidies_up(what: str) -> str:
    if patched("weigh-first"):
        what = f"{what} of {await weigh(what)}"
    return await tidy(what)


# ------------------------------------------------------- chance and world


def raises() -> str:
    raise OSError("no such value")


@persona
async def draws() -> list[str]:
    drawn = [str(random().random()), str(random().choice("abc")), str(uuid()), f"{now():%Y}"]
    drawn.append(await side_value("place", lambda: "here"))
    try:
        drawn.append(await side_value("nothing", raises))
    except OSError as error:
        drawn.append(str(error))
    await sleep(0.001)
    return [*drawn, str(random().randint(1, 6)), str(uuid())]


# --------------------------------------------------------------- relaxed


@persona(mode="relaxed")
async def is_relaxed(names: list[str]) -> list[int]:
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, lambda: None)  # the world, which a strict run may not touch
    async with task_group() as group:
        tasks = [group.start(weigh(name)) for name in names]
    contenders: list[Any] = [slow("loses"), weigh("wins")]
    winner, _ = await race(*contenders)
    mapped = await map_bounded(names, weigh, concurrency=2, key=str)
    return [*(task.result() for task in tasks), winner, *mapped.values]


RECORDINGS = (
    Recording(
        "0002-retries-exhausted",
        simply(gives_up, "a.example"),
        frozenset({"attempt.started", "attempt.finished", "tool.failed", "step.retried", "step.failed"}),
    ),
    Recording(
        "0003-a-race-whose-losers-are-cancelled",
        simply(races, "four"),
        frozenset({"race.decided", "operation.cancelled"}),
    ),
    Recording(
        "0004-time-runs-out",
        simply(runs_out_of_time, "four"),
        frozenset({"timer.set", "timer.fired", "operation.cancelled", "tool.failed"}),
    ),
    Recording(
        "0005-cancelled-and-tidied-up",
        live_cancelled,
        frozenset({"run.cancel_requested", "cancel.sent", "step.cancelled", "run.cancelled"}),
    ),
    Recording(
        "0006-children-one-of-which-fails",
        simply(has_children, ["a", "bc"]),
        frozenset({"child.requested", "child.completed", "child.failed", "run.failed"}),
    ),
    Recording(
        "0007-failed-with-a-group-and-causes",
        simply(ends_in_a_group),
        frozenset({"tool.failed", "step.failed", "run.failed"}),
    ),
    Recording(
        "0008-signals-and-timers",
        live_signals,
        frozenset(
            {
                "timer.set",
                "timer.fired",
                "wait.started",
                "signal.received",
                "signal.sent",
                "run.suspended",
                "run.resumed",
            }
        ),
    ),
    Recording(
        "0009-anyio-task-group-and-streams",
        simply(uses_anyio, ["a", "bc", "def"]),
        frozenset({"tool.completed"}),
    ),
    Recording(
        "0010-asyncio-tasks-and-queues", simply(uses_asyncio, ["a", "bc"]), frozenset({"tool.completed"})
    ),
    Recording(
        "0011-steps-nested-deep",
        simply(nests, 12),
        frozenset({"step.started", "persona.entered", "persona.exited"}),
    ),
    Recording(
        "0012-map-bounded-and-keys", simply(maps, [2, 3, 4, 5]), frozenset({"step.failed", "step.completed"})
    ),
    Recording(
        "0013-recorded-before-a-patch", simply(before_the_patch(), "it"), frozenset({"tool.completed"})
    ),
    Recording("0014-a-patch-that-was-taken", simply(tidies_up, "it"), frozenset({"patch.taken"})),
    Recording(
        "0015-chance-and-values-of-the-world",
        simply(draws),
        frozenset({"value.requested", "value.recorded", "value.failed"}),
    ),
    Recording("0016-a-relaxed-run", simply(is_relaxed, ["a", "bc"]), frozenset({"race.decided"})),
)
