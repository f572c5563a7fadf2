"""What anybody may say to a run, from any process: signals, answers, a wish to stop, a word about a doubt.

    await engine.signal(run, "go_on", {"page": 3}, sender="ada")
    await engine.answer(run, request, "approve", reviewer="ada")

Each is a message in the run's mailbox. The run takes it when it is here, or when it comes back.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from msgspec import Raw, structs

from playhead.errors import BadEvent, BadValue, NotFound
from playhead.events.approval import (
    OF_A_CALL,
    AnswerSent,
    ApprovalDenied,
    ApprovalGranted,
    ApprovalRequested,
    ApprovalTimedOut,
)
from playhead.events.catalog import (
    CancelSent,
    OperationCancelled,
    ResolutionSent,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    SignalSent,
)
from playhead.events.codec import Catalog
from playhead.events.fact import WorldFact
from playhead.events.redaction import holds_redacted
from playhead.events.signed import ANSWER, heard, parts_of
from playhead.events.signed import digest_of as digest_of_value
from playhead.events.values import encode_value
from playhead.events.words import NOTHING, AnswerWord
from playhead.runtime import guard
from playhead.runtime.approving import covers, digest_of, known_name
from playhead.runtime.mailbox import post
from playhead.runtime.operation import raw_value
from playhead.sign import Keys, Signer, keyring, sign, usable, why_not

if TYPE_CHECKING:
    from playhead.clock import Clock
    from playhead.log.store import LogStore
    from playhead.runtime.tape import Notes


_OVER: Final = (ApprovalGranted, ApprovalDenied, ApprovalTimedOut, OperationCancelled)
_ENDED: Final = (RunCompleted, RunFailed, RunCancelled)


class Messages:
    """The part of an engine that puts messages into mailboxes."""

    if TYPE_CHECKING:
        store: LogStore
        catalog: Catalog
        clock: Clock

        def redacted(self, raw: Raw) -> Raw: ...
        async def notes_of(self, run: str) -> Notes: ...
        async def look(self, run: str) -> None: ...
        async def facts_of(self, run: str) -> list[tuple[str, Any]]: ...

    async def signal(self, run: str, name: str, value: Any = None, *, sender: str = "") -> None:
        """Tell `run` something; durable on return. Raises `NotFound`, `BadValue`."""
        sent = self.redacted(raw_value(value, f"signal {name}"))
        await self._post(run, SignalSent(signal=name, value=sent, sender=sender))

    async def cancel(self, run: str, reason: str = "", *, sender: str = "") -> None:
        """Ask `run` to stop; durable on return. Its program may still tidy up. Raises `NotFound`."""
        await self._post(run, CancelSent(reason=reason, sender=sender))

    async def resolve(
        self,
        run: str,
        op: str,
        action: Literal["retry", "value", "fail"],
        value: Any = None,
        *,
        sender: str = "",
    ) -> None:
        """Answer for the operation `op` of `run` that is in doubt; durable on return.

        `retry` runs it again under the same idempotency key, `value` takes `value` for its result, `fail`
        lets it fail. Raises `NotFound`, `BadValue`.
        """
        raw = self.redacted(raw_value(value, f"value for {op}"))
        attempt = (await self.notes_of(run)).attempts.get(op, 1)
        sent = ResolutionSent(op=op, action=action, value=raw, sender=sender, attempt=attempt)
        await self._post(run, sent)

    async def answer(
        self,
        run: str,
        request: str,
        word: AnswerWord,
        value: Any = ...,
        *,
        reviewer: str,
        reason: str = "",
        signer: Signer | None = None,
    ) -> None:
        """Answer what `run` asked people for under the id `request`; durable on return.

        `approve` agrees, `deny` says no, `withdraw` takes an agreement back. `value` is the answer to a
        question; with an approval it is the arguments of another call, which is agreed to instead of the
        one that was asked for. An answer that comes too late, or from somebody without a say, is recorded
        and has no effect. `signer` signs it for a run that has keys of its reviewers; for any other run it is
        not used. Raises `NotFound` where the run asked for no such thing or is over, and `BadValue`, also
        where an answer could never count because it is not signed with a key of `reviewer`.
        """
        keys, op, asked = await self._asked(run, request)
        who = known_name(reviewer, "a reviewer")
        encode_value(reason, where="a reason", plain=True)
        if word not in ("approve", "deny", "withdraw"):
            raise BadValue(f"{word!r} is no answer.", expected="approve, deny or withdraw", found=word)
        raw, digest = Raw(NOTHING), ""
        if value is not ...:
            if word != "approve" or asked.kind not in ("approval", "question"):
                raise BadValue(f"a {word} of a {asked.kind} carries no value.", found=value)
            raw = self.redacted(Raw(encode_value(value, where="the answer", plain=True, ordered=True)))
            if asked.kind == "approval":
                _check_edit(op, asked, raw)
                digest = digest_of(asked.kind, asked.action, raw)
        elif word == "approve" and asked.kind == "question":
            raise BadValue("a question is answered with a value.", next_step="Give it.")
        sent = AnswerSent(request=request, word=word, reviewer=who, value=raw, digest=digest, reason=reason)
        if keys:
            sent = await self._signed(run, asked, sent, keys, signer)
        await self._post(run, sent)

    async def requests(self, run: str) -> list[ApprovalRequested]:
        """What `run` waits for people to decide, in the order of its asking."""
        found: dict[str, ApprovalRequested] = {}
        for op, fact in await self.facts_of(run):
            if isinstance(fact, ApprovalRequested) and fact.waits:
                found[op] = fact
            elif isinstance(fact, _OVER):
                found.pop(op, None)
            elif isinstance(fact, _ENDED):
                found.clear()
        return list(found.values())

    async def _asked(self, run: str, request: str) -> tuple[Keys, str, ApprovalRequested]:
        """The keys of a run, and what it asked for, with the operation that did. Raises `NotFound`."""
        keys: Keys = {}
        found: tuple[str, ApprovalRequested] | None = None
        why = f"run {run} asked for no {request!r}."
        for op, fact in await self.facts_of(run):
            if isinstance(fact, RunStarted):
                keys = fact.reviewer_keys or {}
            elif isinstance(fact, ApprovalRequested) and fact.request == request:
                found = op, fact
            elif isinstance(fact, _ENDED) and found is not None:
                why = f"run {run} is over, and nobody waits for {request!r} any more."
                found = None
        if found is None:
            raise NotFound(why, found=request, next_step="See `playhead approvals`.")
        return keys, *found

    async def _signed(
        self, run: str, asked: ApprovalRequested, sent: AnswerSent, keys: Keys, signer: Signer | None
    ) -> AnswerSent:
        """An answer that can count. Raises `BadValue` where it never could."""
        why = why_not(keys, sent.reviewer, signer)
        if why or signer is None:
            raise BadValue(f"{why}.", expected="signer=Signer.from_file(...) of playhead.sign", found=signer)
        before = await self._signed_before(run, asked, sent.reviewer, keys)
        said = structs.replace(sent, signed_at=signer.moment(max(self.clock.now(), before + 1)))
        made = sign(signer, ANSWER, *parts_of(run, asked.digest, said, digest_of_value(said.value)))
        return structs.replace(said, signature=made.signature, key=made.key)

    async def _signed_before(self, run: str, asked: ApprovalRequested, reviewer: str, keys: Keys) -> int:
        """When `reviewer` signed last what it said to `asked`, by the clock that it had there; 0 for never.

        What is said now has to be later, whatever the clock here says.
        """
        latest, seq = 0, 0
        while mail := await self.store.read(f"mailbox/{run}", seq):
            seq = mail[-1].seq + 1
            for event in mail:
                with contextlib.suppress(BadEvent):  # anybody can post what nobody can read
                    said = self.catalog.decode(event)
                    if not isinstance(said, AnswerSent) or said.signed_at <= latest:
                        continue
                    if (said.request, said.reviewer) == (asked.request, reviewer):
                        known = heard(keys, run, asked.digest, said, digest_of_value(said.value))
                        latest = said.signed_at if known == "valid" else latest
        return latest

    async def _post(self, run: str, fact: WorldFact) -> None:
        """Put `fact` into the mailbox of `run` and wake its owner if that is us."""
        guard.refuse("a method of the engine")
        await post(self.store, self.catalog, run, fact)
        await self.look(run)


def _check_edit(op: str, asked: ApprovalRequested, edited: Raw) -> None:
    """Raise `BadValue` for other arguments that could never count."""
    if holds_redacted(asked.args):
        raise BadValue(
            f"the call of {asked.action} holds what was redacted, and nobody can edit it.",
            next_step="Agree to it as it is, or deny it.",
        )
    known, given = (msgspec.msgpack.decode(raw) for raw in (asked.args, edited))
    if op.endswith(OF_A_CALL) and not covers(given, known, named=True):
        said = f"an edit of the call of {asked.action} names all that the call names."
        raise BadValue(said, expected=known, found=given)


def keys_of(given: str | os.PathLike[str] | Mapping[str, Collection[str]] | None) -> Keys:
    """The keys that runs begin with, from a file or by name.

    Raises `BadValue` for what is no keyring, `ProgramError` without the cryptography package, and `OSError`.
    """
    if given is None:
        return {}
    usable()
    found: dict[str, tuple[str, ...]] = {}
    for name, keys in keyring(given).items():
        known = known_name(name, "a reviewer in the keyring")
        if known in found:
            raise BadValue(f"{known} stands in the keyring twice, in two spellings.", found=ascii(name))
        found[known] = keys
    return found
