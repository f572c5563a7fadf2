"""One life of a process that owns runs: recovers, starts what is missing, and answers for effects in doubt.

Whatever the store acknowledged is written into a file outside it at once, so that a checker knows what must
be there after the kill.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from playhead import Engine
from playhead.errors import StoreError
from playhead.events.catalog import OperationOutcomeUnknown, OperationResolved, ToolRequested
from playhead.events.codec import CATALOG
from playhead.events.fact import OutcomeFact
from playhead.log.admission import Group
from playhead.log.envelope import Append, Appended
from playhead.log.sqlite_store import SqliteStore
from tests.crashes.workload import RUNS, Model, Witness, answer_to, audit, testify

STORE = "runs.db"
LOOK_S = 0.01
LATE_S = 0.03


class Acknowledging(SqliteStore):
    """A store that testifies what it acknowledged."""

    descriptor = -1

    def submit(self, append: Append) -> None:
        told = append.done

        def done(append: Append) -> None:
            if isinstance(append.outcome, Appended):
                self.testify(append, append.outcome.digest.hex())
            if told is not None:
                told(append)

        append.done = done
        super().submit(append)

    def testify(self, append: Append, digest: str) -> None:
        assert isinstance(append.outcome, Appended)
        testify(self.descriptor, (append.stream, append.outcome.next_seq, digest))


class Hasty(Acknowledging):
    """The control: acknowledges first and commits a little later."""

    def submit(self, append: Append) -> None:
        if append.claim is not None or not append.stream.startswith("run/"):
            super().submit(append)
            return
        told, append.done = append.done, None
        end = append.expected + len(append.events)
        promised = Appended(append.stream, append.expected, end, 0, append.epoch, b"")
        loop = asyncio.get_running_loop()

        def tell() -> None:
            mine = Append(append.stream, append.expected, append.events, append_id=append.append_id)
            mine.outcome = promised
            self.testify(mine, "?")
            if told is not None:
                told(mine)

        loop.call_soon(tell)
        loop.call_later(LATE_S, self.commit, append)

    def commit(self, append: Append) -> None:
        with contextlib.suppress(StoreError):
            SqliteStore.submit(self, append)


def without_fencing() -> None:
    """The control: every lease can be taken, and every append lands wherever its stream ends."""
    admit = Group.admit

    def anywhere(group: Group, append: Append) -> None:
        head = group.ledger.load(append.stream)
        if head is not None:
            group.ledger.state.heads.setdefault(append.stream, head)
            head = group.ledger.state.heads[append.stream]
            if append.stream.startswith("run/") and append.expected > 0:
                append.expected, append.epoch = head.seq, head.epoch
        admit(group, append)

    Group.admit = anywhere  # type: ignore[method-assign,assignment]
    Group._check_lease = lambda *_: None  # type: ignore[method-assign]


class Life:
    """What one process does until it is done or killed."""

    def __init__(self, place: Path, engine: Engine) -> None:
        self.place = place
        self.engine = engine
        self.results = os.open(place / "results", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.answered: set[tuple[str, int]] = set()

    async def lead(self) -> None:
        await self.engine.recover()
        watch = asyncio.create_task(self.answer_doubts())
        await asyncio.gather(*(self.see_through(number) for number in range(RUNS)))
        watch.cancel()

    async def see_through(self, number: int) -> None:
        run = await self.engine.start(audit, number, key=f"audit {number}")
        mark = self.place / f"signalled-{number}"
        if not mark.exists():
            await run.signal("go", f"go {number}")
            mark.touch()
        result = await run.result()
        testify(self.results, (number, " | ".join(result)))

    async def answer_doubts(self) -> None:
        """Be the person who is asked: take the value, or order a retry."""
        while True:
            for head in await self.engine.store.heads("run", status=("running", "suspended")):
                run = head.stream.partition("/")[2]
                for op, (doubt, question) in (await self.doubts(run)).items():
                    if (run, doubt) in self.answered:
                        continue
                    self.answered.add((run, doubt))
                    if Witness.random.random() < 0.5:
                        await self.engine.resolve(run, op, "retry", sender="a person")
                    else:
                        await self.engine.resolve(run, op, "value", answer_to(question), sender="a person")
            await asyncio.sleep(LOOK_S)

    async def doubts(self, run: str) -> dict[str, tuple[int, str]]:
        """Operations in doubt: the event that says so, and what was asked."""
        asked: dict[str, str] = {}
        open_: dict[str, tuple[int, str]] = {}
        for event in await self.engine.store.read(f"run/{run}", 0, 5000):
            fact = CATALOG.decode(event)
            if isinstance(fact, ToolRequested):
                asked[event.op] = msgspec.msgpack.decode(fact.args)["question"]
            elif isinstance(fact, OperationOutcomeUnknown):
                open_[event.op] = event.seq, asked[event.op]
            elif isinstance(fact, (OperationResolved, OutcomeFact)):
                open_.pop(event.op, None)
        return open_


async def live(place: Path, *, control: str = "", suspend_after_s: float = 5.0) -> None:
    """Own the store at `place` until all its runs have ended."""
    Witness.open(place)
    Acknowledging.descriptor = os.open(place / "acks", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    if control == "unfenced":
        without_fencing()
    kind: Callable[..., Any] = Hasty.opened if control == "hasty" else Acknowledging.opened
    store = await kind(place / STORE)
    try:
        async with Engine.open(
            store, personas=[audit], model=Model(), deaths_max=100_000, suspend_after_s=suspend_after_s
        ) as engine:
            await Life(place, engine).lead()
    finally:
        await store.close()
