"""A program as somebody has one, for the tests of the plugin: it is written into their directories."""

import os
from pathlib import Path

from playhead import (
    Policy,
    Reply,
    Request,
    ToolRejected,
    Usage,
    child_run,
    model_call,
    persona,
    signal,
    sleep,
    step,
    task_group,
    tool,
)


class Tiny:
    """A model that says what it used, unless it is asked about gold."""

    name = "tiny"

    async def complete(self, request: Request) -> Reply:
        used = Usage(input_tokens=10, output_tokens=2) if "gold" not in request.prompt else Usage()
        return Reply(text="permissive", model="tiny-1", usage=used, cost_micros=600)


class OutOfStock(Exception):
    """An error that only this program has."""


PLAYHEAD = {"model": Tiny(), "secrets": ["token"], "errors": [OutOfStock]}


@tool(side_effect_level="read_only")
def read_licence(package: str, lines: int = 3) -> str:
    Path(os.environ.get("TOUCHED", os.devnull)).write_text(package)
    if package == "broken":
        raise ValueError("no such package\x1b[2J")
    return f"MIT License, {lines} lines of {package}"


@tool(side_effect_level="network")
async def publish(text: str) -> str:
    return text.upper()


@tool(side_effect_level="read_only", secret=["token"])
async def log_in(token: str) -> str:
    return f"in, with {len(token)} characters"


@step
async def classify(package: str) -> str:
    text = await read_licence(package)
    return (await model_call(Request(prompt=f"Which kind of licence is this? {text}"))).text


@persona
async def audit(packages: list[str]) -> str:
    return ", ".join([await classify(package) for package in packages])


@tool(side_effect_level="read_only")
async def order(what: str) -> str:
    raise OutOfStock(what)


@persona
async def shops(what: str) -> str:
    try:
        return await order(what)
    except OutOfStock as error:
        return f"no {error}"


@persona
async def secretive() -> str:
    return await log_in("hush")


@persona
async def family(packages: list[str]) -> str:
    return await child_run(audit, packages)


@persona(mode="relaxed")
async def relaxed(packages: list[str]) -> list[str]:
    async with task_group() as group:
        tasks = [group.start(classify(package)) for package in packages]
    await sleep(0.001)
    return [task.result() for task in tasks]


@persona
async def patient() -> bool:
    return bool(await signal("approve", bool))


@persona(policy=Policy(tools={"read_licence"}))
async def careful() -> str:
    try:
        return await publish("a")
    except ToolRejected as error:
        return type(error).__name__
