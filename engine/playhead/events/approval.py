"""Facts about what people were asked and what they said: approvals, questions, takeovers.

A run asks, and waits without being in memory. Whoever answers puts that into the run's
mailbox; its owner records when it took which answer, and the program counts them. So a
replay asks nobody, and decides again what was decided.
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from playhead.events.fact import OutcomeFact, ProgramFact, Site, WorldFact
from playhead.events.words import AnswerWord, AskedWord, GrantWords

OF_A_CALL: Final = "/approval"
"""What the operation of a request ends with that is about a call: it lies below that of the call."""


class ApprovalRequested(ProgramFact, frozen=True, tag="approval.requested"):
    """The program asked people for something and waits for them. In the log before anybody can answer.

    `request` follows from the run, the operation and `digest`, and `digest` from what exactly is asked: an
    answer to anything else never fits. `reviewers` None is anybody but `principal`, who asks. `due` is when
    it is too late, in nanoseconds since the epoch; None is never.
    """

    request: str
    kind: AskedWord
    action: str
    digest: str
    args: Raw
    detail: Raw
    principal: str
    reviewers: tuple[str, ...] | None = None
    quorum: int = 1
    due: int | None = None
    capabilities: tuple[str, ...] = ()
    site: Site | None = None
    within: tuple[str, ...] = ()
    """The agents whose code called it, outermost first: they have no say either."""
    waits: bool = True
    """False where the program goes on without an answer: people are only told."""


class AnswerSent(WorldFact, frozen=True, tag="answer.sent"):
    """Somebody answered. In the mailbox from now on, taken when the owner of the run looks.

    `digest` is that of the call that was agreed to, "" where it is the one that was asked for; `value` is
    the answer to a question, or the arguments of the other call. Where it is signed there is a `signature` in
    base64, the fingerprint of its `key`, and `signed_at`, which is when the signer says that it was.
    """

    request: str
    word: AnswerWord
    reviewer: str
    value: Raw
    digest: str = ""
    reason: str = ""
    signature: str = ""
    key: str = ""
    signed_at: int = 0


class ApprovalAnswered(OutcomeFact, frozen=True, tag="approval.answered"):
    """The owner took an answer from the mailbox: before the decision it counts, and after it has no effect.

    `said_at` is when it was put there, in nanoseconds since the epoch. Whether a signature is one is decided
    by the program, with the keys that the run began with. `edited_by` is who put it in place of what the
    reviewer had said, `fork` for an edit of a fork: then the reviewer did not say so.
    """

    request: str
    word: AnswerWord
    reviewer: str
    value: Raw
    message: int
    said_at: int
    digest: str = ""
    reason: str = ""
    signature: str = ""
    key: str = ""
    signed_at: int = 0
    edited_by: str = ""


class ApprovalGranted(ProgramFact, frozen=True, tag="approval.granted"):
    """Enough people agreed to the call with `digest`; those who did, in the order in which they did.

    `args` are those that were agreed to, which an edited approval changed.
    """

    request: str
    digest: str
    args: Raw
    granted: tuple[GrantWords, ...]
    reason: str = ""
    edited: bool = False


class ApprovalDenied(ProgramFact, frozen=True, tag="approval.denied"):
    """Somebody who has a say said no. Nothing was done. `edited_by` as in `approval.answered`."""

    request: str
    reviewer: str
    reason: str = ""
    edited_by: str = ""


class ApprovalTimedOut(ProgramFact, frozen=True, tag="approval.timed_out"):
    """Too few people had agreed when the time was over. What comes later has no effect."""

    request: str
    due: int


def taken(sent: AnswerSent, *, message: int, said_at: int) -> ApprovalAnswered:
    """What the owner of a run records of the answer that it found as `message` of the mailbox."""
    return ApprovalAnswered(
        request=sent.request,
        word=sent.word,
        reviewer=sent.reviewer,
        value=sent.value,
        message=message,
        said_at=said_at,
        digest=sent.digest,
        reason=sent.reason,
        signature=sent.signature,
        key=sent.key,
        signed_at=sent.signed_at,
    )
