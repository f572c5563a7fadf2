"""Waiting for a run, and what to say when it is over, or when it will not go on by itself.

A run that waits for a person would keep a terminal waiting with it. So whoever waits
here is told when only a signal or an answer can bring the run on: exit code 7.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from playhead.errors import PlayheadError
from playhead.events.catalog import RunCompleted
from playhead.events.erasing import mended
from playhead.log.reader import LogReader
from playhead_projections.accounts import TERMINAL
from playhead_projections.cli.faults import DIVERGED, DONE, NO, WAITING
from playhead_projections.cli.output import Printer, cut, span
from playhead_projections.cli.wording import decoded, plain
from playhead_projections.projector import state_at
from playhead_projections.run_report import Report, RunReport, document, waits

if TYPE_CHECKING:
    from playhead.runtime.engine import Engine

POLL_S: Final = 0.1
SUSPEND_AFTER_S: Final = 0.5
ASKED_WIDTH: Final = 60

Until = Literal["end", "stuck", "asleep"]
"""How long to wait: to the end, until only a person can help, or until it leaves memory."""

_CODES: Final = {"completed": DONE, "diverged": DIVERGED, "suspended": WAITING, "running": WAITING}


def quiet_engine() -> None:
    """What the engine logs goes to standard error: standard output is for answers."""
    import structlog

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


async def wait_for(engine: Engine, store: Path, run: str, until: Until) -> str:
    """The status of `run` once it is over or, as `until` says, will not go on soon."""
    ending = asyncio.ensure_future(engine.ending(run))
    try:
        while True:
            await asyncio.wait({ending}, timeout=POLL_S)
            if ending.done():
                return ending.result().status
            status = await engine.status(run)
            if status == "suspended" and until != "end":
                with LogReader(store) as log:
                    if until == "asleep" or is_stuck(log, run):
                        return status
    finally:
        ending.cancel()


def is_stuck(log: LogReader, run: str) -> bool:
    """Whether only somebody's word can bring `run` on: it sleeps, without a timer or a lively child."""
    report = state_at(log, RunReport(), f"run/{run}").state
    if report.life.status != "suspended":  # by its events: a run from another store has no other status
        return False
    waiting = waits(report)
    return not any(
        operation.kind == "timer"
        or (operation.kind == "child" and operation.child is not None and not is_stuck(log, operation.child))
        for operation in waiting
        if operation.status == "open"
    )


def result_of(log: LogReader, run: str) -> Any:
    """What the program returned, as plain values; None where it did not."""
    stream = f"run/{run}"
    for event in mended(log, log.read(stream, types=("run.completed",))):
        fact = decoded(event)
        if isinstance(fact, RunCompleted):
            return plain(fact.result)
    return None


def ended(store: Path, run: str) -> tuple[dict[str, Any], Report]:
    """How `run` stands now, as a document of its own and as the report behind it."""
    with LogReader(store) as log:
        report = state_at(log, RunReport(), f"run/{run}").state
        head = log.head(f"run/{run}").status
        whole = document(report)
        life = report.life
        return {
            "run": run,
            "name": life.name,
            "persona": life.persona,
            "status": "diverged" if head == "diverged" else life.status,
            "result": result_of(log, run),
            "error": whole["errors"][-1] if life.error is not None else None,
            "reason": life.reason,
            "duration": life.duration,
            "totals": whole["totals"],
            "waits_for": whole["waits_for"],
            "in_doubt": whole["in_doubt"],
        }, report


def tell(out: Printer, store: Path, run: str, *, as_json: bool) -> int:
    """Print how `run` ended or why it waits; returns the exit code that says the same."""
    body, report = ended(store, run)
    status = body["status"]
    code = _CODES.get(status, NO)
    if as_json:
        out.document("playhead.run/1", body)
        return code
    took = f", took {span(body['duration'])}" if body["duration"] is not None else ""
    out.line(f"{run}  {report.life.persona}  {out.word(status)}{took}")
    if status == "completed":
        from playhead.events.json_text import json_text
        from playhead_projections.cli.output import shown

        out.line(json_text(body["result"], default=shown))
    elif body["error"]:
        place = f" at {body['error']['site']}" if body["error"]["site"] else ""
        out.line(f"{body['error']['type']}: {body['error']['message']}{place}")
        out.line(f"see `playhead show {run}`")
    elif body["reason"]:
        out.line(body["reason"])
    for operation in waits(report):
        if operation.status == "in_doubt":
            if operation.refused:
                out.line(f"the last answer for {operation.name} was refused: {operation.refused}")
            out.line(f"in doubt: playhead resolve {run}@{operation.seq} --retry | --value JSON | --fail")
        elif operation.kind == "signal":
            out.line(f"waits for signal {operation.name}: playhead signal {run} {operation.name} [JSON]")
        elif operation.kind == "approval":
            asked = cut(operation.name, ASKED_WIDTH)
            out.line(f"waits for people, {asked}: playhead approve {run}@{operation.seq}")
    return code


def refused(error: PlayheadError) -> str:
    """An error on one line, for lists of runs."""
    return f"{error.code}: {error.message}"


__all__ = [
    "SUSPEND_AFTER_S",
    "TERMINAL",
    "Until",
    "ended",
    "is_stuck",
    "quiet_engine",
    "refused",
    "tell",
    "wait_for",
]
