"""Asking people from program code, and waiting for them as long as it takes.

    agreed = await request_approval("publish", args={"page": "about"}, reviewers=["ada", "bob"], quorum=2)
    colour = await ask_user("Which colour?", kind=str, default="blue", deadline_s=3600)

A run that waits for people is not in memory: whoever answers puts that into its mailbox,
from any process, and the run goes on where it stood. What it is told stands on its tape,
so a replay asks nobody and decides again what was decided. An answer is one to exactly
what was asked: the same program that asks for something else asks anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import unicodedata
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, Final, NamedTuple, TypeVar, cast

import msgspec
from msgspec import Raw

from playhead.agent_state.alike import unseen
from playhead.errors import ApprovalDenied, ApprovalTimedOut, BadValue
from playhead.events.approval import OF_A_CALL, ApprovalAnswered, ApprovalGranted, ApprovalRequested
from playhead.events.approval import ApprovalDenied as Denied
from playhead.events.approval import ApprovalTimedOut as TimedOut
from playhead.events.catalog import OperationCancelled, TimerFired
from playhead.events.fact import OutcomeFact
from playhead.events.redaction import holds_redacted
from playhead.events.signed import digest_of as digest_of_value
from playhead.events.signed import heard
from playhead.events.values import ValueCodec, encode_value
from playhead.events.words import AskedWord, GrantWords
from playhead.policy.quorum import Answer, Counted, Terms, count, has_say
from playhead.runtime.loop import DUE_MAX
from playhead.runtime.machine import Pending
from playhead.runtime.moments import people_asked
from playhead.runtime.place import call_site
from playhead.runtime.scope import Scope, require_scope
from playhead.runtime.signature import check_name
from playhead.sign import Keys

T = TypeVar("T")

DAY_S: Final = 86_400.0
ID_HEX: Final = 24


class Approval(NamedTuple):
    """What people agreed to. `args` are those of the call that they agreed to, `edited` if it is another.

    `reviewers` are sorted; `signatures` are in the order in which they agreed, with `reviewer`, `signed_at`
    in nanoseconds since the epoch, and `signed`: unsigned, where nobody's key was asked for. Where it is
    valid, `signature` and `key` stand beside it, and `signed_at` is the time that was signed. In a fork that
    edited the answer there is `edited_by`: the reviewer did not say so.
    """

    request: str
    reviewers: list[str]
    approved_at: int
    reason: str
    signatures: list[dict[str, Any]]
    args: Any
    edited: bool


async def request_approval(
    action: str,
    *,
    args: Any = None,
    detail: Any = None,
    reviewers: Collection[str] | None = None,
    quorum: int = 1,
    deadline_s: float | None = DAY_S,
    principal: str | None = None,
    capabilities: Collection[str] = (),
) -> Approval:
    """Wait until `quorum` of `reviewers` have agreed to `action` with `args`; None is anybody.

    `principal`, who asks and so may not agree, is the persona where it is not given. `detail` is shown to
    people beside `args`. What was agreed to is worth one use: whatever it was for is done by the code that
    waits here.

    Raises `ApprovalDenied` as soon as one of them says no, `ApprovalTimedOut` after `deadline_s` seconds,
    and `BadValue` for a quorum that could never be reached. A crash in the middle loses no answer.
    """
    scope = require_scope("request_approval()")
    asked = _asked(scope, "approval", check_name(action, "an action"), args, detail, deadline_s)
    asked.who(reviewers, quorum, principal)
    asked.capabilities = names(capabilities, "capabilities")
    counted, answers = await asked.people()
    return asked.approval(counted, answers)


async def ask_user(
    prompt: str,
    *,
    kind: Any = str,
    default: Any = ...,
    reviewers: Collection[str] | None = None,
    deadline_s: float | None = DAY_S,
) -> Any:
    """Wait for somebody's answer to `prompt`, and return it as `kind`.

    An answer that is no `kind` leaves the question open. After `deadline_s` seconds comes `default`, where
    one is given. Raises `ApprovalTimedOut` where none is, and `ApprovalDenied` for who will not answer.
    """
    scope = require_scope("ask_user()")
    if not isinstance(prompt, str) or not prompt.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadValue("a question is a text that is not empty.", found=prompt)
    codec = ValueCodec(kind, where="the answer")
    shown = {
        "kind": getattr(kind, "__name__", str(kind)),
        "default": None if default is ... else _plain(default, codec),
    }
    asked = _asked(scope, "question", prompt, None, shown, deadline_s)
    asked.who(reviewers, 1, None)
    asked.fits = codec.decode
    try:
        _, answers = await asked.people()
    except ApprovalTimedOut:
        if default is ...:
            raise
        return default
    return codec.decode(answers[-1].value)


async def dual_control(
    n: int,
    m: int,
    work: Callable[[], Coroutine[Any, Any, T]],
    *,
    approvers: Collection[str] | None = None,
    deadline_s: float | None = DAY_S,
) -> T:
    """Do `work` once `n` of `m` people have agreed, and return what it returns.

    `approvers` names those who may, at least `m`. Raises like `request_approval`, and what `work` raises.
    """
    scope = require_scope("dual_control()")
    for name, number in (("n", n), ("m", m)):
        if type(number) is not int or number < 1:
            raise BadValue(f"{name} must be positive.", found=number)
    if n > m:
        raise BadValue("n must be less than or equal to m.", expected=f"at most {m}", found=n)
    able = None if approvers is None else names(approvers, "approvers")
    if able is not None and len(able) < m:
        raise BadValue(f"expected at least {m} approvers, got {len(able)}.", found=able)
    if not callable(work):
        raise BadValue("what dual_control() does is a function without arguments.", found=work)
    name = getattr(work, "__name__", "anonymous")
    args = {"n": n, "m": m, "approvers": None if able is None else list(able)}
    asked = _asked(
        scope, "dual_control", name if name.isidentifier() else "anonymous", args, None, deadline_s
    )
    asked.who(approvers, n, None)
    await asked.people()
    return await work()


async def escalate_to(
    role: str, reason: str = "", *, reviewers: Collection[str] | None = None, deadline_s: float | None = DAY_S
) -> Approval:
    """Hand something over to whoever has `role`, and wait until somebody takes it.

    Raises `ApprovalDenied` where it is refused, and `ApprovalTimedOut` after `deadline_s` seconds.
    """
    scope = require_scope("escalate_to()")
    asked = _asked(scope, "escalation", check_name(role, "a role"), {"reason": reason}, None, deadline_s)
    asked.who(reviewers, 1, None)
    counted, answers = await asked.people()
    return asked.approval(counted, answers)


def asked_about(
    scope: Scope,
    op: str,
    action: str,
    args: Raw,
    why: Mapping[str, Any],
    *,
    capabilities: Collection[str],
    reads: Callable[[Raw], Any],
    reviewers: Collection[str] | None = None,
    quorum: int = 1,
    deadline_s: float | None = None,
) -> Asked:
    """The request to approve the call `op` of a tool with `args`, as they are recorded. Nobody is asked yet.

    `why` is shown to people. `reads` raises `BadValue` for edited arguments that the tool could not be called
    with: an answer with such counts for nothing, and neither does one that leaves arguments out, for nobody
    saw what they would be. What is granted is good for this call and for no other. Raises `BadValue` for a
    quorum that could not be reached.
    """
    shown = Raw(encode_value(dict(why), where="detail", plain=True, ordered=True))
    due = scope.machine.now_ns + round((DAY_S if deadline_s is None else deadline_s) * 1e9)
    asked = Asked(scope, f"{op}{OF_A_CALL}", "approval", action, args, shown, min(due, DUE_MAX))
    asked.who(reviewers, quorum, None)
    asked.capabilities = tuple(sorted(capabilities))

    def whole(edited: Raw) -> None:
        if holds_redacted(args) or holds_redacted(edited):
            raise BadValue(f"arguments of {action} hold what was redacted, and nobody can edit that.")
        if not covers(msgspec.msgpack.decode(edited), msgspec.msgpack.decode(args)):
            raise BadValue(f"edited arguments of {action} are not all that it has.", found=edited)
        reads(edited)

    asked.reads = whole
    return asked


def covers(edited: object, asked: object, *, named: bool = False) -> bool:
    """Whether all that has a name in what was asked for has one in the edit, at every depth.

    What an edit leaves out would be filled in by a default that nobody saw. `named`: it must have names.
    """
    if isinstance(asked, dict) and isinstance(edited, dict):
        given = cast("dict[object, object]", edited)
        known = cast("dict[object, object]", asked).items()
        return all(name in given and covers(given[name], value) for name, value in known)
    if isinstance(asked, list) and isinstance(edited, list):
        pairs = zip(cast("list[object]", edited), cast("list[object]", asked), strict=False)
        return all(covers(one, other) for one, other in pairs)
    return not named  # another kind of value, which is there to be seen


def known_name(text: object, what: str) -> str:
    """`text` as a name of a person or a persona, trimmed, and written in one way where Unicode knows several.

    Raises `BadValue` for what could be none.
    """
    if not isinstance(text, str) or not text.strip():
        raise BadValue(f"{what} is a name.", found=text, next_step="Say who it is.")
    name = unicodedata.normalize("NFC", text.strip())
    if (hidden := unseen(name)) is not None:
        raise BadValue(f"{what} holds {hidden!a}, which nobody sees.", found=ascii(name)[:200])
    return name


def names(given: Collection[str], what: str) -> tuple[str, ...]:
    """Names of people, each once, sorted. Raises `BadValue`."""
    if isinstance(given, str):
        raise BadValue(f"{what} is a list of names, and not one text.", found=given)
    return tuple(sorted({known_name(each, f"one of the {what}") for each in given}))


def digest_of(kind: AskedWord, action: str, args: Raw) -> str:
    """What names one exact call: of the same action with the same arguments it is the same, of no other."""
    named = encode_value([kind, action], where="what is asked", plain=True)
    hashed = hashlib.sha256(b"playhead.asked/1" + len(named).to_bytes(8, "big") + named + bytes(args))
    return f"sha256:{hashed.hexdigest()}"


def request_of(kind: AskedWord, run: str, op: str, digest: str) -> str:
    """The id of a request: that of this operation, about this call."""
    told = encode_value([run, op, digest], where="a request", plain=True)
    return f"{kind}_{hashlib.sha256(b'playhead.request/1' + told).hexdigest()[:ID_HEX]}"


class Asked:
    """One request under way, as part of the program."""

    def __init__(
        self, scope: Scope, op: str, kind: AskedWord, action: str, args: Raw, detail: Raw, due: int | None
    ) -> None:
        self.scope = scope
        self.op = op
        self.kind: AskedWord = kind
        self.action = action
        self.args = args
        self.detail = detail
        self.due = due
        self.digest = digest_of(kind, action, args)
        self.request = request_of(kind, scope.machine.run, op, self.digest)
        self.terms = Terms(self.digest)
        self.capabilities: tuple[str, ...] = ()
        self.fits: Callable[[Raw], Any] | None = None
        """Raises `BadValue` for what is no answer to a question."""
        self.reads: Callable[[Raw], Any] | None = None
        """Raises `BadValue` for arguments that nothing could be done with."""

    def who(self, reviewers: Collection[str] | None, quorum: int, principal: str | None) -> None:
        """Who may agree, and how many have to. Raises `BadValue` for a quorum that could not be reached."""
        if type(quorum) is not int or quorum < 1:
            raise BadValue("quorum must be positive.", found=quorum)
        named = None if reviewers is None else names(reviewers, "reviewers")
        asks = self.scope.around.persona if principal is None else known_name(principal, "a principal")
        keys = self.scope.around.reviewer_keys
        within = tuple(name for name in self.scope.around.agents if name != asks)
        could = [name for name in named or tuple(keys) if name not in within]
        open_to_all = named is None and not keys
        if not open_to_all and len(able := [name for name in could if _is_able(name, asks, keys)]) < quorum:
            neither = ", and neither is who has no key" if keys else ""
            raise BadValue(
                f"a quorum of {quorum} cannot be reached by {len(able)} reviewers.",
                found=able,
                next_step=f"Name more reviewers; who asks is none of them{neither}.",
            )
        self.terms = Terms(self.digest, named, quorum, asks, signed=bool(keys), within=within)

    async def tell(self) -> None:
        """Write down what is asked for, and tell hooks. Nobody waits for an answer."""
        asked = self._requested(waits=False)
        self.scope.machine.emit(self.op, asked)
        await people_asked(self.scope, self.op, asked)

    def _requested(self, *, waits: bool) -> ApprovalRequested:
        terms = self.terms
        return ApprovalRequested(
            request=self.request,
            kind=self.kind,
            action=self.action,
            digest=self.digest,
            args=self.args,
            detail=self.detail,
            principal=terms.principal,
            within=terms.within,
            reviewers=terms.reviewers,
            quorum=terms.quorum,
            due=self.due,
            capabilities=self.capabilities,
            site=call_site(),
            waits=waits,
        )

    async def people(self) -> tuple[Counted, list[ApprovalAnswered]]:
        """Ask, and wait until it is decided. Raises `ApprovalDenied` and `ApprovalTimedOut`."""
        machine, terms = self.scope.machine, self.terms
        asked = self._requested(waits=True)
        if self.due is not None:
            machine.set_alarm(self.op, self.due)
        pending = machine.ask(self.op, asked, _itself)
        machine.wait_signal(("answer", self.request), pending)
        try:
            await people_asked(self.scope, self.op, asked)
        except BaseException:
            self._give_up(pending)
            raise
        answers: list[ApprovalAnswered] = []
        said: list[Answer] = []
        while True:
            try:
                fact: OutcomeFact = await pending.future
            except asyncio.CancelledError:
                self._give_up(pending)
                raise
            if isinstance(fact, TimerFired):
                machine.emit(self.op, TimedOut(request=self.request, due=fact.due))
                raise ApprovalTimedOut(f"{self._what} timed out.", request=self.request)
            assert isinstance(fact, ApprovalAnswered)
            counts = self._counts(fact)
            if counts:
                answers.append(fact)
                said.append(self._said(fact))
            counted = count(terms, said)
            if not counts or any(place == len(said) - 1 for place, _ in counted.ignored):
                machine.ignored(fact)
            if counted.verdict == "denied":
                self._deny(counted)
            if counted.verdict == "granted":
                machine.emit(self.op, self.grant(counted, answers))
                return counted, answers
            pending = machine.wait_again(("answer", self.request), pending, self.due)

    def approval(self, counted: Counted, answers: list[ApprovalAnswered]) -> Approval:
        """What the program is told of a request that was granted."""
        granted = self.grant(counted, answers)
        decided = counted.decided
        assert decided is not None
        return Approval(
            request=self.request,
            reviewers=sorted(each.reviewer for each in granted.granted),
            approved_at=decided.at,
            reason=decided.reason,
            signatures=[_shown(each) for each in granted.granted],
            args=msgspec.msgpack.decode(granted.args),
            edited=granted.edited,
        )

    @property
    def _what(self) -> str:
        return f"the {self.kind} of {self.action!r}" if self.kind != "question" else "the question"

    def _deny(self, counted: Counted) -> None:
        said = counted.decided
        assert said is not None
        self.scope.machine.emit(
            self.op,
            Denied(
                request=self.request, reviewer=said.reviewer, reason=said.reason, edited_by=said.edited_by
            ),
        )
        raise ApprovalDenied(
            said.reason or f"{self._what} was denied by {said.reviewer}.",
            request=self.request,
            reviewer=said.reviewer,
        )

    def grant(self, counted: Counted, answers: list[ApprovalAnswered]) -> ApprovalGranted:
        """What is recorded of it, once it is decided so."""
        edited = counted.digest != self.digest
        # The last answer is the one that decided, so its value was held against its digest. Others can claim
        # a digest that is not that of what they bring: mail is from anybody.
        args = answers[-1].value if edited else self.args
        return ApprovalGranted(
            request=self.request,
            digest=counted.digest,
            args=args,
            granted=tuple(_granted(each) for each in counted.agreed),
            reason=counted.decided.reason if counted.decided is not None else "",
            edited=edited,
        )

    def _give_up(self, pending: Pending) -> None:
        """Nobody waits for it any more, also where it was just told something that decides nothing."""
        machine = self.scope.machine
        if not pending.future.done() or pending.future.cancelled():
            machine.abandon(pending)
        elif not machine.unwinding and not machine.stopped:
            machine.emit(self.op, OperationCancelled())

    def _said(self, fact: ApprovalAnswered) -> Answer:
        keys, run = self.scope.around.reviewer_keys, self.scope.machine.run
        signed = heard(keys, run, self.digest, fact, digest_of_value(fact.value))
        said = (fact.reviewer, fact.word, fact.digest, fact.reason, fact.said_at)
        return Answer(*said, signed, fact.signature, fact.key, fact.signed_at, fact.edited_by)

    def _counts(self, fact: ApprovalAnswered) -> bool:
        """Whether an answer came in time, and says what it is about: what decides is left to `count`."""
        if self.due is not None and fact.said_at > self.due:
            return False
        if not has_say(self.terms, fact.reviewer):
            return False
        if fact.word != "approve":
            return True
        edited = fact.digest not in ("", self.digest)
        if edited and (
            self.kind != "approval" or fact.digest != digest_of(self.kind, self.action, fact.value)
        ):
            return False
        look = self.reads if edited else self.fits
        if look is not None:
            try:
                look(fact.value)
            except Exception:  # noqa: BLE001  whatever a type of the user makes of it, it is no answer
                return False
        return True


def _asked(
    scope: Scope, kind: AskedWord, action: str, args: Any, detail: Any, deadline_s: float | None
) -> Asked:
    op = scope.op(kind)
    machine = scope.machine
    machine.check_inside(op)
    due = None
    if deadline_s is not None:
        number: Any = deadline_s
        if type(number) not in (int, float) or not 0 <= deadline_s < DUE_MAX / 1e9:
            raise BadValue("deadline_s is a number of seconds from 0 on.", found=deadline_s)
        due = machine.now_ns + round(deadline_s * 1e9)
        if due > DUE_MAX:
            raise BadValue("a deadline has to be before the year 2262.", found=deadline_s)
    given, shown = (
        machine.redacted(Raw(encode_value(value, where=where, plain=True, ordered=True)))
        for value, where in ((args, f"args of {kind}"), (detail, f"detail of {kind}"))
    )
    return Asked(scope, op, kind, action, given, shown, due)


def _plain(default: Any, codec: ValueCodec) -> Any:
    """What people see of a default: as it is, or as the kind of the question is written."""
    try:
        encode_value(default, where="default", plain=True)
    except BadValue:
        return msgspec.msgpack.decode(codec.encode(default))
    return default


def _is_able(name: str, asks: str, keys: Keys) -> bool:
    return name != asks and (not keys or name in keys)


def _granted(said: Answer) -> GrantWords:
    if said.signed != "valid":
        return GrantWords(reviewer=said.reviewer, said_at=said.at, edited_by=said.edited_by)
    return GrantWords(
        reviewer=said.reviewer,
        said_at=said.at,
        signed="valid",
        signature=said.signature,
        key=said.key,
        signed_at=said.signed_at,
    )


def _shown(granted: GrantWords) -> dict[str, Any]:
    """One who agreed, as a program sees it. Nothing is called a signature that was not verified."""
    if granted.signed == "unsigned":
        edited = {"edited_by": granted.edited_by} if granted.edited_by else {}
        return {"reviewer": granted.reviewer, "signed_at": granted.said_at, "signed": "unsigned", **edited}
    return {
        "reviewer": granted.reviewer,
        "signed_at": granted.signed_at,
        "signed": granted.signed,
        "signature": granted.signature,
        "key": granted.key,
    }


def _itself(fact: OutcomeFact) -> OutcomeFact:
    return fact


__all__ = [
    "Approval",
    "ask_user",
    "digest_of",
    "dual_control",
    "escalate_to",
    "request_approval",
    "request_of",
]
