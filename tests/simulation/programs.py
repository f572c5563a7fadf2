"""Random concurrent programs: trees of plain values, and the persona that acts them out.

A tree is data, so it is recorded as the run's argument, and a found program can be
kept as text. What its tools are asked depends on the order in which earlier answers
came, so a replay that hands them over in another order asks other questions and is
found out. Every answer follows from its question, so one that was swapped is found
out as well.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from random import Random
from typing import Any

import anyio

from playhead import (
    map_bounded,
    now,
    persona,
    race,
    random,
    side_value,
    signal,
    sleep,
    step,
    task_group,
    timeout,
    tool,
    uuid,
)
from playhead.policy.retry import Retry
from tests.simulation.world import World

Node = list[Any]

TRIES = Retry(max_attempts=3, first_wait_s=0.05)
EFFECTS = ("pure", "read_only", "idempotent", "effect")


class Stage:
    """Where the tools find the world. One per process is enough: simulations run one after the other."""

    world: World
    wrong: list[str] = []  # noqa: RUF012  one list for all, emptied by whoever starts a simulation


class Known(Exception):
    """An error that a replay raises again as itself."""


class Strange(Exception):
    """An error whose type no engine knows."""


def answer_to(question: str) -> str:
    """What every tool answers to `question`."""
    return f"a{zlib.crc32(question.encode()):08x}"


async def _act(effect: str, question: str, temper: str) -> str:
    times = await Stage.world.answer(effect, question)
    if temper == "flaky" and times == 1:
        raise ConnectionError(question)
    if temper == "known":
        raise Known(question)
    if temper == "strange":
        raise Strange(question)
    return answer_to(question)


@tool(effect="pure", raises=[Known])
async def pure(question: str, temper: str) -> str:
    return await _act("pure", question, temper)


@tool(effect="read_only", retry=TRIES, timeout_s=2.0, raises=[Known])
async def read_only(question: str, temper: str) -> str:
    return await _act("read_only", question, temper)


@tool(effect="idempotent", retry=TRIES, raises=[Known])
async def idempotent(question: str, temper: str) -> str:
    return await _act("idempotent", question, temper)


@tool(effect="effect", retry=Retry(max_attempts=2, first_wait_s=0.05, on=(ConnectionError,)), raises=[Known])
async def effect(question: str, temper: str) -> str:
    return await _act("effect", question, temper)


TOOLS: dict[str, Callable[[str, str], Awaitable[str]]] = {
    "pure": pure,
    "read_only": read_only,
    "idempotent": idempotent,
    "effect": effect,
}


class Play:
    """One run of a program: what its tasks share."""

    def __init__(self, *, relaxed: bool = False) -> None:
        self.relaxed = relaxed
        self.trace: list[str] = []
        self.lock = asyncio.Lock()
        self.gate = asyncio.Semaphore(2)
        self.queue: asyncio.Queue[str] = asyncio.Queue()
        self.events: dict[str, asyncio.Event] = {}

    def note(self, what: str) -> str:
        self.trace.append(what)
        return what

    def digest(self) -> str:
        return f"{zlib.crc32(' '.join(self.trace).encode()):08x}"

    def event(self, name: str) -> asyncio.Event:
        return self.events.setdefault(name, asyncio.Event())


@persona
async def simulated(tree: list[Any]) -> list[str]:
    play = Play()
    await act(play, tree)
    return play.trace


@persona(mode="relaxed")
async def at_ease(tree: list[Any]) -> list[str]:
    """The same in a relaxed run, which may await what no tape knows, so that its order is not promised."""
    play = Play(relaxed=True)
    await act(play, tree)
    return sorted(play.trace)


async def act(play: Play, node: Node) -> str:
    """Act out one node and say something that depends on how it went."""
    return await ACTS[node[0]](play, *node[1:])


async def _tool(play: Play, label: str, which: str, temper: str, follows: bool) -> str:
    question = f"{label}:{play.digest()}" if follows else label
    answer = await TOOLS[which](question, temper)
    if answer != answer_to(question):
        Stage.wrong.append(f"{question} was answered {answer}")
    return play.note(f"{label}={answer}")


async def _seq(play: Play, *nodes: Node) -> str:
    return "".join([await act(play, node) for node in nodes])


@step
async def part(tree: list[Any], depth: int) -> str:
    play = PLAYING.get()
    assert play is not None
    return await act(play, tree)


PLAYING: ContextVar[Play | None] = ContextVar("playing", default=None)


async def _step(play: Play, node: Node) -> str:
    PLAYING.set(play)
    return await part(node, 0 if play.relaxed else len(play.trace))


async def _pause(play: Play, node: Node) -> str:
    """Wait for something that is no operation, as only relaxed runs may."""
    await Stage.world.pause()
    return await act(play, node)


async def _try(play: Play, node: Node, tidy: Node) -> str:
    try:
        return await act(play, node)
    except Exception as error:  # noqa: BLE001
        return play.note(type(error).__name__)
    finally:
        # An operation while the task is being cancelled, perhaps.
        await act(play, tidy)


async def _calm(play: Play, node: Node) -> str:
    try:
        return await act(play, node)
    except Exception as error:  # noqa: BLE001
        return play.note(type(error).__name__)


async def _gather(play: Play, keep: bool, *nodes: Node) -> str:
    found = await asyncio.gather(*(act(play, node) for node in nodes), return_exceptions=keep)
    return play.note("+".join(type(x).__name__ if isinstance(x, BaseException) else "v" for x in found))


async def _taskgroup(play: Play, *nodes: Node) -> str:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(act(play, node)) for node in nodes]
    return "".join(task.result()[:1] for task in tasks)


async def _first(play: Play, cancel: bool, *nodes: Node) -> str:
    tasks = [asyncio.create_task(act(play, node)) for node in nodes]
    try:
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise
    play.note("first:" + ",".join(str(tasks.index(task)) for task in done))
    if cancel:
        for task in pending:
            task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return play.note("/".join(type(x).__name__ for x in found))


async def _anyio(play: Play, after: float | None, shield: bool, *nodes: Node) -> str:
    with anyio.move_on_after(after, shield=shield) as scope:
        async with anyio.create_task_group() as group:
            for node in nodes:
                group.start_soon(act, play, node)
    return play.note(f"moved on {scope.cancelled_caught}")


async def _anyio_stop(play: Play, first: Node, *nodes: Node) -> str:
    async with anyio.create_task_group() as group:
        for node in nodes:
            group.start_soon(act, play, node)
        await act(play, first)
        group.cancel_scope.cancel()
    return play.note("stopped")


async def _anyio_stream(play: Play, *nodes: Node) -> str:
    send, receive = anyio.create_memory_object_stream[str](1)
    got: list[str] = []

    async def feed(node: Node) -> None:
        async with send.clone() as mine:
            await mine.send(await act(play, node))

    async with anyio.create_task_group() as group:
        for node in nodes:
            group.start_soon(feed, node)
        send.close()
        async with receive:
            got.extend([item async for item in receive])
    return play.note(f"stream {len(got)}")


async def _timeout(play: Play, seconds: float, node: Node) -> str:
    async with asyncio.timeout(seconds):
        return await act(play, node)


async def _wait_for(play: Play, seconds: float, node: Node) -> str:
    return await asyncio.wait_for(act(play, node), seconds)


async def _own_timeout(play: Play, seconds: float, node: Node) -> str:
    async with timeout(seconds):
        return await act(play, node)


async def _race(play: Play, *nodes: Node) -> str:
    index, value = await race(*(act(play, node) for node in nodes))
    return play.note(f"won {index} {value[:4]}")


async def _own_group(play: Play, *nodes: Node) -> str:
    async with task_group() as group:
        tasks = [group.start(act(play, node)) for node in nodes]
    return "".join(task.result()[:1] for task in tasks)


async def _map(play: Play, concurrency: int, keyed: bool, *nodes: Node) -> str:
    async def one(item: tuple[int, Node]) -> str:
        return await act(play, item[1])

    key = (lambda item: f"k{item[0]}") if keyed else None
    mapped = await map_bounded(list(enumerate(nodes)), one, concurrency=concurrency, key=key)
    return play.note(f"mapped {len(mapped.errors)} wrong")


async def _cancel(play: Play, victim: Node, meanwhile: Node) -> str:
    task = asyncio.create_task(act(play, victim))
    try:
        await act(play, meanwhile)
    finally:
        task.cancel()
        found = (await asyncio.gather(task, return_exceptions=True))[0]
    return play.note(f"cancelled {type(found).__name__}")


async def _locked(play: Play, node: Node) -> str:
    async with play.lock:
        return await act(play, node)


async def _gated(play: Play, node: Node) -> str:
    async with play.gate:
        return await act(play, node)


async def _meet(play: Play, name: str, node: Node, other: Node) -> str:
    event = play.event(name)

    async def waits() -> str:
        await event.wait()
        return await act(play, other)

    task = asyncio.create_task(waits())
    try:
        await act(play, node)
    finally:
        event.set()
    return await task


async def _through_queue(play: Play, *nodes: Node) -> str:
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def produce(node: Node) -> None:
        await queue.put(await _calm(play, node))

    tasks = [asyncio.create_task(produce(node)) for node in nodes]
    try:
        got = [await queue.get() for _ in nodes]
    finally:
        for task in tasks:
            task.cancel()
    return play.note(f"queue {got[0][:6]}")


async def _shielded(play: Play, node: Node) -> str:
    return await asyncio.shield(act(play, node))


async def _chance(play: Play) -> str:
    return play.note(f"{random().random():.6f} {uuid()} {now().timestamp():.6f}")


async def _asyncio_sleep(play: Play, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return play.note("slept")


async def _own_sleep(play: Play, seconds: float) -> str:
    await sleep(seconds)
    return play.note("slept well")


async def _value(play: Play, label: str) -> str:
    async def look() -> str:
        await Stage.world.answer("read_only", f"value {label}")
        return answer_to(f"value {label}")

    value = await side_value("look", look)
    if value != answer_to(f"value {label}"):
        Stage.wrong.append(f"value {label} was {value}")
    return play.note(f"value {value}")


async def _signal(play: Play, name: str) -> str:
    return play.note(f"told {await signal(name, str)}")


async def _branch(play: Play, one: Node, other: Node) -> str:
    return await act(play, one if int(play.digest(), 16) % 2 else other)


ACTS: dict[str, Callable[..., Awaitable[str]]] = {
    "tool": _tool,
    "seq": _seq,
    "step": _step,
    "try": _try,
    "calm": _calm,
    "gather": _gather,
    "taskgroup": _taskgroup,
    "first": _first,
    "anyio": _anyio,
    "anyio_stop": _anyio_stop,
    "anyio_stream": _anyio_stream,
    "timeout": _timeout,
    "wait_for": _wait_for,
    "own_timeout": _own_timeout,
    "race": _race,
    "own_group": _own_group,
    "map": _map,
    "cancel": _cancel,
    "locked": _locked,
    "gated": _gated,
    "meet": _meet,
    "queue": _through_queue,
    "shielded": _shielded,
    "chance": _chance,
    "sleep": _asyncio_sleep,
    "own_sleep": _own_sleep,
    "value": _value,
    "signal": _signal,
    "branch": _branch,
    "pause": _pause,
}

OWN = ("seq", "step", "try", "calm", "race", "own_group", "map", "own_timeout", "branch", "gather_plain")
"""Combinators that never let the standard library cancel anything."""


EASY = ("seq", "step", "try", "calm", "own_group", "map")
"""What a relaxed run can do and still end the same, whatever else it awaits."""


class Author:
    """Writes a program, drawing from a seed."""

    def __init__(self, seed: int, *, size: int = 24, own_only: bool = False, relaxed: bool = False) -> None:
        self.random = Random(f"program {seed}")
        self.left = size
        self.count = 0
        self.own_only = own_only or relaxed
        self.relaxed = relaxed

    def program(self) -> Node:
        if self.relaxed:
            return ["calm", ["own_group", *self.nodes(0)]]
        return ["seq", *[["calm", self.node(0)] for _ in range(self.random.randint(1, 3))], ["chance"]]

    def node(self, depth: int) -> Node:
        self.left -= 1
        if self.left <= 0 or depth >= 5 or self.random.random() < 0.12 * depth:
            return self.leaf()
        kind = self.random.choice(EASY if self.relaxed else OWN if self.own_only else BRANCHES)
        return getattr(self, f"_{kind}")(depth + 1)  # type: ignore[no-any-return]

    def leaf(self) -> Node:
        chance = self.random
        if self.relaxed:
            self.count += 1
            return ["pause", ["tool", f"q{self.count}", chance.choice(EFFECTS), "ok", False]]
        self.count += 1
        label = f"q{self.count}"
        drawn = chance.random()
        if drawn < 0.66:
            temper = chance.choices(["ok", "flaky", "known", "strange"], [12, 2, 1, 1])[0]
            return ["tool", label, chance.choice(EFFECTS), temper, chance.random() < 0.6]
        if drawn < 0.74:
            return ["own_sleep", round(chance.uniform(0, 3), 3)]
        if drawn < 0.82 and not self.own_only:
            return ["sleep", round(chance.uniform(0, 3), 3)]
        if drawn < 0.88:
            return ["chance"]
        if drawn < 0.95:
            return ["value", label]
        return ["signal", chance.choice(["red", "blue"])]

    def nodes(self, depth: int, low: int = 2, high: int = 4) -> list[Node]:
        return [self.node(depth) for _ in range(self.random.randint(low, high))]

    def seconds(self) -> float:
        return round(self.random.choice([0, 0.001, 0.5, 1, 2, 5]), 3)

    def _seq(self, depth: int) -> Node:
        return ["seq", *self.nodes(depth, 1, 3)]

    def _step(self, depth: int) -> Node:
        return ["step", self.node(depth)]

    def _try(self, depth: int) -> Node:
        return ["try", self.node(depth), self.leaf()]

    def _calm(self, depth: int) -> Node:
        return ["calm", self.node(depth)]

    def _gather(self, depth: int) -> Node:
        return ["gather", self.random.random() < 0.5, *self.nodes(depth)]

    def _gather_plain(self, depth: int) -> Node:
        return ["gather", True, *self.nodes(depth)]

    def _taskgroup(self, depth: int) -> Node:
        return ["taskgroup", *self.nodes(depth)]

    def _first(self, depth: int) -> Node:
        return ["first", self.random.random() < 0.6, *self.nodes(depth)]

    def _anyio(self, depth: int) -> Node:
        after = None if self.random.random() < 0.3 else self.seconds()
        return ["anyio", after, self.random.random() < 0.3, *self.nodes(depth)]

    def _anyio_stop(self, depth: int) -> Node:
        return ["anyio_stop", self.node(depth), *self.nodes(depth)]

    def _anyio_stream(self, depth: int) -> Node:
        return ["anyio_stream", *self.nodes(depth)]

    def _timeout(self, depth: int) -> Node:
        return ["timeout", self.seconds(), self.node(depth)]

    def _wait_for(self, depth: int) -> Node:
        return ["wait_for", self.seconds(), self.node(depth)]

    def _own_timeout(self, depth: int) -> Node:
        return ["own_timeout", self.seconds(), self.node(depth)]

    def _race(self, depth: int) -> Node:
        return ["race", *self.nodes(depth)]

    def _own_group(self, depth: int) -> Node:
        return ["own_group", *self.nodes(depth)]

    def _map(self, depth: int) -> Node:
        return ["map", self.random.randint(1, 3), self.random.random() < 0.5, *self.nodes(depth, 1, 4)]

    def _cancel(self, depth: int) -> Node:
        return ["cancel", self.node(depth), self.leaf()]

    def _locked(self, depth: int) -> Node:
        return ["locked", self.leaf()]

    def _gated(self, depth: int) -> Node:
        return ["gated", self.leaf()]

    def _meet(self, depth: int) -> Node:
        self.count += 1
        return ["meet", f"e{self.count}", self.node(depth), self.node(depth)]

    def _queue(self, depth: int) -> Node:
        return ["queue", *self.nodes(depth)]

    def _shielded(self, depth: int) -> Node:
        return ["shielded", self.node(depth)]

    def _branch(self, depth: int) -> Node:
        return ["branch", self.node(depth), self.node(depth)]


BRANCHES = tuple(name[1:] for name in vars(Author) if name.startswith("_") and not name.startswith("__"))
