"""Processes that look after one persona on duty and are killed: the lives, and the verdict on them.

    python -m tests.crashes.duty PLACE SEED KILLS CONTROL

prints one JSON object: {"kills": 40, "expired": 12, "faults": []}.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import structlog

from playhead import Binding, Dispatcher, Engine, Request, Trigger, model_call, persona, step, tool
from playhead.events import duty as facts
from playhead.events.catalog import RunStarted
from playhead.events.codec import CATALOG
from playhead.log.sqlite_store import SqliteStore
from playhead.policy.duty import Duty, DutyBudget
from playhead.testing import ScriptedModel, priced
from tests.crashes.workload import Witness, begin, testify, testimony, work
from tests.crashes.zygote import ended, fork, kill

STORE = "runs.db"
KEYS = 40
LIVES = 3
PRICE = 300
LIFE_S_MIN, LIFE_S_MAX = 0.02, 0.12
FINISH_S = 60.0


@tool(effect="idempotent")
async def deliver(errand: int) -> int:
    begin("deliver", str(errand))
    await work()
    return errand


@step
async def ask(errand: int) -> str:
    return (await model_call(Request(prompt=f"errand {errand}", max_output_tokens=20))).text


@persona
async def runner(errand: int) -> str:
    await deliver(errand)
    return await ask(errand)


ON_DUTY = Binding(runner, budget=DutyBudget(run_usd="0.01", daily_usd=1))


class Reckless(Dispatcher):
    """The control: takes work from whoever has it."""

    async def _gone(self, work: Any) -> bool:
        return work is not None and work.worker != self._engine.store.worker


async def live(place: Path, control: str) -> None:
    """Trigger everything, sometimes pause for a moment, and tick until all errands are run."""
    Witness.open(place)
    random = Witness.random
    model = ScriptedModel([priced("done", micros=PRICE)] * (3 * KEYS))
    async with Engine.open(place / STORE, personas=[runner], model=model, deaths_max=1_000) as engine:
        workers = os.open(place / "workers", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        testify(workers, (engine.store.worker, os.getpid()))
        desk = (Reckless if control else Dispatcher)(engine, [ON_DUTY])
        errands = random.sample(range(KEYS), KEYS)
        done = False
        while not done:
            for errand in errands[:4]:
                trigger = Trigger("test", {"errand": errand}, source_event_id=str(errand))
                await desk.trigger("runner", trigger)
            errands = errands[4:] + errands[:4]
            if random.random() < 0.1:
                await desk.pause("runner", "a moment")
                await work()
            if (await desk.duty("runner")).control == "paused":  # perhaps by one who was killed meanwhile
                await desk.resume("runner")
            await desk.tick("runner", runs_max=3)
            await asyncio.sleep(0.002)
            done = Counter((await desk.duty("runner")).seen.values()) == {"completed": KEYS}


# The verdict.


async def verdict(place: Path, killed: dict[int, int]) -> tuple[int, list[str]]:
    """How often work was taken up from the dead, and everything that is wrong. `killed`: pids, and when."""
    faults: list[str] = []
    pids = {worker: int(pid) for worker, pid in testimony(place / "workers")}
    duty, counts, starts = Duty(persona="runner"), Counter[str](), Counter[str]()
    micros = 0
    async with SqliteStore.open(place / STORE) as store:
        if not (await store.verify()).ok:
            faults.append("the log does not verify")
        for event in await store.read("persona/runner", 0, 100_000):
            fact: Any = CATALOG.decode(event)
            counts[event.type] += 1
            if isinstance(fact, facts.WorkStarted):
                starts[fact.work_key] += 1
                if duty.control == "paused":
                    faults.append(f"{event.seq}: work was taken while paused")
                if duty.work is not None and duty.work.worker is not None:
                    faults.append(f"{event.seq}: two are on duty at once")
            if isinstance(fact, facts.WorkExpired) and event.at < killed.get(pids[fact.worker], event.at + 1):
                faults.append(f"{event.seq}: work was taken from a living worker")
            if isinstance(fact, facts.WorkCompleted):
                micros += fact.cost_micros
            duty.apply(event.at, fact)
        runs = [head.stream for head in await store.heads("run")]
        for run in runs:
            begun = [event for event in await store.read(run, 0, 1_000) if event.type == "run.started"]
            if len(begun) != 1 or not isinstance(CATALOG.decode(begun[0]), RunStarted):
                faults.append(f"{run} was started {len(begun)} times")
    for what, count in (("trigger.received", KEYS), ("work.completed", KEYS)):
        if counts[what] != count:
            faults.append(f"{counts[what]} of {what} where {count} belong")
    if len(runs) != KEYS or micros != PRICE * KEYS:
        faults.append(f"{len(runs)} runs that cost {micros}")
    if set(duty.seen.values()) != {"completed"}:
        faults.append(f"errands are left: {duty.seen}")
    effects = {(run, op, question) for _, _, run, op, _, _, question in testimony(place / "bodies")}
    if sorted(int(question) for *_, question in effects) != list(range(KEYS)):
        faults.append(f"not one effect for each errand: {sorted(effects)}")
    return counts["work.expired"], faults


def job(place: Path, seed: int, kills: int, control: str) -> dict[str, Any]:
    """Lives until all is done, each of them killed at a random moment while kills are left."""
    random = Random(f"duty {seed}")
    faults: list[str] = []
    killed: dict[int, int] = {}

    def life() -> int:
        return fork(lambda: asyncio.run(live(place, control)))

    while len(killed) < kills and not faults:
        pids = [life() for _ in range(random.randint(1, LIVES))]
        for pid in pids:
            status = ended(pid, random.uniform(LIFE_S_MIN, LIFE_S_MAX))
            if status is None:
                killed[pid] = time.time_ns()
                kill(pid)
            elif status:
                faults.append(f"a process failed with status {status}")
            else:
                kills = 0
    last = life()
    status = ended(last, FINISH_S)
    if status is None:
        kill(last)
        faults.append(f"not all was done after {FINISH_S} s")
    elif status:
        faults.append(f"the last process failed with status {status}")
    expired, found = asyncio.run(verdict(place, killed))
    return {"kills": len(killed), "expired": expired, "faults": faults + found}


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    place_, seed_, kills_, *control_ = sys.argv[1:]
    sys.stdout.write(json.dumps(job(Path(place_), int(seed_), int(kills_), "".join(control_))) + "\n")
