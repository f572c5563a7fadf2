"""Edits of what was recorded: arguments, outcomes, state that was read, model, policy.

    edits = Edits(args={"urls.0": "b"}, outcomes={"fetch#0": "EDITED"}, failures={"@12": "no network"})
    edited = apply(edits, script, persona, redaction)

An operation is named by its id, by the end of it where that is one operation's
alone, or by @ and the number of an event that asks for it or answers it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import Raw

from playhead.errors import BadValue, NotFound
from playhead.events.approval import ApprovalAnswered, ApprovalRequested
from playhead.events.catalog import (
    ChildCompleted,
    ChildFailed,
    ChildRequested,
    ModelAnswered,
    ModelCalled,
    ModelFailed,
    RunStarted,
    SignalReceived,
    TimerFired,
    TimerSet,
    ToolCompleted,
    ToolFailed,
    ToolRequested,
    ValueFailed,
    ValueRecorded,
    ValueRequested,
    WaitStarted,
)
from playhead.events.fact import Failure, OutcomeFact, ProgramFact, type_of
from playhead.events.redaction import Redaction
from playhead.events.state import StateCompleted, StateFailed, StateRequested
from playhead.events.values import encode_value
from playhead.events.words import EditWords, WriterWords
from playhead.policy.capability import Policy, policy_of
from playhead.replay.script import ASKING, Answer, Script
from playhead.runtime.model import Reply, reply_codec
from playhead.runtime.persona import Persona

BY: Final = "fork"
"""Who supplied the value of an edited outcome, as the log says it."""
DIGEST_HEX: Final = 32
_CHANGES: Final = ("write", "delete", "handoff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """What is other in a fork than in its source.

    `args` by path (`urls.0`), `outcomes` and `failures` by operation, `state` by key: what reading it gives
    until the run writes it. `model` is what requests name after the cut, `policy` encloses all of the run.
    `overrides` are edits by key: `llm:<call>`, `mcp:<server>:<call>`, `secret:<name>`, `time:<label>`,
    `host:<capability>:<call>`. The values of `failures` are `message` or `Type: message`.
    """

    args: Mapping[str, Any] = field(default_factory=dict[str, Any])
    outcomes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    failures: Mapping[str, str] = field(default_factory=dict[str, str])
    state: Mapping[str, Any] = field(default_factory=dict[str, Any])
    model: str | None = None
    policy: Policy | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __bool__(self) -> bool:
        return self != Edits()


class Edited(NamedTuple):
    """Edits, as they apply to one tape: its first fact, answers in place of recorded ones, and the record."""

    started: RunStarted
    answers: tuple[Answer, ...]
    words: tuple[EditWords, ...]


class _Target(NamedTuple):
    op: str
    asked: ProgramFact | None
    answer: Answer | None


def apply(edits: Edits, script: Script, persona: Persona[..., Any], redaction: Redaction | None) -> Edited:
    """What `edits` come to on the whole of `script`.

    Raises `NotFound` for an operation that is not there, and `BadValue` for a value that does not fit.
    """
    work = _Work(edits, script, redaction)
    for key, value in edits.overrides.items():
        work.override(key, value)
    for name, value in edits.args.items():
        work.argument(name, value)
    for name, value in edits.outcomes.items():
        work.outcome(name, value)
    for name, text in edits.failures.items():
        work.failure(name, text)
    for name, value in edits.state.items():
        work.state(name, value)
    return work.done(persona)


class _Work:
    def __init__(self, edits: Edits, script: Script, redaction: Redaction | None) -> None:
        self.edits = edits
        self.script = script
        self.redaction = redaction
        self.started = script.tape.started
        self.args: Any = msgspec.msgpack.decode(self.started.args)
        self.secret: list[str] = []
        self.answers: dict[tuple[str, int], Answer] = {}
        self.words: list[EditWords] = []
        self._asked = {told.event.op: told for told in script.program if isinstance(told.fact, ASKING)}

    # -------------------------------------------------------------- one by one

    def argument(self, path: str, value: Any, key: str = "") -> None:
        before = _put(self, path, value)
        if key.startswith("secret:"):
            self.secret.append(path.rsplit(".", maxsplit=1)[-1])
        raw, was = self._clean(_raw(value, f"argument {path}"), path), self._clean(_raw(before, path), path)
        self._note("args", path, 0, digest(was), digest(raw), key)

    def outcome(self, name: str, value: Any, key: str = "") -> None:
        target = self._target(name)
        fact = self._outcome(target, value, name)
        self._replace("time" if isinstance(fact, TimerFired) else "outcome", target, fact, key)

    def failure(self, name: str, text: str) -> None:
        target = self._target(name)
        kind, separator, message = text.partition(": ")
        if not separator or not kind.isidentifier():
            kind, message = "RuntimeError", text
        failure = Failure(type=kind, message=message, arguments=[message])
        self._replace("failure", target, _failed(target, failure, name), "")

    def state(self, key: str, value: Any) -> None:
        """Every read of `key` that the tape answers, until the run changes it itself."""
        raw = self._clean(_raw(value, f"state {key}"), key)
        found = False
        for told in self._asked.values():
            fact = told.fact
            if not isinstance(fact, StateRequested) or fact.key != key:
                continue
            if fact.action in _CHANGES:
                break
            answer = self._answer_of(told.event.op)
            if fact.action == "read":
                found = True
                target = _Target(told.event.op, fact, answer)
                self._replace("state", target, _read(raw, answer), "", of=key)
        if not found:
            raise NotFound(f"the run does not read {key!r} from state before it writes it.", found=key)

    def override(self, key: str, value: Any) -> None:
        kind, _, rest = key.partition(":")
        server, _, call = rest.partition(":")
        match kind:
            case "llm" if rest:
                self._checked(key, rest, ModelCalled)
                self.outcome(rest, value, key)
            case "mcp" if call:
                asked = self._checked(key, call, ToolRequested)
                composed = asked.composed if isinstance(asked, ToolRequested) else None
                if composed is None or composed.server != server:
                    raise NotFound(f"no call of the MCP server {server!r} is {call!r}.", found=key)
                self.outcome(call, value, key)
            case "secret" if rest:
                self.argument(rest, value, key)
            case "time" if rest:
                self._checked(key, rest, TimerSet, ApprovalRequested, type(None))
                self.outcome(rest, value, key)
            case "host" if call:
                if server not in _capabilities(self._target(call).asked):
                    raise NotFound(f"{call!r} is no call of {server!r}.", found=key)
                self.outcome(call, value, key)
            case _:
                raise BadValue(
                    f"{key!r} is no override key.",
                    expected="llm:<call>, mcp:<server>:<call>, secret:<name>, time:<label> or "
                    "host:<capability>:<call>",
                    found=key,
                )

    def done(self, persona: Persona[..., Any]) -> Edited:
        started = self.started
        if self.edits.args or self.secret:
            raw = Raw(encode_value(self.args, where="arguments", plain=False, ordered=True))
            raw = self._clean(raw, *self.secret)
            persona.signature.decode(raw)
            told = hashlib.sha256(raw).hexdigest()[:DIGEST_HEX]
            started = msgspec.structs.replace(started, args=raw, args_digest=told)
        if self.edits.policy is not None:
            policy = self.edits.policy
            if started.policy is not None:
                policy = policy_of(started.policy).narrowed(policy)
            before, after = _said(started.policy), _said(policy.document())
            started = msgspec.structs.replace(started, policy=policy.document())
            self._note("policy", "run", 0, digest(before), digest(after), "")
        if self.edits.model is not None:
            if not self.edits.model:
                raise BadValue("a model has a name.", found=self.edits.model)
            self._note("model", "requests", None, "", digest(self.edits.model.encode()), "")
        return Edited(started, tuple(self.answers.values()), tuple(self.words))

    # ------------------------------------------------------------------ finding

    def _target(self, name: str) -> _Target:
        """The operation that `name` names. Raises `NotFound`, and `BadValue` where it fits several."""
        if name.startswith("@"):
            return self._at(name)
        plain = [*self._asked, *(op for op in self.script.answers if op not in self._asked)]
        found = [op for op in plain if op in (name, f"0/{name}")] or [
            op for op in plain if op.endswith(f"/{name}")
        ]
        if len(found) != 1:
            known = ", ".join((found or plain)[:8])
            error = BadValue if found else NotFound
            raise error(
                f"{name!r} {'fits several operations' if found else 'is no operation of the run'}.",
                expected=known or "no operation at all",
                found=name,
            )
        told = self._asked.get(found[0])
        return _Target(found[0], told.fact if told else None, self._answer_of(found[0]))

    def _at(self, name: str) -> _Target:
        seq = int(name[1:]) if name[1:].isdecimal() else -1
        for answer in self.script.all():
            if answer.seq == seq:
                return _Target(answer.op, answer.asked, answer)
        for told in self._asked.values():
            if told.event.seq == seq:
                return _Target(told.event.op, told.fact, self._answer_of(told.event.op))
        raise NotFound(
            f"event {name} asks for nothing and answers nothing.",
            expected="@ and the number of an event of an operation",
            found=name,
        )

    def _answer_of(self, op: str) -> Answer | None:
        asked = self._asked.get(op)
        if asked is not None and isinstance(asked.fact, WaitStarted):
            return self._signal_for(op, asked.fact.signal)
        several = self.script.answers.get(op)
        return several[-1] if several else None

    def _signal_for(self, op: str, name: str) -> Answer | None:
        """The signal that the wait `op` was answered with: waits and signals of a name meet in order."""
        waits = [
            told.event.op
            for told in self._asked.values()
            if isinstance(told.fact, WaitStarted) and told.fact.signal == name
        ]
        came = [
            news
            for news in self.script.news
            if isinstance(news.fact, SignalReceived) and news.fact.signal == name
        ]
        place = waits.index(op)
        return came[place] if place < len(came) else None

    def _checked(self, key: str, call: str, *kinds: type[Any]) -> ProgramFact | None:
        asked = self._target(call).asked
        if type(asked) not in kinds:
            raise NotFound(
                f"{call!r} is {'a timer' if asked is None else type_of(asked)}, which {key!r} does not name.",
                found=key,
            )
        return asked

    # ------------------------------------------------------------------ writing

    def _outcome(self, target: _Target, value: Any, name: str) -> OutcomeFact:
        """The fact that says that `value` came of it."""
        asked, answer = target.asked, target.answer
        if answer is not None and isinstance(answer.fact, (SignalReceived, ApprovalAnswered)):
            return self._said_by_people(answer.fact, value, name)
        match asked:
            case ToolRequested():
                return ToolCompleted(result=self._value(value, name), resolved_by=BY)
            case ModelCalled():
                return self._reply(value, answer, name)
            case ValueRequested():
                return ValueRecorded(value=self._value(value, name))
            case ChildRequested():
                return ChildCompleted(result=self._value(value, name))
            case StateRequested(action="read"):
                return _read(self._value(value, name), answer)
            case StateRequested(action="list"):
                return StateCompleted(answer=self._value(value, name))
            case TimerSet() | ApprovalRequested() | None if answer is None or isinstance(
                answer.fact, TimerFired
            ):
                return TimerFired(due=_time(value, name))
            case _:
                what = "nothing" if asked is None else type_of(asked)
                raise BadValue(f"what came of {name} ({what}) cannot be edited.", found=name)

    def _said_by_people(self, fact: SignalReceived | ApprovalAnswered, value: Any, name: str) -> OutcomeFact:
        if isinstance(fact, SignalReceived):
            return msgspec.structs.replace(fact, value=self._value(value, name), sender=BY)
        if isinstance(value, dict):
            said = cast("dict[str, Any]", value)
            raw = self._value(said["value"], name) if "value" in said else fact.value
            words: Any = {"word": said.get("word", fact.word), "reason": said.get("reason", fact.reason)}
            try:
                edited = msgspec.structs.replace(fact, value=raw, signature="", key="", **words)
                return msgspec.msgpack.decode(msgspec.msgpack.encode(edited), type=ApprovalAnswered)
            except (msgspec.ValidationError, TypeError) as error:
                raise BadValue(f"{name}: {error}.", expected='{"word": "deny"}', found=value) from error
        return msgspec.structs.replace(fact, value=self._value(value, name), signature="", key="")

    def _reply(self, value: Any, answer: Answer | None, name: str) -> ModelAnswered:
        """A text, or a reply as a mapping. What it used stays what was recorded: nothing more was used."""
        try:
            reply = Reply(text=value) if isinstance(value, str) else msgspec.convert(value, Reply)
        except msgspec.ValidationError as error:
            raise BadValue(
                f"{name}: {error}.", expected="a text, or the fields of a Reply", found=value
            ) from error
        raw = self._clean(reply_codec.encode(reply))
        was = answer.fact if answer is not None and isinstance(answer.fact, ModelAnswered) else None
        return ModelAnswered(
            reply=raw,
            model=reply.model or (was.model if was else None),
            usage=was.usage if was else reply.usage,
            cost_micros=was.cost_micros if was else reply.cost_micros,
            cost_source=was.cost_source if was else reply.cost_source,
        )

    def _value(self, value: Any, name: str) -> Raw:
        return self._clean(_raw(value, f"the outcome of {name}"))

    def _clean(self, raw: Raw, *secret: str) -> Raw:
        if self.redaction is None:
            return raw
        return self.redaction.with_names([name for name in secret if name in self.secret]).apply(raw)

    def _replace(self, what: str, target: _Target, fact: OutcomeFact, key: str, of: str = "") -> None:
        answer = target.answer
        at, seq = (answer.at, answer.seq) if answer is not None else (0, -1)
        if isinstance(fact, TimerFired):
            at = fact.due
        rank = answer.rank if answer is not None else self._asked[target.op].event.seq + 0.5
        payload = msgspec.msgpack.encode(fact)
        edited = Answer(seq, target.op, at, fact, payload, target.asked, edited=True, rank=rank)
        if (target.op, seq) in self.answers:
            raise BadValue(f"{target.op or key} is edited twice.", found=target.op)
        self.answers[target.op, seq] = edited
        before = digest(answer.payload) if answer is not None else ""
        self._note(what, of or target.op, seq if seq >= 0 else None, before, digest(payload), key)

    def _note(self, what: str, of: str, event: int | None, before: str, after: str, key: str) -> None:
        self.words.append(EditWords(what=what, of=of, event=event, before=before, after=after, key=key))


def digest(data: bytes) -> str:
    """What stands for a value in the record of an edit."""
    return hashlib.sha256(data).hexdigest()[:DIGEST_HEX]


def _said(policy: Any) -> bytes:
    return b"" if policy is None else encode_value(policy, where="a policy", plain=False, ordered=True)


def _raw(value: Any, where: str) -> Raw:
    return Raw(encode_value(value, where=where, plain=True, ordered=True))


def _put(work: _Work, path: str, value: Any) -> Any:
    """Put `value` at `path` of the arguments and return what stood there. Raises `BadValue`."""
    *way, last = path.split(".")
    place: Any = work.args
    try:
        for part in way:
            place = place[_key(place, part)]
        key = _key(place, last)
        known = isinstance(key, int) or key in place or way
        before: Any = place[key] if isinstance(key, int) else place.get(key)
        if not known:
            raise KeyError(key)
        place[key] = value
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise BadValue(
            f"the arguments hold nothing at {path!r}.",
            expected=", ".join(map(str, cast("dict[str, Any]", work.args))) or "no arguments",
            found=path,
        ) from error
    return before


def _key(place: object, part: str) -> str | int:
    return int(part) if isinstance(place, list) else part


def _failed(target: _Target, failure: Failure, name: str) -> OutcomeFact:
    match target.asked:
        case ToolRequested():
            return ToolFailed(failure=failure, resolved_by=BY)
        case ModelCalled():
            return ModelFailed(failure=failure)
        case ValueRequested():
            return ValueFailed(failure=failure)
        case ChildRequested():
            return ChildFailed(status="failed", failure=failure)
        case StateRequested():
            return StateFailed(failure=failure)
        case asked:
            what = "a timer" if asked is None else type_of(asked)
            raise BadValue(f"{name} ({what}) cannot fail.", found=name)


def _read(value: Raw, answer: Answer | None) -> StateCompleted:
    """What a read of state that gave `value` comes to, as the version that was read then."""
    was = answer.fact if answer is not None and isinstance(answer.fact, StateCompleted) else None
    before: Any = msgspec.msgpack.decode(was.answer) if was is not None else None
    writer: Any = WriterWords(writer_id=BY) if before is None else before["writer"]
    told: Any = msgspec.msgpack.decode(value)
    packed: Any = None if told is None else {"value": told, "writer": writer}
    return StateCompleted(answer=Raw(msgspec.msgpack.encode(packed)), version=was.version if was else 1)


def _time(value: Any, name: str) -> int:
    """Nanoseconds since the epoch. Raises `BadValue`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            when = None
        if when is not None and when.tzinfo is not None:
            return round(when.timestamp() * 1e6) * 1000
    raise BadValue(
        f"{name} goes off at a time.",
        expected="nanoseconds since the epoch, or a time with its zone such as 2026-03-01T12:00:00Z",
        found=value,
    )


def _capabilities(asked: ProgramFact | None) -> tuple[str, ...]:
    """What a call of the host is called in an override key: its kind, or its own name."""
    match asked:
        case ToolRequested(tool=tool):
            return "tool", tool
        case ValueRequested(name=name):
            return "value", name
        case StateRequested(action=action):
            return "state", f"state.{action}"
        case ChildRequested(persona=persona):
            return "child", persona
        case WaitStarted(signal=signal):
            return "signal", signal
        case ApprovalRequested(kind=kind, action=action):
            return "people", kind, action
        case _:
            return ()
