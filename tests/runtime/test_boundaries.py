"""What program code cannot do is refused at its line, and a program that can never end is ended."""

import asyncio
import contextlib
import contextvars
import itertools
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import structlog.testing

from playhead import (
    Engine,
    ModelClient,
    Reply,
    Request,
    RunFailed,
    Usage,
    model_call,
    persona,
    signal,
    sleep,
    step,
    tool,
)
from playhead.errors import OutsideRun, SecretGone
from playhead.events.catalog import ModelAnswered
from playhead.events.codec import CATALOG
from playhead.runtime.loop import TURNS_MAX
from playhead.runtime.machine import Machine
from playhead.runtime.scope import CURRENT
from playhead.runtime.signature import Signature
from tests.runtime.conftest import Home


@tool(effect="pure")
async def double(n: int) -> int:
    await asyncio.sleep(0.001)
    return 2 * n


async def failure_of(home: Home, program: Any, *args: Any) -> Any:
    """How a run of `program` fails."""
    async with home.engine(program) as engine:
        run = await engine.start(program, *args)
        with pytest.raises(RunFailed) as told:
            async with asyncio.timeout(20):
                await run.result()
        outcome = await engine.replay(run.id)
        assert outcome.identical, str(outcome.divergence)
    return told.value.failure


async def test_awaiting_what_the_run_does_not_own_names_the_line(home: Home) -> None:
    foreign = asyncio.get_running_loop().create_future()

    @persona
    async def awaits_abroad() -> None:
        await double(1)
        await foreign

    failure = await failure_of(home, awaits_abroad)

    assert failure.type == "ForeignAwait"
    assert "awaits_abroad" in failure.site.function


@pytest.mark.parametrize("within", ["the program", "a step", "a task"])
async def test_a_program_that_exits_has_failed_and_its_host_goes_on(home: Home, within: str) -> None:
    @step
    async def exits() -> None:
        sys.exit("no more")

    @persona
    async def gives_up() -> None:
        await double(1)
        match within:
            case "the program":
                sys.exit("no more")
            case "a step":
                await exits()
            case _:
                await asyncio.create_task(exits())

    failure = await failure_of(home, gives_up)

    assert (failure.type, failure.message) == ("SystemExit", "no more")


async def test_a_callback_that_raises_is_heard_of_and_the_run_goes_on(home: Home) -> None:
    def raises() -> None:
        raise LookupError("nobody awaits me")

    @persona
    async def calls_back() -> int:
        asyncio.get_running_loop().call_soon(raises)
        return await double(1)

    with structlog.testing.capture_logs() as said:
        async with home.engine(calls_back) as engine:
            run = await engine.start(calls_back)
            assert await run.result() == 2
            assert (await engine.replay(run.id)).identical

    heard = [line for line in said if line["event"] == "callback.failed"]
    assert [line["error"] for line in heard] == ["LookupError('nobody awaits me')"] * 2


async def test_a_program_and_the_task_that_started_it_do_not_see_each_other(home: Home) -> None:
    host, starter = asyncio.get_running_loop(), asyncio.current_task()
    seen: list[tuple[Any, Any]] = []

    @persona
    async def looks() -> int:
        seen.append((asyncio.current_task(), asyncio.current_task(host)))
        return await double(1)

    async with home.engine(looks) as engine:
        run = await engine.start(looks)
        assert await run.result() == 2
        assert asyncio.current_task() is starter
        assert (await engine.replay(run.id)).identical

    assert asyncio.current_task() is starter
    assert len(seen) == 2
    assert all(own is not None and own is not starter for own, _ in seen)
    if sys.version_info >= (3, 12):
        assert [outer for _, outer in seen] == [None, None]


async def test_addresses_in_the_text_of_an_error_are_no_divergence(home: Home) -> None:
    @step
    async def fails() -> None:
        raise LookupError(f"not {object()!r}", object())

    @persona
    async def says_where() -> None:
        await fails()

    assert (await failure_of(home, says_where)).type == "LookupError"


async def test_an_error_without_words_is_recorded_all_the_same(home: Home) -> None:
    class Mute(Exception):
        """Cannot say what it is."""

        def __str__(self) -> str:
            raise RuntimeError("no words")

    @persona
    async def mute() -> None:
        raise Mute

    assert (await failure_of(home, mute)).message == "(RuntimeError in its own text)"


async def test_a_program_that_turns_for_ever_is_ended(home: Home) -> None:
    @persona
    async def spins() -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    failure = await failure_of(home, spins)

    assert failure.type == "Runaway"
    assert "alive: 0 in " in failure.message
    assert "spins" in failure.message


async def test_the_end_of_a_task_is_a_turn_as_it_is_in_recorded_runs(home: Home) -> None:
    begun = [0]

    async def nothing() -> None:
        """Ends at once: a turn to begin in, one for its end, and one in which its parent wakes."""

    @persona
    async def spins() -> None:
        for begun[0] in itertools.count():
            await asyncio.create_task(nothing())

    assert (await failure_of(home, spins)).type == "Runaway"
    assert begun == [TURNS_MAX // 3]


async def test_a_task_that_ended_is_kept_by_nobody(home: Home) -> None:
    @persona
    async def counts() -> int:
        await asyncio.gather(*(double(n) for n in range(50)))
        loop: Any = asyncio.get_running_loop()
        return len(loop.tasks)

    async with home.engine(counts) as engine:
        run = await engine.start(counts)
        assert await run.result() == 1


def test_what_is_given_by_name_only_is_not_taken_by_its_position() -> None:
    def counted(text: str, *, times: int) -> str:
        return text * times

    signature = Signature(counted, "counted")

    assert signature.bind(("a",), {"times": 2}) == {"text": "a", "times": 2}
    with pytest.raises(TypeError, match="too many positional"):
        signature.bind(("a", 2), {})


async def test_a_program_that_waits_for_nothing_is_ended_with_its_line(home: Home) -> None:
    @persona
    async def waits_for_nothing() -> None:
        await double(1)
        await asyncio.Event().wait()

    failure = await failure_of(home, waits_for_nothing)

    assert "waits, but for nothing" in failure.message
    assert "waits_for_nothing" in failure.site.function


async def test_two_locks_taken_crosswise_are_ended(home: Home) -> None:
    @persona
    async def crosswise() -> None:
        one, two = asyncio.Lock(), asyncio.Lock()

        async def take(first: asyncio.Lock, second: asyncio.Lock) -> None:
            async with first:
                await double(1)
                async with second:
                    await double(2)

        await asyncio.gather(take(one, two), take(two, one))

    assert "waits, but for nothing" in (await failure_of(home, crosswise)).message


async def test_an_error_that_is_no_exception_fails_the_run_too(home: Home) -> None:
    class Odd(BaseException):
        """Passes every `except Exception`."""

    @persona
    async def odd() -> None:
        await double(1)
        raise Odd("strange")

    assert (await failure_of(home, odd)).message == "strange"


async def test_an_operation_in_a_thread_or_in_a_tool_is_refused(home: Home) -> None:
    told: list[str] = []

    @tool(effect="pure")
    async def asks_again(n: int) -> int:
        try:
            await sleep(0)
        except OutsideRun:
            told.append("sleep in a tool")
        return await double(n)

    @persona
    async def hands_out() -> int:
        context = contextvars.copy_context()
        coroutine = double(1)

        @tool(effect="pure")
        def elsewhere() -> str:
            try:
                context.run(coroutine.send, None)
            except OutsideRun:
                return "refused"
            return "ran"

        told.append(await elsewhere())
        return await asks_again(3)

    async with home.engine(hands_out) as engine:
        assert await (await engine.start(hands_out)).result() == 6
    assert told == ["refused", "sleep in a tool"]


async def test_threads_of_anyio_are_refused_clearly(home: Home) -> None:
    @persona
    async def hops() -> int:
        await double(1)
        return await anyio.to_thread.run_sync(threading.get_ident)

    failure = await failure_of(home, hops)

    assert failure.type == "WorldTouched"
    assert any("hops" in site.function for site in failure.trace)


async def test_threads_of_asyncio_are_refused_clearly(home: Home) -> None:
    @persona
    async def hops() -> int:
        return await asyncio.to_thread(threading.get_ident)

    assert (await failure_of(home, hops)).type == "WorldTouched"


async def test_as_completed_over_coroutines_is_refused_and_over_tasks_works(home: Home) -> None:
    @persona
    async def completes(of_tasks: bool) -> list[int]:
        work: list[Any] = [double(n) for n in range(3)]
        if of_tasks:
            work = [asyncio.create_task(one) for one in work]
        try:
            return sorted([await one for one in asyncio.as_completed(work)])
        finally:
            if not of_tasks:
                for one in work:
                    one.close()

    async with home.engine(completes) as engine:
        run = await engine.start(completes, True)
        assert await run.result() == [0, 2, 4]
        assert (await engine.replay(run.id)).identical
    failure = await failure_of(home, completes, False)
    assert failure.type == "ForeignAwait"
    assert "as_completed" in failure.message


async def test_async_generators_work_and_an_abandoned_one_does_nothing(home: Home) -> None:
    tidied: list[int] = []

    async def numbers() -> AsyncGenerator[int]:
        try:
            for n in range(5):
                yield await double(n)
        finally:
            tidied.append(1)

    @persona
    async def iterates() -> int:
        async for n in numbers():
            if n == 4:
                break
        total = 0
        async for n in numbers():
            total += n
        return total

    async with home.engine(iterates) as engine:
        run = await engine.start(iterates)
        assert await run.result() == 20
        assert (await engine.replay(run.id)).identical


async def test_the_program_cannot_change_its_loop(home: Home) -> None:
    @persona
    async def meddles() -> None:
        asyncio.get_running_loop().set_task_factory(None)

    assert "task factory" in (await failure_of(home, meddles)).message


# Secrets.

CANARIES = ("canary-argument-9f3b", "canary-result-77aa", "canary-step-0b1c", "canary-model-d00d")


@tool(effect="pure", secret=["pin"])
async def login(user: str, pin: str, api_key: str | None = None) -> dict[str, str]:
    return {"user": user, "session_token": CANARIES[1]}


@step
async def signs_in(user: str, password: str) -> str:
    found = await login(user, CANARIES[0], api_key=CANARIES[0])
    return found["user"]


class Echo:
    name = "echo"

    async def complete(self, request: Request) -> Reply:
        return Reply(text="ok", data={"api_key": CANARIES[3]})


@persona
async def discreet(user: str) -> str:
    name = await signs_in(user, CANARIES[2])
    reply = await model_call(Request(prompt="hi", options={"api_key": CANARIES[3]}))
    return name + reply.text


async def test_what_is_declared_secret_is_in_no_file(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    async with Engine.open(
        path, personas=[discreet], model=Echo(), secrets=["password", "api_key", "*_token"]
    ) as engine:
        run = await engine.start(discreet, "ada")
        assert await run.result() == "adaok"
        assert (await engine.replay(run.id)).identical
        assert leaks(tmp_path) == []
    assert leaks(tmp_path) == []


LOOK = """
import pathlib, sys
for path in pathlib.Path(sys.argv[1]).rglob("*"):
    for canary in sys.argv[2:]:
        if path.is_file() and canary.encode() in path.read_bytes():
            print(path.name, canary)
"""


def leaks(place: Path) -> list[str]:
    """Canaries found in files, by name; live files are read by another process, as their locks demand."""
    command = [sys.executable, "-c", LOOK, str(place), *CANARIES]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


async def test_the_canaries_would_be_found(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[discreet], model=Echo()) as engine:
        await (await engine.start(discreet, "ada")).result()

        assert {line.split()[1] for line in leaks(tmp_path)} == set(CANARIES)


@persona
async def keeps(password: str) -> str:
    return (await login("ada", password))["user"]


async def test_a_redacted_argument_is_never_handed_to_a_tool(home: Home) -> None:
    async with home.engine(keeps, secrets=["password"]) as engine:
        run = await engine.start(keeps, "hunter2")
        with pytest.raises(RunFailed) as told:
            await run.result()
    assert told.value.failure.type == SecretGone.__name__


# Models.


class Streaming:
    name = "streaming"

    async def complete(self, request: Request) -> AsyncGenerator[str | Reply]:
        yield "one "
        yield "two"
        yield Reply(
            usage=Usage(input_tokens=1, output_tokens=2, cache_read_tokens=0),
            cost_micros=7,
            cost_source="provider",
        )


class Priceless:
    name = "priceless"

    async def complete(self, request: Request) -> Reply:
        return Reply(text="free?", model="m-1")


@persona
async def talks() -> list[Any]:
    streamed = await model_call(Streaming(), Request(prompt="a"))
    plain = await model_call(Priceless(), Request(prompt="b"))
    return [streamed.text, streamed.cost_micros, plain.text, plain.cost_micros, plain.usage.input_tokens]


async def test_a_stream_is_one_reply_and_an_unknown_cost_stays_unknown(home: Home) -> None:
    async with home.engine(talks) as engine:
        run = await engine.start(talks)
        assert await run.result() == ["one two", 7, "free?", None, None]
        assert (await engine.replay(run.id)).identical

    facts = [CATALOG.decode(event) for event in await home.events(run.id)]
    streamed, plain = (fact for fact in facts if isinstance(fact, ModelAnswered))
    assert (streamed.cost_source, streamed.usage.output_tokens, streamed.usage.cache_read_tokens) == (
        "provider",
        2,
        0,
    )
    assert (plain.cost_source, plain.cost_micros, plain.model, plain.usage) == (
        "unknown",
        None,
        "m-1",
        Usage(),
    )


class Broken:
    name = "broken"

    async def complete(self, request: Request) -> AsyncGenerator[str | Reply]:
        yield "half an ans"


@pytest.mark.parametrize("client", [Broken()])
async def test_a_stream_without_a_reply_fails(home: Home, client: ModelClient) -> None:
    @persona
    async def listens() -> str:
        return (await model_call(client, Request(prompt="?"))).text

    assert "ended without a Reply" in (await failure_of(home, listens)).message


@pytest.mark.parametrize("how", ["connects", "serves", "runs", "resolves", "asks"])
async def test_what_a_loop_could_do_in_the_world_is_refused_in_words(home: Home, how: str) -> None:
    @persona
    async def reaches_out() -> None:
        loop = asyncio.get_running_loop()
        match how:
            case "connects":
                await asyncio.open_connection("127.0.0.1", 9)
            case "serves":
                await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
            case "runs":
                await asyncio.create_subprocess_exec("true")
            case "resolves":
                await loop.getaddrinfo("localhost", 9)
            case _:
                input("who are you? ")  # noqa: ASYNC250  this is what is refused

    assert (await failure_of(home, reaches_out)).type == "WorldTouched"


async def test_waits_and_generators_that_are_over_are_not_kept(home: Home) -> None:
    machines: list[Machine] = []

    async def counts() -> AsyncGenerator[int]:
        yield 1

    @persona
    async def goes_round() -> int:
        scope = CURRENT.get()
        assert scope is not None
        machines.append(scope.machine)
        for _ in range(200):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.001):
                    await signal("never")
            async for _ in counts():
                pass
        return await double(1)

    async with home.engine(goes_round) as engine:
        run = await engine.start(goes_round)
        assert await run.result() == 2

    assert len(machines[0].waits["never"]) == 1
