"""What the signature of an answer covers, and whether the one that an answer carries is its reviewer's.

signed = sign(signer, ANSWER, *parts_of(run, asked.digest, sent, digest_of(sent.value)))
heard(keys, run, asked.digest, taken, digest_of(taken.value))    # valid, invalid or unsigned
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, Protocol

from playhead.events.words import AnswerWord, SignedWord
from playhead.sign import Keys, Signed, verify

ANSWER: Final = "playhead.answer/1"
"""The tag under which answers are signed: a new list of parts is a new tag."""


class Said(Protocol):
    """An answer, wherever it stands: in a mailbox, on a tape, in a read model."""

    @property
    def request(self) -> str: ...
    @property
    def word(self) -> AnswerWord: ...
    @property
    def reviewer(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def signature(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def signed_at(self) -> int: ...


def digest_of(value: bytes) -> bytes:
    """What stands for the value of an answer in what is signed."""
    return sha256(value).digest()


def parts_of(run: str, asked: str, said: Said, value: bytes) -> tuple[bytes, ...]:
    """What is signed of an answer in `run`.

    `asked` is the digest of the call that was asked for, and `value` that of the value.
    """
    return (
        run.encode(),
        said.request.encode(),
        (said.digest or asked).encode(),
        said.word.encode(),
        said.reviewer.encode(),
        said.reason.encode(),
        value,
        str(said.signed_at).encode(),
    )


def heard(keys: Keys, run: str, asked: str, said: Said, value: bytes) -> SignedWord:
    """What is known of who gave an answer in `run`, whose reviewers have `keys`; without any, nothing.

    Raises `ProgramError` without the cryptography package.
    """
    if not keys or not said.signature:
        return "unsigned"
    signed, parts = Signed(said.signature, said.key), parts_of(run, asked, said, value)
    return "valid" if verify(keys, said.reviewer, signed, ANSWER, *parts) else "invalid"
