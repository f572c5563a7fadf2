"""What people were asked and have not decided yet: one box for each run.

    for run in models.labelled(Inbox(), OPEN):
        models.get(Inbox(), run).open                # {request: Asked}
    boxes_at(log, 4711)                     # all boxes as they stood then

A request is in the box from the event that makes it until the one that grants or denies it, until
its time is over, or until nobody waits for it any more. One that nobody ever waited for leaves with the first
answer, or with its run.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from playhead.events import approval as approvals
from playhead.events import signed
from playhead.events.catalog import RunStarted
from playhead.events.codec import CATALOG, Catalog
from playhead.events.erasing import mended
from playhead.events.fact import Fact
from playhead.events.words import AnswerWord
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead.policy.quorum import Answer, Terms, count
from playhead_projections.projection import Projection

OPEN: Final = "open"
_OVER: Final = frozenset({"approval.granted", "approval.denied", "approval.timed_out", "operation.cancelled"})
_RUN_OVER: Final = frozenset({"run.completed", "run.failed", "run.cancelled"})


TYPES: Final = (
    *("run.started", "approval.requested", "approval.answered"),
    *sorted(_OVER | _RUN_OVER),
)
"""The types of events that a box is made of."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that the run has taken. `at` is when it was said, nanoseconds since the epoch, UTC.

    `value` is the SHA-256 of what it carries, as it was signed.
    """

    request: str
    reviewer: str
    word: AnswerWord
    reason: str
    digest: str
    at: int
    value: str
    signature: str = ""
    key: str = ""
    signed_at: int = 0


class Asked(msgspec.Struct, kw_only=True):
    """A request that is open: event `seq` of its run. Times are nanoseconds since the epoch, UTC.

    Where the run has `reviewer_keys`, only what is signed with one of them counts.
    """

    run: str
    persona: str
    op: str
    seq: int
    at: int
    request: str
    kind: str
    action: str
    digest: str
    args: Any
    detail: Any
    principal: str
    reviewers: list[str] | None
    quorum: int
    due: int | None
    capabilities: list[str]
    reviewer_keys: dict[str, tuple[str, ...]] = {}
    said: list[Said] = []
    within: list[str] = []
    """Agents whose code asked: they have no say either."""
    waits: bool = True
    """False: the program went on, and whoever answers only says what he thinks of it."""

    @property
    def terms(self) -> Terms:
        """What it takes, as the run counts it."""
        reviewers = None if self.reviewers is None else tuple(self.reviewers)
        return Terms(
            self.digest,
            reviewers,
            self.quorum,
            self.principal,
            signed=bool(self.reviewer_keys),
            within=tuple(self.within),
        )

    @property
    def agreed(self) -> list[str]:
        """Who agrees now. An answer to a question that is open still was none.

        Raises `ProgramError` for signed answers where the cryptography package is missing.
        """
        if self.kind == "question":
            return []
        answers = [self._heard(each) for each in self.said if self.due is None or each.at <= self.due]
        return [answer.reviewer for answer in count(self.terms, answers).agreed]

    def _heard(self, said: Said) -> Answer:
        known = signed.heard(self.reviewer_keys, self.run, self.digest, said, bytes.fromhex(said.value))
        told = (said.reviewer, said.word, said.digest, said.reason, said.at)
        return Answer(*told, known, said.signature, said.key, said.signed_at)


class Box(msgspec.Struct, kw_only=True):
    """The open requests of one run, by their id, and how many messages it has taken."""

    run: str
    persona: str = "?"
    open: dict[str, Asked] = {}
    taken: int = 0
    reviewer_keys: dict[str, tuple[str, ...]] = {}


class Inbox(Projection[Box]):
    """One box for each run."""

    name = "inbox"
    version = 4
    state = Box
    effort = 1

    def initial(self, key: str) -> Box:
        return Box(run=key)

    def apply(self, state: Box, event: Event, fact: Fact) -> Box:
        match fact:
            case RunStarted():
                state.persona = fact.persona
                state.reviewer_keys = fact.reviewer_keys or {}
            case approvals.ApprovalRequested():
                state.open[fact.request] = _asked(state, event, fact)
            case approvals.ApprovalAnswered():
                state.taken = fact.message + 1
                asked = state.open.get(fact.request)
                if asked is not None and asked.waits:
                    asked.said.append(_said(fact))
                elif asked is not None:
                    del state.open[fact.request]
            case _:
                _close(state, event)
        return state

    def erased(self, state: Box, event: Event) -> Box:
        _close(state, event)
        return state

    newer = erased

    def label(self, state: Box) -> str | None:
        return OPEN if state.open else None


def boxes_at(log: LogReader, position: int | None = None, *, catalog: Catalog = CATALOG) -> dict[str, Box]:
    """The box of every run as it stood after the event at `position`: a fold from zero.

    Raises `BadEvent` for an event that cannot be read.
    """
    inbox, boxes, after = Inbox(), dict[str, Box](), 0
    while page := log.feed(after, types=TYPES):
        for event in mended(log, page):
            if position is not None and event.position > position:
                return boxes
            run = inbox.key(event)
            if run is None:
                continue
            box = boxes.get(run) or inbox.initial(run)
            boxes[run] = inbox.take(box, event, catalog.decode(event))
        after = page[-1].position
    return boxes


def _close(box: Box, event: Event) -> None:
    if event.type in _RUN_OVER:
        box.open.clear()
    elif event.type in _OVER:
        for request in [name for name, asked in box.open.items() if asked.op == event.op]:
            del box.open[request]


def _asked(box: Box, event: Event, fact: approvals.ApprovalRequested) -> Asked:
    return Asked(
        run=box.run,
        persona=box.persona,
        op=event.op,
        seq=event.seq,
        at=event.at,
        request=fact.request,
        kind=fact.kind,
        action=fact.action,
        digest=fact.digest,
        args=msgspec.msgpack.decode(fact.args),
        detail=msgspec.msgpack.decode(fact.detail),
        principal=fact.principal,
        reviewers=None if fact.reviewers is None else list(fact.reviewers),
        quorum=fact.quorum,
        due=fact.due,
        capabilities=list(fact.capabilities),
        within=list(fact.within),
        waits=fact.waits,
        reviewer_keys=box.reviewer_keys,
    )


def _said(fact: approvals.ApprovalAnswered) -> Said:
    return Said(
        request=fact.request,
        reviewer=fact.reviewer,
        word=fact.word,
        reason=fact.reason,
        digest=fact.digest,
        at=fact.said_at,
        value=signed.digest_of(fact.value).hex(),
        signature=fact.signature,
        key=fact.key,
        signed_at=fact.signed_at,
    )
