"""Tools run at most once per attempt, as often as they are allowed, and never again once they answered."""

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Literal

import pytest

from playhead import NotFound, Retry, RunFailed, ToolFailed, ToolTimedOut, attempt, persona, sleep, step, tool
from playhead.errors import OutsideRun
from playhead.events.catalog import ToolFailed as ToolFailedFact
from playhead.runtime.persona import Persona
from tests.runtime.conftest import Home, until

begun: Counter[str] = Counter()
TRIES = Retry(max_attempts=3, first_wait_s=0.001)


@pytest.fixture(autouse=True)
def nothing_begun() -> None:
    begun.clear()


all_at_once = threading.Barrier(4)


@tool(effect="pure")
def blocking(n: int) -> list[int]:
    all_at_once.wait(timeout=20)
    return [n, threading.get_ident()]


@persona
async def blocks() -> list[int]:
    found = await asyncio.gather(*(blocking(n) for n in range(4)))
    return [n for pair in found for n in pair]


async def test_blocking_tools_run_in_threads_at_the_same_time(home: Home) -> None:
    async with home.engine(blocks) as engine:
        run = await engine.start(blocks)
        result = await run.result()

    assert result[::2] == [0, 1, 2, 3]
    assert threading.get_ident() not in result[1::2]


class Outcome(BaseException):
    """As test runners and others raise it past everybody's `except Exception`."""


@tool(effect="read_only", retry=TRIES)
async def leaves(how: str) -> None:
    match how:
        case "exits":
            sys.exit(3)
        case "is cancelled by its own":
            inner = asyncio.create_task(asyncio.sleep(60))
            inner.cancel()
            await inner
        case _:
            raise Outcome(how)


@tool(effect="read_only", retry=TRIES)
def leaves_a_thread() -> None:
    sys.exit("enough")


@persona
async def is_left() -> list[str]:
    said: list[str] = []
    for call in (*map(leaves, ("exits", "is cancelled by its own", "raises")), leaves_a_thread()):
        try:
            await call
        except ToolFailed as error:
            said.append(str(error))
    return said


async def test_a_tool_that_leaves_in_another_way_than_by_an_exception_has_failed(home: Home) -> None:
    async with home.engine(is_left) as engine:
        run = await engine.start(is_left)
        async with asyncio.timeout(20):
            said = await run.result()
        assert (await engine.replay(run.id)).identical

    assert said == ["SystemExit: 3", "CancelledError", "Outcome: raises", "SystemExit: enough"]
    assert "attempt.started" not in await home.types(run.id)


@tool(effect="read_only", retry=TRIES)
async def flaky(fails: int) -> int:
    begun["flaky"] += 1
    if begun["flaky"] <= fails:
        raise ConnectionError("down")
    return attempt().number


@persona
async def retries(fails: int) -> int:
    return await flaky(fails)


async def test_a_failed_attempt_is_tried_again_and_recorded(home: Home) -> None:
    async with home.engine(retries) as engine:
        run = await engine.start(retries, 2)
        assert await run.result() == 3

    types = await home.types(run.id)
    assert types.count("attempt.finished") == 2
    assert types.count("attempt.started") == 2
    assert begun["flaky"] == 3


async def test_the_last_failure_is_what_the_program_sees(home: Home) -> None:
    async with home.engine(retries) as engine:
        run = await engine.start(retries, 9)
        with pytest.raises(RunFailed, match="ConnectionError: down"):
            await run.result()

    assert begun["flaky"] == 3


@tool(effect="effect", timeout_s=0.02, retry=TRIES)
async def slow_effect() -> None:
    begun["effect"] += 1
    await asyncio.sleep(5)


@tool(effect="idempotent", timeout_s=0.02, retry=TRIES)
async def slow_idempotent() -> str:
    begun["idempotent"] += 1
    if attempt().number < 3:
        await asyncio.sleep(5)
    return attempt().idempotency_key


@persona
async def times_out() -> str:
    try:
        await slow_effect()
    except ToolTimedOut as error:
        return f"{error} {await slow_idempotent()}"
    return "?"


async def test_an_effect_that_timed_out_is_not_tried_again_and_others_are(home: Home) -> None:
    async with home.engine(times_out) as engine:
        run = await engine.start(times_out)
        result = await run.result()

        assert result.startswith("slow_effect took longer than 0.02 s. ")
        assert (await engine.replay(run.id)).identical
        (failed,) = [fact for _, fact in await engine.facts_of(run.id) if isinstance(fact, ToolFailedFact)]
    assert begun == {"effect": 1, "idempotent": 3}
    assert (failed.failure.category, failed.outcome_unknown) == ("timeout", True)


@persona
async def raises_timeout() -> str:
    try:
        await own_timeout()
    except ToolTimedOut:
        return "the limit"
    except TimeoutError as error:
        return f"its own: {error}"
    return "?"


@tool(effect="pure", timeout_s=5)
async def own_timeout() -> None:
    raise TimeoutError("of a socket")


async def test_a_timeout_error_of_the_tool_itself_is_not_the_limit(home: Home) -> None:
    async with home.engine(raises_timeout) as engine:
        assert await (await engine.start(raises_timeout)).result() == "its own: of a socket"


@step
async def plain_step(n: int) -> int:
    return await plain_tool(n) + 1


@tool
async def plain_tool(n: int) -> int:
    return n * 2


async def test_outside_a_run_tools_and_steps_are_plain_functions() -> None:
    assert await plain_step(4) == 9
    assert blocking.name == "blocking"
    with pytest.raises(OutsideRun):
        attempt()
    with pytest.raises(OutsideRun):
        await sleep(1)


# In doubt.

Action = Literal["retry", "value", "fail"]
Reconcile = Callable[[str], Awaitable[str]] | None


async def unknown(text: str) -> str:
    raise ConnectionError("the other side is silent")


async def never_happened(text: str) -> str:
    raise NotFound("no such payment")


async def happened(text: str) -> str:
    return f"found {text}"


def paying(name: str, reconcile: Reconcile) -> tuple[Persona[[], str], asyncio.Event]:
    gate = asyncio.Event()

    @tool(name=f"pay_{name}", effect="effect", reconcile=reconcile)
    async def pay(text: str) -> str:
        begun[name] += 1
        await gate.wait()
        return f"paid {text}"

    @persona(name=f"payer_{name}")
    async def payer() -> str:
        return await pay("5")

    return payer, gate


async def interrupted(home: Home, payer: Persona[[], str], name: str) -> str:
    """A run whose effect was in flight when its process went away."""
    async with home.engine(payer) as engine:
        run = await engine.start(payer)
        await until(lambda: begun[name] > 0)
    return run.id


@pytest.mark.parametrize(
    ("reconcile", "result", "bodies"),
    [(happened, "found 5", 1), (never_happened, "paid 5", 2)],
)
async def test_a_reconcile_function_answers_for_an_effect_in_doubt(
    home: Home, reconcile: Reconcile, result: str, bodies: int
) -> None:
    name = "reconciled"
    payer, gate = paying(name, reconcile)
    run = await interrupted(home, payer, name)
    gate.set()

    async with home.engine(payer) as engine:
        await engine.recover()
        assert await engine.result(run) == result
        assert (await engine.replay(run)).identical

    assert begun[name] == bodies


@pytest.mark.parametrize("reconcile", [None, unknown], ids=["nobody", "unsure"])
@pytest.mark.parametrize(
    ("action", "value", "result", "bodies"),
    [("value", "given", "given", 1), ("retry", None, "paid 5", 2), ("fail", None, None, 1)],
)
async def test_an_effect_in_doubt_waits_for_somebody(
    home: Home, reconcile: Reconcile, action: Action, value: object, result: str | None, bodies: int
) -> None:
    payer, gate = paying("doubt", reconcile)
    run = await interrupted(home, payer, "doubt")
    gate.set()

    async with home.engine(payer) as engine:
        await engine.recover()
        await asyncio.sleep(0.05)
        assert begun["doubt"] == 1
        assert "operation.outcome_unknown" in await home.types(run)

        await engine.resolve(run, "0/pay_doubt#0", action, value, sender="ada")

        if result is None:
            with pytest.raises(RunFailed, match="ada said that it failed"):
                await engine.result(run)
        else:
            assert await engine.result(run) == result
        assert (await engine.replay(run)).identical
    assert begun["doubt"] == bodies


async def test_an_effect_in_doubt_is_still_in_doubt_after_the_next_crash(home: Home) -> None:
    payer, gate = paying("twice", None)
    run = await interrupted(home, payer, "twice")
    gate.set()
    for _ in range(2):
        async with home.engine(payer) as engine:
            await engine.recover()
            await asyncio.sleep(0.02)

    assert begun["twice"] == 1
    assert (await home.types(run)).count("operation.outcome_unknown") == 1


@pytest.mark.parametrize("answered", [False, True])
async def test_an_effect_in_flight_stays_one_whatever_its_tool_declares_now(
    home: Home, *, answered: bool
) -> None:
    name = f"now_{answered}"
    payer, gate = paying(name, None)
    run = await interrupted(home, payer, name)
    gate.set()
    if answered:
        async with home.engine(payer) as engine:
            await engine.recover()
            await engine.resolve(run, f"0/pay_{name}#0", "fail", sender="ada")

    @tool(name=f"pay_{name}", side_effect_level="read_only")
    async def pay(text: str) -> str:
        begun[name] += 1
        return f"looked {text}"

    @persona(name=f"payer_{name}")
    async def looks() -> str:
        return await pay("5")

    async with home.engine(looks) as engine:
        await engine.recover()
        await asyncio.sleep(0.05)
        if not answered:
            await engine.resolve(run, f"0/pay_{name}#0", "fail", sender="ada")
        with pytest.raises(RunFailed, match="ada said that it failed"):
            await engine.result(run)
    assert begun[name] == 1


async def test_a_doubt_that_was_written_down_stays_one_whatever_its_tool_declares_next(home: Home) -> None:
    gate = asyncio.Event()

    def payer(effect: str) -> Persona[[], str]:
        @tool(name="pay_written", effect=effect)
        async def pay(text: str) -> str:
            begun["written"] += 1
            await gate.wait()
            return text

        @persona(name="payer_written")
        async def pays() -> str:
            result: str = await pay("5")
            return result

        return pays

    run = await interrupted(home, payer("read_only"), "written")
    gate.set()
    async with home.engine(payer("effect")) as engine:
        await engine.recover()
        await asyncio.sleep(0.02)
    assert "operation.outcome_unknown" in await home.types(run)
    async with home.engine(payer("read_only")) as engine:
        await engine.recover()
        await asyncio.sleep(0.05)
        assert begun["written"] == 1
        await engine.resolve(run, "0/pay_written#0", "fail", sender="ada")
        with pytest.raises(RunFailed, match="ada said that it failed"):
            await engine.result(run)


async def test_an_answer_given_twice_does_not_settle_the_next_doubt(home: Home) -> None:
    payer, gate = paying("double", None)
    run = await interrupted(home, payer, "double")
    async with home.engine(payer) as engine:
        await engine.recover()
        await asyncio.gather(*(engine.resolve(run, "0/pay_double#0", "retry") for _ in range(2)))
        await until(lambda: begun["double"] == 2)
    gate.set()

    async with home.engine(payer) as engine:
        await engine.recover()
        await asyncio.sleep(0.05)
        assert begun["double"] == 2

        await engine.resolve(run, "0/pay_double#0", "value", "given")
        assert await engine.result(run) == "given"
        assert (await engine.replay(run)).identical


@tool(side_effect_level="read_only")
async def fails_in_a_group() -> None:
    async def raises(error: Exception) -> None:
        raise error

    async with asyncio.TaskGroup() as group:
        for error in (ValueError("one"), LookupError("two")):
            group.create_task(raises(error))


@persona
async def takes_a_group_apart() -> list[str]:
    said: list[str] = []
    try:
        await fails_in_a_group()
    except* ValueError as group:
        said += [repr(error) for error in group.exceptions]
    except* LookupError as group:
        said += [repr(error) for error in group.exceptions]
    return said


@persona
async def fails_as_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fails_in_a_group())


async def test_an_exception_group_keeps_its_members(home: Home) -> None:
    async with home.engine(takes_a_group_apart, fails_as_a_group) as engine:
        run = await engine.start(takes_a_group_apart)
        assert await run.result() == ["ValueError('one')", "LookupError('two')"]
        assert (await engine.replay(run.id)).identical

        failed = await engine.start(fails_as_a_group)
        with pytest.raises(RunFailed) as told:
            await failed.result()
        assert (await engine.replay(failed.id)).identical

    inner = told.value.failure.members[0]
    assert [member.message for member in inner.members] == ["one", "two"]
    assert told.value.failure.site.function.endswith("fails_as_a_group")
