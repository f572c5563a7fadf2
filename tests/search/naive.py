"""What an expression comes to, the slow way: over plain payloads, with nothing of the search in it.

An expression is a tree of tuples: `("and", a, b)`, `("or", a, b)`, `("not", a)`, `("op", a)`, `("step", a)`,
`("has", needle)` and `("is", field, path, sign, values)`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Sequence
from typing import Any
from unicodedata import normalize

import msgspec

from playhead.log.envelope import Event

Told = tuple[Event, dict[str, Any] | None]
OPENS = {
    "tool.requested": ("tool", "tool", "args"),
    "model.called": ("model", "client", "request"),
    "value.requested": ("value", "name", ""),
    "timer.set": ("timer", "reason", ""),
    "wait.started": ("signal", "signal", ""),
    "child.requested": ("child", "persona", "args"),
    "hook.fired": ("hook", "hook", "shown"),
    "state.requested": ("state", "action", ""),
    "approval.requested": ("approval", "action", ""),
    "composition.started": ("composition", "", ""),
}
CLOSES = {
    "completed": (
        "tool.completed",
        "model.answered",
        "value.recorded",
        "timer.fired",
        "child.completed",
        "hook.decided",
        "state.completed",
        "approval.granted",
        "composition.completed",
    ),
    "failed": (
        "tool.failed",
        "model.failed",
        "value.failed",
        "child.failed",
        "hook.failed",
        "state.failed",
        "approval.denied",
        "approval.timed_out",
        "composition.failed",
    ),
    "cancelled": ("operation.cancelled",),
}
RESULTS = {
    "tool.completed": "result",
    "child.completed": "result",
    "composition.completed": "result",
    "model.answered": "reply",
    "value.recorded": "value",
    "hook.decided": "value",
    "state.completed": "answer",
    "approval.granted": "args",
    "run.completed": "result",
    "step.completed": "result",
}
STEP_ENDS = ("completed", "failed", "skipped", "escalated", "cancelled")
PART_FIELDS = {"kind", "op", "tool", "model", "step", "effect", "args", "result", "error", "text"}
NOTHING = object()
COUNT_MAX = 2**48


def told(events: Sequence[Event]) -> list[Told]:
    """Events with their payloads; None where it is erased, or of a version that is not known."""
    found: list[Told] = []
    for event in events:
        known = event.payload is not None and event.version == 1 and event.type != "from.the_future"
        found.append((event, msgspec.msgpack.decode(event.payload) if known and event.payload else None))
    return found


# --------------------------------------------------------------------- runs


def run_of(events: Sequence[Event], alive: set[str]) -> dict[str, Any]:
    """All that can be asked of one run."""
    seen = told(events)
    begun: dict[str, Any] = next((said for event, said in seen if event.type == "run.started" and said), {})
    found: dict[str, Any] = {name: begun.get(name) for name in ("persona", "name", "key", "mode", "parent")}
    found["tag"] = list(begun.get("tags", ()))
    found["started"] = next((event.at for event, _ in seen if event.type == "run.started"), None)
    found["event"] = sorted({event.type for event, _ in seen})
    found["events"] = len(seen)
    found["resumes"] = sum(event.type == "run.resumed" for event, _ in seen)
    found["steps"] = sum(event.type == "step.started" for event, _ in seen)
    found["deaths"] = sum(
        event.type == "run.parked" or (event.type == "run.resumed" and (said or {}).get("after") == "crash")
        for event, said in seen
    )
    found["run"] = events[0].stream.partition("/")[2]
    found |= _standing(seen, alive)
    parts = list(parts_of(seen))
    found["parts"] = parts
    operations = [
        part for part in parts if part["kind"] not in {"run", "step"} and part["status"] != "denied"
    ]
    found["operations"] = len(operations)
    models = [part for part in operations if part["kind"] == "model"]
    found["model_calls"] = len(models)
    for name in ("cost", "input_tokens", "output_tokens"):
        known = [part[name] for part in models if part[name] is not None]
        found[name] = sum(known) if known or not models else None
    both = [found[name] for name in ("input_tokens", "output_tokens") if found[name] is not None]
    found["tokens"] = sum(both) if both else None
    return found


def _standing(seen: list[Told], alive: set[str]) -> dict[str, Any]:
    status, worker, ended, reason = "unknown", None, None, None
    for event, said in seen:
        what = event.type.removeprefix("run.")
        if not event.type.startswith("run."):
            continue
        if what in {"started", "claimed"}:
            status = "running"
        if what == "claimed" and said:
            worker = said["worker"]
        if what in {"suspended", "released", "parked"}:
            status, worker = what, None
        if what == "released" and said:
            reason = said.get("reason") or None
            status = "diverged" if said["reason"].startswith("diverged") else status
        if what == "parked" and said:
            reason = f"died {said['deaths']} times at {said['last_op']}"
        if what == "resumed" and said:
            reason = None
        if what in {"completed", "failed", "cancelled"}:
            status, worker, ended = what, None, event.at
            reason = (said or {}).get("reason") or None
    if status == "running" and worker not in alive:
        status = "interrupted"
    start = next((event.at for event, _ in seen if event.type == "run.started"), None)
    lasted = None if start is None or ended is None else max(ended - start, 0)
    return {"status": status, "ended": ended, "reason": reason, "duration": lasted}


# -------------------------------------------------------------------- parts


def _part(event: Event, kind: str, name: str, around: str | None, **more: Any) -> dict[str, Any]:
    part: dict[str, Any] = dict.fromkeys(
        (
            "tool",
            "model",
            "effect",
            "args",
            "ended",
            "cost",
            "input_tokens",
            "output_tokens",
            "tokens",
            "duration",
        )
    )
    part |= {"kind": kind, "op": event.op, "name": name, "step": around, "status": "open", "seq": event.seq}
    part |= {
        "started": event.at,
        "attempts": 1,
        "errors": [],
        "notes": [],
        "args": NOTHING,
        "result": NOTHING,
    }
    return part | more


def parts_of(seen: list[Told]) -> Iterator[dict[str, Any]]:
    """The run itself, its steps and its operations."""
    steps: dict[str, str] = {}
    for at, (event, said) in enumerate(seen):
        if at == 0:
            yield _whole(seen)
        if event.type == "step.started":
            steps[event.op] = said["step"] if said else _name_in(event.op)
            yield _step(seen, at, steps[event.op])
        elif event.type == "step.denied" and said:
            reason = [said["reason"]] if said["reason"] else []
            yield _part(
                event,
                "step",
                said["step"],
                said["step"],
                status="denied",
                attempts=0,
                errors=reason,
                ended=event.at,
                duration=0,
            )
        elif event.type == "tool.denied" and said:
            reason = [said["reason"]] if said["reason"] else []
            yield _part(
                event,
                "tool",
                said["tool"],
                _around(event.op, steps),
                tool=said["tool"],
                args=said["args"],
                status="denied",
                attempts=0,
                errors=reason,
                ended=event.at,
                duration=0,
            )
        elif event.type in OPENS:
            yield _operation(seen, at, _around(event.op, steps))
        elif event.type == "timer.fired" and not any(e.op == event.op for e, _ in seen[:at]):
            yield _part(
                event,
                "timer",
                _name_in(event.op),
                _around(event.op, steps),
                status="completed",
                ended=event.at,
                duration=0,
            )


def _name_in(op: str) -> str:
    return op.rpartition("/")[2].rpartition("#")[0]


def _around(op: str, steps: dict[str, str]) -> str | None:
    inside = [step for step in steps if op.startswith((f"{step}/", f"{step}."))]
    return steps[max(inside, key=len)] if inside else None


def _whole(seen: list[Told]) -> dict[str, Any]:
    event, said = seen[0]
    known = said if event.type == "run.started" and said else None
    part = _part(event, "run", known["persona"] if known else "", None)
    part["op"] = ""
    if known:
        part["args"] = known["args"]
        part["notes"] += [known[name] for name in ("name", "key") if known.get(name)]
        part["notes"] += known.get("tags", ())
    for later, words in seen:
        kind = later.type.removeprefix("run.")
        if later.type.startswith("run.") and kind in {"completed", "failed", "cancelled"}:
            part["status"], part["ended"] = kind, later.at
            _learn(part, later, words)
        if later.type in {"run.cancelled", "run.released"} and words and words.get("reason"):
            part["notes"].append(words["reason"])
    return _lasting(part)


def _step(seen: list[Told], at: int, name: str) -> dict[str, Any]:
    event, said = seen[at]
    part = _part(event, "step", name, name)
    if said:
        part["args"] = said["args"]
    for later, words in seen[at + 1 :]:
        if later.op != event.op or not later.type.startswith("step."):
            continue
        how = later.type.removeprefix("step.")
        part["attempts"] += how == "retried"
        _learn(part, later, words)
        if how in STEP_ENDS:
            part["status"], part["ended"] = how, later.at
            break
    return _lasting(part)


def _operation(seen: list[Told], at: int, around: str | None) -> dict[str, Any]:
    event, said = seen[at]
    kind, called, given = OPENS[event.type]
    name = (said or {}).get(called) or _name_in(event.op)
    part = _part(event, kind, name, around, tool=name if kind == "tool" else None)
    if said:
        part["effect"] = said.get("effect") if kind == "tool" else None
        part["model"] = (said["model"] or said["client"]) if kind == "model" else None
        part["args"] = _given(kind, said, given)
        if kind == "approval":
            part["notes"] = [said["request"], said["action"], said["detail"]]
    if kind == "signal":
        _await(part, seen, at)
        return _lasting(part)
    over = False
    for later, words in seen[at + 1 :]:
        closing = next((status for status, types in CLOSES.items() if later.type in types), None)
        if later.op == event.op and closing and not over:
            over, part["status"], part["ended"] = True, closing, later.at
            _learn(part, later, words)
            if closing != "cancelled":
                break
        elif not over or part["status"] == "cancelled":
            _meanwhile(part, event, later, words, over=over)
    return _lasting(part)


def _given(kind: str, said: dict[str, Any], given: str) -> Any:
    if kind == "approval":
        return said["detail"] if said["args"] is None else said["args"]
    if kind == "composition":
        return {"snippet": said["snippet"], "inputs": said["inputs"]}
    if kind == "state":
        return {name: said[name] for name in ("action", "root", "session", "key", "content")}
    return said[given] if given else NOTHING


def _meanwhile(
    part: dict[str, Any], event: Event, later: Event, words: dict[str, Any] | None, *, over: bool
) -> None:
    if part["kind"] == "approval" and later.type == "approval.answered" and words and not over:
        if part["notes"] and words["request"] == part["notes"][0]:
            part["notes"] += [words[name] for name in ("reviewer", "reason") if words[name]]
            part["notes"] += [] if words["value"] is None else [words["value"]]
        return
    if later.op != event.op:
        return
    if later.type == "attempt.started" and words:
        part["attempts"] += 1
        part["status"] = part["status"] if over else "open"
    if later.type == "attempt.finished":
        _learn(part, later, words)
    if later.type == "operation.outcome_unknown" and not over:
        part["status"] = "in_doubt"
    if later.type == "operation.resolved" and words and not over:
        part["status"] = "open"


def _await(part: dict[str, Any], seen: list[Told], at: int) -> None:
    """Signals of a name answer waits for it in the order of both; one that is cancelled takes none."""
    waiting: list[int] = []
    early: list[Any] = []
    for n, (event, said) in enumerate(seen):
        taken, value = None, None
        if (
            event.type == "wait.started"
            and ((said or {}).get("signal") or _name_in(event.op)) == part["name"]
        ):
            waiting.append(n)
            if early:
                taken, value = waiting.pop(), early.pop(0)
        elif event.type == "operation.cancelled" and event.op in {seen[place][0].op for place in waiting}:
            waiting = [place for place in waiting if seen[place][0].op != event.op]
            if event.op == part["op"]:
                part["status"], part["ended"] = "cancelled", event.at
        elif event.type == "signal.received" and said and said["signal"] == part["name"]:
            if not waiting:
                early.append(said["value"])
                continue
            taken, value = waiting.pop(0), said["value"]
        if taken == at:
            part["status"], part["ended"], part["result"] = "completed", event.at, value


def _learn(part: dict[str, Any], event: Event, said: dict[str, Any] | None) -> None:
    if said is None:
        return
    if event.type in RESULTS:
        part["result"] = said[RESULTS[event.type]]
    if event.type == "composition.failed":
        kind = said["error"]["type"] if said.get("error") else said["cause"]
        message = said["message"].removeprefix(f"{kind}: ")
        part["errors"].append(f"{kind}: {message}" if message else kind)
    if event.type == "approval.denied" and said["reason"]:
        part["errors"].append(said["reason"])
    if "failure" in said:
        part["errors"] += _errors(said["failure"])
    if event.type == "model.answered":
        part["model"] = said["model"] or part["model"]
        counts = {
            "cost": said["cost_micros"],
            **{n: said["usage"].get(n) for n in ("input_tokens", "output_tokens")},
        }
        part |= {name: n if n is not None and n <= COUNT_MAX else None for name, n in counts.items()}
        both = [part[name] for name in ("input_tokens", "output_tokens") if part[name] is not None]
        part["tokens"] = sum(both) if both else None


def _errors(failure: dict[str, Any]) -> list[str]:
    message = failure.get("message", "")
    found = [f"{failure['type']}: {message}" if message else failure["type"]]
    if failure.get("cause"):
        found += _errors(failure["cause"])
    for member in failure.get("members", ()):
        found += _errors(member)
    return found


def _lasting(part: dict[str, Any]) -> dict[str, Any]:
    part["duration"] = None if part["ended"] is None else max(part["ended"] - part["started"], 0)
    return part


# --------------------------------------------------------------- expressions


def fits(run: dict[str, Any], asked: tuple[Any, ...]) -> bool:
    """Whether a run is what an expression asks for."""
    match asked:
        case ("and", *_):
            joined = list(_joined(asked))
            same = [one for one in joined if _of_parts(one)]
            others = all(fits(run, one) for one in joined if not _of_parts(one))
            return others and (
                not same or any(all(holds(part, one) for one in same) for part in run["parts"])
            )
        case ("or", *several):
            return any(fits(run, one) for one in several)
        case ("not", one):
            return not fits(run, one)
        case ("op", one):
            return any(holds(part, one) for part in run["parts"] if part["kind"] not in {"run", "step"})
        case ("step", one):
            return any(holds(part, one) for part in run["parts"] if part["kind"] == "step")
        case _ if _of_parts(asked):
            return any(holds(part, asked) for part in run["parts"])
        case _:
            return holds(run, asked)


def _joined(asked: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    for one in asked[1:]:
        if one[0] == "and":
            yield from _joined(one)
        else:
            yield one


def _of_parts(asked: tuple[Any, ...]) -> bool:
    if asked[0] in {"and", "or"}:
        return all(map(_of_parts, asked[1:]))
    return asked[0] == "has" or (asked[0] == "is" and asked[1] in PART_FIELDS)


def holds(thing: dict[str, Any], asked: tuple[Any, ...]) -> bool:
    """Whether a part, or a run in its own fields, is what an expression asks for."""
    match asked:
        case ("and", *several):
            return all(holds(thing, one) for one in several)
        case ("or", *several):
            return any(holds(thing, one) for one in several)
        case ("not", one):
            return not holds(thing, one)
        case ("has", needle):
            return _has(thing, needle)
        case (_, field, path, sign, values):
            return _compared(thing, field, path, sign, values)
        case _:
            raise AssertionError(asked)


def _has(part: dict[str, Any], needle: str) -> bool:
    told = [part["name"], *part["errors"], *part["notes"]]
    told += [part[name] for name in ("args", "result") if part[name] is not NOTHING]
    return any(_fold(needle) in _fold(text) for value in told for text in _texts(value))


def _compared(
    thing: dict[str, Any], field: str, path: tuple[Any, ...], sign: str, values: tuple[Any, ...]
) -> bool:
    if field == "text":
        return _has(thing, values[0])
    if field in {"args", "result"}:
        found = _at(thing[field], path)
    elif field in {"tag", "event", "error"}:
        found = thing["errors" if field == "error" else field]
    else:
        found = [] if thing[field] is None else [thing[field]]
    if sign == "exists":
        return bool(found)
    return any(_one(value, sign, wanted) for value in found for wanted in values)


def _at(value: Any, path: tuple[Any, ...]) -> list[Any]:
    if value is NOTHING:
        return []
    if not path:
        return [value]
    name, rest = path[0], path[1:]
    if isinstance(value, dict) and isinstance(name, str):
        return _at(value[name], rest) if name in value else []
    if isinstance(value, list) and isinstance(name, int):
        return _at(value[name], rest) if name < len(value) else []
    if isinstance(value, list) and name is None:
        return [found for inner in value for found in _at(inner, rest)]
    return []


def _one(value: Any, sign: str, wanted: Any) -> bool:
    if sign == "~":
        return any(_fold(wanted) in _fold(text) for text in _texts(value))
    if isinstance(wanted, tuple):  # ("glob", pattern)
        pattern = "".join({"*": ".*", "?": "."}.get(ch) or re.escape(ch) for ch in wanted[1])
        if not isinstance(value, str):
            return False
        return (re.fullmatch(pattern, value, re.DOTALL) is None) == (sign == "!=")
    if sign in {"=", "in"}:
        return _same(value, wanted)
    if sign == "!=":
        return not isinstance(value, (dict, list)) and not _same(value, wanted)
    if type(value) is bool or type(wanted) is bool:
        return False
    numbers = isinstance(value, (int, float)) and isinstance(wanted, (int, float))
    if not numbers and not (isinstance(value, str) and isinstance(wanted, str)):
        return False
    order = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
    return bool(order[sign](value, wanted))


def _same(value: Any, wanted: Any) -> bool:
    kinds = [type(each) if isinstance(each, (str, bool, type(None))) else float for each in (value, wanted)]
    return kinds[0] is kinds[1] and not isinstance(value, (bytes, dict, list)) and bool(value == wanted)


def _fold(text: str) -> str:
    return normalize("NFC", normalize("NFD", normalize("NFD", text).casefold()))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.hex()
    elif isinstance(value, float) and (value != value or abs(value) == float("inf")):  # noqa: PLR0124  only NaN is not itself
        yield {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    else:
        yield (
            {None: "null", True: "true", False: "false"}[value]
            if value is None or value is True or value is False
            else str(value)
        )
