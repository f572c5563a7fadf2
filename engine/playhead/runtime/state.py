"""State that outlives a run: `state(root, session)`.

    notes = await state("notes", "s1")
    await notes.write("plan.md", "first read, then write")
    await notes.read("plan.md")                      # 'first read, then write'
    await notes.handoff({"task": "...", ...})

In a run each of these is an operation, so a replay reads what the run read then. A
tool keeps state in the log of its own engine, and beside an engine they need to be
told which: `state("notes", "s1", engine=engine)`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self, cast

import msgspec
from msgspec import Raw

from playhead.agent_state import writers
from playhead.agent_state.deciding import By, error_of
from playhead.agent_state.handoff import artifact_of, envelope
from playhead.agent_state.keeping import Keeper
from playhead.agent_state.keys import HANDOFF, Place
from playhead.agent_state.pointer import pointed
from playhead.clock import new_id
from playhead.errors import BadValue, OperationError, OutsideRun
from playhead.events.fact import OutcomeFact
from playhead.events.state import StateCompleted, StateFailed, StateRequested
from playhead.events.values import encode_value
from playhead.events.words import CHANGES, NOTHING, ConflictWord, StateWord, WriterWords
from playhead.policy.action import STATE_CHANGE, Action
from playhead.policy.annotations import Annotations
from playhead.runtime.attempt import ATTEMPT, ENGINE
from playhead.runtime.enforcing import Effect, Wish, permitted
from playhead.runtime.fence import would_open
from playhead.runtime.moments import handed_off
from playhead.runtime.proposed import Proposed
from playhead.runtime.scope import Scope, current
from playhead.runtime.stating import Answer, StateCall, carried_out

if TYPE_CHECKING:
    from playhead.runtime.engine import Engine

HANDLE: Final = "state_handle"
BACKEND: Final = "playhead"

VERSION_MAX: Final = 2**63
# What begins bytes and extensions in msgpack; a text may hold it as well, and is looked at closer.
_MAY_BE_NO_JSON: Final = re.compile(rb"[\xc4-\xc9\xd4-\xd8]")

# Keys are no paths of a workspace.
_READS: Final = Annotations(
    kind="read", side_effect_level="read_only", capabilities={"state": ["read"]}, path_params=[]
)
_WRITES: Final = Annotations(
    kind="edit", side_effect_level="workspace_write", capabilities={"state": ["write"]}, path_params=[]
)
_SAID: Final[Mapping[StateWord, Annotations]] = {
    "init": _WRITES,
    "write": _WRITES,
    "handoff": _WRITES,
    "delete": replace(_WRITES, kind="delete"),
}


class Written(NamedTuple):
    """What a change came to: the version that it made, and whether it met one of another writer."""

    version: int
    conflict: bool


class Handoff(NamedTuple):
    """What was handed on: the version that it is, whether it met another writer's, and all that is kept."""

    version: int
    conflict: bool
    kept: dict[str, Any]


class Entry(NamedTuple):
    """A value with the version that it is and who wrote it."""

    key: str
    value: Any
    version: int
    writer: WriterWords


async def state(
    root: str,
    session: str | None = None,
    *,
    conflict_policy: str | None = None,
    writer_id: str | None = None,
    stage_id: str | None = None,
    worker_id: str | None = None,
    engine: Engine | None = None,
) -> State:
    """The session called `session` under `root`, made where it is not there yet.

    Without a session it is the run's own, and outside of runs a new one. Who writes is the run, in its
    step or by its tool, or the process; `writer_id`, `stage_id` and `worker_id` say otherwise.
    `conflict_policy` is `ignore`, `warn` or `error`: what becomes of a write over what another writer wrote
    last. Raises `BadValue` for names that could be no directory, and for an `engine` in a run, whose state
    is that of its own log; `OutsideRun` without a run or an engine.
    """
    found = _made(root, session, conflict_policy, writer_id, stage_id, worker_id, engine, "state()")
    await found.begin("init")
    return found


async def resume_state(
    root: str,
    session: str,
    *,
    conflict_policy: str | None = None,
    writer_id: str | None = None,
    stage_id: str | None = None,
    worker_id: str | None = None,
    engine: Engine | None = None,
) -> State:
    """Like `state`, for a session that must be there. Raises `NotFound` where it is not."""
    Place.of(root, session)  # which in a run would be its own where none is named
    found = _made(root, session, conflict_policy, writer_id, stage_id, worker_id, engine, "resume_state()")
    await found.begin("resume")
    return found


class State:
    """A session of state, for one writer. Made by `state` and `resume_state`, or from a handle."""

    RECORD_INSTEAD: Final = "its .handle, from which State.of(handle) makes it again,"

    def __init__(
        self, place: Place, writer: WriterWords, policy: ConflictWord, engine: Engine | None
    ) -> None:
        self.place = place
        self.writer = writer
        self.policy: ConflictWord = policy
        self._engine = engine

    @property
    def handle(self) -> dict[str, Any]:
        """This session and writer as a plain dict, to be handed on."""
        return {
            "_type": HANDLE,
            "backend": BACKEND,
            "root": self.place.root,
            "session_id": self.place.session,
            "handoff_key": HANDOFF,
            "conflict_policy": self.policy,
            "writer": writers.document(self.writer),
        }

    @classmethod
    def of(cls, handle: Any, *, engine: Engine | None = None) -> Self:
        """The session that `handle` is of. Raises `BadValue` for what is no handle."""
        if not isinstance(handle, Mapping) or cast("Mapping[str, Any]", handle).get("_type") != HANDLE:
            raise BadValue("`handle` must be a state_handle dict.", expected=HANDLE, found=handle)
        said = cast("Mapping[str, Any]", handle)
        for name in ("root", "session_id"):
            if not said.get(name):
                raise BadValue(f"state_handle is missing `{name}`.", expected=name, found=sorted(said))
        words: Any = said.get("writer") or {}
        if not isinstance(words, Mapping):
            raise BadValue("`writer` of a state_handle is a dict.", found=words)
        who = cast("Mapping[str, Any]", words)
        return cls(
            Place.of(said["root"], said["session_id"]),
            writers.writer(*(who.get(name) for name in WriterWords.__struct_fields__)),
            writers.conflict_policy(said.get("conflict_policy")),
            engine,
        )

    # ------------------------------------------------------------- operations

    async def write(self, key: str, content: Any, *, expected_version: int | None = None) -> Written:
        """Make `content`, a text or plain JSON, the next version of `key`; durable on return.

        With `expected_version` only where that one stands (0: there is no value). Raises `StateConflict`
        where it does not, or where another wrote last and the policy is `error`; `BadValue` for a key
        that could be no file, and for content that holds a secret.
        """
        raw = self._content(content)
        return _written(await self._do("write", Place.key(key), raw, expected=expected_version))

    async def read(self, key: str, pointer: str = "") -> Any:
        """The value of `key`, or what an RFC 6901 `pointer` leads to in it; None where there is none."""
        entry = await self.entry(key)
        return None if entry is None else pointed(entry.value, pointer)

    async def entry(self, key: str) -> Entry | None:
        """The value of `key` with its version and writer; None where there is none."""
        name = Place.key(key)
        answer = _found(await self._do("read", name))
        found = msgspec.msgpack.decode(answer.value)
        if found is None:
            return None
        words = msgspec.convert(found["writer"], WriterWords)
        return Entry(name, found["value"], answer.version, words)

    async def list(self) -> list[str]:
        """All keys that have a value, sorted by their bytes."""
        answer = _found(await self._do("list"))
        return msgspec.msgpack.decode(answer.value, type=list[str])

    async def delete(self, key: str, *, expected_version: int | None = None) -> Written:
        """Take the value of `key` away: a version of its own, after which there is none.

        Where there is none already, nothing happens. Raises as `write` does.
        """
        return _written(await self._do("delete", Place.key(key), expected=expected_version))

    async def handoff(self, summary: Any, *, expected_version: int | None = None) -> Handoff:
        """Pass a task on: keep `summary` as the next version of the handoff, in an envelope.

        Its `handoff` is the typed form, where `summary` is one. In a run, hooks on OnHandoffEmitted are told.
        Raises `BadValue` for what is no JSON object, and for a typed handoff that lacks what it needs, and
        as `write` does.
        """
        if not isinstance(summary, Mapping):
            raise BadValue("`summary` must be a JSON object.", expected="an object", found=summary)
        self._content(dict(cast("Mapping[str, Any]", summary)))  # so that only what can be kept is looked at
        scope = current()
        now_ns = scope.machine.now_ns if scope is not None else self._kept_by().clock.now()
        run = scope.machine.run if scope is not None else _by(self._kept_by()).run
        artifact = artifact_of(summary, run=run)
        kept = envelope(
            root=self.place.root,
            session=self.place.session,
            key=HANDOFF,
            summary=cast("Mapping[str, Any]", summary),
            writer=writers.document(self.writer),
            written_at=now_ns // 1_000_000_000,
            artifact=artifact,
        )
        raw = self._content(kept)
        answer = await self._do("handoff", HANDOFF, raw, expected=expected_version)
        if isinstance(answer, Proposed):
            return cast("Handoff", answer)
        return Handoff(answer.version, answer.conflict, msgspec.msgpack.decode(raw, type=dict[str, Any]))

    async def begin(self, how: Literal["init", "resume"]) -> None:
        """Make the session, or see that it is there. Raises `NotFound`."""
        await self._do(how)

    # ----------------------------------------------------------------- inside

    def _content(self, content: Any) -> Raw:
        """`content` as it is kept. Raises `BadValue`."""
        if content is None:
            raise BadValue("`content` must be a text or plain JSON.", found=None, next_step="Use delete().")
        raw = Raw(encode_value(content, where="content", plain=True))
        if _MAY_BE_NO_JSON.search(raw) is not None and not isinstance(content, str):
            check_json(msgspec.msgpack.decode(raw), "content")
        scope = current()
        cleaned = scope.machine.redacted(raw) if scope is not None else self._kept_by().redacted(raw)
        if cleaned is not raw:
            raise BadValue(
                "content holds what was declared secret, and state keeps no secrets.",
                next_step="Leave it out, or read it inside a @tool where it is needed.",
            )
        return raw

    def _kept_by(self) -> Engine:
        engine: Engine | None = self._engine or ENGINE.get()
        if engine is not None and not engine.is_here:
            raise OutsideRun(
                "state is kept on the loop of its engine, and this is another: keep it from an async tool.",
            )
        if engine is None:
            raise OutsideRun(
                "state outside of a run needs the engine whose log keeps it.",
                next_step="Say state(root, session, engine=engine).",
            )
        return engine

    async def _do(
        self, action: StateWord, key: str = "", content: Raw | None = None, *, expected: int | None = None
    ) -> Answer | Proposed:
        if expected is not None and (type(expected) is not int or not 0 <= expected < VERSION_MAX):
            raise BadValue("expected_version is a whole number from 0 on.", found=expected)
        request = StateRequested(
            action=action,
            root=self.place.root,
            session=self.place.session,
            key=key,
            content=Raw(NOTHING) if content is None else content,
            policy=self.policy,
            writer=self.writer,
            expected_version=expected,
        )
        handoff = _artifact_in(content) if action == "handoff" and content is not None else None
        scope = current()
        if scope is not None:
            if self._engine is not None:
                raise BadValue(
                    "this session was opened beside the runs, and a run would write as somebody else.",
                    next_step="Open it in the run: state(root, session), without engine.",
                )
            return await _perform(scope, request, handoff)
        engine = self._kept_by()
        keeper = Keeper(engine.store, engine.catalog)
        return await carried_out(keeper, request, _by(engine), handoff)


def _written(answer: Answer | Proposed) -> Written:
    """What a change came to. Under a tier that only proposes it is what was proposed, as with tools."""
    return (
        cast("Written", answer) if isinstance(answer, Proposed) else Written(answer.version, answer.conflict)
    )


def _found(answer: Answer | Proposed) -> Answer:
    assert isinstance(answer, Answer), "who only looks changes nothing"
    return answer


def _by(engine: Engine) -> By:
    """Who makes a change outside of program code: a tool of a run of `engine`, or its process."""
    calling = ATTEMPT.get()
    if calling is None or engine is not ENGINE.get():
        return By(engine.store.worker)
    return By(engine.store.worker, calling.run, calling.op, once=False)


def check_json(value: Any, where: str) -> None:
    """Raise `BadValue` where `value` holds what JSON has no form for."""
    if isinstance(value, dict):
        for each in cast("dict[str, Any]", value).values():
            check_json(each, where)
    elif isinstance(value, list):
        for each in cast("list[object]", value):
            check_json(each, where)
    elif value is not None and not isinstance(value, (str, int, float, bool)):
        raise BadValue(f"{where} holds a {type(value).__name__}, which is no plain JSON.", found=value)


async def _perform(scope: Scope, request: StateRequested, handoff: Raw | None) -> Answer | Proposed:
    """The answer of an operation on state, or `Proposed` where it was only proposed."""
    machine = scope.machine
    name = f"state.{request.action}"
    op = scope.op(name)
    effect: Effect | None = None
    if scope.around.policy is not None:
        permit = await permitted(scope, op, _wish(name, request, whole=scope.around.policy.may_ask))
        if permit.proposed is not None:
            return permit.proposed
        effect = permit.effect
    if (site := machine.site()) is not None:
        request = msgspec.structs.replace(request, site=site)
    engine: Any = machine.host
    executor = None
    if hasattr(engine, "store"):
        opens = would_open(machine.fence, machine.run, request)
        keeper = Keeper(engine.store, engine.catalog)
        executor = StateCall(keeper, engine.store.worker, request, handoff, opens)

    def settle(fact: OutcomeFact) -> Answer:
        if isinstance(fact, StateCompleted):
            return Answer(fact.answer, fact.version, fact.conflict)
        assert isinstance(fact, StateFailed)
        if fact.conflict is not None:
            raise error_of(fact.conflict)
        raise machine.errors.revive(fact.failure, otherwise=OperationError)

    if machine.prepared:  # of nobody else it is asked
        machine.grounds[op] = machine.changes.before(request)
    try:
        watched = settle if effect is None else effect.watch(settle, request)
        answer: Answer = await machine.perform(op, request, watched, executor=executor)
    finally:
        if effect is not None:
            effect.over()
    if request.action == "handoff":
        await handed_off(scope, op, request, answer.version, conflict=answer.conflict)
    return answer


def _wish(name: str, request: StateRequested, *, whole: bool) -> Wish:
    """An operation on state as policies know it. People see the `whole` of a change, and cannot edit it."""
    named: dict[str, Any] = {"root": request.root, "session": request.session}
    named |= {"key": request.key} if request.key else {}
    changes = request.action in CHANGES
    shown = dict(named)
    if changes and whole:
        shown |= {"content": msgspec.msgpack.decode(request.content)}
        shown |= {} if request.expected_version is None else {"expected_version": request.expected_version}
    recorded = Raw(encode_value(shown, where=name, plain=False, ordered=True))  # each is plain already
    action = Action(name, STATE_CHANGE) if changes else None
    return Wish(name, _SAID.get(request.action, _READS), action, named, recorded)


def _made(
    root: str,
    session: str | None,
    policy: str | None,
    writer_id: str | None,
    stage_id: str | None,
    worker_id: str | None,
    engine: Engine | None,
    what: str,
) -> State:
    worker_id, stage_id = writers.told(worker_id, "worker_id"), writers.told(stage_id, "stage_id")
    scope = current()
    if scope is not None and engine is not None:
        raise BadValue(
            f"{what} in a run keeps state in the log of the run, and in no other.",
            next_step="Leave out engine.",
        )
    known: Engine | None = engine or ENGINE.get()
    if scope is not None:
        around = scope.around
        run: str | None = scope.machine.run
        worker_id = worker_id or run
        stage_id = stage_id or around.step or around.persona or None
    elif known is not None:
        run = _by(known).run
        worker_id = worker_id or run or known.store.worker
        session = new_id(known.clock) if session is None and run is None else session
    else:
        raise OutsideRun(
            f"{what} outside of a run needs the engine whose log keeps the state.",
            next_step=f"Say {what[:-1]}root, session, engine=engine).",
        )
    session = run or "" if session is None else session
    place = Place.of(root, session)
    writer = writers.writer(writer_id, stage_id, place.session, worker_id)
    return State(place, writer, writers.conflict_policy(policy), engine)


def _artifact_in(content: Raw) -> Raw:
    return Raw(msgspec.msgpack.encode(msgspec.msgpack.decode(content)["handoff"]))


__all__ = ["Entry", "Handoff", "State", "Written", "resume_state", "state"]
