"""Traces: what one run did to the world, as a list of actions, each with what went in and what came out.

    recorded = state_at(log, Traces(), "run/4wq2mzkq7xha").state
    trace = trace_of(recorded)
    [(action.kind, action.name, action.inputs) for action in trace.actions]

An action is a call of a tool (inside of a composition or not), of a model, of another run, or a wait for a
signal. They stand in the order in which the program asked, by seq and never by time. What was redacted stays
so, and what was erased is named. Values are what JSON can hold, as a composition would see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import Raw

from playhead.composition.surface import as_list, as_object
from playhead.events import catalog as facts
from playhead.events.composition import CompositionStarted, ManifestRecorded
from playhead.events.fact import Fact, Failure
from playhead.events.redaction import PREFIX
from playhead.events.rules import ToolDenied
from playhead.events.words import ComposedWords, Usage
from playhead.log.envelope import Event
from playhead_projections.accounts import (
    Ledger,
    Life,
    Used,
    enclosing,
    live,
    move,
    name_of,
)
from playhead_projections.projection import Projection

SCHEMA: Final = "playhead.trace/1"
VERSION: Final = 1

Status = Literal["completed", "failed", "cancelled", "denied", "in_doubt", "open"]
WRITES: Final = ("idempotent", "effect")
READS: Final = ("none", "read_only")
UNTOLD: Final = "tool"
"""What kind of effect a tool has of which only the effect class is known, or not even that."""


class SideEffect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that an action does to the world. `mutation` says how much is known of it."""

    kind: str
    target: str = ""
    capability: str = ""
    mutation: str = ""
    metadata: dict[str, Any] = {}


class Approval(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody was asked before an action, or has to be."""

    required: bool = False
    prompt: str = ""
    approver: str = ""
    boundary: str = ""


class Cost(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an action took of models. None is unknown, never 0. Money is in millionths."""

    model: str | None = None
    model_calls: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_micros: int | None = None


class Action(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One action. `output` counts only where it completed and is not `erased`.

    `erased` names the fields whose payload was erased. `side_effects` say all that it does only where
    `side_effects_known`. Times are nanoseconds since the epoch, UTC.
    """

    id: str
    kind: str
    name: str
    status: Status = "completed"
    inputs: dict[str, Any] = {}
    output: Any = None
    error: str | None = None
    parameters: dict[str, Any] = {}
    effect: str | None = None
    level: str | None = None
    side_effects: tuple[SideEffect, ...] = ()
    side_effects_known: bool = False
    capabilities: tuple[str, ...] = ()
    required_secrets: tuple[str, ...] = ()
    approval: Approval | None = None
    cost: Cost | None = None
    at: int | None = None
    duration_ms: int | None = None
    deterministic: bool = False
    fuzzy: bool = False
    erased: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}

    @property
    def told(self) -> bool:
        """Whether it is known what went in and what came out."""
        return self.status == "completed" and not self.erased


class Trace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one run did. `source` says where it comes from, and `source_hash` what it was read from."""

    id: str
    version: int = VERSION
    source: str = ""
    source_hash: str = ""
    workflow: str | None = None
    status: str | None = None
    started: int | None = None
    ended: int | None = None
    flow: dict[str, Any] = {}
    actions: tuple[Action, ...] = ()
    tools: dict[str, dict[str, Any]] = {}
    """What is known of the tools in `actions`, by their names: level, capabilities and schemas."""
    usage: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


class Recording(msgspec.Struct, kw_only=True):
    """A trace while it is folded."""

    life: Life
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    actions: dict[str, Action] = {}
    """In the order in which the program asked."""
    began: dict[str, int] = {}
    steps: dict[str, str] = {}
    manifests: dict[str, dict[str, dict[str, Any]]] = {}
    """What manifests say of their tools, by hash and binding."""
    compositions: dict[str, str] = {}
    """By operation, the hash of what a composition may call."""
    tools: dict[str, dict[str, Any]] = {}
    early: dict[str, list[Any]] = {}
    """What signals brought that came before their wait."""
    used: Used = msgspec.field(default_factory=Used)
    digest: bytes = b""
    erased: int = 0


class Traces(Projection[Recording]):
    """One trace for each run."""

    name = "trace"
    version = 3
    state = Recording
    paged = ("actions", "steps")

    def initial(self, key: str) -> Recording:
        return Recording(life=Life(run=key))

    def apply(self, state: Recording, event: Event, fact: Fact) -> Recording:
        return _apply(state, event, fact)

    def erased(self, state: Recording, event: Event) -> Recording:
        state.erased += 1
        return _apply(state, event, None)


def trace_of(recording: Recording) -> Trace:
    """The trace of a run, as far as it was folded."""
    life = recording.life
    metadata = {"source_kind": "run", "mode": life.mode, "module": life.module, "name": life.name}
    return Trace(
        id=life.run,
        source=f"run/{life.run}",
        source_hash=f"sha256:{recording.digest.hex()}",
        workflow=life.persona,
        status=life.status,
        started=life.started,
        ended=life.ended,
        flow={key: value for key, value in (("run", life.run), ("parent", life.parent)) if value},
        actions=tuple(recording.actions.values()),
        tools=recording.tools,
        usage=recording.used.document(),
        metadata={key: value for key, value in metadata.items() if value is not None}
        | ({"events_erased": recording.erased} if recording.erased else {}),
    )


def effects_of(
    level: str, tool: str, capabilities: Sequence[str] = (), mutation: str = ""
) -> tuple[SideEffect, ...]:
    """What a tool of side-effect level `level` does to the world."""
    if level in READS:
        return ()
    capability = capabilities[0] if capabilities else ""
    return (SideEffect(kind=level, target=tool, capability=capability, mutation=mutation),)


def document(recording: Recording) -> dict[str, Any]:
    """The trace of a run as one JSON document."""
    return {"schema": SCHEMA, **msgspec.to_builtins(trace_of(recording))}


def redacted_names(value: Any) -> tuple[str, ...]:
    """The names in `value` under which the log redacted a secret, sorted."""
    found: set[str] = set()
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        name, item = left.pop()
        if isinstance(item, str) and item.startswith(PREFIX):
            found.add(name)
        left += (as_object(item) or {}).items()
        left += [(name, each) for each in as_list(item) or ()]
    return tuple(sorted(found))


def _apply(recording: Recording, event: Event, fact: Fact | None) -> Recording:
    live(recording.life, event, fact)
    recording.digest = event.digest
    if event.type == "step.started":
        recording.steps[event.op] = fact.step if isinstance(fact, facts.StepStarted) else name_of(event.op)
    elif isinstance(fact, ToolDenied):
        _denied(recording, event, fact)
    elif isinstance(fact, ManifestRecorded):
        recording.manifests[fact.hash] = _manifest(_named(fact.manifest))
    else:
        if isinstance(fact, CompositionStarted):
            recording.compositions[event.op] = fact.manifest_hash
        signal = fact if isinstance(fact, facts.SignalReceived) else None
        if signal is not None and not _is_awaited(recording, signal.signal):
            recording.early.setdefault(signal.signal, []).append(_plain(signal.value))
        for moved in move(recording.ledger, event, fact):
            if moved.status == "opened":
                _opened(recording, event, fact, moved.was.kind)
            else:
                _closed(recording, event, fact, moved.op, moved.status)
        _noted(recording, event, fact)
    return recording


def _is_awaited(recording: Recording, signal: str) -> bool:
    return any(opened.kind == "signal" and opened.name == signal for opened in recording.ledger.open.values())


def _plain(raw: Raw) -> Any:
    """A value as a composition sees it: what JSON has no word for becomes a text, as it does there."""
    return msgspec.json.decode(msgspec.json.encode(msgspec.msgpack.decode(raw)))


def _named(raw: Raw) -> dict[str, Any]:
    value = _plain(raw)
    members = as_object(value)
    return {"value": value} if members is None else members


def _place(recording: Recording, event: Event) -> dict[str, Any]:
    """Where in the run: operation, event, and the names of the steps around it, innermost first."""
    around = [recording.steps[op] for op in enclosing(event.op, recording.steps)]
    return {"op": event.op, "seq": event.seq} | ({"steps": around} if around else {})


def _put(recording: Recording, event: Event, action: Action) -> None:
    recording.actions[event.op] = action
    recording.began[event.op] = event.at


def _opened(recording: Recording, event: Event, fact: Fact | None, kind: str) -> None:
    place = _place(recording, event)
    match kind:
        case "tool":
            _put(recording, event, _known(recording, _tool(event, fact, place)))
        case "model":
            recording.used.ask()
            _put(recording, event, _model(event, fact, place))
        case "child":
            _put(recording, event, _child(event, fact, place))
        case "signal":
            signal = fact.signal if isinstance(fact, facts.WaitStarted) else name_of(event.op)
            wait = Action(
                id=event.op,
                kind="signal",
                name=signal,
                status="open",
                side_effects_known=True,
                fuzzy=True,
                at=event.at,
                metadata=place,
            )
            _put(recording, event, wait)
        case _:
            return


def _model(event: Event, fact: Fact | None, place: dict[str, Any]) -> Action:
    known = fact if isinstance(fact, facts.ModelCalled) else None
    return Action(
        id=event.op,
        kind="model_call",
        name=known.client if known else name_of(event.op),
        status="open",
        inputs=_named(known.request) if known else {},
        cost=Cost(model=known.model if known else None, model_calls=1),
        side_effects_known=True,
        fuzzy=True,
        at=event.at,
        erased=() if known else ("inputs",),
        metadata=place,
    )


def _child(event: Event, fact: Fact | None, place: dict[str, Any]) -> Action:
    known = fact if isinstance(fact, facts.ChildRequested) else None
    return Action(
        id=event.op,
        kind="child_run",
        name=known.persona if known else name_of(event.op),
        status="open",
        inputs=_named(known.args) if known else {},
        at=event.at,
        erased=() if known else ("inputs",),
        metadata=place | ({"run": known.run} if known else {}),
    )


def _tool(event: Event, fact: Fact | None, place: dict[str, Any]) -> Action:
    known = fact if isinstance(fact, facts.ToolRequested) else None
    inputs = _named(known.args) if known else {}
    name = known.tool if known else name_of(event.op)
    effect = known.effect if known else None
    return Action(
        id=event.op,
        kind="tool_call",
        name=name,
        status="open",
        inputs=inputs,
        effect=effect,
        side_effects=(SideEffect(kind=UNTOLD, target=name, mutation=effect or "unknown"),)
        if effect is None or effect in WRITES
        else (),
        side_effects_known=effect in ("pure", "read_only"),
        required_secrets=redacted_names(inputs),
        at=event.at,
        deterministic=effect == "pure",
        erased=() if known else ("inputs",),
        metadata=place | (_composed(event, known.composed) if known and known.composed else {}),
    )


def _manifest(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a manifest says of each binding, as far as it says it."""
    said: dict[str, dict[str, Any]] = {}
    for each in as_list(manifest.get("bindings")) or ():
        entry = as_object(each) or {}
        needed = as_object(entry.get("capabilities")) or {}
        found = {
            "kind": (as_object(entry.get("annotations")) or {}).get("kind"),
            "level": entry.get("side_effect_level"),
            "capabilities": sorted(
                f"{domain}.{op}" for domain in needed for op in as_list(needed[domain]) or ()
            ),
            "input_schema": entry.get("input_schema"),
            "output_schema": entry.get("output_schema"),
        }
        said[str(entry.get("binding"))] = {name: value for name, value in found.items() if value}
    return said


def _known(recording: Recording, action: Action) -> Action:
    """A call with what the manifest of its composition says of the tool."""
    hashed = recording.compositions.get(action.metadata.get("composition", ""), "")
    said = recording.manifests.get(hashed, {}).get(action.metadata.get("binding", ""))
    if said is None:
        return action
    recording.tools[action.name] = said
    level, effect = said.get("level"), action.effect
    told: dict[str, Any] = {"level": level, "capabilities": tuple(said.get("capabilities", ()))}
    if level is not None and (level not in READS or effect not in WRITES):
        effects = effects_of(level, action.name, told["capabilities"], said.get("kind", ""))
        told |= {"side_effects": effects, "side_effects_known": True}
    return msgspec.structs.replace(action, **told)


def _composed(event: Event, words: ComposedWords) -> dict[str, Any]:
    """Which composition asked, and from which of its lines."""
    said: dict[str, Any] = {
        "composition": event.op.rpartition("/")[0],
        "binding": words.binding,
        "line": words.line,
    }
    return (
        said
        | ({"path": list(words.path)} if words.path else {})
        | ({"server": words.server} if words.server else {})
    )


def _denied(recording: Recording, event: Event, fact: ToolDenied) -> None:
    """A call that was not allowed: nothing was done, and the program was told why."""
    inputs = _named(fact.args)
    denied = Action(
        id=event.op,
        kind="tool_call",
        name=fact.tool,
        status="denied",
        inputs=inputs,
        error=fact.reason,
        side_effects_known=True,
        required_secrets=redacted_names(inputs),
        approval=Approval(required=True, prompt=fact.reason) if fact.verdict == "needs_approval" else None,
        at=event.at,
        metadata=_place(recording, event) | ({"by": fact.by} if fact.by else {}),
    )
    _put(recording, event, denied)


def _closed(recording: Recording, event: Event, fact: Fact | None, op: str, status: str) -> None:
    action = recording.actions.get(op)
    if action is None:
        return
    recording.actions[op] = msgspec.structs.replace(
        action,
        status=cast("Status", status),
        duration_ms=max(event.at - recording.began.pop(op, event.at), 0) // 1_000_000,
        metadata=action.metadata | {"ended_seq": event.seq},
        **_outcome(recording, fact, action),
    )


def _outcome(recording: Recording, fact: Fact | None, action: Action) -> dict[str, Any]:
    """What an outcome adds to its action."""
    if action.kind == "model_call":
        recording.used.add(fact)
    match fact:
        case facts.ToolCompleted() | facts.ChildCompleted():
            return {"output": _plain(fact.result)}
        case facts.ModelAnswered():
            return {"output": _plain(fact.reply), "cost": _cost(fact, action)}
        case facts.SignalReceived():
            return {"output": _plain(fact.value)}
        case facts.WaitStarted():  # the signal was there already
            early = recording.early.get(fact.signal)
            return {"output": early.pop(0)} if early else {}
        case facts.OperationCancelled():
            return {}
        case None:
            return {"erased": (*action.erased, "output")}
        case _ if action.kind == "signal":  # known by what the program did with it, and erased
            return {"erased": (*action.erased, "output")}
        case _:
            failure = getattr(fact, "failure", None)
            return {"error": _said(failure) if isinstance(failure, Failure) else None}


def _cost(fact: facts.ModelAnswered, action: Action) -> Cost:
    usage: Usage = fact.usage
    return Cost(
        model=fact.model or (action.cost.model if action.cost else None),
        model_calls=1,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_micros=fact.cost_micros,
    )


def _said(failure: Failure) -> str:
    return f"{failure.type}: {failure.message}" if failure.message else failure.type


def _noted(recording: Recording, event: Event, fact: Fact | None) -> None:
    action = recording.actions.get(event.op)
    if action is None or action.status not in ("open", "in_doubt"):
        return
    if event.type == "operation.outcome_unknown":
        recording.actions[event.op] = msgspec.structs.replace(action, status="in_doubt")
    elif isinstance(fact, facts.AttemptStarted):
        recording.actions[event.op] = msgspec.structs.replace(
            action, status="open", metadata=action.metadata | {"attempts": fact.attempt}
        )
