"""What a divergence says: recorded, now, the field, the line, likely causes, and what to do.

Diverged: run 4wq2mzkq7xha at event 5
  recorded   tool.requested  0/fetch#0  args.url = 'a'
  now        tool.requested  0/fetch#0  args.url = 'b'     agents:audit:31
  agreed     up to event 4, tool.completed 0/list#0
...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgspec

from playhead.events.fact import Fact, Site, type_of
from playhead.events.redaction import PREFIX
from playhead.replay.cause_class import MEANING, CauseClass, classify
from playhead.replay.causes import suspects
from playhead.runtime.building import MachineHost
from playhead.runtime.difference import Divergence
from playhead.runtime.persona import Persona
from playhead.runtime.tape import Tape

VALUE_LENGTH_MAX = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The first difference between a tape and the program as it is now.

    `kind` is `changed`, `missing`, `extra` or `unanswered`. `event` is the seq of the recorded event
    that was not regenerated, or of the last one there is. `field` is a path such as `args.url`.
    """

    run: str
    kind: str
    event: int
    op: str
    recorded_type: str | None
    recorded_value: Any
    now_type: str | None
    now_op: str | None
    now_value: Any
    field: str | None
    site: Site | None
    last_match: tuple[int, str, str] | None
    cause: CauseClass
    """What kind of change it is, one word of a closed set."""
    causes: tuple[str, ...]
    advice: str

    def __str__(self) -> str:
        lines = [f"Diverged: run {self.run} at event {self.event}"]
        lines.append(f"  recorded   {_line(self.recorded_type, self.op, self.field, self.recorded_value)}")
        place = f"     {self.site}" if self.site else ""
        lines.append(f"  now        {_line(self.now_type, self.now_op, self.field, self.now_value)}{place}")
        if self.last_match:
            seq, name, op = self.last_match
            lines.append(f"  agreed     up to event {seq}, {name} {op}")
        lines.append(f"  cause      {self.cause}: {MEANING[self.cause]}")
        lines.extend(f"  perhaps    {cause}" for cause in self.causes)
        lines.append(self.advice)
        return "\n".join(lines)


def report_of(
    tape: Tape, persona: Persona[..., Any], found: Divergence, host: MachineHost | None = None
) -> Report:
    """The report of a divergence that a machine found. With `host` it looks at what the program does then."""
    recorded = found.recorded
    last = found.last_match
    field, was, now = _deepest(found)
    causes = suspects(tape, persona, found, field)
    keyed = all(isinstance(each, str) and each.startswith(PREFIX) for each in (was, now))
    event = found.seq if found.seq is not None else tape.events[-1].seq
    if found.kind == "extra":
        event = _next_after(tape, last.seq if last else -1)
    return Report(
        run=tape.run,
        kind=found.kind,
        event=event,
        op=recorded.op if recorded else "",
        recorded_type=type_of(recorded.fact) if recorded else None,
        recorded_value=was,
        now_type=type_of(found.now[1]) if found.now else None,
        now_op=found.now[0] if found.now else None,
        now_value=now,
        field=field,
        site=found.site,
        last_match=(last.seq, type_of(last.fact), last.op) if last else None,
        cause="secret" if keyed else classify(tape, persona, found, causes, host),
        causes=tuple(causes),
        advice=_KEYED.format(event=event) if keyed else _advice(found, event),
    )


def _next_after(tape: Tape, seq: int) -> int:
    """The event that stands where the program now does something else."""
    return next((event.seq for event in tape.events if event.seq > seq), tape.events[-1].seq)


def _deepest(found: Divergence) -> tuple[str | None, Any, Any]:
    """The path of the first difference, into arguments and results as far as it goes."""
    if found.field is None:
        return (
            None,
            _brief(found.recorded.fact if found.recorded else None),
            _brief(found.now[1] if found.now else None),
        )
    was, now = _plain(found.recorded_value), _plain(found.now_value)
    path = [found.field]
    while (key := _differing(was, now)) is not None:
        path.append(str(key))
        was, now = _at(was, key), _at(now, key)
    return ".".join(path), was, now


def _differing(was: Any, now: Any) -> str | int | None:
    """The first key or index at which two containers differ; None where there is nothing inside."""
    if isinstance(was, dict) and isinstance(now, dict):
        one, two = cast("dict[str, Any]", was), cast("dict[str, Any]", now)
        return next((key for key in (*one, *two) if _at(one, key) != _at(two, key)), None)
    if isinstance(was, list) and isinstance(now, list):
        longest = max(len(cast("list[object]", was)), len(cast("list[object]", now)))
        return next((n for n in range(longest) if _at(was, n) != _at(now, n)), None)
    return None


def _at(container: Any, key: str | int) -> Any:
    try:
        return container[key]
    except (KeyError, IndexError):
        return _ABSENT


_ABSENT = "(absent)"


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return msgspec.msgpack.decode(value)
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    return value


def _brief(fact: Fact | None) -> Any:
    """The name of what a fact is about, for showing where no field differs."""
    if fact is None:
        return None
    names = ("tool", "step", "client", "signal", "name", "persona")
    return next((getattr(fact, name) for name in names if hasattr(fact, name)), None)


def _line(kind: str | None, op: str | None, field: str | None, value: Any) -> str:
    if kind is None:
        return "(nothing)"
    text = repr(value)
    if len(text) > VALUE_LENGTH_MAX:
        text = f"{text[:VALUE_LENGTH_MAX]}… ({len(text)} characters)"
    detail = f"{field} = {text}" if field else text if value is not None else ""
    return f"{kind}  {op or ''}  {detail}".rstrip()


_KEYED = (
    "At event {event} only the digest of a secret is another. Digests under two keys cannot be compared: "
    "put the redaction key of the store in which the run was recorded beside this one. "
    "Where it is the same key, the program is told another secret."
)


def _advice(found: Divergence, event: int) -> str:
    match found.kind:
        case "missing":
            return (
                f"The tape goes on at event {event}, but the program no longer does it. "
                "Put it back, or guard the change with patched()."
            )
        case "extra":
            return (
                f"The program now does something that is not on the tape before event {event}. "
                "Guard it with patched(), or start a new run."
            )
        case "unanswered":
            return (
                f"Event {event} answers an operation that the program no longer asks for. "
                "Put it back, or guard the change with patched()."
            )
        case _:
            return (
                f"The program does something else at event {event} than it did then. "
                "Undo the change, guard it with patched(), or start a new run."
            )
