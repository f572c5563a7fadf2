"""Two hundred personas at once in one process: what each uses is its own, whoever runs beside it."""

import asyncio
from pathlib import Path

from playhead import (
    Budget,
    Engine,
    Policy,
    Reply,
    Request,
    Stage,
    ToolRejected,
    Usage,
    model_call,
    persona,
    step,
    tool,
)
from playhead_projections.projection import fold
from playhead_projections.receipts import Receipts
from playhead_projections.run_report import RunReport

MANY = 200


class Meter:
    """Uses as many tokens as the prompt says, after a while that differs from call to call."""

    name = "meter"

    async def complete(self, request: Request) -> Reply:
        n = int(request.prompt)
        await asyncio.sleep(0.0005 * (n % 7))
        return Reply(
            text=str(request.model),
            model=request.model,
            usage=Usage(input_tokens=n, output_tokens=2 * n),
            cost_micros=3 * n,
        )


@tool(side_effect_level="read_only")
async def look(n: int) -> int:
    await asyncio.sleep(0.0003 * (n % 5))
    return n


async def ask(n: int) -> str:
    return (await model_call(Request(prompt=str(n), max_output_tokens=10_000))).text


async def may_look(n: int) -> str:
    try:
        return f"looked {await look(n)}"
    except ToolRejected as error:
        return error.category


@step(model="inner", budget=Budget(max_tokens=100_000))
async def inner(n: int) -> str:
    return "+".join(await asyncio.gather(ask(n), may_look(n), ask(n + 1)))


@step(model="outer")
async def outer(n: int) -> list[str]:
    return [await may_look(n), await ask(n), *await asyncio.gather(inner(n), inner(n + 10))]


@persona(policy=Policy(side_effect_level="read_only"), stages=[Stage("outer", allowed_tools=[])])
async def strict(n: int) -> list[str]:
    return await outer(n)


@persona(stages=[Stage("outer", allowed_tools=["look"])])
async def free(n: int) -> list[str]:
    return await outer(n)


async def test_every_receipt_of_two_hundred_personas_is_exactly_its_own(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[strict, free], model=Meter()) as engine:
        runs = [await engine.start(free if n % 2 else strict, n) for n in range(1, MANY + 1)]
        async with asyncio.timeout(120):
            results = await asyncio.gather(*(run.result() for run in runs))

        for n, (run, result) in enumerate(zip(runs, results, strict=True), start=1):
            seen = [f"looked {n}", f"looked {n + 10}"] if n % 2 else ["tool_rejected"] * 2
            assert result == [
                seen[0],
                "outer",
                f"inner+{seen[0]}+inner",
                f"inner+{seen[1]}+inner",
            ]
            asked = {
                "0/outer#0": [n],
                "0/outer#0.1/inner#0": [n, n + 1],
                "0/outer#0.2/inner#0": [n + 10, n + 11],
            }
            events = await engine.store.read(f"run/{run.id}", 0, 1_000)
            receipts = {each.op: each for each in fold(Receipts(), run.id, events).state.finished}
            assert sorted(receipts) == sorted(asked)
            for op, prompts in asked.items():
                used = receipts[op].own.used
                assert receipts[op].model == op.rpartition("/")[2].partition("#")[0]
                assert used.model_calls == len(prompts)
                assert used.input_tokens.total == sum(prompts)
                assert used.output_tokens.total == 2 * sum(prompts)
                assert used.cost_micros.total == 3 * sum(prompts)
            total = fold(RunReport(), run.id, events).state.used
            assert total.cost_micros.total == 3 * sum(n for prompts in asked.values() for n in prompts)
        for run in runs[::20]:
            assert (await engine.replay(run.id)).identical
