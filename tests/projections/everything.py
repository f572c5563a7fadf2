"""One run with a little of everything in it, and its child, as a real engine records them.

    desk = recorded(path)                # about a second
    desk.run, desk.child                 # ids of runs

Nothing here is made up by hand: what tests say of reports, causes and origins is said of what an engine
wrote.
"""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from playhead import (
    ApprovalRules,
    Budget,
    CallableHost,
    Engine,
    ManifestOptions,
    Policy,
    Reply,
    Request,
    Retry,
    Run,
    Stage,
    Usage,
    ask_user,
    attempt,
    build_manifest,
    child_run,
    compose,
    hook,
    model_call,
    persona,
    side_value,
    signal,
    sleep,
    state,
    step,
    tool,
)
from playhead.errors import PlayheadError
from playhead.events.catalog import ChildRequested, WaitStarted

SHELF = {"a.py": "import os", "b.py": "x = 1\ny = 2"}
FILES = [
    {"name": "list.files", "annotations": {"kind": "search", "side_effect_level": "read_only"}},
    {"name": "read.file", "annotations": {"kind": "read", "side_effect_level": "read_only"}},
]
SNIPPET = "return [len(read_file(path=path)) for path in list_files()]"
TOOLS = [{"name": "search", "description": "look something up"}]


async def shelf(binding: str, arguments: Any) -> object:
    return sorted(SHELF) if binding == "list_files" else SHELF[arguments["path"]]


class Oracle:
    """Answers with what it was asked, turned round."""

    name = "oracle"

    async def complete(self, request: Any) -> Reply:
        return Reply(
            text=request.prompt[::-1],
            model="oracle-1",
            usage=Usage(input_tokens=len(request.prompt), output_tokens=7),
            cost_micros=3 * len(request.prompt),
            cost_source="price_table",
        )


@tool(side_effect_level="read_only", retry=Retry(max_attempts=3, first_wait_s=0.01))
async def fetch(page: int) -> str:
    if page == 2 and attempt().number == 1:
        raise LookupError("nothing at page 2, for now")
    return f"page {page} speaks of licences"


@tool(side_effect_level="network")
async def publish(text: str, api_key: str = "") -> str:
    return f"published {text}"


@step
async def look(page: int) -> str:
    return await fetch(page)


@step(model="oracle-large", budget=Budget(max_tokens=20_000, max_usd=1.0))
async def judge(pages: list[str], tone: str) -> str:
    joined = "\n".join(pages)
    reply = await model_call(
        Request(
            prompt=joined,
            system=f"Be {tone}.",
            messages=[{"role": "user", "content": joined}, {"role": "assistant", "content": tone}],
            tools=TOOLS,
            options={"seed": 7, "api_key": "open sesame"},
        )
    )
    return reply.text


@step
async def breaks() -> None:
    try:
        await fetch(2)
        raise KeyError("no such word")
    except KeyError as error:
        raise RuntimeError("the desk is broken") from error


@step
async def draft(text: str) -> str:
    try:
        return await publish(text)
    except PlayheadError as error:
        return f"no: {error.message[:20]}"


@persona
async def proofreads(text: str) -> str:
    colour: str = await ask_user("Which colour?", reviewers=["cy"])
    return f"{text} in {colour}"


@hook("PreStep", step="judge")
async def watch(moment: object) -> None: ...


@persona(
    policy=Policy(approval=ApprovalRules(require_approval=["publish"])),
    stages=[Stage("draft", side_effect_level="read_only")],
)
async def newsroom(pages: list[int]) -> str:
    texts = list(await asyncio.gather(*(look(page) for page in pages)))
    dry = await judge(texts, "dry")
    await judge([*texts, dry], "bright")
    await draft("too early")
    try:
        await breaks()
    except RuntimeError:
        await sleep(0.01)
    notes = await state("desk", "today")
    await notes.write("headline.json", {"words": ["dry", dry]})
    head: Any = await notes.read("headline.json")
    host: str = await side_value("host", lambda: "somewhere")
    manifest = build_manifest(FILES, ManifestOptions(side_effect_ceiling="read_only"))
    lengths = (await compose(SNIPPET, manifest, CallableHost(shelf))).value()
    proof: str = await child_run(proofreads, head["words"][1])
    wish: str = await signal("wish", str)
    return await publish(f"{proof} {wish} {lengths} {host}", api_key="open sesame")


class Desk(NamedTuple):
    """What `recorded` recorded: the run and its child."""

    path: Path
    run: str
    child: str


async def _answered(run: Run, reviewer: str, value: Any = ...) -> None:
    """Agree to the next thing that `run` asks."""
    while not (asked := await run.requests()):  # noqa: ASYNC110  only the log says it
        await asyncio.sleep(0.005)
    await run.answer(asked[0].request, "approve", value, reviewer=reviewer, reason="looks good")


F = TypeVar("F")


async def recorded_fact(engine: Engine, run: str, kind: type[F]) -> F:
    """The first fact of this kind on the tape of a run, as soon as it stands there."""
    while True:
        for _, fact in await engine.facts_of(run):
            if isinstance(fact, kind):
                return fact
        await asyncio.sleep(0.005)


async def record(path: Path) -> Desk:
    """Record the run to its end."""
    async with Engine.open(
        path, personas=[newsroom, proofreads], model=Oracle(), hooks=[watch], secrets=["api_key"]
    ) as engine:
        run = await engine.start(newsroom, [1, 2, 3], name="morning")
        child = engine.handle((await recorded_fact(engine, run.id, ChildRequested)).run)
        await _answered(child, "cy", "blue")
        await recorded_fact(engine, run.id, WaitStarted)
        await engine.signal(run.id, "wish", "loudly", sender="dora")
        await _answered(run, "ada")
        await run.result()
        return Desk(path, run.id, child.id)


def recorded(path: Path) -> Desk:
    """Like `record`, for tests without a loop."""
    return asyncio.run(record(path))
