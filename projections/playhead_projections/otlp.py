"""A run as spans of OpenTelemetry, in the JSON of OTLP: folded from the log, so replays never make any.

    for document in documents(log, "4wq2mzkq7xha"):      # each a TracesData of at most 1,000 spans
        ...

Ids follow from the run and the operation: the same run exported twice is the same spans.
Names of attributes are those of the semantic conventions 1.41.0, whose part for generative AI is
still in development, and `playhead.*` beside them. What was shown to models and tools is only in
there where `content` asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final, Literal, cast

import msgspec

from playhead.errors import NotFound
from playhead.events import approval, autonomy, rules
from playhead.events import catalog as facts
from playhead.events.codec import CATALOG, Catalog
from playhead.events.erasing import mended
from playhead.events.fact import Fact, Failure, ProgramFact
from playhead.events.json_text import json_text
from playhead.events.words import Usage
from playhead.log.envelope import Event
from playhead.log.evidence import ERASED_TYPE
from playhead.log.reader import LogReader
from playhead.runtime.copied import Copied
from playhead_projections.accounts import (
    STEP_ENDS,
    TERMINAL,
    Ledger,
    Life,
    Moved,
    enclosing,
    live,
    move,
    name_of,
)

CONVENTIONS: Final = "1.41.0"
SCHEMA_URL: Final = f"https://opentelemetry.io/schemas/{CONVENTIONS}"
SPANS_MAX: Final = 1_000
SERVICE: Final = "playhead"

_INTERNAL, _CLIENT = 1, 3
_OK, _ERROR = 1, 2
_TRACE, _SPAN = b"playhead.trace/1", b"playhead.span/1"
_LINK: Final = "playhead.link"

Value = str | int | float | bool


def trace_id(run: str) -> str:
    """The trace of a run, 32 hex digits."""
    return sha256(_TRACE + run.encode()).hexdigest()[:32]


def span_id(run: str, op: str = "") -> str:
    """The span of an operation or step, 16 hex digits; that of the run itself for ""."""
    return sha256(_SPAN + run.encode() + b"\0" + op.encode()).hexdigest()[:16]


class _Span:
    """One span while it is put together."""

    __slots__ = ("attributes", "ended", "error", "events", "kind", "links", "name", "op", "parent", "started")

    def __init__(self, op: str, parent: str | None, name: str, kind: int, started: int) -> None:
        self.op = op
        self.parent = parent
        self.name = name
        self.kind = kind
        self.started = started
        self.ended: int | None = None
        self.error: str | None = None
        self.attributes: dict[str, Any] = {}
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.links: list[tuple[str, str, str]] = []

    def told(self, run: str, last: int) -> dict[str, Any]:
        """As OTLP says it. What is not over ends with the newest event that there is."""
        ended = self.ended if self.ended is not None else last
        status: dict[str, Any] = {}
        if self.error is not None:
            status = {"code": _ERROR, **({"message": self.error} if self.error else {})}
        elif self.attributes.get("playhead.status") == "completed":
            status = {"code": _OK}
        found: dict[str, Any] = {"traceId": trace_id(run), "spanId": span_id(run, self.op)}
        if self.parent is not None:
            found["parentSpanId"] = span_id(run, self.parent)
        found |= {
            "name": self.name,
            "kind": self.kind,
            "startTimeUnixNano": str(max(self.started, 0)),
            "endTimeUnixNano": str(max(ended, self.started, 0)),  # a clock may have gone back meanwhile
            "attributes": _attributes(self.attributes),
            "events": [
                {"timeUnixNano": str(max(at, 0)), "name": name, "attributes": _attributes(attributes)}
                for at, name, attributes in self.events
            ],
            "links": [
                {
                    "traceId": trace_id(other),
                    "spanId": span_id(other, op),
                    "attributes": _attributes({_LINK: how}),
                }
                for other, op, how in self.links
            ],
            "status": status,
        }
        return found


class Trace:
    """The spans of one run, in the order in which they began."""

    def __init__(self, run: str, *, content: bool = False) -> None:
        self.run = run
        self.content = content
        self.life = Life(run=run)
        self.version = ""
        self._ledger = Ledger()
        self._spans: dict[str, _Span] = {}
        self._root = _Span("", None, f"invoke_agent {run}", _INTERNAL, 0)
        self._last = 0
        self._erased = 0
        self._copied = Copied(run, None)
        """Which outcomes a fork has from the run that it was made from."""

    def take(self, event: Event, fact: Fact | None) -> None:
        """One event forward. `fact` is None where it cannot be read, or was erased."""
        live(self.life, event, fact)
        if event.type != ERASED_TYPE:
            self._last = max(self._last, event.at)
        self._erased += event.salt is None
        if not event.seq:
            self._began(event, fact)
        if isinstance(fact, ProgramFact):
            self._copied.asks(event.op, fact)
        if event.type == "step.started":
            self._step(event, fact)
        elif event.type in STEP_ENDS:
            self._close(self._spans.get(event.op), event, fact, STEP_ENDS[event.type])
        else:
            for moved in move(self._ledger, event, fact):
                self._move(moved, event, fact)
            self._note(event, fact)

    def spans(self) -> Iterator[dict[str, Any]]:
        """All of them, the run's own first."""
        root, life = self._root, self.life
        root.attributes["playhead.status"] = life.status
        if self._erased:
            root.attributes["playhead.events.erased"] = self._erased
        if life.status == "failed":
            root.error = life.error.message if life.error is not None else ""
            root.attributes["error.type"] = life.error.type if life.error is not None else "_OTHER"
        root.ended = life.ended if life.status in TERMINAL else None
        yield root.told(self.run, self._last)
        for span in self._spans.values():
            if span.ended is None:
                span.attributes["playhead.status"] = "open"
            yield span.told(self.run, self._last)

    # ------------------------------------------------------------ what begins and ends

    def _began(self, event: Event, fact: Fact | None) -> None:
        root = self._root
        root.started = event.at
        if not isinstance(fact, facts.RunStarted):
            return
        self.version = fact.playhead
        root.name = f"invoke_agent {fact.persona}"
        root.attributes |= {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": fact.persona,
            "gen_ai.conversation.id": self.run,
            "playhead.run": self.run,
            "playhead.mode": fact.mode,
            "playhead.run.name": fact.name,
        }
        self._shown(root, "playhead.arguments", fact.args)
        if fact.parent is not None:
            root.links.append((fact.parent, fact.parent_op or "", "parent run"))
        if fact.forked is not None:
            root.links.append((fact.forked.run, "", "forked from"))
            root.attributes["playhead.forked_from"] = self.life.forked_from
            self._copied = Copied(self.run, fact)

    def _step(self, event: Event, fact: Fact | None) -> None:
        known = fact if isinstance(fact, facts.StepStarted) else None
        span = self._open(event, f"step {known.step if known else name_of(event.op)}")
        if known:
            span.attributes["playhead.step"] = known.step
            self._shown(span, "playhead.arguments", known.args)

    def _open(self, event: Event, name: str, kind: int = _INTERNAL, op: str | None = None) -> _Span:
        op = event.op if op is None else op
        parent = next(enclosing(op, self._spans), "")
        span = self._spans[op] = _Span(op, parent, name, kind, event.at)
        span.attributes |= {"playhead.run": self.run, "playhead.op": op, "playhead.seq": event.seq}
        return span

    def _move(self, moved: Moved, event: Event, fact: Fact | None) -> None:
        if moved.status == "opened":
            self._opened(moved, event, fact)
        else:
            self._close(self._spans.get(moved.op), event, fact, moved.status)

    def _opened(self, moved: Moved, event: Event, fact: Fact | None) -> None:
        kind, name = moved.was.kind, moved.was.name
        match fact:
            case facts.ToolRequested():
                span = self._open(event, f"execute_tool {name}")
                span.attributes |= {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": fact.tool,
                    "gen_ai.tool.type": "function",
                    "gen_ai.tool.call.id": event.op,
                    "playhead.effect": fact.effect,
                }
                self._shown(span, "gen_ai.tool.call.arguments", fact.args)
            case facts.ModelCalled():
                self._model(event, fact)
            case facts.ChildRequested():
                span = self._open(event, f"invoke_agent {fact.persona}")
                span.attributes |= {
                    "gen_ai.operation.name": "invoke_agent",
                    "gen_ai.agent.name": fact.persona,
                }
                span.links.append((fact.run, "", "child run"))
            case _:
                span = self._open(event, f"{kind} {name}", op=moved.op)
                if isinstance(fact, approval.ApprovalRequested):
                    span.attributes |= {"playhead.request": fact.request, "playhead.quorum": fact.quorum}
        self._spans[moved.op].attributes["playhead.kind"] = kind

    def _model(self, event: Event, fact: facts.ModelCalled) -> None:
        request = _plain(fact.request)
        request = cast("dict[str, Any]", request) if isinstance(request, dict) else {}
        model = fact.model or fact.client
        span = self._open(event, f"chat {model}", _CLIENT)
        span.attributes |= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": fact.client,
            "gen_ai.request.model": model,
            "gen_ai.request.max_tokens": _number(request.get("max_output_tokens")),
            "gen_ai.request.temperature": _number(request.get("temperature")),
        }
        if self.content:
            prompt = request.get("prompt")
            told: Any = request.get("messages")
            messages: list[Any] = [told] if isinstance(told, str) else list(told or ())  # a mark where erased
            messages += [_message("user", prompt)] if prompt else []
            span.attributes["gen_ai.input.messages"] = _json(messages)
            if request.get("system"):
                parts = [{"type": "text", "content": request["system"]}]
                span.attributes["gen_ai.system_instructions"] = _json(parts)

    def _close(self, span: _Span | None, event: Event, fact: Fact | None, status: str) -> None:
        if span is None or span.ended is not None:
            return
        span.ended = event.at
        span.attributes["playhead.copied"] = self._copied.has(span.op, event.seq) or None
        span.attributes["playhead.status"] = status
        span.attributes["playhead.ended_seq"] = event.seq
        failure = getattr(fact, "failure", None)
        if isinstance(failure, Failure):
            self._failed(span, event, failure)
        elif status == "failed":
            span.error = str(getattr(fact, "message", "") or getattr(fact, "reason", ""))
            span.attributes["error.type"] = str(getattr(fact, "cause", "") or event.type)
        if isinstance(fact, facts.ModelAnswered):
            self._answered(span, fact)
        result = getattr(fact, "result", None)
        if isinstance(result, msgspec.Raw):
            is_tool = isinstance(fact, facts.ToolCompleted)
            self._shown(span, "gen_ai.tool.call.result" if is_tool else "playhead.result", result)

    def _failed(self, span: _Span, event: Event, failure: Failure) -> None:
        span.error = failure.message
        span.attributes["error.type"] = failure.type
        self._exception(span, event.at, failure)

    def _exception(self, span: _Span, at: int, failure: Failure) -> None:
        causes: list[str] = []
        cause = failure.cause
        while cause is not None and len(causes) < 16:
            causes.append(f"{cause.type}: {cause.message}")
            cause = cause.cause
        span.events.append(
            (
                at,
                "exception",
                {
                    "exception.type": f"{failure.module}.{failure.type}".removeprefix("builtins."),
                    "exception.message": failure.message,
                    "playhead.site": str(failure.site) if failure.site else None,
                    "playhead.causes": "\n".join(causes) or None,
                },
            )
        )

    def _answered(self, span: _Span, fact: facts.ModelAnswered) -> None:
        usage = fact.usage
        span.attributes |= {"gen_ai.response.model": fact.model, **_used(usage)}
        span.attributes["playhead.cost_micros"] = fact.cost_micros
        if not self.content:
            return
        reply = _plain(fact.reply)
        fields = cast("dict[str, Any]", reply) if isinstance(reply, dict) else {}
        reason = fields.get("stop_reason") or "stop"
        message = {**_message("assistant", fields.get("text", "")), "finish_reason": reason}
        span.attributes["gen_ai.output.messages"] = _json([message])

    def _shown(self, span: _Span, name: str, raw: msgspec.Raw) -> None:
        """What a user gave or got, where it is asked for."""
        if self.content:
            span.attributes[name] = _json(_plain(raw))

    # ------------------------------------------------------------- what happens on the way

    def _note(self, event: Event, fact: Fact | None) -> None:
        span = self._spans.get(event.op) or self._spans.get(next(enclosing(event.op, self._spans), ""))
        span = span or self._root
        at = event.at
        attributes: dict[str, Any]
        match fact:
            case facts.AttemptStarted():
                attributes = {"playhead.attempt": fact.attempt, "playhead.reason": fact.reason}
                span.events.append((at, "playhead.attempt", attributes))
                span.attributes["playhead.attempts"] = fact.attempt
            case facts.AttemptFinished(failure=Failure() as failure) | facts.StepRetried(failure=failure):
                self._exception(span, at, failure)
            case facts.OperationOutcomeUnknown():
                span.events.append((at, "playhead.in_doubt", {}))
            case facts.OperationResolved():
                span.events.append((at, "playhead.resolved", {"playhead.action": fact.action}))
            case rules.ToolDenied() | rules.StepDenied():
                name = fact.tool if isinstance(fact, rules.ToolDenied) else fact.step
                attributes = {"playhead.denied": name, "playhead.reason": fact.reason}
                span.events.append((at, "playhead.denied", attributes))
            case rules.BudgetExhausted():
                attributes = {"playhead.budget": fact.name, "playhead.limit": fact.limit}
                span.events.append((at, "playhead.budget_exhausted", attributes))
            case approval.ApprovalAnswered():
                self._answer(event, fact)
            case autonomy.AutonomyDecided():
                attributes = {"playhead.verdict": fact.verdict, "playhead.tier": fact.tier}
                span.events.append((at, "playhead.autonomy", attributes))
            case facts.RunResumed() | facts.RunSuspended() | facts.RunReleased() | facts.RunParked():
                self._root.events.append((at, event.type.replace("run.", "playhead.run_"), {}))
            case facts.RunCompleted():
                self._shown(self._root, "playhead.result", fact.result)
            case facts.RunFailed():
                self._exception(self._root, at, fact.failure)
            case _:
                pass

    def _answer(self, event: Event, fact: approval.ApprovalAnswered) -> None:
        asked = [s for s in self._spans.values() if s.attributes.get("playhead.request") == fact.request]
        attributes = {"playhead.word": fact.word, "playhead.reviewer": fact.reviewer}
        (asked[-1] if asked else self._root).events.append((event.at, "playhead.answer", attributes))


def trace_of(log: LogReader, run: str, *, content: bool = False, catalog: Catalog = CATALOG) -> Trace:
    """The spans of `run`. Raises `NotFound`, and `BadEvent` for an event that cannot be read."""
    stream = f"run/{run}"
    if not log.head(stream).seq:
        raise NotFound(f"there is no run {run}.", next_step="See `playhead runs`.")
    trace = Trace(run, content=content)
    for event in mended(log, log.scan(stream), catalog):
        fact = catalog.decode(event)
        trace.take(event, fact if isinstance(fact, Fact) else None)
    return trace


def documents(
    log: LogReader,
    run: str,
    *,
    content: bool = False,
    service: str = SERVICE,
    catalog: Catalog = CATALOG,
) -> Iterator[dict[str, Any]]:
    """The spans of `run` as documents of OTLP, at most `SPANS_MAX` in each."""
    trace = trace_of(log, run, content=content, catalog=catalog)
    page: list[dict[str, Any]] = []
    for span in trace.spans():
        page.append(span)
        if len(page) == SPANS_MAX:
            yield _document(page, service, trace.version)
            page = []
    if page:
        yield _document(page, service, trace.version)


def _document(spans: list[dict[str, Any]], service: str, version: str) -> dict[str, Any]:
    """`version` is that of the playhead which recorded the run: the one that exports it changes nothing."""
    resource = {
        "service.name": service,
        "telemetry.sdk.name": "playhead",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": version or None,
    }
    scope = {"name": "playhead", **({"version": version} if version else {})}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [{"scope": scope, "spans": spans, "schemaUrl": SCHEMA_URL}],
                "schemaUrl": SCHEMA_URL,
            }
        ]
    }


# -------------------------------------------------------------------- values


def _used(usage: Usage) -> dict[str, int | None]:
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }


def _attributes(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Attributes as OTLP has them; what is not known is left out."""
    return [{"key": key, "value": _value(value)} for key, value in found.items() if value is not None]


def _value(value: Value) -> dict[str, Value]:
    kind: Literal["boolValue", "doubleValue", "stringValue"]
    if isinstance(value, bool):
        kind = "boolValue"
    elif isinstance(value, int):
        return {"intValue": str(value)} if -(2**63) <= value < 2**63 else {"stringValue": str(value)}
    else:
        kind = "doubleValue" if isinstance(value, float) else "stringValue"
    return {kind: value}


def _number(value: object) -> int | float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _message(role: str, text: object) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _plain(raw: msgspec.Raw) -> Any:
    return msgspec.msgpack.decode(raw, strict=False)


def _json(value: Any) -> str:
    return json_text(value, default=_shown)


def _shown(value: Any) -> Any:
    """What JSON has no word for."""
    return {"$bytes": bytes(value).hex()} if isinstance(value, (bytes, bytearray)) else str(value)
