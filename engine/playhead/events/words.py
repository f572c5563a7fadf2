"""What facts are made of: words of closed lists, and small structures that several of them hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

EffectWord = Literal["pure", "read_only", "idempotent", "effect"]
Mode = Literal["strict", "relaxed"]
BoundaryWord = Literal["fail", "continue", "escalate"]
ReceiptWord = Literal["audit", "none"]
LimitWord = Literal["max_tokens", "max_usd"]
ConflictWord = Literal["ignore", "warn", "error"]
ChangeWord = Literal["write", "delete"]
StateWord = Literal["init", "resume", "read", "list", "write", "delete", "handoff"]
CHANGES: Final[frozenset[StateWord]] = frozenset({"write", "delete", "handoff"})
"""Those that change it."""
AskedWord = Literal["approval", "question", "dual_control", "escalation"]
AnswerWord = Literal["approve", "deny", "withdraw"]
SignedWord = Literal["valid", "invalid", "unsigned"]
TierWord = Literal["shadow", "suggest", "act_with_approval", "act_auto"]
VerdictWord = Literal["act", "ask", "suggest", "shadow", "denied"]
JudgedBecause = Literal["tier", "trust", "human", "per_hour", "per_day", "look_up", "reviewers"]
"""What settled it: the tier of the scopes or of the agent, a rule that wants people, a bound that is reached,
a look-up that failed, or that nobody is left who could agree."""
EnforcementWord = Literal[
    "auto",
    "approval_granted",
    "approval_denied",
    "approval_timed_out",
    "needs_human_denied",
    "suggest_approval_request",
    "shadow_noop",
    "denied",
    "budget_exceeded",
]
TrustOutcome = Literal["success", "failure", "denied", "timeout"]
NOTHING: Final = b"\xc0"
"""None in msgpack."""
PolicyWords = dict[str, Any]
"""A policy in plain values, in one order."""


class Declared(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a step says of itself: recorded and shown, never compared. Money is in millionths."""

    model: str | None = None
    max_tokens: int | None = None
    max_micros: int | None = None
    error_boundary: BoundaryWord = "fail"
    receipt: ReceiptWord = "audit"


class HookWords(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A hook as it was registered: which event of which personas and step it wants to be asked at."""

    name: str
    event: str
    persona: str = "*"
    step: str | None = None
    percent: float | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens of one model call. None is unknown, never 0."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class HookModelCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model that a hook asked. It is charged to the hook, and to no step."""

    client: str
    model: str | None = None
    usage: Usage = Usage()
    cost_micros: int | None = None
    cost_source: str = "unknown"


class ComposedWords(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where in a composition a tool was asked for. `path`: items of `map_bounded`, outermost first."""

    binding: str
    line: int
    col: int
    path: tuple[int, ...] = ()
    server: str | None = None


class SnippetErrorWords(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The error that ended a snippet. `trace`: function and line of each call under way, outermost first."""

    type: str
    message: str
    line: int = 0
    col: int = 0
    trace: tuple[tuple[str, int], ...] = ()


class GrantWords(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One who agreed. `said_at` is when, in nanoseconds since the epoch; `signed` what is known of it.

    A valid signature stands there with the fingerprint of its key, and with the time that the signer said.
    `edited_by` is who put the answer in place of what that person had said.
    """

    reviewer: str
    said_at: int
    signed: Literal["unsigned", "valid"] = "unsigned"
    signature: str = ""
    key: str = ""
    signed_at: int = 0
    edited_by: str = ""


class WriterWords(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who wrote state. `writer_id` tells two writers apart; None is unknown."""

    writer_id: str | None = None
    stage_id: str | None = None
    session_id: str | None = None
    worker_id: str | None = None

    def renamed(self, names: Mapping[str, str | None]) -> WriterWords:
        """The same writer where those that `names` has are called otherwise, or not at all."""
        said = (self.writer_id, self.stage_id, self.session_id, self.worker_id)
        writer, stage, session, worker = (None if name is None else names.get(name, name) for name in said)
        return WriterWords(writer_id=writer, stage_id=stage, session_id=session, worker_id=worker)


class EditWords(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One edit of a fork, without its values: keyed digests tell whether it was the same one.

    `what` is args, outcome, failure, state, model, policy or time; `of` is what it is an edit of, and `event`
    where that stands in the source. `key` is the override key, where it was given by one.
    """

    what: str
    of: str
    event: int | None = None
    before: str = ""
    after: str = ""
    key: str = ""


class PreparedWords(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outcome that an operation of a fork has when it is asked for: the type of a fact, and the fact.

    `asked` stands for the question that it answers; "" answers any.
    """

    type: str
    version: int
    fact: msgspec.Raw
    asked: str = ""


class ForkWords(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run was forked from. `digest` is that of the source's event, `code` of the source's persona.

    The run begins with `events` events that were made from those of its source, `outcomes` of them outcomes.
    What was asked there and not answered has not begun here. `model` is what requests name after that.
    `passed` are patches that the source had passed without taking them: the fork does not take them either.
    """

    run: str
    event: int
    digest: str
    mode: Literal["exact", "with_overrides", "from_checkpoint"]
    events: int
    outcomes: int
    edits: tuple[EditWords, ...] = ()
    model: str | None = None
    reason: str = ""
    code: str = ""
    passed: tuple[str, ...] = ()


class ConflictWords(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose version of a key a refused change met."""

    key: str
    change: ChangeWord
    version: int
    previous: WriterWords
    writer: WriterWords
    expected_version: int | None = None
