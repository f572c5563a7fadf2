"""Whether enough people agreed to exactly this: a pure fold over what they said, in the order of the log.

    terms = Terms(digest="5f…", reviewers=("ada", "bob", "cy"), quorum=2, principal="audit")
    counted = count(terms, [Answer("ada", "approve"), Answer("bob", "approve")])
    counted.verdict                                  # 'granted'

Who agrees, agrees to what it was shown: the call as it was asked for, or an edited one.
Only answers to the same call add up. Every answer that does not count says why not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Word = Literal["approve", "deny", "withdraw"]
Signed = Literal["valid", "invalid", "unsigned"]


class Terms(NamedTuple):
    """What somebody is asked for. `digest` is that of the exact call; `reviewers` None is anybody.

    `principal` is who asks, and may not agree with itself, nor may those `within`, whose code called it.
    With `signed` only signed answers count, each only when its signer says that it is later than everything
    the same person has signed before.
    """

    digest: str
    reviewers: tuple[str, ...] | None = None
    quorum: int = 1
    principal: str = ""
    signed: bool = False
    within: tuple[str, ...] = ()


class Answer(NamedTuple):
    """What one person said. `digest` is that of the call it is about; "" is the one that was asked for."""

    reviewer: str
    word: Word
    digest: str = ""
    reason: str = ""
    at: int = 0
    """Nanoseconds since the epoch, UTC: when it was said."""
    signed: Signed = "unsigned"
    signature: str = ""
    key: str = ""
    signed_at: int = 0
    """When the signer says that it was said."""
    edited_by: str = ""
    """Who put it in place of what the reviewer had said."""


class Counted(NamedTuple):
    """How it stands. `agreed` are those who agree to the call with `digest`, in the order of their answers.

    `decided` is the answer that decided; `ignored` are the places of answers that do not count, and why.
    """

    verdict: Literal["open", "granted", "denied"]
    digest: str
    agreed: tuple[Answer, ...]
    decided: Answer | None
    ignored: tuple[tuple[int, str], ...]


def count(terms: Terms, answers: Sequence[Answer]) -> Counted:
    """What `answers`, in the order of the log, come to. What comes after the decision counts for nothing."""
    agreed: dict[str, Answer] = {}
    ignored: list[tuple[int, str]] = []
    latest: dict[str, int] = {}
    for place, answer in enumerate(answers):
        why = _against(terms, agreed, answer) or _repeats(terms, latest, answer)
        if answer.signed == "valid":
            latest[answer.reviewer] = max(answer.signed_at, latest.get(answer.reviewer, answer.signed_at))
        if why:
            ignored.append((place, why))
            continue
        if answer.word == "withdraw":
            del agreed[answer.reviewer]
            continue
        late = [(number, "it was decided already") for number in range(place + 1, len(answers))]
        if answer.word == "deny":
            return Counted("denied", terms.digest, (), answer, (*ignored, *late))
        agreed[answer.reviewer] = answer
        together = tuple(each for each in agreed.values() if _same(terms, each, answer))
        if len(together) >= terms.quorum:
            digest = answer.digest or terms.digest
            return Counted("granted", digest, together, answer, (*ignored, *late))
    return Counted("open", terms.digest, tuple(agreed.values()), None, tuple(ignored))


def has_say(terms: Terms, reviewer: str) -> bool:
    """Whether an answer of that person could count."""
    named = terms.reviewers is None or reviewer in terms.reviewers
    return bool(reviewer) and reviewer not in (terms.principal, *terms.within) and named


def _same(terms: Terms, one: Answer, other: Answer) -> bool:
    """Whether two answers are about the same call."""
    return (one.digest or terms.digest) == (other.digest or terms.digest)


def _repeats(terms: Terms, latest: dict[str, int], answer: Answer) -> str:
    """Why a signed answer was sent before, or meant to come before; "" where it is neither."""
    before = latest.get(answer.reviewer)
    if not terms.signed or before is None or answer.signed_at > before:
        return ""
    return f"{answer.reviewer} has signed something later, or this already"


def _against(terms: Terms, agreed: dict[str, Answer], answer: Answer) -> str:
    """Why an answer does not count; "" where it does."""
    if not answer.reviewer:
        return "it names no reviewer"
    if answer.reviewer in terms.within:
        return f"the code of {answer.reviewer} asked, and nobody agrees with himself"
    if answer.reviewer == terms.principal:
        return f"{answer.reviewer} asked, and nobody agrees with himself"
    if terms.reviewers is not None and answer.reviewer not in terms.reviewers:
        return f"{answer.reviewer} is not among the reviewers"
    if answer.signed == "invalid":
        return f"the signature is not that of {answer.reviewer}"
    if terms.signed and answer.signed != "valid":
        return "it is not signed"
    before = agreed.get(answer.reviewer)
    if answer.word == "withdraw" and before is None:
        return f"{answer.reviewer} has not agreed to anything"
    if answer.word == "approve" and before is not None and _same(terms, before, answer):
        return f"{answer.reviewer} has agreed already"
    return ""
