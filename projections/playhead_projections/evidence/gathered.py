"""The facts of one run from which its receipts are made: every operation, what it came to, and its hashes.

    run = gather_run(log, "4wq2mzkq7xha")
    run.operations["0/fetch#0"].status           # 'completed'

The hash of an operation is the salted commitment that the chain of the log has of its event, never one of
the bare value: it says the same to whoever has the event, it lets nobody guess a short secret, and it stays
what it is when the payload is erased.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast

from playhead.errors import NotFound
from playhead.events import autonomy, catalog, rules
from playhead.events.approval import ApprovalAnswered, ApprovalGranted, ApprovalRequested
from playhead.events.codec import CATALOG, Erased, Unknown, plain
from playhead.events.erasing import mended
from playhead.events.fact import Fact, ProgramFact
from playhead.events.redaction import PREFIX
from playhead.log.chain import GENESIS, commitment, header
from playhead.log.envelope import Event
from playhead.log.graft import commitments_of
from playhead.log.reader import LogReader
from playhead.runtime.copied import Copied
from playhead_projections.accounts import TERMINAL, Ledger, Life, Moved, Used, live, move
from playhead_projections.evidence.canonical import told

EVIDENCE_MAX: Final = 64
"""So many single events are proven in a receipt beside the last one of the run."""

_SECRET: Final = re.compile(re.escape(PREFIX.encode()) + rb"([0-9a-f]{64})")


class Leaf(NamedTuple):
    """An event, the digest before it in its stream, and its commitment: what its own digest is made of."""

    event: Event
    previous: bytes
    committed: bytes

    @property
    def header(self) -> bytes:
        """The canonical bytes of its envelope, which name its stream."""
        one = self.event
        return header(
            one.stream.encode(), one.seq, one.type, one.version, one.at, one.epoch, one.op, one.cause,
            one.append_id,
        )  # fmt: skip


@dataclass(slots=True)
class Operation:
    """One operation: the event that asked for it, and the one that settled it. A fact is None once erased."""

    op: str
    kind: str
    name: str
    asked: Event
    fact: Fact | None
    hash: str
    status: str = "open"
    ended: Event | None = None
    end: Fact | None = None
    end_hash: str | None = None
    attempts: int = 1
    copied: bool = False
    """Whether a fork has the outcome from elsewhere, so that nothing was carried out for it."""
    withheld: bool = False
    """Whether a fork was not allowed to carry it out."""
    answers: list[tuple[Leaf, ApprovalAnswered]] = field(default_factory=list[tuple[Leaf, ApprovalAnswered]])
    """What people said to a request, in the order in which it was taken."""
    cancelled_by: str | None = None
    """Who had asked for the end of the run when this was cancelled; None where nobody had."""

    def denied(self) -> ApprovalAnswered | None:
        """Who said no, as the answers have it, of a request that was denied."""
        return next((fact for _, fact in reversed(self.answers) if fact.word == "deny"), None)

    def agreed(self) -> list[tuple[Leaf, ApprovalAnswered]]:
        """Who said yes before the end and did not take that back: the newest word of each who was asked."""
        asked = self.fact
        if not isinstance(asked, ApprovalRequested):
            return []
        newest = {fact.reviewer: (leaf, fact) for leaf, fact in self.answers}
        return [
            (leaf, fact)
            for leaf, fact in newest.values()
            if fact.word == "approve"
            and fact.request == asked.request
            and fact.reviewer != asked.principal
            and (asked.reviewers is None or fact.reviewer in asked.reviewers)
        ]


@dataclass(slots=True)
class Erasure:
    """A payload that is gone: of which event, and what is left of it."""

    seq: int
    type: str
    hash: str
    reason: str = ""
    parts: tuple[str, ...] = ()
    """JSON pointers to what is gone; none where all of it is."""


@dataclass(slots=True)
class Gathered:
    """All that a receipt says of a run. `evidence` are the events that single claims rest on."""

    run: str
    life: Life
    started: catalog.RunStarted | None = None
    first: Event | None = None
    last: Event | None = None
    leaf: Leaf | None = None
    """The last event once more, as it is proven."""
    claimed_at: int | None = None
    input_hash: str | None = None
    result_hash: str | None = None
    operations: dict[str, Operation] = field(default_factory=dict[str, Operation])
    models: dict[tuple[str, str], Used] = field(default_factory=dict[tuple[str, str], Used])
    models_copied: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """How many of the calls of each model a fork has from the run that it was made from."""
    used: Used = field(default_factory=Used)
    hooks: Used = field(default_factory=Used)
    """What hooks asked models, which no budget pays, and no step answers for."""
    hook_models: dict[tuple[str, str], Used] = field(default_factory=dict[tuple[str, str], Used])
    hook_calls: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Each question of a hook to a model: the hook that asked, and which client. Not what a fork copied."""
    hooks_lost: int = 0
    """How many hooks may have asked models, and what they did was erased."""
    tiers: list[str] = field(default_factory=list[str])
    """What effects were decided by, in their order; "" where that was erased."""
    policies: list[tuple[int, dict[str, Any]]] = field(default_factory=list[tuple[int, dict[str, Any]]])
    denied: int = 0
    erasures: dict[int, Erasure] = field(default_factory=dict[int, Erasure])
    cancel_asked_by: str | None = None
    secrets: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    forked: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the run says of the one that it was forked from, in plain values."""
    copied: Copied = field(default_factory=lambda: Copied("", None))
    """Which outcomes did not happen in it, where it is a fork."""
    evidence: list[Leaf] = field(default_factory=list[Leaf])
    heard: int = 0
    """How many messages its mailbox had at least, because it took them."""
    codes: dict[str, str] = field(default_factory=dict[str, str])
    skipped: int = 0
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def over(self) -> bool:
        """Whether the run has ended for good."""
        return self.life.status in TERMINAL

    def of_kind(self, kind: str) -> list[Operation]:
        """The operations of a kind, in the order in which they were asked for."""
        return [one for one in self.operations.values() if one.kind == kind]


def gather_run(log: LogReader, run: str) -> Gathered:
    """What stands in the log of a run. Raises `NotFound`, and `BadEvent` for what nobody can read."""
    if not log.head(f"run/{run}").seq:
        raise NotFound(f"there is no run {run}.")

    def left(event: Event) -> bytes:
        return commitments_of(log, [event._replace(payload=None)])[event.position]

    return gather(run, mended(log, log.scan(f"run/{run}")), left)


def gather(run: str, events: Iterable[Event], left: Callable[[Event], bytes]) -> Gathered:
    """What `events`, all those of a run, say. `left` is asked for the commitment of an erased payload.

    What was kept of one stands where its payload was, and has no salt.
    """
    found, previous = Gathered(run, Life(run=run)), GENESIS
    for event in events:
        fact = CATALOG.decode(event)
        if event.payload is None or event.salt is None:
            committed = left(event)
            found.erasures[event.seq] = Erasure(event.seq, event.type, told(committed))
        else:
            committed = commitment(event.salt, event.payload)
            found.secrets += ((event.seq, each.decode()) for each in _secrets(event.payload))
        found.skipped += isinstance(fact, Unknown)
        if isinstance(fact, Erased):
            found.tiers += [""] if event.type == "autonomy.decided" else ()
            found.hooks_lost += event.type in ("hook.decided", "hook.failed")
        leaf = Leaf(event, previous, committed)
        _take(found, leaf, fact if isinstance(fact, Fact) else None)
        found.first = found.first or event
        found.last, found.leaf, previous = event, leaf, event.digest
    return found


def _secrets(payload: bytes) -> list[bytes]:
    return sorted(set(_SECRET.findall(payload))) if PREFIX.encode() in payload else []


def _take(run: Gathered, leaf: Leaf, fact: Fact | None) -> None:
    event, hashed = leaf.event, told(leaf.committed)
    live(run.life, event, fact)
    if isinstance(fact, ProgramFact):
        run.copied.asks(event.op, fact)
    for moved in move(run.ledger, event, fact):
        if moved.status == "opened":
            _opened(run, event, fact, hashed, moved)
        else:
            _closed(run, leaf, fact, moved)
    run.heard = max(run.heard, _message_of(run, event, fact) + 1)
    if code := getattr(fact, "code", ""):
        run.codes.setdefault(_part_of(event, fact), code)
    match fact:
        case catalog.RunStarted():
            run.started, run.input_hash = fact, hashed
            run.forked = object_in(plain(event).get("forked"))
            run.copied = Copied(run.run, fact)
            run.evidence += [leaf] if run.forked else []
            if fact.policy is not None:
                run.policies.append((event.seq, fact.policy))
        case catalog.RunCancelRequested() if run.cancel_asked_by is None:
            run.cancel_asked_by = fact.sender
        case ApprovalAnswered() if (one := _asked_in(run, fact)) is not None:
            one.answers.append((leaf, fact))
        case catalog.RunClaimed() if run.claimed_at is None:
            run.claimed_at = event.at
        case rules.PolicyNarrowed():
            run.policies.append((event.seq, fact.policy))
        case autonomy.AutonomyDecided():
            run.tiers.append(fact.tier)
        case rules.ToolDenied() | rules.StepDenied():
            run.denied += 1
        case catalog.AttemptStarted() if event.op in run.operations:
            run.operations[event.op].attempts += 1
        case rules.HookDecided() | rules.HookFailed():
            _hooked(run, event, fact)
        case catalog.EffectWithheld() if event.op in run.operations:
            run.operations[event.op].withheld = True
        case catalog.PayloadErased():
            run.evidence.append(leaf)
            if event.cause in run.erasures:
                run.erasures[event.cause].reason = fact.reason
                run.erasures[event.cause].parts = tuple(getattr(fact, "parts", ()))
        case catalog.RunCompleted():
            run.result_hash = hashed
        case _:
            pass


def _hooked(run: Gathered, event: Event, fact: rules.HookDecided | rules.HookFailed) -> None:
    """The models that a hook asked before it decided."""
    for call in fact.model_calls:
        for used in (run.hooks, run.hook_models.setdefault((call.client, call.model or call.client), Used())):
            used.model_calls += 1
            used.learn(call.usage, call.cost_micros)
        if event.seq > run.copied.last:
            run.hook_calls.append((event.op, call.client))


def _message_of(run: Gathered, event: Event, fact: Fact | None) -> int:
    """Which message of its mailbox the run took with an event; -1 for none, or one that a fork began with."""
    number = getattr(fact, "message", None)
    return number if type(number) is int and event.seq > run.copied.last else -1


def _asked_in(run: Gathered, fact: ApprovalAnswered) -> Operation | None:
    """The request, still open, that an answer is about."""
    open_ = (one for one in run.of_kind("approval") if one.ended is None)
    return next((one for one in open_ if getattr(one.fact, "request", None) == fact.request), None)


def _opened(run: Gathered, event: Event, fact: Fact | None, hashed: str, moved: Moved) -> None:
    was = moved.was
    run.operations[moved.op] = Operation(moved.op, was.kind, was.name, event, fact, hashed)
    if was.kind == "model":
        run.used.ask()


def _closed(run: Gathered, leaf: Leaf, fact: Fact | None, moved: Moved) -> None:
    one = run.operations[moved.op]
    one.status, one.ended, one.end, one.end_hash = moved.status, leaf.event, fact, told(leaf.committed)
    one.copied = run.copied.has(one.op, leaf.event.seq)
    if one.kind == "approval":
        one.cancelled_by = run.cancel_asked_by
        if fact is None:
            run.evidence += (said for said, _ in one.answers)
        elif not isinstance(fact, ApprovalGranted):
            run.evidence += (said for said, _ in one.agreed())
        run.evidence.append(leaf)
    if one.kind == "model":
        run.used.add(fact)
        _counted(run, one, fact)


def _counted(run: Gathered, one: Operation, fact: Fact | None) -> None:
    """What a model call took, for the model that it was a call of."""
    asked = one.fact if isinstance(one.fact, catalog.ModelCalled) else None
    answer = fact if isinstance(fact, catalog.ModelAnswered) else None
    client = asked.client if asked else one.name
    model = (answer.model if answer else None) or (asked.model if asked else None) or client
    used = run.models.setdefault((client, model), Used())
    used.ask()
    used.add(fact)
    run.models_copied[client, model] = run.models_copied.get((client, model), 0) + one.copied


def object_in(value: Any) -> dict[str, Any]:
    """A value that should be an object, as one: whoever wrote a log may have written anything."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _part_of(event: Event, fact: Fact | None) -> str:
    """What of a program the digest of code in a fact is about, such as `tool fetch`."""
    kind = {"run": "persona"}.get(event.type.partition(".")[0], event.type.partition(".")[0])
    return f"{kind} {next((name for each in _NAMES if (name := getattr(fact, each, None))), '?')}"


_NAMES: Final = ("tool", "function", "persona", "client")
