"""One simulation: a program from a seed, crashed, resumed, crashed again, finished and replayed.

    story = simulate(seed)
    story.faults          # empty, or what went wrong, in words

Everything follows from the seed: the program, the order in which its tools answer,
when its process dies and whether that is before or after a commit.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from playhead import Engine
from playhead.errors import RunCancelled, RunFailed, StoreError
from playhead.events.catalog import AttemptStarted, OperationOutcomeUnknown, OperationResolved, ToolRequested
from playhead.events.codec import CATALOG
from playhead.events.fact import OutcomeFact
from playhead.log.envelope import Append, Event
from playhead.log.memory_store import MemoryLog, MemoryStore
from tests.simulation.programs import Author, Node, Stage, answer_to, at_ease, simulated
from tests.simulation.world import SimulatedLoop, World

LIVES_MAX = 8
SIGNALS_MAX = 200


@dataclass
class Story:
    """What happened in one simulation."""

    seed: int
    program: Node
    faults: list[str] = field(default_factory=list)
    events: int = 0
    crashes: int = 0
    doubts: int = 0
    ending: str = ""
    log: MemoryLog | None = None
    run: str = ""


class Simulation:
    """One program and its world, over as many lives as it takes."""

    def __init__(
        self, seed: int, program: Node | None = None, *, own_only: bool = False, relaxed: bool = False
    ) -> None:
        self.random = Random(f"simulation {seed}")
        self.world = World(seed)
        self.log = MemoryLog()
        self.program = program or Author(seed, own_only=own_only, relaxed=relaxed).program()
        self.persona = at_ease if relaxed else simulated
        self.story = Story(seed, self.program, log=self.log)
        self.suspend_after_s = self.random.choice([0.0, 0.2, 1e6])
        self.cancel_at = self.random.randint(2, 40) if self.random.random() < 0.1 else None
        self.run = ""
        self.engine: Engine | None = None
        self.said = 0
        self.busy: set[asyncio.Task[Any]] = set()
        Stage.world = self.world
        Stage.wrong.clear()
        self.world.log_length = lambda: len(self.stream())

    def stream(self) -> list[Event]:
        return self.log.streams.get(f"run/{self.run}", [])

    # --- lives ------------------------------------------------------------------------------------

    def lead(self) -> Story:
        """All lives, until the run ended; then look at what is left."""
        deaths = self.random.choice([0, 1, 1, 1, 2, 3])
        try:
            for life in range(LIVES_MAX):
                if self._live(last=life >= deaths):
                    break
            else:
                self.story.faults.append("it never ended")
            self._judge()
        except Exception as error:  # noqa: BLE001
            self.story.faults.append(f"{type(error).__name__}: {error}")
        self.story.faults += [f"wrong answer: {wrong}" for wrong in Stage.wrong]
        return self.story

    def _live(self, *, last: bool) -> bool:
        """One process. True when the run ended in it."""
        world, chance = self.world, self.random
        loop = SimulatedLoop(world)
        store = MemoryStore(world, self.log)
        world.flight.clear()
        world.pauses.clear()
        self.busy.clear()
        world.idle = self._idle
        world.kill = store.kill
        world.die_at = None if last else world.completions + chance.randint(0, 14)
        if not last and chance.random() < 0.4:
            self._die_after_a_commit(store, chance.randint(1, 12))
        self.engine = Engine(
            store, personas=[self.persona], suspend_after_s=self.suspend_after_s, deaths_max=100, clock=world
        )
        try:
            ended = loop.live(self._work(store), after=self._put_away)
        except StoreError:
            if store._refusal is None:
                raise
            ended = None  # a last breath of a process that is dead already
        if ended is None:
            self.story.crashes += 1
        return ended is not None

    def _put_away(self) -> None:
        assert self.engine is not None
        for runner in list(self.engine.runners.values()):
            runner.machine.close()
        self.engine.threads.shutdown(wait=False)

    def _die_after_a_commit(self, store: MemoryStore, groups: int) -> None:
        left = [groups]

        def committed(_: Sequence[Append]) -> None:
            left[0] -= 1
            if left[0] == 0:
                self.world.die()

        store.before_settling = committed

    async def _work(self, store: MemoryStore) -> str:
        engine = self.engine
        assert engine is not None
        if not self.run or not self.stream():
            # A start that was not acknowledged may be repeated under its key.
            run = await engine.start(self.persona, self.program, key="simulated")
            self.run = self.story.run = run.id
        else:
            await engine.recover()
        try:
            ending = "completed " + str(await engine.result(self.run))
        except RunFailed as error:
            ending = f"failed {error}"
        except RunCancelled as error:
            ending = f"cancelled {error}"
        await store.drained()
        self.story.ending = ending
        return ending

    # --- people ------------------------------------------------------------------------------------

    def _idle(self) -> bool:
        """Somebody outside says something. True when there was something to say."""
        engine = self.engine
        if engine is None or not self.run or self.busy:
            return False
        doubts = self._doubts()
        if doubts:
            self._say(self._resolve(engine, doubts[0]))
            return True
        if self.cancel_at is not None and self.world.completions >= self.cancel_at:
            self.cancel_at = None
            self._say(engine.cancel(self.run, "enough"))
            return True
        self.said += 1
        assert self.said < SIGNALS_MAX, f"it waits for ever, not only for signals: {self._waiting()}"
        name = self.random.choice(["red", "blue"])
        self._say(engine.signal(self.run, name, f"{name} {self.world.completions}"))
        return True

    def _waiting(self) -> list[str]:
        assert self.engine is not None
        runner = self.engine.runners.get(self.run)
        return runner.machine.waiting if runner else ["(asleep)"]

    def _say(self, work: Any) -> None:
        assert self.world.loop is not None
        task = self.world.loop.create_task(work)
        self.busy.add(task)
        task.add_done_callback(self.busy.discard)

    def _doubts(self) -> list[str]:
        """Operations that are in doubt and that nobody has answered for, as a person would read them."""
        open_: dict[str, None] = {}
        for event in self.stream():
            fact = CATALOG.decode(event)
            if isinstance(fact, OperationOutcomeUnknown):
                open_[event.op] = None
            elif isinstance(fact, (OperationResolved, OutcomeFact)) or event.type == "operation.cancelled":
                open_.pop(event.op, None)
        return list(open_)

    async def _resolve(self, engine: Engine, op: str) -> None:
        self.story.doubts += 1
        action = self.random.choice(["value", "value", "fail", "retry"])
        if action == "retry":
            self.world.allowed[op] += 1
        value = answer_to(self._question(op)) if action == "value" else None
        await engine.resolve(self.run, op, action, value, sender="a person")  # type: ignore[arg-type]

    def _question(self, op: str) -> str:
        for event in self.stream():
            fact = CATALOG.decode(event)
            if event.op == op and isinstance(fact, ToolRequested):
                return str(msgspec.msgpack.decode(fact.args)["question"])
        raise AssertionError(f"{op} is in doubt and was never asked")

    # --- the verdict --------------------------------------------------------------------------------

    def _judge(self) -> None:
        story, stream = self.story, self.stream()
        story.events = len(stream)
        story.faults += bodies_run_again(stream, self.world)
        loop = SimulatedLoop(self.world)
        store = MemoryStore(self.world, self.log)
        self.world.die_at = None
        outcome, verification = loop.live(self.look(store))
        if not outcome.identical:
            story.faults.append(f"replay {outcome.verdict}: {outcome.divergence}")
        if not verification.ok:
            story.faults.append(f"chain: {verification.faults[:3]}")

    async def look(self, store: MemoryStore | None = None) -> Any:
        """What a replay and a verification find, in a process of their own."""
        store = store or MemoryStore(self.world, self.log)
        engine = Engine(store, personas=[self.persona], clock=self.world)
        try:
            return await engine.replay(self.run), await store.verify()
        finally:
            engine.threads.shutdown(wait=False)


def bodies_run_again(stream: list[Event], world: World) -> list[str]:
    """Bodies that began after the outcome of their operation was in the log, and effects begun twice."""
    outcomes: dict[str, int] = {}
    retries: dict[str, int] = {}
    for event in stream:
        fact = CATALOG.decode(event)
        if isinstance(fact, OutcomeFact) and event.op:
            outcomes[event.op] = event.seq
        elif isinstance(fact, AttemptStarted) and fact.reason != "resume":
            # A failed attempt is on the tape, or a person said so; a crash alone is no reason.
            retries[event.op] = retries.get(event.op, 0) + 1
    faults: list[str] = []
    begun: dict[str, int] = {}
    for op, effect, question, length in world.bodies:
        if op in outcomes and length > outcomes[op]:
            faults.append(f"{op} ({question}) ran again although its outcome is event {outcomes[op]}")
        if effect == "effect":
            begun[op] = begun.get(op, 0) + 1
            if begun[op] > 1 + retries.get(op, 0):
                faults.append(
                    f"effect {op} ({question}) began {begun[op]} times, announced {retries.get(op, 0)} more"
                )
    return faults


def simulate(seed: int, program: Node | None = None, **options: Any) -> Story:
    """The whole story of `seed`."""
    return Simulation(seed, program, **options).lead()


def failures(seeds: Sequence[int] | range, **options: Any) -> list[str]:
    """What went wrong, one line per seed; empty when all is well."""
    return [
        f"seed {story.seed}: {'; '.join(story.faults)}"
        for story in (simulate(seed, **options) for seed in seeds)
        if story.faults
    ]
