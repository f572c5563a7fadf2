"""Carrying out what a run asks of state, once however often it is tried."""

from __future__ import annotations

from concurrent.futures import Executor as ThreadExecutor
from typing import Any

import msgspec
from msgspec import Raw

from playhead.agent_state.deciding import By, Change
from playhead.agent_state.keeping import Keeper
from playhead.agent_state.keys import Place
from playhead.agent_state.writers import name_of
from playhead.errors import StateConflict
from playhead.events.catalog import EffectWithheld
from playhead.events.fact import Failure, OutcomeFact
from playhead.events.state import StateCompleted, StateFailed, StateRequested
from playhead.events.words import CHANGES, NOTHING, ConflictWords, WriterWords
from playhead.logger import log
from playhead.policy.effect import EffectClass
from playhead.policy.retry import ONCE
from playhead.runtime.attempt import attempt
from playhead.runtime.fence import denied


class Answer(msgspec.Struct, frozen=True):
    """What came of an operation on state: its value in msgpack, and the version that stands."""

    value: Raw = Raw(NOTHING)
    version: int = 0
    conflict: bool = False


class StateCall:
    """One operation on state, as a runner carries it out.

    A change is looked for before it is made again, so its intent is durable first: a crash in between
    leaves it made once, or not at all.

    With `opens` it may find a session and not make one: where there is none, that is what is `withheld`.
    """

    effect = EffectClass.IDEMPOTENT
    retry = ONCE
    timeout_s: float | None = None

    def __init__(
        self,
        keeper: Keeper,
        process: str,
        request: StateRequested,
        handoff: Raw | None,
        opens: EffectWithheld | None = None,
    ) -> None:
        self.name = f"state.{request.action}"
        self.intent_first = request.action in CHANGES
        self._keeper = keeper
        self._process = process
        self._request = request
        self._opens = opens
        self.withheld: EffectWithheld | None = None
        self._handoff = handoff
        self._conflict: ConflictWords | None = None

    async def act(self, threads: ThreadExecutor) -> Answer:
        now = attempt()
        by = By(self._process, now.run, now.op)
        place = Place(self._request.root, self._request.session)
        if self._opens is not None:
            if not await self._keeper.exists(place):
                self.withheld = self._opens
                raise denied(self._opens)
            return Answer()
        try:
            return await carried_out(self._keeper, self._request, by, self._handoff, again=now.number > 1)
        except StateConflict as error:
            self._conflict = error.conflict
            raise

    def completed(self, value: Answer, number: int) -> OutcomeFact:
        return StateCompleted(
            answer=value.value, version=value.version, conflict=value.conflict, attempt=number
        )

    def failed(self, failure: Failure, number: int) -> OutcomeFact:
        return StateFailed(failure=failure, conflict=self._conflict, attempt=number)


async def carried_out(
    keeper: Keeper, request: StateRequested, by: By, handoff: Raw | None, *, again: bool = False
) -> Answer:
    """Do what `request` asks. Raises `StateConflict`, `BadValue`, `NotFound` and what the store raises."""
    place = Place(request.root, request.session)
    if request.action in ("resume", "write", "handoff"):
        await keeper.check_open(place)  # also that it is not spelt in another way
    elif request.action != "init" and not await keeper.exists(place):
        return Answer(_packed([]) if request.action == "list" else Raw(NOTHING))  # nothing is in no session
    match request.action:
        case "init":
            await keeper.open(place, request.writer, by)
            return Answer()
        case "resume":
            return Answer()
        case "list":
            return Answer(_packed(await keeper.keys(place)))
        case "read":
            standing = await keeper.read(place, request.key)
            if standing.content is None:
                return Answer(version=standing.version)
            words = standing.writer or WriterWords()
            return Answer(_packed({"value": standing.content, "writer": words}), standing.version)
        case "write" | "delete" | "handoff":
            change = Change(
                "delete" if request.action == "delete" else "write",
                request.key,
                request.writer,
                request.policy,
                by,
                None if request.action == "delete" else request.content,
                request.expected_version,
                handoff,
            )
            changed = await keeper.change(place, change, again=again)
            met = changed.conflict
            if met is not None and met.policy == "warn":
                log.warning(
                    "state.conflict",
                    root=met.root,
                    session=met.session,
                    key=met.key,
                    previous_writer=name_of(met.previous),
                    current_writer=name_of(met.writer),
                )
            return Answer(Raw(NOTHING), changed.version, met is not None)


def _packed(value: Any) -> Raw:
    return Raw(msgspec.msgpack.encode(value))
