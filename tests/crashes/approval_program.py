"""The run that asks two of three people, and what it does to the world with their yes.

What really happened stands in a file beside the log, one line for each time the effect ran.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any, Final

from playhead import Engine, attempt, persona, request_approval, tool
from playhead.errors import ApprovalDenied, ApprovalTimedOut
from playhead.events.catalog import OperationOutcomeUnknown, ToolCompleted
from playhead.runtime.starting import id_of_key

STORE: Final = "runs.db"
EFFECTS: Final = "effects"
KEY: Final = "the page"
RUN: Final = id_of_key(KEY)
REVIEWERS: Final = ("ada", "bob", "cy")
QUORUM: Final = 2
LOOK_S: Final = 0.005


class Here:
    """Where the store of this process lies, and which rule its owners do not keep."""

    place = Path()
    control = ""


def happen(page: str) -> str:
    now = attempt()
    line = {"op": now.op, "number": now.number, "key": now.idempotency_key, "page": page}
    descriptor = os.open(Here.place / EFFECTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.close(descriptor)
    return f"{page} is out"


def effects(place: Path) -> list[dict[str, Any]]:
    """What happened so far."""
    file = place / EFFECTS
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@tool(side_effect_level="network", effect="effect")
async def pay(page: str) -> str:
    return happen(page)


@tool(side_effect_level="network", effect="idempotent")
async def put(page: str) -> str:
    return happen(page)


@persona
async def publishes(effect: str, deadline_s: float | None) -> list[Any]:
    try:
        agreed = await request_approval(
            "publish", args={"page": "about"}, reviewers=REVIEWERS, quorum=QUORUM, deadline_s=deadline_s
        )
    except ApprovalDenied as error:
        return ["denied", error.reviewer]
    except ApprovalTimedOut:
        return ["timed_out"]
    page = agreed.args["page"]
    if effect == "pay":
        return ["granted", await pay(page)]
    return ["granted", await put(page) if effect == "put" else ""]


async def answer_doubts(engine: Engine) -> None:
    """Be the person who looks whether an effect in doubt happened, and says so."""
    answered: set[int] = set()
    while True:
        facts = await engine.facts_of(RUN)
        over = {op for op, fact in facts if isinstance(fact, ToolCompleted)}
        for place, (op, fact) in enumerate(facts):
            if isinstance(fact, OperationOutcomeUnknown) and place not in answered and op not in over:
                answered.add(place)
                happened = any(line["op"] == op for line in effects(Here.place))
                if happened:
                    await engine.resolve(RUN, op, "value", "about is out", sender="a person")
                else:
                    await engine.resolve(RUN, op, "retry", sender="a person")
        await asyncio.sleep(LOOK_S)
