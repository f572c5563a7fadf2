"""One process of the demo: `python -m playhead_projections.demo.life begin|go-on|finish|replay RUN`.

Runs in the directory that holds runs.db. Prints one JSON document, if it lives long enough.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, Final

import structlog

from playhead import Engine, Run
from playhead.log.reader import LogReader
from playhead.replay.player import play
from playhead.runtime.tape import Tape
from playhead_projections.demo.audit import PLAYHEAD, audit

STORE: Final = "runs.db"
LOOK_S: Final = 0.02
DENIED: Final = ("open", "os.", "socket.", "subprocess.", "shutil.", "sqlite3.", "tempfile.", "ctypes.")


async def begin() -> dict[str, Any]:
    """Start the audit and stay with it until it asks a person, or to our end."""
    async with Engine.open(STORE, personas=[audit], **PLAYHEAD) as engine:
        run = await engine.start(audit, name="licences")
        return {"run": run.id, "asked": await asked_by(run)}


async def go_on() -> dict[str, Any]:
    """Take up whatever was interrupted, and leave it where it waits for a person."""
    async with Engine.open(STORE, personas=[audit], **PLAYHEAD) as engine:
        runs = await engine.recover()
        return {"runs": {run.id: await asked_by(run) for run in runs}}


async def asked_by(run: Run) -> str:
    """The request that a run waits for; "" where it came to its end without one."""
    while await run.status() in ("running", "suspended"):
        if requests := await run.requests():
            return requests[0].request
        await asyncio.sleep(LOOK_S)
    return ""


async def finish() -> dict[str, Any]:
    """Take up whatever can go on, and see it through."""
    async with Engine.open(STORE, personas=[audit], **PLAYHEAD) as engine:
        runs = await engine.recover()
        return {"runs": {run.id: [str(await run.result()), await run.status()] for run in runs}}


def replay(run: str) -> dict[str, Any]:
    """Read the tape, then shut every door, then play it."""
    with LogReader(STORE) as log:
        tape = Tape(run, list(log.scan(f"run/{run}")))
    tried = shut_every_door()
    outcome = play(tape, audit, model=PLAYHEAD["model"])
    return {
        "verdict": outcome.verdict,
        "matched": outcome.matched,
        "events": outcome.events,
        "denied": tried,
        "divergence": str(outcome.divergence or ""),
    }


def shut_every_door() -> list[str]:
    """From now on this process opens no file, socket or process; what tries is refused and listed."""
    tried: list[str] = []

    def hook(event: str, _args: tuple[Any, ...]) -> None:
        if event.startswith(DENIED):
            tried.append(event)
            raise PermissionError(f"the demo replays offline: {event}")

    sys.addaudithook(hook)
    return tried


def main(words: list[str]) -> None:
    """Do what the first word says."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    deeds: dict[str, Callable[[], dict[str, Any]]] = {
        "begin": lambda: asyncio.run(begin()),
        "go-on": lambda: asyncio.run(go_on()),
        "finish": lambda: asyncio.run(finish()),
        "replay": lambda: replay(words[1]),
    }
    print(json.dumps(deeds[words[0]]()))


if __name__ == "__main__":
    main(sys.argv[1:])
