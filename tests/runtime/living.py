"""One run of a program with a scripted model, and what it left."""

import asyncio
from typing import Any

from playhead import Reply, Request, RunFailed, Usage, model_call, persona
from playhead.testing import ScriptedModel
from playhead_projections.projection import fold
from playhead_projections.receipts import Receipt, Receipts
from tests.runtime.conftest import Home


def used(tokens_in: int | None, tokens_out: int | None, micros: int | None = 0, model: str = "m-1") -> Reply:
    usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out)
    return Reply(text="fine", model=model, usage=usage, cost_micros=micros, cost_source="scripted")


async def ask(prompt: str = "?", **fields: Any) -> Reply:
    return await model_call(Request(prompt=prompt, **fields))


class Lived:
    """One run and what it left."""

    def __init__(self, result: Any, error: str, types: list[str], receipts: dict[str, Receipt]) -> None:
        self.result = result
        self.error = error
        self.types = types
        self.receipts = receipts


async def live(home: Home, program: Any, *lines: Any, model: Any = None) -> Lived:
    """Run `program` with a model that has `lines`; its replay agrees."""
    client = model or ScriptedModel(lines)
    result: Any = None
    error = ""
    made = persona(program)
    async with home.engine(made, model=client) as engine:
        run = await engine.start(made)
        try:
            async with asyncio.timeout(30):
                result = await run.result()
        except RunFailed as failed:
            error = str(failed)
        outcome = await engine.replay(run.id)
        assert outcome.identical, str(outcome.divergence)
    events = await home.events(run.id)
    book = fold(Receipts(), run.id, events).state
    return Lived(result, error, [event.type for event in events], {r.name: r for r in book.finished})
