"""Receipts of steps, in the order in which they finished: inner ones before the ones around them.

    book = state_at(log, Receipts(), "run/4wq2mzkq7xha").state
    fresh, cursor = drain(book, after=-1)          # and later: drain(book, after=cursor)

A receipt belongs to one finished step and never changes. What a model used is counted
for the innermost step that asked, as `input_tokens` and so on, and for every step
around it under `inclusive`. Every key is always present; what is unknown is None.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from playhead.events import catalog as facts
from playhead.events import rules
from playhead.events.fact import Fact
from playhead.log.envelope import Event
from playhead_projections.accounts import (
    STEP_ENDS,
    Error,
    Ledger,
    Moved,
    Used,
    enclosing,
    error_of,
    move,
    name_of,
)
from playhead_projections.projection import Projection

SCHEMA: Final = "playhead.receipts/1"
NS_MAX: Final = 2**63 - 1


class Waited(msgspec.Struct, array_like=True):
    """How often a step waited for one kind of thing, and how long, added up over what ran side by side."""

    count: int = 0
    ns: int = 0


class Account(msgspec.Struct, kw_only=True):
    """What a step took."""

    used: Used = msgspec.field(default_factory=Used)
    attempts: int = 0
    waited: dict[str, Waited] = {}

    def wait(self, kind: str, ns: int) -> None:
        """One more wait of that kind."""
        waited = self.waited.setdefault(kind, Waited())
        waited.count += 1
        waited.ns = min(waited.ns + max(ns, 0), NS_MAX)

    def document(self) -> dict[str, Any]:
        return {
            **self.used.document(),
            "attempts": self.attempts,
            "waited_for": [
                {"kind": kind, "count": waited.count, "ns": waited.ns}
                for kind, waited in sorted(self.waited.items())
            ],
        }


class Receipt(msgspec.Struct, kw_only=True):
    """One step. `seq` is where it finished, `started_seq` where it began.

    `model` is the last that was used, else the declared one. One that is not `wanted` is not kept, because
    its step said `receipt="none"`.
    """

    op: str
    name: str
    step: str | None
    started_seq: int
    started: int
    function: str | None = None
    model: str | None = None
    status: str = "running"
    wanted: bool = True
    error: Error | None = None
    seq: int | None = None
    finished: int | None = None
    own: Account = msgspec.field(default_factory=Account)
    inclusive: Account = msgspec.field(default_factory=Account)


class Book(msgspec.Struct, kw_only=True):
    """The receipts of one run, and the steps that have not finished.

    `besides` is what stands in no receipt: model calls outside of any step, in a step without a receipt,
    and what a call used that was answered when its step had finished already. So the `own` sums of all
    receipts, of the open steps, and `besides` add up to the model calls of the run.
    """

    run: str
    finished: list[Receipt] = []
    open: dict[str, Receipt] = {}
    ended: dict[str, int] = {}
    """Where each finished step ended."""
    besides: Used = msgspec.field(default_factory=Used)
    ledger: Ledger = msgspec.field(default_factory=Ledger)


class Receipts(Projection[Book]):
    """One book for each run."""

    name = "receipts"
    version = 5
    state = Book
    effort = 6
    paged = ("finished", "ended")

    def initial(self, key: str) -> Book:
        return Book(run=key)

    def apply(self, state: Book, event: Event, fact: Fact) -> Book:
        return _apply(state, event, fact)

    def erased(self, state: Book, event: Event) -> Book:
        return _apply(state, event, None)

    newer = erased


def peek(book: Book, *, after: int = -1) -> list[Receipt]:
    """The receipts of steps that finished after event `after`, in order. Nothing changes."""
    return [receipt for receipt in book.finished if receipt.seq is not None and receipt.seq > after]


def drain(book: Book, *, after: int = -1) -> tuple[list[Receipt], int]:
    """As `peek`, and the cursor to pass next time so that no receipt comes twice. Nothing is taken away."""
    found = peek(book, after=after)
    return found, max((receipt.seq or 0 for receipt in found), default=after)


def document(receipt: Receipt) -> dict[str, Any]:
    """A receipt as JSON: every key, always."""
    return {
        "name": receipt.name,
        "function": receipt.function,
        "op": receipt.op,
        "step": receipt.step,
        "status": receipt.status,
        "error": msgspec.to_builtins(receipt.error),
        "model": receipt.model,
        "started": receipt.started,
        "finished": receipt.finished,
        "started_seq": receipt.started_seq,
        "seq": receipt.seq,
        **receipt.own.document(),
        "inclusive": receipt.inclusive.document(),
    }


def _apply(book: Book, event: Event, fact: Fact | None) -> Book:
    if event.type == "step.started":
        known = fact if isinstance(fact, facts.StepStarted) else None
        book.open[event.op] = Receipt(
            op=event.op,
            name=known.step if known else name_of(event.op),
            function=known.function if known else None,
            step=next(enclosing(event.op, book.open), None),
            started_seq=event.seq,
            started=event.at,
            model=known.declared.model if known else None,
            wanted=known.declared.receipt == "audit" if known else True,
        )
    elif event.type in STEP_ENDS:
        _finish(book, event, fact)
    elif isinstance(fact, rules.StepDenied):
        _denied(book, event, fact)
    else:
        for moved in move(book.ledger, event, fact):
            if moved.status == "opened":
                _opened(book, moved)
            else:
                _closed(book, event, fact, moved)
        _attempted(book, event, fact)
    return book


def _finish(book: Book, event: Event, fact: Fact | None) -> None:
    receipt = book.open.pop(event.op, None)
    if receipt is None:
        return
    receipt.status = STEP_ENDS[event.type]
    receipt.seq, receipt.finished = event.seq, event.at
    failure = getattr(fact, "failure", None)
    receipt.error = error_of(failure) if failure is not None else None
    book.ended[event.op] = event.seq
    if receipt.wanted:
        book.finished.append(receipt)
    else:
        book.besides.merge(receipt.own.used)


def _denied(book: Book, event: Event, fact: rules.StepDenied) -> None:
    """A step that a hook did not let begin: its receipt says so, and of nothing else."""
    receipt = Receipt(
        op=event.op,
        name=fact.step,
        step=next(enclosing(event.op, book.open), None),
        status="denied",
        error=Error(type="HookDenied", message=fact.reason, category="hook_denied"),
        started_seq=event.seq,
        started=event.at,
        seq=event.seq,
        finished=event.at,
    )
    book.ended[event.op] = event.seq
    book.finished.append(receipt)


def _accounts(book: Book, op: str) -> list[Account]:
    """Whom `op` is counted for: every open step around it, and the innermost one itself, unless it ended."""
    around = [book.open[step] for step in enclosing(op, book.open)]
    own = [] if _innermost_ended(book, op) is not None else around[:1]
    return [*(receipt.inclusive for receipt in around), *(receipt.own for receipt in own)]


def _innermost_ended(book: Book, op: str) -> int | None:
    """Where the innermost step around `op` ended; None where it is open, or there is none."""
    for start in enclosing(op, _Steps(book)):
        return book.ended.get(start) if start not in book.open else None
    return None


class _Steps(NamedTuple):
    """All steps of a book, open or not."""

    book: Book

    def __contains__(self, op: object) -> bool:
        return op in self.book.open or op in self.book.ended


def _opened(book: Book, moved: Moved) -> None:
    for account in _accounts(book, moved.op):
        account.attempts += moved.was.kind == "tool"
        if moved.was.kind == "model":
            account.used.ask()
    if moved.was.kind == "model" and _is_besides(book, moved):
        book.besides.ask()


def _closed(book: Book, event: Event, fact: Fact | None, moved: Moved) -> None:
    for account in _accounts(book, moved.op):
        account.wait(moved.was.kind, event.at - moved.was.at)
        if moved.was.kind == "model":
            account.used.add(fact)
    if moved.was.kind == "model" and _is_besides(book, moved):
        book.besides.add(fact)
    elif moved.was.kind == "model" and _innermost_ended(book, moved.op) is not None:
        answer = fact if isinstance(fact, facts.ModelAnswered) else facts.ModelAnswered(reply=Raw())
        book.besides.learn(answer.usage, answer.cost_micros)
    if isinstance(fact, facts.ModelAnswered):
        _took(book, moved.op, fact.model)


def _took(book: Book, op: str, model: str | None) -> None:
    """The innermost step around `op` used `model`."""
    innermost = next(enclosing(op, book.open), None)
    if model and innermost is not None and _innermost_ended(book, op) is None:
        book.open[innermost].model = model


def _is_besides(book: Book, moved: Moved) -> bool:
    """Whether no step of its own made this model call: outside of any, or when its step had finished."""
    ended = _innermost_ended(book, moved.op)
    if ended is not None:
        return moved.was.seq > ended
    return next(enclosing(moved.op, book.open), None) is None


def _attempted(book: Book, event: Event, fact: Fact | None) -> None:
    if isinstance(fact, facts.ModelCalled):
        _took(book, event.op, fact.model)
    opened = book.ledger.open.get(event.op)
    if opened is None or opened.kind != "tool":
        return
    if isinstance(fact, facts.AttemptStarted):
        for account in _accounts(book, event.op):
            account.attempts += 1
    elif isinstance(fact, facts.AttemptFinished) and fact.retry_in_ms is not None:
        for account in _accounts(book, event.op):
            account.wait("retry", fact.retry_in_ms * 1_000_000)
