"""What the killed processes do: nested steps, concurrent and retried tools of every class, models, waits.

Each body writes a line into a file outside the log before it does anything else: when, in which process, for
which run, operation and attempt. That file is the witness which the log is compared with.
"""

import asyncio
import os
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random

from playhead import (
    Reply,
    Request,
    Retry,
    Usage,
    attempt,
    map_bounded,
    model_call,
    persona,
    race,
    side_value,
    signal,
    sleep,
    step,
    tool,
)

RUNS = 12
END = "."
WORK_MS_MAX = 12
TRIES = Retry(max_attempts=4, first_wait_s=0.001)


class Witness:
    """The file outside the log, opened by each process for itself."""

    descriptor = -1
    random = Random()

    @classmethod
    def open(cls, place: Path) -> None:
        cls.descriptor = os.open(place / "bodies", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        cls.random = Random(f"{place} {os.getpid()}")


def answer_to(question: str) -> str:
    """What every tool and the model answer to `question`."""
    return f"{question}={zlib.crc32(question.encode()):08x}"


def testify(descriptor: int, fields: Sequence[object]) -> None:
    """Add a line to a witness. A kill can tear one in two, so each begins anew and says where it ends."""
    os.write(descriptor, ("\n" + "\t".join(map(str, (*fields, END))) + "\n").encode())


def testimony(file: Path) -> list[list[str]]:
    """The lines of a witness that were written to their end."""
    lines = file.read_text().split("\n") if file.exists() else []
    return [line.split("\t")[:-1] for line in lines if line.endswith(f"\t{END}")]


def begin(effect: str, question: str) -> int:
    """Testify that a body begins; returns which attempt it is."""
    now = attempt()
    fields = (time.time_ns(), os.getpid(), now.run, now.op, now.number, effect, question)
    testify(Witness.descriptor, fields)
    return now.number


async def work() -> None:
    await asyncio.sleep(Witness.random.uniform(0, WORK_MS_MAX) / 1000)


@tool(effect="pure")
async def pure(question: str) -> str:
    begin("pure", question)
    await work()
    return answer_to(question)


@tool(effect="read_only", retry=TRIES)
async def read_only(question: str) -> str:
    number = begin("read_only", question)
    await work()
    if number == 1:
        raise ConnectionError(question)
    return answer_to(question)


@tool(effect="idempotent", retry=TRIES)
async def idempotent(question: str) -> str:
    begin("idempotent", question)
    await work()
    return answer_to(question)


@tool(effect="idempotent")
def blocking(question: str) -> str:
    begin("idempotent", question)
    time.sleep(Witness.random.uniform(0, WORK_MS_MAX) / 1000)
    return answer_to(question)


@tool(effect="effect", retry=TRIES)
async def effect(question: str) -> str:
    number = begin("effect", question)
    await work()
    if number == 1 and question.endswith("hard"):
        raise ConnectionError(question)
    return answer_to(question)


class Model:
    """A model that always says the same, and counts."""

    name = "parrot"

    async def complete(self, request: Request) -> Reply:
        begin("read_only", request.prompt)
        await work()
        return Reply(text=answer_to(request.prompt), usage=Usage(input_tokens=3, output_tokens=5))


@step
async def inner(name: str) -> str:
    first, second = await asyncio.gather(read_only(f"{name} a"), effect(f"{name} b"))
    await sleep(0.01)
    return await effect(f"{name} {first[-2:]} {second[-2:]} hard")


@step
async def outer(name: str) -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(inner(f"{name}.{part}")) for part in range(2)]
    mapped = await map_bounded([f"{name} m{n}" for n in range(4)], idempotent, concurrency=2, key=str)
    return [task.result() for task in tasks] + mapped.values


@persona
async def audit(number: int) -> list[str]:
    host = await side_value("host", lambda: "here")
    found = await outer(f"{host} {number}")
    reply = await model_call(Request(prompt=f"what of {number}?"))
    blocked = await blocking(f"{number} in a thread")
    winner, _ = await race(pure(f"{number} quick"), sleep(60))
    told = await signal("go", str)
    return [*found, reply.text, blocked, str(winner), told, await effect(f"{number} at last")]
