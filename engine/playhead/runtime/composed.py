"""One call of a composition: how a runner carries it out, and what hooks and policies are shown of it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import Executor as ThreadExecutor
from contextlib import AsyncExitStack
from typing import Any, cast

import msgspec
from msgspec import Raw

from playhead.composition.failing import Cause, cause_of, sound
from playhead.composition.hashing import canonical_json
from playhead.composition.hosts import Host
from playhead.composition.limits import CompositionLimits
from playhead.composition.manifest import Entry
from playhead.composition.retrying import CallRetry, Trust, effect_of
from playhead.composition.schemas import SchemaCheck
from playhead.errors import BadValue, CallFailed, PlayheadError
from playhead.events.catalog import ToolCompleted
from playhead.events.catalog import ToolFailed as ToolFailedFact
from playhead.events.fact import Failure, OutcomeFact
from playhead.events.redaction import holds_redacted
from playhead.events.values import ValueCodec, encode_value
from playhead.policy.effect import EffectClass
from playhead.policy.retry import Retry
from playhead.runtime.attempt import outcome_unknown
from playhead.runtime.machine import Machine
from playhead.runtime.signature import Signature, own
from playhead.snippet.values import DEPTH_MAX


async def _composed(**arguments: Any) -> Any:
    """What every tool of a manifest looks like from here."""
    raise NotImplementedError  # it is called by its host


class Answers(ValueCodec):
    """What a tool of a manifest may answer, also where a hook or somebody who resolves answers for it.

    Its output schema is looked at in both directions, but for what was redacted, which no schema is about.
    """

    def __init__(self, entry: Entry, carrier: Carrier) -> None:
        super().__init__(Any, where=f"the answer of {entry.name}")
        self._entry = entry
        self._carrier = carrier

    def encode(self, value: Any, *, ordered: bool = False) -> Raw:
        return super().encode(self._fitting(value), ordered=ordered)

    def decode(self, raw: Raw | bytes) -> Any:
        value = super().decode(raw)
        return value if holds_redacted(Raw(raw)) else self._fitting(value)

    def _fitting(self, value: Any) -> Any:
        try:
            found = self._carrier.plain(self._entry, value)
            self._carrier.check(self._entry, "output", found)
        except CallFailed as error:
            raise BadValue(f"{error.message}.", next_step="Give what the tool itself could have.") from error
        return found


class OpenSignature(Signature):
    """A signature of any arguments by name: that of a tool that has schemas instead."""

    def __init__(self, entry: Entry, carrier: Carrier) -> None:
        super().__init__(_composed, f"tool {entry.name}")
        self.result = Answers(entry, carrier)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if args:
            raise TypeError(f"{self.what} takes its arguments by name, and {len(args)} have none")
        return dict(kwargs)

    def encode(self, arguments: dict[str, Any]) -> Raw:
        plain: Any = msgspec.json.decode(msgspec.json.encode(arguments))
        if plain != arguments:  # a hook may put in anything
            raise BadValue(f"arguments of {self.what} are no plain JSON.", found=sorted(arguments))
        return Raw(encode_value(arguments, where=f"arguments of {self.what}", plain=True, ordered=True))

    def decode(self, raw: Raw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (), cast("dict[str, Any]", msgspec.msgpack.decode(raw))


class ComposedTool:
    """A tool of a manifest, as hooks and people who answer for it know it."""

    secret: tuple[str, ...] = ()
    function = staticmethod(_composed)

    def __init__(self, entry: Entry, carrier: Carrier) -> None:
        self.name = entry.name
        self.signature = OpenSignature(entry, carrier)


class Bulkheads:
    """How many calls may be under way at once, in all and at each server: held for one attempt each."""

    def __init__(self, limits: CompositionLimits) -> None:
        self._all = asyncio.Semaphore(limits.max_concurrent_operations)
        self._servers: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(limits.max_concurrent_per_server)
        )

    async def enter(self, stack: AsyncExitStack, server: str | None) -> None:
        """Wait for a place. The server's first: whoever waits for a slow one takes no place of the others."""
        if server is not None:
            await stack.enter_async_context(self._servers[server])
        await stack.enter_async_context(self._all)


class Carrier:
    """What all calls of one composition have in common."""

    def __init__(
        self, host: Host, limits: CompositionLimits, retry: CallRetry, trust: Trust, *, hidden: bool = False
    ) -> None:
        self.host = host
        self.limits = limits
        self.retry = retry
        self.trust = trust
        self.hidden = hidden
        """Whether values must not show in messages: there are secrets that only their names tell."""
        self._bulkheads: Bulkheads | None = None
        self._checks: dict[tuple[str, str], SchemaCheck] = {}

    @property
    def bulkheads(self) -> Bulkheads:
        # Made by the first call, on the loop that carries calls out.
        if self._bulkheads is None:
            self._bulkheads = Bulkheads(self.limits)
        return self._bulkheads

    def effect_of(self, entry: Entry) -> EffectClass:
        """What a crash in the middle of a call means: the host may know more than the manifest says.

        Of one that gives no answer the worst is taken.
        """
        knows = getattr(self.host, "effect_of", None)
        if knows is None:
            return effect_of(entry, self.trust)
        try:
            return EffectClass(knows(entry))
        except Exception:  # noqa: BLE001  whatever a host does here, nothing is known of its tool
            return EffectClass.EFFECT

    def plain(self, entry: Entry, value: Any) -> Any:
        """A copy of an answer, as plain JSON. Raises `CallFailed` for what is none, or too much."""
        try:
            encode_value(value, where=f"the answer of {entry.name}", plain=True)
            written = msgspec.json.encode(value)
        except (BadValue, TypeError, UnicodeEncodeError) as error:
            said = error.message if isinstance(error, BadValue) else str(error)
            raise CallFailed(said, category="host_bridge_error", transient=False) from error
        plain = msgspec.json.decode(written)
        if plain != value:  # bytes and dates have a form in JSON, but would come back as texts
            said = f"the answer of {entry.name} is no plain JSON"
            raise CallFailed(said, category="host_bridge_error", transient=False)
        if _nested_deeper(plain, DEPTH_MAX):
            said = (
                f"the answer of {entry.name} is nested deeper than {DEPTH_MAX}, and no snippet could hold it"
            )
            raise CallFailed(said, category="host_bridge_error", transient=False)
        if len(written) > (most := self.limits.max_call_output_bytes):
            said = f"the answer of {entry.name} has {len(written)} bytes, and at most {most} are taken"
            raise CallFailed(said, category="output_too_large")
        return plain

    def check(self, entry: Entry, what: str, value: Any) -> None:
        """Raise `CallFailed` where a value does not fit the schema of a tool's `what`, input or output."""
        schema = entry.tool.input_schema if what == "input" else entry.tool.output_schema
        if schema is None:
            return
        key = (entry.binding, what)
        if key not in self._checks:
            try:
                self._checks[key] = SchemaCheck(schema, hidden=self.hidden)
            except ValueError as error:
                raise CallFailed(
                    f"the {what} schema of {entry.name} cannot be read: {error}", category="schema_validation"
                ) from error
        problems = self._checks[key].problems(value)
        if problems:
            said = f"{what}Schema validation failed: {'; '.join(problems)}"
            raise CallFailed(f"composition binding '{entry.binding}' {said}", category="schema_validation")


def _nested_deeper(value: Any, most: int) -> bool:
    """Whether lists and objects lie in each other more than `most` times."""
    if not isinstance(value, (dict, list)):
        return False
    inner = (
        cast("dict[str, object]", value).values() if isinstance(value, dict) else cast("list[object]", value)
    )
    return most == 0 or any(_nested_deeper(each, most - 1) for each in inner)


class _Retry(Retry):
    """The retry of a composition, in the words of a runner."""

    def __init__(self, call: ComposedCall) -> None:
        super().__init__(max_attempts=call.carrier.retry.max_attempts)
        object.__setattr__(self, "_call", call)

    __slots__ = ("_call",)
    _call: ComposedCall

    def wants(self, error: BaseException) -> bool:
        call = self._call
        if not isinstance(error, Exception):
            return False
        call.cause = cause_of(error)
        return call.effect.repeatable and call.cause.may_pass

    def wait_s(self, attempt: int, key: str) -> float:
        call = self._call
        written = canonical_json(call.arguments)
        return call.carrier.retry.delay_ms(call.entry.name, written, attempt, call.cause) / 1000


class ComposedCall:
    """One call, as a runner carries it out."""

    timeout_s: float | None = None

    def __init__(
        self, carrier: Carrier, entry: Entry, arguments: dict[str, Any], tool: ComposedTool, machine: Machine
    ) -> None:
        self.carrier = carrier
        self.entry = entry
        self.arguments = arguments
        self.tool = tool
        self.name = entry.name
        self.cause: Cause | None = None
        self.effect: EffectClass = carrier.effect_of(entry)
        self.retry: Retry = _Retry(self)
        self._machine = machine

    async def act(self, threads: ThreadExecutor) -> Any:
        """One attempt, in its place. Raises `CallFailed`, and whatever the host raises."""
        carrier, entry = self.carrier, self.entry
        async with AsyncExitStack() as stack:
            await carrier.bulkheads.enter(stack, entry.server)
            value = await self._in_time()
        carrier.check(entry, "output", value)
        return value

    async def _in_time(self) -> Any:
        timeout_ms = self.carrier.limits.call_timeout_ms
        deadline = asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000)
        try:
            async with deadline:
                value = await self.carrier.host.call(self.entry, own(dict(self.arguments)))
        except TimeoutError as error:
            if not deadline.expired():
                raise
            said = f"composition binding '{self.entry.binding}' timed out after {timeout_ms}ms"
            raise CallFailed(said, category="timeout") from error
        except PlayheadError as error:
            recordable = sound(error)
            if recordable is error:
                raise
            raise recordable from None
        return self.carrier.plain(self.entry, value)

    def completed(self, value: Any, number: int) -> OutcomeFact:
        result = Raw(encode_value(value, where=f"the answer of {self.name}", plain=False))
        return ToolCompleted(result=self._machine.redacted(result), attempt=number)

    def failed(self, failure: Failure, number: int) -> OutcomeFact:
        failure = msgspec.structs.replace(failure, category=cause_of_failure(failure))
        unknown = outcome_unknown(self.effect, failure)
        return ToolFailedFact(failure=failure, attempt=number, outcome_unknown=unknown)


def words_of_failure(failure: Failure) -> str:
    """What a recorded failure says, and its type where it says nothing, as `assert` does."""
    return failure.message or failure.type


def cause_of_failure(failure: Failure) -> str:
    """The category of a recorded failure: what is only `generic` is an error of the tool."""
    return "tool_error" if failure.category == "generic" else failure.category
