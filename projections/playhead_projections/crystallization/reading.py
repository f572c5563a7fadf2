"""Traces out of JSON files: every `*.json` below a directory, or a clear word about why not.

    traces = read_traces(Path("traces"))
    [trace.source for trace in traces]      # paths below the directory, sorted

A trace is an object with `actions`, such as `playhead compose trace` prints. The names that others use for
the same things are read too (`workflow_id`, `timestamp`, `total_cost_usd`), and a member that nobody knows is
kept in the metadata.
All files are looked at before anything is refused, so that every problem is told at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from playhead.composition.hashing import canonical_json
from playhead.composition.surface import as_list, as_object
from playhead.errors import BadValue, NotFound
from playhead.policy.level import LEVELS
from playhead_projections.accounts import COUNT_MAX
from playhead_projections.crystallization.values import in_line, members_once
from playhead_projections.trace import READS, VERSION, Action, SideEffect, Trace, effects_of

FILE_BYTES_MAX: Final = 100_000_000
PROBLEMS_MAX: Final = 20
NAMES_SHOWN: Final = 8

_TRACE_NAMES: Final = {"workflow_id": "workflow", "started_at": "started", "finished_at": "ended"}
_ACTION_NAMES: Final = {"timestamp": "at"}
_COST_NAMES: Final = {"total_cost_usd": "cost_micros"}
_STATUSES: Final = {"failed": "failed", "in_progress": "open", "cancelled": "cancelled", "denied": "denied"}


class Problem(NamedTuple):
    """Why a file is no trace."""

    source: str
    message: str
    expected: str
    found: str


class _Bad(Exception):
    """What is wrong inside of one file."""

    def __init__(self, message: str, expected: str, found: object) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.found = _kind(found) if not isinstance(found, str) else found


def read_traces(directory: Path) -> list[Trace]:
    """The traces in all `*.json` below `directory`, sorted by path.

    Raises `NotFound` where there is no such directory, and `BadValue`, which names every file that is no
    trace; then none is given.
    """
    if not directory.is_dir():
        raise NotFound(f"there is no directory at {directory}.", expected="a directory of traces")
    paths = sorted(
        (path for path in directory.rglob("*.json") if path.is_file() or path.is_symlink()),
        key=lambda path: path.relative_to(directory).as_posix(),
    )
    traces: list[Trace] = []
    problems: list[Problem] = []
    for path in paths:
        source = path.relative_to(directory).as_posix()
        try:
            traces.append(trace_in(_content(path, directory), source))
        except _Bad as bad:
            problems.append(Problem(in_line(source), bad.message, bad.expected, bad.found))
    problems += _same_ids(traces)
    if problems:
        raise _refusal(problems)
    return traces


def _content(path: Path, directory: Path) -> bytes:
    """What is in a file below `directory`, where it is a trace by its name, its place and its size."""
    try:
        path.relative_to(directory).as_posix().encode()
    except UnicodeEncodeError as error:
        raise _Bad("has a name that is no UTF-8", "a name in UTF-8", "other bytes") from error
    if path.is_symlink() and not path.resolve().is_relative_to(directory.resolve()):
        raise _Bad("is a link that leads out of the directory", "a file below it", "a link")
    if not path.is_file():
        raise _Bad("is a link that leads to no file", "a file", "a link")
    size = path.stat().st_size
    if size > FILE_BYTES_MAX:
        raise _Bad(f"is larger than {FILE_BYTES_MAX} bytes", "a smaller file", f"{size} bytes")
    return path.read_bytes()


def one_of_each(traces: list[Trace]) -> list[Trace]:
    """The same traces. Raises `BadValue` where two have one id: then one would vouch for itself."""
    problems = _same_ids(traces)
    if problems:
        raise _refusal(problems)
    return traces


def _same_ids(traces: list[Trace]) -> list[Problem]:
    first: dict[str, str] = {}
    found: list[Problem] = []
    for trace in traces:
        if trace.id in first:
            message = f"has the id of {in_line(first[trace.id])}, {trace.id!r}"
            found.append(Problem(in_line(trace.source), message, "an id of its own", trace.id))
        first.setdefault(trace.id, trace.source)
    return found


def _refusal(problems: list[Problem]) -> BadValue:
    told = [f"{each.source}: {each.message}" for each in problems[:PROBLEMS_MAX]]
    if len(problems) > PROBLEMS_MAX:
        told.append(f"and {len(problems) - PROBLEMS_MAX} more")
    return BadValue(
        f"{'; '.join(told)}.",
        expected=problems[0].expected,
        found=problems[0].found,
        next_step="Nothing was mined: take these files away, or make traces of them.",
    )


def trace_in(data: bytes, source: str) -> Trace:
    """The trace in the bytes of a file that is called `source`."""
    try:
        given = json.loads(data.decode("utf-8"), object_pairs_hook=members_once)
        canonical_json(given, where=source)
    except UnicodeDecodeError as error:
        raise _Bad("is no UTF-8", "JSON in UTF-8", "other bytes") from error
    except (ValueError, RecursionError) as error:
        raise _Bad(f"is no JSON: {_first_line(error)}", "JSON", "something else") from error
    except BadValue as error:
        said = error.message.removeprefix(f"{source}: ").rstrip(".")
        raise _Bad(said, "JSON that every reader reads alike", said) from error
    members = as_object(given)
    if members is None or "actions" not in members:
        listed = None if members is None else ", ".join(sorted(members)[:NAMES_SHOWN])
        told = given if listed is None else f"an object with {listed or 'nothing'}"
        raise _Bad("is no trace: it has no actions", "an object with `actions`", told)
    return _trace(members, source, f"sha256:{sha256(data).hexdigest()}")


def _trace(given: dict[str, Any], source: str, source_hash: str) -> Trace:
    named = _renamed(given, _TRACE_NAMES, Trace, "the trace")
    version: Any = named.pop("version", VERSION)
    if type(version) is not int or version not in (0, VERSION):
        raise _Bad(f"has version {version!r}", f"version {VERSION} or 0", str(version))
    actions = as_list(given["actions"])
    if actions is None:
        raise _Bad("`actions` is no list", "a list of actions", given["actions"])
    for name in ("started", "ended"):
        named[name] = _time(named.get(name), name)
    said = named.pop("source", None)
    named["source"] = _relative(said) if isinstance(said, str) and said.strip() else source
    hashed = named.pop("source_hash", None)
    named["source_hash"] = hashed if isinstance(hashed, str) and hashed.strip() else source_hash
    named["id"] = _text(named.get("id"), source.removesuffix(".json"), "id")
    read = tuple(_action(each, at) for at, each in enumerate(actions))
    trace: Trace = _converted({**named, "actions": []}, Trace, "the trace")
    usage = trace.usage or _usage(read)
    return msgspec.structs.replace(trace, actions=read, usage=usage)


def _action(given: Any, index: int) -> Action:
    where = f"action {index}"
    members = as_object(given)
    if members is None:
        raise _Bad(f"{where} is no object", "an action", given)
    named = _renamed(members, _ACTION_NAMES, Action, where)
    kind = named["kind"] = _text(named.get("kind"), "action", f"kind of {where}")
    named["id"] = _text(named.get("id"), f"action_{index}", f"id of {where}")
    named["name"] = _text(named.get("name"), kind, f"name of {where}")
    named["at"] = _time(named.get("at"), f"time of {where}")
    for name in ("inputs", "parameters"):
        named[name] = _object(named.get(name))
    observed = named.pop("observed_output", None)
    if named.get("output") is None:
        named["output"] = observed
    if named.get("cost") is not None:
        named["cost"] = _cost(named["cost"], kind, where)
    elif kind == "model_call":
        named["cost"] = {"model_calls": 1}
    if "status" not in named:
        named["status"] = _status(named)
    for name in ("capabilities", "required_secrets"):
        named[name] = _names(named.get(name), f"{name} of {where}")
    named["fuzzy"] = bool(named.get("fuzzy")) or kind == "model_call"
    named["side_effects"] = _side_effects(named.get("side_effects"), where)
    declared = "side_effects_known" in named
    action: Action = _converted(named, Action, where)
    effects = {(each.kind, each.target, each.capability, each.mutation): each for each in action.side_effects}
    ordered = tuple(effects[key] for key in sorted(effects))
    return _with_effects(msgspec.structs.replace(action, side_effects=ordered), declared=declared)


def _side_effects(given: Any, where: str) -> list[Any]:
    listed = [] if given is None else as_list(given)
    if listed is None:
        raise _Bad(f"side_effects of {where} are no list", "a list", given)
    objects = [as_object(each) for each in listed]
    if None in objects:
        raise _Bad(f"side_effects of {where} are no objects", "a list of objects", given)
    return [_renamed(each, {}, SideEffect, where) for each in objects if each is not None]


def _status(named: dict[str, Any]) -> str:
    """How an action ended of which nothing is said but that it failed, or in its metadata."""
    if named.get("error") is not None:
        return "failed"
    said = _object(named.get("metadata")).get("status")
    return _STATUSES.get(said, "completed") if isinstance(said, str) else "completed"


def _with_effects(action: Action, *, declared: bool) -> Action:
    """What follows for the effects of an action from what is said of its level or its effect class."""
    annotations = _object(action.metadata.get("annotations"))
    said = action.metadata.get("requested_side_effect_level")
    level = action.level or annotations.get("side_effect_level") or said
    if level not in LEVELS:
        level = None
    effects, known = action.side_effects, action.side_effects_known
    if not declared:
        reads = level in READS or action.effect in ("pure", "read_only") or action.kind == "model_call"
        if not effects and not reads and level is not None:
            mutation = annotations.get("kind")
            effects = effects_of(
                level, action.name, action.capabilities, mutation if isinstance(mutation, str) else ""
            )
        known = bool(effects) or reads
    return msgspec.structs.replace(action, side_effects=effects, side_effects_known=known, level=level)


# ------------------------------------------------------------------ its parts


def _renamed(given: dict[str, Any], names: Mapping[str, str], kind: type, where: str) -> dict[str, Any]:
    """`given` under our names; what nobody knows goes into the metadata."""
    known = {field.name for field in msgspec.structs.fields(kind)} | {"observed_output"}
    found: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for name, value in given.items():
        ours = names.get(name, name)
        if ours != name and given.get(ours) is not None and value is not None:
            raise _Bad(f"{where} has both {name} and {ours}", "one of them", f"{name}, {ours}")
        if ours not in known:
            more[name] = value
        elif found.get(ours) is None:
            found[ours] = value
    metadata = _object(found.get("metadata"))
    more.pop("schema", None)
    found["metadata"] = metadata | ({"more": more} if more else {})
    return {name: value for name, value in found.items() if value is not None}


def _converted(named: dict[str, Any], kind: type[Any], where: str) -> Any:
    try:
        return msgspec.convert(named, kind, strict=True)
    except msgspec.ValidationError as error:
        raise _Bad(f"{where} cannot be read: {error}", "the fields of a trace", str(error)) from error


def _object(value: Any) -> dict[str, Any]:
    """An object; what is none stands in one, as `value`."""
    members = {} if value is None else as_object(value)
    return {"value": value} if members is None else members


def _text(value: Any, otherwise: str, what: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        return otherwise
    if not isinstance(value, str):
        raise _Bad(f"the {what} is no text", "a text", value)
    return value


def _names(value: Any, what: str) -> list[str]:
    """A list of names, sorted, each once."""
    listed = [] if value is None else as_list(value)
    if listed is None or not all(isinstance(each, str) for each in listed):
        raise _Bad(f"the {what} are no list of texts", "a list of texts", value)
    return sorted({each for each in listed if each.strip()})


def _time(value: Any, what: str) -> int | None:
    """Nanoseconds since the epoch. A text is read as RFC 3339, and says its time zone."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
            if when.tzinfo is not None:
                return int(Decimal(str(when.timestamp())) * 1_000_000) * 1_000
        except (ValueError, OverflowError) as error:
            raise _Bad(f"{what} is no time: {value!r}", "RFC 3339 with a time zone", value) from error
    raise _Bad(
        f"{what} is no time with a zone: {value!r}", "nanoseconds, or RFC 3339 with a time zone", str(value)
    )


def _cost(given: Any, kind: str, where: str) -> dict[str, Any]:
    cost = as_object(given)
    if cost is None:
        raise _Bad(f"the cost of {where} is no object", "an object", given)
    found: dict[str, Any] = {
        _COST_NAMES.get(name, name): value for name, value in cost.items() if value is not None
    }
    if "cost_micros" not in cost and cost.get("total_cost_usd") is not None:
        found["cost_micros"] = _micros(cost["total_cost_usd"], where)
    for name in ("model_calls", "input_tokens", "output_tokens", "cost_micros"):
        value = found.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= COUNT_MAX:
            raise _Bad(f"{name} of {where} is no count", "a whole number", value)
    found["model_calls"] = max(found.get("model_calls", 0), int(kind == "model_call"))
    return found


def _micros(value: Any, where: str) -> int:
    try:
        if isinstance(value, bool):
            raise InvalidOperation
        micros = Decimal(str(value)) * 1_000_000
        if not 0 <= micros <= COUNT_MAX:
            raise InvalidOperation
        return int(micros.to_integral_value(ROUND_HALF_EVEN))
    except (ArithmeticError, ValueError) as error:
        raise _Bad(f"total_cost_usd of {where} is no amount", "a number", value) from error


def _usage(actions: tuple[Action, ...]) -> dict[str, Any]:
    """Sums over the actions. A sum is None where nothing in it is known."""
    costs = [action.cost for action in actions if action.cost is not None]
    found: dict[str, Any] = {"model_calls": sum(cost.model_calls for cost in costs)}
    read: dict[str, Callable[[Any], int | None]] = {
        "input_tokens": lambda cost: cost.input_tokens,
        "output_tokens": lambda cost: cost.output_tokens,
        "cost_micros": lambda cost: cost.cost_micros,
    }
    for name, get in read.items():
        known = [value for cost in costs if (value := get(cost)) is not None]
        found[name] = sum(known) if known or not costs else None
    return found


def _relative(source: str) -> str:
    """A source that says nothing of the machine: of an absolute path, or one that leads up, its last part."""
    plain = source.replace("\\", "/")
    drive = plain[1:3] == ":/"
    elsewhere = plain.startswith(("/", "~")) or plain.lower().startswith("file:") or ".." in plain.split("/")
    return plain.rstrip("/").rpartition("/")[2] if elsewhere or drive else source


def _kind(value: object) -> str:
    names: dict[type[object], str] = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "a boolean",
        type(None): "null",
    }
    return names.get(type(value), "a number")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
