"""A run that asks people, whose owner is killed at every append while three processes answer at once.

    python -m tests.crashes.approval PLACE STORY EFFECT WHEN SEED [CONTROL]

tells one story again and again, with an owner that is killed one append later each time, until one is not,
and then with owners that are killed at the appends which say what matters most. It prints one JSON object:
{"stores": 9, "kills": 11, "ends": {"granted": 9}, "doubts": 1, "without": 23, "faults": []}.
"""

import asyncio
import io
import json
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import structlog

from playhead import Engine, NotFound
from playhead.events.approval import ApprovalRequested, ApprovalTimedOut
from playhead.log import sqlite_store
from playhead.log.envelope import Append
from playhead.log.sqlite_store import SqliteStore
from playhead.policy.quorum import count
from playhead.runtime import approving
from playhead.runtime.machine import Pending
from playhead.runtime.runner import Runner
from playhead_projections.cli import main as playhead
from tests.crashes.approval_program import KEY, LOOK_S, REVIEWERS, RUN, STORE, Here, answer_doubts, publishes
from tests.crashes.approval_verdict import verdict
from tests.crashes.workload import testify
from tests.crashes.zygote import ended, fork, kill
from tests.runtime.conftest import until

FINISH_S: Final = 30.0
DEADLINES: Final[dict[str, float]] = {"asleep": 1.0, "late": 0.1, "around the deadline": 0.25}
AGAIN: Final = 2
START_S: Final = 0.2


TURNS: Final = ("approval.requested", "approval.granted", "tool.requested", "tool.completed", "run.completed")


class Death(NamedTuple):
    """At which append of this process it is killed, and whether before, in the middle or after it.

    A text is the append with an event of that type.
    """

    append: int | str
    when: str


class Mortal(SqliteStore):
    """A store whose process can be killed at one of its appends."""

    death: Death | None = None
    appends = 0

    def submit(self, append: Append) -> None:
        names = (Mortal.appends, *(event.type for event in append.events))
        when = Mortal.death.when if Mortal.death is not None and Mortal.death.append in names else ""
        Mortal.appends += 1
        if when == "before":
            die()
        if when == "after":
            append.done = lambda _: die()
        super().submit(append)
        if when == "amid":
            die()


def be_mortal(death: Death | None) -> None:
    """Let every store that this process opens be its death."""
    Mortal.death = death
    change(sqlite_store, "SqliteStore", Mortal)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def change(where: object, name: str, to: Callable[..., Any]) -> None:
    assert hasattr(where, name)
    setattr(where, name, to)


# The controls: owners that do not keep the rules.


def generous() -> None:
    """Takes one yes for two."""
    change(approving, "count", lambda terms, answers: count(terms._replace(quorum=1), answers))


def careless() -> None:
    """Runs again whatever was in flight."""

    def take_over(runner: Runner, op: str, pending: Pending, notes: Any) -> None:
        if pending.executor is not None:
            runner._spawn(op, pending, partial(runner._again, op, pending, 2, "resume"))

    change(Runner, "_take_over", take_over)


def deaf() -> None:
    """Looks at the clock and not into the mail."""

    async def collect(runner: Runner) -> None:
        """Leaves it all where it is."""

    change(Runner, "collect", collect)


def honest() -> None:
    """Is the engine as it is."""


CONTROLS: Final = {"generous": generous, "careless": careless, "deaf": deaf, "": honest}


# What the processes do.


async def own(effect: str, deadline_s: float | None, suspend_after_s: float, death: Death | None) -> None:
    """Own the run until it is over."""
    be_mortal(death)
    CONTROLS[Here.control]()
    async with Engine.open(
        Here.place / STORE, personas=[publishes], deaths_max=1_000, suspend_after_s=suspend_after_s
    ) as engine:
        run = await engine.start(publishes, effect, deadline_s, key=KEY)
        doubts = asyncio.create_task(answer_doubts(engine))
        await run.result()
        doubts.cancel()


async def begin(effect: str, deadline_s: float | None) -> None:
    """Own the run until it asks, and then be killed."""
    async with Engine.open(Here.place / STORE, personas=[publishes]) as engine:
        await engine.start(publishes, effect, deadline_s, key=KEY)
        await request_in(engine)
        die()


async def request_in(engine: Engine) -> ApprovalRequested:
    """What the run asks, once it does."""
    while True:
        try:
            for _, fact in await engine.facts_of(RUN):
                if isinstance(fact, ApprovalRequested):
                    return fact
        except NotFound:
            pass
        await asyncio.sleep(LOOK_S)


async def timed_out(engine: Engine) -> bool:
    """Whether the time of the request was declared to be over."""
    return any(isinstance(fact, ApprovalTimedOut) for _, fact in await engine.facts_of(RUN))


class Person:
    """Somebody who answers the request as often as `AGAIN` says, each time with a reason of its own."""

    def __init__(self, name: str, word: str, story: str, *, by_hand: bool, random: Random) -> None:
        self.name = name
        self.word = word
        self.story = story
        self.by_hand = by_hand
        self.random = random
        self.witness = os.open(Here.place / "answers", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def answer(self, death: Death | None) -> None:
        be_mortal(death)
        for number in range(AGAIN):
            async with Engine.open(Here.place / STORE) as engine:
                asked = await request_in(engine)
                await self.wait(engine, asked, number)
                if not self.by_hand:
                    await self.say(engine, asked, f"{os.getpid()}:{number}")
            if self.by_hand:
                await asyncio.to_thread(self.type, asked, f"{os.getpid()}:{number}")

    async def wait(self, engine: Engine, asked: ApprovalRequested, number: int) -> None:
        """Wait until this story lets it answer."""
        if asked.due is None or self.story == "asleep":
            return
        around_s = self.random.uniform(-0.15, 0.05) if self.story == "around the deadline" else 0.002
        due = asked.due + around_s * 1e9
        await until(lambda: engine.clock.now() > due)
        if self.story == "late" and number:
            await until(lambda: timed_out(engine))

    async def say(self, engine: Engine, asked: ApprovalRequested, tag: str) -> None:
        testify(self.witness, ("ask", tag, self.name, self.word))
        word: Any = self.word
        try:
            await engine.answer(RUN, asked.request, word, reviewer=self.name, reason=tag)
        except NotFound:
            return  # the run is over
        testify(self.witness, ("told", tag, self.name, self.word))

    def type(self, asked: ApprovalRequested, tag: str) -> None:
        """Say it on the command line."""
        testify(self.witness, ("ask", tag, self.name, self.word))
        try:
            playhead([self.word, asked.request, "--by", self.name, "--reason", tag])
        except SystemExit as left:
            if not left.code:
                testify(self.witness, ("told", tag, self.name, self.word))


# A story: what all of them do to one store.


class Tale:
    """One store, from its first process to the verdict."""

    def __init__(self, place: Path, story: str, effect: str, death: Death, random: Random) -> None:
        place.mkdir(parents=True)
        Here.place = place
        self.story, self.effect, self.death, self.random = story, effect, death, random
        self.deadline_s = DEADLINES.get(story)
        self.kills = 0
        self.owner_was_killed = False
        self.faults: list[str] = []

    def tell(self) -> dict[str, Any]:
        if self.story == "asleep":
            late = time.monotonic() + (self.deadline_s or 0) + START_S
            self.await_death(fork(lambda: asyncio.run(begin(self.effect, self.deadline_s))))
            self.see_off(self.people())
            time.sleep(max(0.0, late - time.monotonic()))
            self.own()
        else:
            owner = self.owner(self.death)
            people = self.people()
            self.own(owner)
            self.see_off(people)
        verdict_file = Here.place / "verdict"
        if not self.faults:
            judge = fork(lambda: verdict_file.write_text(json.dumps(asyncio.run(verdict(Here.place)))))
            self.await_end(judge, "the judge")
        found: list[Any] = json.loads(verdict_file.read_text()) if not self.faults else ["?", 0, 0, []]
        return {"end": found[0], "doubts": found[1], "without": found[2], "faults": self.faults + found[3]}

    def owner(self, death: Death | None) -> int:
        suspend_after_s = self.random.choice([0.0, 0.0, 5.0])
        return fork(lambda: asyncio.run(own(self.effect, self.deadline_s, suspend_after_s, death)))

    def own(self, owner: int | None = None) -> None:
        """One owner that is killed, and one that is not."""
        if self.await_death(self.owner(self.death) if owner is None else owner):
            self.owner_was_killed = True
            self.await_end(self.owner(None), "the last owner")

    def people(self) -> list[tuple[int, Callable[[Death | None], int]]]:
        """Three processes that answer at once. One of them is killed in the middle."""
        begun: list[tuple[int, Callable[[Death | None], int]]] = []
        victim = self.random.randrange(len(REVIEWERS) + 1)
        denies = self.random.randrange(len(REVIEWERS)) if self.story == "one denies" else None
        for number, name in enumerate(REVIEWERS):
            word = "deny" if number == denies else "approve"
            by_hand, seed = self.random.random() < 0.3, self.random.random()

            def life(
                death: Death | None,
                *,
                name: str = name,
                word: str = word,
                by_hand: bool = by_hand,
                seed: float = seed,
            ) -> int:
                def work() -> None:
                    os.chdir(Here.place)
                    person = Person(name, word, self.story, by_hand=by_hand, random=Random(seed))
                    nowhere = io.StringIO()
                    with redirect_stdout(nowhere), redirect_stderr(nowhere):
                        asyncio.run(person.answer(death))

                return fork(work)

            when = self.random.choice(["before", "amid", "after"])
            begun.append(
                (life(Death(self.random.randrange(AGAIN), when) if number == victim else None), life)
            )
        return begun

    def see_off(self, people: list[tuple[int, Callable[[Death | None], int]]]) -> None:
        """Wait for all; who was killed comes back and says it again."""
        for pid, life in people:
            if self.await_death(pid):
                self.await_end(life(None), "an answer")

    def await_death(self, pid: int) -> bool:
        """Whether that process was killed rather than ended."""
        status = self.await_end(pid, "a process", also=signal.SIGKILL)
        killed = status is not None and os.WIFSIGNALED(status)
        self.kills += killed
        return killed

    def await_end(self, pid: int, what: str, *, also: int = 0) -> int | None:
        status = ended(pid, FINISH_S)
        if status is None:
            kill(pid)
            self.faults.append(f"{what} had not ended after {FINISH_S} s")
        elif status not in (0, also):
            self.faults.append(f"{what} failed with status {status}")
        return status


def job(place: Path, story: str, effect: str, when: str, seed: int) -> dict[str, Any]:
    """That story with an owner that is killed at its first append, at its second, until none is left."""
    random = Random(f"approval {seed}")
    ends, tally = Counter[str](), Counter[str]()
    faults: list[str] = []
    appends: deque[int | str] = deque([0, *(TURNS if effect in ("pay", "put") else ())])
    while appends and not faults:
        append = appends.popleft()
        tale = Tale(place / str(append), story, effect, Death(append, when), random)
        found = tale.tell()
        ends[found["end"]] += 1
        tally.update(stores=1, kills=tale.kills, doubts=found["doubts"], without=found["without"])
        faults += [f"append {append}: {fault}" for fault in found["faults"]]
        if isinstance(append, int) and tale.owner_was_killed:
            appends.appendleft(append + 1)
    return {**tally, "ends": ends, "faults": faults}


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    place_, story_, effect_, when_, seed_, *control_ = sys.argv[1:]
    Here.control = "".join(control_)
    sys.stdout.write(json.dumps(job(Path(place_), story_, effect_, when_, int(seed_))) + "\n")
