"""What the signature of an answer covers, and whether the one that an answer carries is its reviewer's.

signed = sign(signer, ANSWER, *parts_of(run, asked.digest, sent))
heard(keys, run, asked.digest, taken)                            # valid, invalid or unsigned
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from playhead.events.approval import AnswerSent, ApprovalAnswered
from playhead.events.words import SignedWord
from playhead.sign import Keys, Signed, verify

ANSWER: Final = "playhead.answer/1"
"""The tag under which answers are signed: a new list of parts is a new tag."""


def parts_of(run: str, asked: str, said: AnswerSent | ApprovalAnswered) -> tuple[bytes, ...]:
    """What is signed of an answer in `run`. `asked` is the digest of the call that was asked for."""
    return (
        run.encode(),
        said.request.encode(),
        (said.digest or asked).encode(),
        said.word.encode(),
        said.reviewer.encode(),
        said.reason.encode(),
        sha256(said.value).digest(),
        str(said.signed_at).encode(),
    )


def heard(keys: Keys, run: str, asked: str, said: ApprovalAnswered) -> SignedWord:
    """What is known of who gave an answer in `run`, whose reviewers have `keys`; without any, nothing."""
    if not keys or not said.signature:
        return "unsigned"
    signed = Signed(said.signature, said.key)
    return "valid" if verify(keys, said.reviewer, signed, ANSWER, *parts_of(run, asked, said)) else "invalid"
