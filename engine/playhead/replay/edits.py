"""Edits of what was recorded: arguments, outcomes, state that was read, model, policy.

    edits = Edits(args={"urls.0": "b"}, outcomes={"fetch#0": "EDITED"}, failures={"@12": "no network"})
    edited = apply(edits, script, persona, redaction, key)

An operation is named by its id, by the end of it where that is one operation's
alone, or by @ and the number of an event that asks for it or answers it. A key of
state is named by itself, or by its session or its root and session before it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

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
from playhead.events.fact import Failure, OutcomeFact, ProgramFact
from playhead.events.redaction import Redaction
from playhead.events.state import StateCompleted, StateFailed, StateRequested
from playhead.events.values import encode_value
from playhead.events.words import CHANGES, EditWords
from playhead.policy.capability import Policy, policy_of
from playhead.replay.edited_values import (
    BY,
    answered,
    called,
    check_given,
    named_key,
    read_of,
    reply_of,
    timer_fired,
    too_late,
)
from playhead.replay.script import Answer, Script, asks
from playhead.runtime.difference import Gone
from playhead.runtime.model import reply_codec
from playhead.runtime.persona import Persona

ARGS_HEX: Final = 32
_DOMAIN: Final = b"playhead.edit/1"


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


def apply(
    edits: Edits,
    script: Script,
    persona: Persona[..., Any],
    redaction: Redaction | None,
    key: bytes | None,
) -> Edited:
    """What `edits` come to on the whole of `script`. Their digests are made with `key`; without it are none.

    Raises `NotFound` for an operation that is not there, `BadValue` for a value that does not fit, and
    `ForkUnavailable` where arguments were erased that are not given.
    """
    work = _Work(edits, script, persona, redaction, key)
    for name, value in edits.overrides.items():
        work.override(name, value)
    for name, value in edits.args.items():
        work.argument(name, value)
    for name, value in edits.outcomes.items():
        work.outcome(name, value)
    for name, text in edits.failures.items():
        work.failure(name, text)
    for name, value in edits.state.items():
        work.state(name, value)
    return work.done()


class _Work:
    def __init__(
        self,
        edits: Edits,
        script: Script,
        persona: Persona[..., Any],
        redaction: Redaction | None,
        key: bytes | None,
    ) -> None:
        self.edits = edits
        self.script = script
        self.persona = persona
        self.redaction = redaction
        self.key = key
        self.started = script.tape.started
        kept: Any = msgspec.msgpack.decode(self.started.args)
        self.args: Any = kept if isinstance(kept, dict) else {}  # all of them were erased
        self.secret: list[str] = []
        self.answers: dict[tuple[str, int], Answer] = {}
        self.words: list[EditWords] = []
        self._asked = {told.event.op: told for told in script.program if asks(told.fact)}

    # -------------------------------------------------------------- one by one

    def argument(self, path: str, value: Any, key: str = "") -> None:
        before = _put(self, path, value)
        if key.startswith("secret:"):
            self.secret.append(path.rsplit(".", maxsplit=1)[-1])
        raw, was = self._clean(_raw(value, f"argument {path}"), path), self._clean(_raw(before, path), path)
        self._note("args", path, 0, was, raw, key)

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

    def state(self, name: str, value: Any) -> None:
        """Every read of a key that the tape answers, until the run changes it itself."""
        key, reads = self._reads(name)
        raw = self._clean(_raw(value, f"state {name}"), key)
        for op, fact in reads:
            answer = self._answer_of(op)
            self._replace("state", _Target(op, fact, answer), read_of(raw, answer), "", of=named_key(fact))

    def _reads(self, name: str) -> tuple[str, list[tuple[str, StateRequested]]]:
        """The key that `name` names, and the reads of it before the run changes it.

        Raises `NotFound`, and `BadValue` where the key is read in several sessions.
        """
        places: dict[tuple[str, str, str], list[tuple[str, StateRequested]]] = {}
        written: set[tuple[str, str, str]] = set()
        for told in self._asked.values():
            fact = told.fact
            if not isinstance(fact, StateRequested) or not fact.key:
                continue
            place = (fact.root, fact.session, fact.key)
            if fact.action in CHANGES:
                written.add(place)
            elif fact.action == "read" and place not in written:
                places.setdefault(place, []).append((told.event.op, fact))
        found = [place for place in places if name in _spellings(*place)]
        whole = [place for place in found if name == "/".join(place)]
        if len(whole or found) != 1:
            shown = sorted("/".join(place) for place in (found or places))
            if found:
                raise BadValue(
                    f"the run reads {name!r} in {len(found)} sessions.",
                    expected="one of " + ", ".join(shown[:8]),
                    found=name,
                    next_step=f"Name the session: --state {shown[0]}=JSON.",
                )
            raise NotFound(
                f"the run does not read {name!r} from state before it writes it.",
                expected=", ".join(shown[:8]) or "no key at all",
                found=name,
            )
        (place,) = whole or found
        return place[2], places[place]

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

    def done(self) -> Edited:
        started = self._with_args()
        if self.edits.policy is not None:
            policy = self.edits.policy
            if started.policy is not None:
                policy = policy_of(started.policy).narrowed(policy)
            before, after = _said(started.policy), _said(policy.document())
            started = msgspec.structs.replace(started, policy=policy.document())
            self._note("policy", "run", 0, before, after, "")
        if self.edits.model is not None:
            if not self.edits.model:
                raise BadValue("a model has a name.", found=self.edits.model)
            self._note("model", "requests", None, b"", self.edits.model.encode(), "")
        return Edited(started, tuple(self.answers.values()), tuple(self.words))

    def _with_args(self) -> RunStarted:
        """The first fact with edited arguments. Raises `BadValue`, and `ForkUnavailable` for erased ones."""
        started, signature = self.started, self.persona.signature
        if 0 in self.script.tape.erased:
            whole = not isinstance(msgspec.msgpack.decode(started.args), dict)
            check_given(self.script.tape, self.args, signature.names if whole else ())
        if not self.edits.args and not self.secret:
            return started
        raw = Raw(encode_value(self.args, where="arguments", plain=False, ordered=True))
        raw = self._clean(raw, *self.secret)
        try:
            signature.decode(raw)
        except BadValue as error:
            raise BadValue(
                f"edited arguments of {self.persona.name} do not fit: {error.__cause__}.",
                expected=", ".join(f"{name}: {signature.hints.get(name, Any)!r}" for name in signature.names),
                found=msgspec.msgpack.decode(raw),
                next_step="Give values of the types that are declared.",
            ) from error
        told = hashlib.sha256(raw).hexdigest()[:ARGS_HEX]
        return msgspec.structs.replace(started, args=raw, args_digest=told)

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
        for answer in (*self.script.all(), *map(self._lost, self.script.lost)):
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
        lost = self.script.lost_of(op)
        if lost is not None:
            return self._lost(lost.event.seq)
        several = self.script.answers.get(op)
        return several[-1] if several else None

    def _lost(self, seq: int) -> Answer:
        """What is kept of an outcome that was erased, to be edited: nobody is told it."""
        event, op = self.script.lost[seq]
        asked = self._asked.get(op)
        fact = self.script.tape.catalog.decode(event)
        kept: Any = fact if isinstance(fact, OutcomeFact) else Gone(type_=event.type)
        return Answer(
            seq, op, event.at, kept, event.payload or b"", None if asked is None else asked.fact, rank=seq
        )

    def _signal_for(self, op: str, name: str) -> Answer | None:
        """The signal that the wait `op` was answered with: waits and signals of a name meet in order."""
        waits = [
            told.event.op
            for told in self._asked.values()
            if isinstance(told.fact, WaitStarted) and told.fact.signal == name
        ]
        lost = [self._lost(seq) for seq in self.script.lost]
        came = [
            news
            for news in sorted((*self.script.news, *lost), key=lambda each: each.seq)
            if isinstance(news.fact, SignalReceived) and news.fact.signal == name
        ]
        place = waits.index(op)
        return came[place] if place < len(came) else None

    def _checked(self, key: str, call: str, *kinds: type[Any]) -> ProgramFact | None:
        asked = self._target(call).asked
        if type(asked) not in kinds:
            raise NotFound(
                f"{call!r} is {called(asked)}, which {key!r} does not name.",
                found=key,
            )
        return asked

    # ------------------------------------------------------------------ writing

    def _outcome(self, target: _Target, value: Any, name: str) -> OutcomeFact:
        """The fact that says that `value` came of it."""
        asked, answer = target.asked, target.answer
        if asked is None and answer is not None and isinstance(answer.fact, Gone):
            what = self.script.tape.erasure_of(self.script.lost[answer.seq].event)
            raise BadValue(f"{what}: nobody knows what it was, to say it otherwise.", found=name)
        if isinstance(asked, ApprovalRequested) and answer is None:
            return too_late(value, asked, name)
        if answer is not None and isinstance(answer.fact, (SignalReceived, ApprovalAnswered)):
            keyed = bool(self.started.reviewer_keys)
            return answered(answer.fact, asked, value, name, self._value, keyed=keyed)
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
                return read_of(self._value(value, name), answer)
            case StateRequested(action="list"):
                return StateCompleted(answer=self._value(value, name))
            case TimerSet() | ApprovalRequested() | None if answer is None or isinstance(
                answer.fact, TimerFired
            ):
                told = answer.fact if asked is None and answer is not None else asked
                return timer_fired(value, name, getattr(told, "due", None))
            case _:
                raise BadValue(
                    f"what came of {name} ({called(asked)}) cannot be edited.",
                    found=name,
                )

    def _reply(self, value: Any, answer: Answer | None, name: str) -> ModelAnswered:
        """A text, or a reply as a mapping. What it used stays what was recorded: nothing more was used."""
        reply = reply_of(value, name)
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
        if answer is not None:
            at, seq, rank = answer.at, answer.seq, answer.rank
        else:
            asked = self._asked[target.op].event
            at, seq, rank = asked.at, -1, asked.seq + 0.5
        if isinstance(fact, TimerFired):
            at = fact.due
            rank = self._rank_at(at, seq, rank)
        payload = msgspec.msgpack.encode(fact)
        edited = Answer(seq, target.op, at, fact, payload, target.asked, edited=True, rank=rank)
        if (target.op, seq) in self.answers:
            raise BadValue(f"{target.op or key} is edited twice.", found=target.op)
        self.answers[target.op, seq] = edited
        before = answer.payload if answer is not None else b""
        self._note(what, of or target.op, seq if seq >= 0 else None, before, payload, key)

    def _rank_at(self, at: int, seq: int, rank: float) -> float:
        """Where a timer that goes off at that time stands among what came: after all that came until then."""
        before = [each.seq for each in self.script.all() if each.at <= at and each.seq != seq]
        return max(before) + 0.25 if before else rank

    def _note(self, what: str, of: str, event: int | None, before: bytes, after: bytes, key: str) -> None:
        self.words.append(
            EditWords(
                what=what,
                of=of,
                event=event,
                before=self._digest(before),
                after=self._digest(after),
                key=key,
            )
        )

    def _digest(self, data: bytes) -> str:
        """What stands for a value in the record: who has not the key cannot try out a short one."""
        return hmac.digest(self.key, _DOMAIN + data, "sha256").hex() if self.key and data else ""


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
        known = isinstance(key, int) or key in place or way or key in work.persona.signature.names
        before: Any = place[key] if isinstance(key, int) else place.get(key)
        if not known:
            raise KeyError(key)
        place[key] = value
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise BadValue(
            f"the arguments hold nothing at {path!r}.",
            expected=", ".join(dict.fromkeys((*work.args, *work.persona.signature.names))) or "no arguments",
            found=path,
        ) from error
    return before


def _spellings(root: str, session: str, key: str) -> tuple[str, str, str]:
    """What a key of state can be called."""
    return key, f"{session}/{key}", f"{root}/{session}/{key}"


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
            raise BadValue(f"{name} ({called(asked)}) cannot fail.", found=name)


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
