"""Values that are given in place of recorded ones: what fits, and the facts that say so.

    fact = answered(recorded, asked, {"word": "deny"}, "@9", encode)
    fact.edited_by                     # fork: nobody said this

What does not fit is refused here, where somebody can still read it, and not told to a program.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast, get_args

import msgspec
from msgspec import Raw

from playhead.errors import BadValue, ForkUnavailable
from playhead.events.approval import ApprovalAnswered, ApprovalRequested
from playhead.events.catalog import SignalReceived, TimerFired
from playhead.events.erasing import MARK
from playhead.events.fact import OutcomeFact, ProgramFact, type_of
from playhead.events.state import StateCompleted, StateRequested
from playhead.events.words import AnswerWord, WriterWords
from playhead.replay.script import Answer
from playhead.runtime.approving import digest_of
from playhead.runtime.difference import Gone
from playhead.runtime.loop import DUE_MAX
from playhead.runtime.model import Reply
from playhead.runtime.tape import Tape

BY: Final = "fork"
"""Who supplied an edited value, as the log says it."""
_MEMBERS: Final = ("word", "reason", "value")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
Encode = Callable[[Any, str], Raw]


def called(asked: ProgramFact | None) -> str:
    """What an operation is called where it cannot be edited so."""
    if isinstance(asked, Gone):
        return f"{asked.type_}, which was erased"
    return "a timer" if asked is None else type_of(asked)


# ----------------------------------------------------------------------- people


def answered(
    fact: SignalReceived | ApprovalAnswered,
    asked: ProgramFact | None,
    value: Any,
    name: str,
    encode: Encode,
    *,
    keyed: bool,
) -> OutcomeFact:
    """What a person would have said. It says itself that nobody did. Raises `BadValue`.

    `keyed` says that only signed answers count.
    """
    if isinstance(fact, SignalReceived):
        return msgspec.structs.replace(fact, value=encode(value, name), sender=BY)
    if keyed:
        raise BadValue(
            f"only signed answers count in this run, and {fact.reviewer} has not signed another to {name}.",
            expected="an edit of something else",
            found=name,
            next_step="Fork before it, and have people answer.",
        )
    kind = asked.kind if isinstance(asked, ApprovalRequested) else "approval"
    if not isinstance(value, dict):
        if kind != "question":
            raise BadValue(
                f"{name} is the answer to an {kind.replace('_', ' ')}.",
                expected='{"word": "approve"} or {"word": "deny", "reason": "…"}',
                found=value,
            )
        value = {"word": "approve", "value": value}
    said = _members(cast("dict[str, Any]", value), kind, name)
    word, reason = said.get("word", fact.word), said.get("reason", fact.reason)
    raw, digest = fact.value, fact.digest
    if "value" in said:
        raw, digest = encode(said["value"], name), ""
        if isinstance(asked, ApprovalRequested) and kind == "approval" and bytes(raw) != bytes(asked.args):
            digest = digest_of(kind, asked.action, raw)
    return msgspec.structs.replace(
        fact,
        word=word,
        reason=reason,
        value=raw,
        digest=digest,
        signature="",
        signed_at=0,
        key="",
        edited_by=BY,
    )


def _members(said: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    """What is said of an answer, if all of it can be. Raises `BadValue`."""
    unknown = [member for member in said if member not in _MEMBERS]
    wrong = ""
    if unknown:
        wrong = f"has no {', '.join(map(repr, unknown))}"
    elif said.get("word", "approve") not in get_args(AnswerWord):
        wrong = f"is none of {', '.join(get_args(AnswerWord))}: {said['word']!r}"
    elif not isinstance(said.get("reason", ""), str):
        wrong = "has a reason that is no text"
    elif "value" in said and said.get("word", "approve") != "approve":
        wrong = "has a value, which only who approves can give"
    elif "value" in said and kind not in ("question", "approval"):
        wrong = "has a value, which nobody asked for"
    elif not said:
        wrong = "says nothing"
    if wrong:
        more = ', or {"value": {…}} for an answer that is an object itself' if kind == "question" else ""
        raise BadValue(
            f"an answer to {name} {wrong}.",
            expected=f"some of {', '.join(_MEMBERS)}{more}",
            found=said,
        )
    return said


def reply_of(value: Any, name: str) -> Reply:
    """What a model would have answered: a text, or the fields of a reply. Raises `BadValue`."""
    if isinstance(value, str):
        return Reply(text=value)
    fields = Reply.__struct_fields__
    given: list[Any] = [*value] if isinstance(value, dict) else []
    unknown = [each for each in given if each not in fields]
    expected = f"a text, or some of {', '.join(fields)}"
    if unknown:
        raise BadValue(
            f"{name}: a reply has no {', '.join(map(repr, unknown))}.", expected=expected, found=value
        )
    try:
        return msgspec.convert(value, Reply)
    except msgspec.ValidationError as error:
        raise BadValue(f"{name}: {error}.", expected=expected, found=value) from error


# ------------------------------------------------------------------------- time


def too_late(value: Any, asked: ApprovalRequested, name: str) -> TimerFired:
    """The end of the time to answer in, for a request that nobody answered. Raises `BadValue`."""
    with suppress(BadValue):
        if asked.due is not None:
            return timer_fired(value, name, asked.due)
    limit = "" if asked.due is not None else ", and there is no limit to when somebody may"
    raise BadValue(
        f"nobody answered {name}{limit}.",
        expected="nothing"
        if asked.due is None
        else f"the time at which it is too late, {written(asked.due)} or later",
        found=value,
        next_step="Answer it in the fork.",
    )


def timer_fired(value: Any, name: str, due: int | None) -> TimerFired:
    """A timer that goes off at `value`, and is due at `due`. Raises `BadValue`."""
    when = time_of(value, name)
    check_due(when, due, name)
    return TimerFired(due=when)


def check_due(when: int, due: int | None, name: str) -> None:
    """Raise `BadValue` for a timer that would go off before it is due."""
    if due is not None and when < due:
        raise BadValue(
            f"{name} is due at {written(due)}, and no timer goes off before that.",
            expected=f"{written(due)} or later",
            found=written(when),
            next_step="Edit what the time is computed from instead.",
        )


def time_of(value: Any, name: str) -> int:
    """Nanoseconds since the epoch. Raises `BadValue`."""
    found: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    elif isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
            found = (when - _EPOCH) // timedelta(microseconds=1) * 1000 if when.tzinfo is not None else None
        except (ValueError, OverflowError):
            found = None
    if found is None or not 0 <= found <= DUE_MAX:
        raise BadValue(
            f"{name} goes off at a time, from 1970 on and before the year 2262.",
            expected="nanoseconds since the epoch, or a time with its zone such as 2026-03-01T12:00:00Z",
            found=value,
        )
    return found


def written(at: int) -> str:
    """A time in nanoseconds as people write it, in UTC."""
    return (_EPOCH + timedelta(microseconds=at // 1000)).isoformat().replace("+00:00", "Z")


# ----------------------------------------------------------------------- others


def read_of(value: Raw, answer: Answer | None) -> StateCompleted:
    """What a read of state that gave `value` comes to, as the version that was read then."""
    was = answer.fact if answer is not None and isinstance(answer.fact, StateCompleted) else None
    before: Any = msgspec.msgpack.decode(was.answer) if was is not None else None
    kept = cast("dict[str, Any]", before) if isinstance(before, dict) else {}
    writer: Any = kept.get("writer") or WriterWords(writer_id=BY)
    told: Any = msgspec.msgpack.decode(value)
    packed: Any = None if told is None else {"value": told, "writer": writer}
    return StateCompleted(answer=Raw(msgspec.msgpack.encode(packed)), version=was.version if was else 1)


def named_key(fact: StateRequested) -> str:
    """A key of state with its root and session."""
    return f"{fact.root}/{fact.session}/{fact.key}"


def check_given(tape: Tape, args: dict[str, Any], gone: Collection[str]) -> None:
    """Raise `ForkUnavailable` where an argument was erased, in part or whole, and is not given.

    `gone` are all that there were, where nothing of them was kept.
    """
    lost = [name for name, value in args.items() if _marked(value)]
    lost += [name for name in gone if name not in args]
    if lost:
        raise ForkUnavailable(
            f"run {tape.run} {tape.erasure_of(tape.events[0])}, so {', '.join(lost)} cannot be told again.",
            expected=f"a value for {', '.join(lost)}",
            found=lost,
            next_step=f"Give it: --arg {lost[0]}=JSON.",
        )


def _marked(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_marked, cast("dict[object, object]", value).values()))
    if isinstance(value, list):
        return any(map(_marked, cast("list[object]", value)))
    return isinstance(value, str) and value == MARK
