"""`playhead worker` and `recover`: many runs, taken up where others left them.

A worker looks for runs that nobody owns and that are due: whose owner died or let go,
whose timer has come, whose mailbox holds something new, whose child has ended. One
that cannot go on (its program diverged, or it keeps dying) is left until its log moves.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from playhead.errors import Conflict, Held, PersonaMissing, PlayheadError
from playhead_projections.cli.faults import DIVERGED, DONE, NO, WAITING, Usage
from playhead_projections.cli.running import program_option
from playhead_projections.cli.session import Session, command, json_option, keys_option, refuse_directory

if TYPE_CHECKING:
    from playhead.log.envelope import Head
    from playhead.log.reader import LogReader
    from playhead.runtime.engine import Engine
    from playhead_projections.cli.programs import Program

POLL_S: Final = 0.5
HEADS_MAX: Final = 1_000_000
OPEN_STATUSES: Final = ("running", "released", "suspended")


@command("recover")
@program_option
@keys_option
@json_option
def recover(session: Session, *, words: tuple[str, ...], as_json: bool) -> int:
    """Take up every interrupted run, and wait until each has ended or sleeps.

    Exit code 0 when all completed, 1 when one failed, 5 when one diverged, 7 when one waits.
    """
    from playhead_projections.cli import endings

    program = _programs(words).with_keys(session.reviewer_keys)
    endings.quiet_engine()
    left: dict[str, str] = {}
    taken = asyncio.run(_recover(session.store, program, left))
    ended = [endings.ended(session.store, run)[0] for run in taken]
    statuses = {one["status"] for one in ended}
    if as_json:
        session.out.document("playhead.recovery/1", {"recovered": ended, "left": left})
    else:
        for one in ended:
            session.out.line(f"{one['run']}  {one['persona']}  {session.out.word(one['status'])}")
        for run, why in left.items():
            session.out.line(f"{run}  left: {why}")
        if not ended and not left:
            session.out.line("nothing to recover.")
    if any(why.startswith("diverged") for why in left.values()) or "diverged" in statuses:
        return DIVERGED
    if left or statuses & {"failed", "cancelled", "parked"}:
        return NO
    return WAITING if statuses & {"suspended", "running", "released"} else DONE


async def _recover(store: Path, program: Program, left: dict[str, str]) -> list[str]:
    from playhead.replay.engine import Engine
    from playhead_projections.cli import endings

    async with Engine.open(
        store, personas=program.personas, suspend_after_s=endings.SUSPEND_AFTER_S, **program.options
    ) as engine:
        watch = Watch(engine, store, with_diverged=True)
        missing = await watch.missing()
        if missing:
            raise PersonaMissing(
                list(missing), persona=next(iter(missing.values())), known=engine.personas.names
            )
        taken = await watch.take_up(left)
        await asyncio.gather(*(endings.wait_for(engine, store, run, "asleep") for run in taken))
        return taken


@command("worker")
@program_option
@keys_option
@click.option(
    "--poll",
    "poll_s",
    default=POLL_S,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds between two looks at the store.",
)
@click.option(
    "--idle",
    "idle_s",
    type=click.FloatRange(min=0),
    help="Stop after so many seconds without anything to do.",
)
def worker(session: Session, *, words: tuple[str, ...], poll_s: float, idle_s: float | None) -> int:
    """Take up what is due, again and again, until SIGINT or SIGTERM; then let go of what is unfinished."""
    from playhead_projections.cli import endings

    program = _programs(words).with_keys(session.reviewer_keys)
    refuse_directory(session.place.path)
    endings.quiet_engine()
    asyncio.run(_work(session, program, poll_s, idle_s))
    return DONE


async def _work(session: Session, program: Program, poll_s: float, idle_s: float | None) -> None:
    from playhead.replay.engine import Engine

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Engine.open(session.place.path, personas=program.personas, **program.options) as engine:
        session.out.line(f"worker {engine.store.worker}: {', '.join(engine.personas.names)}")
        watch = Watch(engine, session.place.path)
        busy_at = loop.time()
        while not stop.is_set():
            left: dict[str, str] = {}
            for run in await watch.take_up(left):
                session.out.line(f"took up {run}")
                busy_at = loop.time()
            for run, why in left.items():
                session.out.line(f"left {run}: {why}")
            for run, status in await watch.gone():
                session.out.line(f"{status} {run}")
                busy_at = loop.time()
            if idle_s is not None and not watch.mine and loop.time() - busy_at > idle_s:
                break
            await _sleep(stop, poll_s)
    session.out.line("stopped.")


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


class Watch:
    """Finds runs that are due, and takes them up through one engine."""

    def __init__(self, engine: Engine, store: Path, *, with_diverged: bool = False) -> None:
        self._engine = engine
        self._store = store
        self._statuses = (*OPEN_STATUSES, "diverged") if with_diverged else OPEN_STATUSES
        self._given_up: dict[str, int] = {}
        """Runs that could not go on, and how long their streams were then."""
        self._waits: dict[tuple[str, int], tuple[int, tuple[str, ...]]] = {}
        self._mail: dict[str, int] = {}
        """How long a mailbox was when its run was last taken up: some messages leave no event in the run."""
        self.mine: dict[str, None] = {}
        """Runs that were taken up here and have not ended or left memory."""

    async def missing(self) -> dict[str, str]:
        """Due runs whose persona is not registered, with its name."""
        found: dict[str, str] = {}
        for run, _ in await self._due():
            persona = self._persona(run)
            if self._engine.personas.get(persona) is None:
                found[run] = persona
        return found

    async def take_up(self, left: dict[str, str]) -> list[str]:
        """Resume what is due. Runs that refuse are noted in `left`, and left until their stream grows."""
        # Sleepers of this engine are woken by the engine itself.
        taken = [run for run in self._engine.runners if run not in self.mine]
        self.mine.update(dict.fromkeys(taken))
        for run, length in await self._due():
            if run in self.mine or self._given_up.get(run) == length:
                continue
            if self._engine.personas.get(self._persona(run)) is None:
                self._given_up[run] = length
                left[run] = f"persona {self._persona(run)} is not among the programs"
                continue
            self._mail[run] = (await self._engine.store.head(f"mailbox/{run}")).seq
            try:
                await self._engine.resume(run)
            except (Held, Conflict):
                continue  # somebody else was quicker
            except PlayheadError as error:
                self._given_up[run] = (await self._engine.store.head(f"run/{run}")).seq
                left[run] = f"{error.code}: {error.message}"
                continue
            self.mine[run] = None
            taken.append(run)
        return taken

    async def gone(self) -> list[tuple[str, str]]:
        """Runs of ours that ended or left memory since the last look, with their status."""
        found: list[tuple[str, str]] = []
        for run in list(self.mine):
            status = await self._engine.status(run)
            if status != "running":
                del self.mine[run]
                found.append((run, status))
        return found

    async def _due(self) -> list[tuple[str, int]]:
        """Runs that nobody owns and that can go on, oldest first, with the length of their streams."""
        engine = self._engine
        found: list[tuple[str, int]] = []
        for head in reversed(await engine.store.heads("run", status=self._statuses, limit=HEADS_MAX)):
            run = head.stream.partition("/")[2]
            if run in engine.runners or run in engine.sleepers:
                continue
            other = head.worker is not None and head.worker != engine.store.worker
            if other and head.worker is not None and await engine.store.alive(head.worker):
                continue
            if head.status != "suspended" or await self._is_awake(head, run):
                found.append((run, head.seq))
        return found

    async def _is_awake(self, head: Head, run: str) -> bool:
        """Whether a sleeping run has something to do: its time, its mail, or the end of a child."""
        store = self._engine.store
        if head.wake_at is not None and head.wake_at <= self._engine.clock.now():
            return True
        if (run, head.seq) not in self._waits:
            self._waits[run, head.seq] = self._waits_of(run)
        messages, children = self._waits[run, head.seq]
        if (await store.head(f"mailbox/{run}")).seq > max(messages, self._mail.get(run, 0)):
            return True
        for child in children:
            if (await store.head(f"run/{child}")).status in {"completed", "failed", "cancelled", "parked"}:
                return True
        return False

    def _waits_of(self, run: str) -> tuple[int, tuple[str, ...]]:
        """How many messages a sleeping run has taken, and which children it waits for."""
        from playhead_projections.projector import state_at
        from playhead_projections.run_report import RunReport, waits

        with self._reading() as log:
            report = state_at(log, RunReport(), f"run/{run}").state
        taken = max((message.message + 1 for message in report.mailbox), default=0)
        return taken, tuple(operation.child for operation in waits(report) if operation.child is not None)

    def _persona(self, run: str) -> str:
        from playhead_projections.cli.wording import decoded

        with self._reading() as log:
            first: Any = decoded(log.read(f"run/{run}", 0, 1)[0])
        return str(getattr(first, "persona", "?"))

    def _reading(self) -> LogReader:
        from playhead.log.reader import LogReader

        return LogReader(self._store)


def _programs(words: tuple[str, ...]) -> Program:
    from playhead_projections.cli.programs import asked_for, load

    named = asked_for(words)
    if not named:
        raise Usage(
            "runs need their programs, and nothing is imported because a log names it.",
            expected="--program path/to/file.py, as often as needed, or PLAYHEAD_PROGRAM",
            found="none",
        )
    return load(named)
