"""Runs of any kind, many of them in one store: what each does is drawn from a seed.

    path, runs = generated(directory, 200)

A run is a list of words, done one after the other: it reads and publishes, asks models that count and models
that do not, writes files and state, hands work to child runs, asks people, is told secrets, and ends well,
with an error, or cancelled.
"""

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any, NamedTuple

from playhead import (
    Autonomy,
    Engine,
    Policy,
    Reply,
    Request,
    Retry,
    Usage,
    Workspace,
    attempt,
    child_run,
    model_call,
    persona,
    request_approval,
    side_value,
    sleep,
    state,
    step,
    tool,
)
from playhead.errors import ApprovalDenied, PlayheadError, RunError
from playhead.runtime.persona import Persona
from playhead.runtime.run import Run
from tests.runtime.people import asked

WORDS = (
    "read", "again", "publish", "breaks", "model", "uncounted", "other", "file", "copy", "append", "remove",
    "move", "folder", "state", "child", "failing child", "secret", "host", "nap", "step", "long", "denied",
)  # fmt: skip
ENDS = ("returns", "raises", "cancelled", "asks", "is denied")


class Oracle:
    """Knows what most questions cost."""

    name = "oracle"

    async def complete(self, request: Any) -> Reply:
        if request.prompt == "uncounted":
            return Reply(text="who knows")
        model = "oracle-2" if request.prompt == "other" else "oracle-1"
        usage = Usage(input_tokens=len(request.prompt), output_tokens=3)
        return Reply(text="yes", model=model, usage=usage, cost_micros=len(request.prompt) * 7 + 1)


@tool(side_effect_level="read_only", retry=Retry(max_attempts=2, first_wait_s=0.0))
async def read(n: int) -> int:
    return n


@tool(side_effect_level="read_only", retry=Retry(max_attempts=2, first_wait_s=0.0))
async def again(n: int) -> int:
    if attempt().number == 1:
        raise LookupError("not yet")
    return n


@tool(side_effect_level="network")
async def publish(text: str) -> str:
    return f"published {text}"


@tool(side_effect_level="network")
async def breaks(text: str) -> str:
    raise ValueError(f"broken: {text} \u00e9\U0001f600")


@tool(side_effect_level="read_only")
async def login(api_key: str, user: str) -> dict[str, str]:
    return {"user": user, "api_key": api_key}


@tool(side_effect_level="desktop_control")
async def forbidden() -> None:
    return None


@step
async def ask(prompt: str) -> str:
    return (await model_call(Request(prompt=prompt))).text


@persona(policy=Policy(autonomy=Autonomy(tier="act_auto")))
async def helper(n: int) -> int:
    if n < 0:
        raise ValueError("less than nothing")
    return await read(n)


async def act(ws: Workspace, word: str, n: int, place: str) -> Any:
    """Do what one word says, as the `n`th thing of a run."""
    match word:
        case "read" | "again":
            return await (read if word == "read" else again)(n)
        case "publish":
            return await publish(f"page {n}")
        case "model" | "uncounted" | "other":
            return (await model_call(Request(prompt=word))).text
        case "file":
            return await ws.write_file(f"{place}/notes.md", f"line {n} \u00fc\n")
        case "folder":
            return await ws.mkdir(f"{place}/made-{n}")
        case "append":
            return await ws.append_file(f"{place}/log.txt", "more\n")
        case "copy" | "move":
            await ws.write_file_bytes(f"{place}/a.bin", b"\0\1")
            return await (ws.copy_file if word == "copy" else ws.move_file)(
                f"{place}/a.bin", f"{place}/b.bin"
            )
        case "remove":
            await ws.write_file(f"{place}/gone.md", "gone")
            await ws.delete_file(f"{place}/gone.md")
            return await ws.write_file(f"{place}/gone.md", "here again")
        case "state":
            notes = await state("survey", place)
            return await notes.write("notes.json", {"n": n})
        case _:
            return await act_elsewhere(word, n)


async def act_elsewhere(word: str, n: int) -> Any:
    match word:
        case "breaks":
            with contextlib.suppress(Exception):
                await breaks("page")
        case "child":
            return await child_run(helper, n)
        case "failing child":
            with contextlib.suppress(Exception):
                await child_run(helper, -1 - n)
        case "secret":
            return await login("hunter2", "ada")
        case "host":
            return await side_value("host", lambda: "somewhere")
        case "nap":
            return await sleep(0.0)
        case "step":
            return await ask("what? " * (n + 1))
        case "long":
            return await publish("x" * 70_000)
        case "denied":
            with contextlib.suppress(Exception):
                await forbidden()
        case _:
            raise AssertionError(word)
    return None


def programs(directory: Path) -> tuple[Persona[..., Any], Persona[..., Any]]:
    """The persona that does what it is told, in a workspace of its own, and its relaxed twin."""
    ws = Workspace(directory)

    async def does(words: list[str], ends: str, place: str) -> str:
        for n, word in enumerate(words):
            await act(ws, word, n, place)
        if ends == "raises":
            raise RuntimeError("it ends badly")
        if ends == "cancelled":
            await sleep(3_600.0)
        if ends in {"asks", "is denied"}:
            await request_approval("publish", args={"page": place}, reviewers=["ada", "bob"], quorum=2)
        return "done"

    policy = Policy(side_effect_level="network")
    return (
        persona(name="does", policy=policy)(does),
        persona(name="does_relaxed", mode="relaxed", policy=policy)(does),
    )


class Plan(NamedTuple):
    """What one run does."""

    words: list[str]
    ends: str
    relaxed: bool


def plans(count: int, seed: int = 7) -> list[Plan]:
    """What `count` runs do. The first ones do everything once, and end in every way."""
    chance = random.Random(seed)
    first = [Plan([word], ENDS[n % len(ENDS)], False) for n, word in enumerate(WORDS)]
    rest = [
        Plan(chance.choices(WORDS, k=chance.randint(0, 9)), chance.choice(ENDS), chance.random() < 0.1)
        for _ in range(count)
    ]
    return [*first, Plan(list(WORDS), "returns", False), *rest][:count]


async def ended(engine: Engine, run: Run, plan: Plan) -> None:
    """Tell a run what it waits for, and wait for its end."""
    if plan.ends in {"asks", "is denied"}:
        request = (await asked(engine, run.id)).request
        await run.answer(request, "approve", reviewer="ada")
        word: Any = "approve" if plan.ends == "asks" else "deny"
        await run.answer(request, word, reviewer="bob", reason="because")
    if plan.ends == "cancelled":
        await asyncio.sleep(0.01)
        await run.cancel("enough")
    with contextlib.suppress(RunError, ApprovalDenied, PlayheadError):
        await run.result()


def generated(directory: Path, count: int, seed: int = 7) -> tuple[Path, list[str]]:
    """A store with `count` runs that are over, and their ids. Child runs come on top."""
    path = directory / "runs.db"
    strict, relaxed = programs(directory / "ws")

    async def go() -> list[str]:
        async with Engine.open(
            path, personas=[strict, relaxed, helper], model=Oracle(), secrets=["api_key"]
        ) as engine:
            runs: list[Run] = []
            for number, plan in enumerate(plans(count, seed)):
                program = relaxed if plan.relaxed else strict
                runs.append(await engine.start(program, plan.words, plan.ends, f"w{number}"))
                if len(runs) % 20 == 0 or number == count - 1:
                    start = len(runs) - (len(runs) % 20 or 20)
                    await asyncio.gather(
                        *(
                            ended(engine, run, each)
                            for run, each in zip(runs[start:], plans(count, seed)[start:], strict=False)
                        )
                    )
        return [run.id for run in runs]

    return path, asyncio.run(go())
