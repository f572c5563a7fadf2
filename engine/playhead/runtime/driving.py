"""Driving the machine of a snippet, as part of the program of a run.

What the machine asks for becomes requests of tools, unless something does not allow it, and it is handed
their outcomes one at a time, in the order in which the run is told of them.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor as ThreadExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, Self, cast

import msgspec
from msgspec import Raw

from playhead.composition.bindings import bindings_of, explained
from playhead.composition.machines import Workers, in_process
from playhead.composition.manifest import Entry, Manifest, changes_since
from playhead.errors import (
    ApprovalDenied,
    ApprovalTimedOut,
    BadValue,
    CallFailed,
    HookDenied,
    HookFailed,
    ProgramError,
    ToolRejected,
)
from playhead.events.catalog import ToolCompleted, ToolRequested
from playhead.events.catalog import ToolFailed as ToolFailedFact
from playhead.events.composition import (
    CompositionCause,
    CompositionCompleted,
    CompositionExpired,
    CompositionFailed,
    FailureCategory,
)
from playhead.events.fact import Failure, OutcomeFact
from playhead.events.rules import ToolDenied
from playhead.events.values import encode_value
from playhead.events.words import ComposedWords, SnippetErrorWords
from playhead.policy.action import Action, action_of
from playhead.policy.effect import EffectClass
from playhead.policy.level import Level
from playhead.policy.retry import ONCE
from playhead.runtime import guard
from playhead.runtime.composed import Carrier, ComposedCall, ComposedTool, cause_of_failure, words_of_failure
from playhead.runtime.composition import CATEGORIES, Composed, plain, words_of, writable
from playhead.runtime.enforcing import Effect, Permit, Wish, ask_again, check_wish, permitted
from playhead.runtime.machine import Machine, Pending
from playhead.runtime.moments import after_tool, before_tool
from playhead.runtime.place import call_site
from playhead.runtime.scope import Scope
from playhead.snippet.check import Checked, check, check_names
from playhead.snippet.machine import read_input
from playhead.snippet.protocol import LANGUAGE, Call, Err, Ok, Outcome, SnippetVM, Step

MESSAGE_CHARS_MAX: Final = 2_000
LOOK_S: Final = 0.5
INPUT_BYTES_MAX: Final = 1_000_000
Engine = Literal["worker", "in_process"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """The variables that a snippet begins with, each as JSON text, and all of them as they are recorded."""

    texts: Mapping[str, str]
    recorded: Raw

    @classmethod
    def of(cls, values: Mapping[str, Any], manifest: Manifest) -> Self:
        """Raises `ProgramError` for a name that no variable can have, and for what is no plain JSON."""
        try:
            recorded = encode_value(dict(values), where="inputs", plain=True, ordered=True)
            check_names([entry.binding for entry in manifest.entries], values)
            texts = {name: msgspec.json.encode(value) for name, value in values.items()}
            for text in texts.values():
                read_input(text.decode())
        except (ValueError, TypeError, BadValue) as error:
            said = error.message if isinstance(error, BadValue) else f"{error}."
            raise ProgramError(said, found=sorted(map(str, values))) from error
        for name, text in texts.items():
            if msgspec.json.decode(text) != values[name]:  # bytes, dates and tuples have a form in JSON
                raise ProgramError(f"the input {name} is no plain JSON.", found=values[name])
        if (size := sum(map(len, texts.values()))) > INPUT_BYTES_MAX:
            raise ProgramError(f"the inputs have {size} bytes.", expected=f"at most {INPUT_BYTES_MAX}")
        return cls({name: text.decode() for name, text in texts.items()}, Raw(recorded))


class Deadline:
    """What expires a composition, as a runner carries it out. It does not keep a run in memory."""

    effect = EffectClass.READ_ONLY
    retry = ONCE
    timeout_s: float | None = None
    name = "compose"

    def __init__(self, timeout_ms: int | None) -> None:
        self._timeout_ms = timeout_ms
        self.idle: Callable[[], None] = _stay
        self.doubted: Callable[[], bool] = _certain

    async def act(self, threads: ThreadExecutor) -> Any:
        self.idle()
        if self._timeout_ms is None:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep((self._timeout_ms or 0) / 1000)
        while self.doubted():  # noqa: ASYNC110  somebody has to answer first, by way of the log
            await asyncio.sleep(LOOK_S)

    def completed(self, value: Any, number: int) -> OutcomeFact:
        return CompositionExpired(timeout_ms=self._timeout_ms or 0)

    def failed(self, failure: Failure, number: int) -> OutcomeFact:
        return CompositionExpired(timeout_ms=self._timeout_ms or 0)


def _stay() -> None:
    """Nobody wants to know."""


def _certain() -> bool:
    return False


class Drive:
    """One composition under way, as part of the program."""

    def __init__(self, scope: Scope, op: str, manifest: Manifest, ceiling: Level, carrier: Carrier) -> None:
        self.machine: Machine = scope.machine
        self.scope = scope.inner(op)
        self.op = op
        self.manifest = manifest
        self.bindings = bindings_of(manifest)
        self.ceiling: Level = ceiling
        self.carrier = carrier
        self.steps = 0
        self.calls = 0
        self.stdout = ""
        self._expired = False
        self._fault: BaseException | None = None
        self._arrived: deque[tuple[int, Outcome]] = deque()
        self._open: dict[int, Pending | asyncio.Task[Outcome]] = {}
        self._news: asyncio.Future[None] | None = None
        self._tools: dict[str, ComposedTool] = {}

    # ------------------------------------------------------------ the whole

    def refused(self, snippet: str, language: str, pinned: str | None, inputs: Inputs) -> Composed | None:
        """Why this must not even begin; None where it may."""
        if language != LANGUAGE:
            return self.failed("unsupported_language", f"unsupported composition language '{language}'")
        changes = None if pinned is None else changes_since(pinned, self.manifest)
        if changes is not None:
            return self.failed("manifest_changed", f"{changes}.")
        found = check(snippet, self.bindings, inputs=inputs.texts)
        if isinstance(found, Checked):
            return None
        told = explained(found, self.manifest)
        problems = tuple({name: plain(said) for name, said in each._asdict().items()} for each in told)
        first = told[0]
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        said = f"line {first.line}: {first.message}{more}"
        if any(problem.code == "syntax" for problem in found):
            said = f"composition parse error: {said}"
            return self.failed("refused", said, problems=problems, category="schema_validation")
        return self.failed("refused", said, problems=problems)

    async def go(self, snippet: str, engine: Engine, inputs: Inputs) -> Composed:
        """Drive the machine to its end, or to that of the composition."""
        bindings, limits = self.bindings, self.carrier.limits.of_the_machine()
        workers: Workers | None = getattr(self.machine.host, "snippets", None)
        if workers is None or engine == "in_process":  # whoever only plays a tape has no workers
            vm: SnippetVM = in_process(snippet, bindings, limits, inputs.texts)
        else:
            vm = workers.machine(snippet, bindings, limits, inputs.texts)
        step = self._step(vm.start)
        try:
            while step.status == "waiting":
                for call in step.calls:
                    if self.calls == self.carrier.limits.max_operations:
                        most = self.carrier.limits.max_operations
                        return self.failed(
                            "limit", f"composition exceeded max_operations={most}", category="timeout"
                        )
                    self.calls += 1
                    self._issue(call)
                arrived = await self._next()
                if arrived is None:
                    timeout_ms = self.carrier.limits.timeout_ms
                    return self.failed("deadline", f"composition exceeded timeout_ms={timeout_ms}")
                step = self._step(partial(vm.resume, *arrived))
        finally:
            with guard.outside():
                vm.close()
            await self._give_up()
        return self._composed(step)

    def _step(self, move: Callable[[], Step]) -> Step:
        with guard.outside():
            step = move()
        self.steps = step.steps
        self.stdout = step.stdout or self.stdout
        return step

    def _composed(self, step: Step) -> Composed:
        if step.status == "done":
            result = None if step.result_json is None else json.loads(step.result_json)
            return Composed(result=result, stdout=step.stdout, steps=step.steps, calls=self.calls)
        error = step.error
        assert error is not None
        words = words_of(error)
        if step.status == "limit":
            most = self.carrier.limits.max_output_bytes
            output = f"composition output exceeded max_output_bytes={most}: {error.message}"
            message = output if error.type == "max_output_bytes" else error.message
            return self.failed("limit", message, error=words)
        causes: dict[str, CompositionCause] = {"engine_error": "engine_error", "ToolError": "tool_failed"}
        message = error.message if error.type == "ToolError" else f"{error.type}: {error.message}"
        message = message.removesuffix(": ") or error.type
        return self.failed(causes.get(error.type, "error"), message, error=words)

    def failed(
        self,
        cause: CompositionCause,
        message: str,
        *,
        category: FailureCategory | None = None,
        error: SnippetErrorWords | None = None,
        problems: tuple[dict[str, Any], ...] = (),
    ) -> Composed:
        return Composed(
            cause=cause,
            category=category or CATEGORIES[cause],
            message=writable(message)[:MESSAGE_CHARS_MAX],
            error=error,
            problems=problems,
            steps=self.steps,
            calls=self.calls,
            stdout=self.stdout,
        )

    def end(self, pending: Pending, composed: Composed) -> None:
        """Write down how it ended; nothing expires any more."""
        machine = self.machine
        machine.pending.pop(pending.op, None)
        pending.future.cancel()
        if machine.unwinding or machine.stopped:
            return
        if composed.cause is None:
            encoded = Raw(msgspec.msgpack.encode(composed.result))
            machine.emit(
                self.op,
                CompositionCompleted(
                    result=machine.redacted(encoded),
                    steps=composed.steps,
                    calls=composed.calls,
                    stdout=composed.stdout,
                ),
            )
            return
        assert composed.category is not None
        machine.emit(
            self.op,
            CompositionFailed(
                cause=composed.cause,
                category=composed.category,
                message=composed.message,
                error=composed.error,
                problems=composed.problems,
                steps=composed.steps,
                calls=composed.calls,
                stdout=composed.stdout,
            ),
        )

    # ------------------------------------------------------------ its calls

    def expired(self, fact: OutcomeFact) -> None:
        """The time is over."""
        assert isinstance(fact, CompositionExpired)
        self._expired = True
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _next(self) -> tuple[int, Outcome] | None:
        """The next call that has come to an end, in the order of the log; None where the time is over."""
        while not self._arrived and not self._expired and self._fault is None:
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        if self._fault is not None:
            raise self._fault
        return None if self._expired else self._arrived.popleft()

    def _issue(self, call: Call) -> None:
        """Ask for one call, unless something does not allow it."""
        entry = self.manifest.at(call.binding)
        assert entry is not None
        arguments: dict[str, Any] = json.loads(call.input_json)
        op = self.scope.op(entry.binding)
        at = ComposedWords(
            binding=entry.binding, line=call.line, col=call.col, path=call.path, server=entry.server
        )
        around = self.scope.around
        try:
            recorded = self._allowed(entry, op, arguments, at)
        except ToolRejected as refused:
            self._arrived.append((call.op, _refused(refused)))
            return
        if around.hooks is None and not (around.policy is not None and around.policy.may_ask):
            pending = self._ask(entry, op, arguments, recorded, at)
            self._open[call.op] = pending
            pending.future.add_done_callback(partial(self._done, call.op))
        else:
            task = self.machine.spawn(self._asked_about(entry, op, arguments, at), self.scope)
            self._open[call.op] = task
            task.add_done_callback(partial(self._done, call.op))

    def _done(self, number: int, answer: asyncio.Future[Outcome]) -> None:
        if self._open.pop(number, None) is None or answer.cancelled():
            return
        self._fault = self._fault or answer.exception()
        if self._fault is None:
            self._arrived.append((number, answer.result()))
        self._wake()

    def _allowed(self, entry: Entry, op: str, arguments: dict[str, Any], at: ComposedWords) -> Raw:
        """The arguments as they are recorded. Raises `ToolRejected`, which is written down."""
        tool = self._tool(entry)
        recorded = self.machine.redacted(tool.signature.encode(arguments))
        reason = self._refusal(entry)
        if reason is not None:
            self._deny(entry, op, recorded, reason, at)
            raise ToolRejected(reason, tool=entry.name)
        if self.scope.around.policy is not None:
            check_wish(self.scope, op, self._wish(entry, arguments, recorded, at))
        try:
            self.carrier.check(entry, "input", arguments)
        except CallFailed as error:
            self._deny(entry, op, recorded, error.message, at, "invalid")
            raise ToolRejected(error.message, tool=entry.name, verdict="invalid") from error
        return recorded

    def _deny(
        self,
        entry: Entry,
        op: str,
        recorded: Raw,
        reason: str,
        at: ComposedWords,
        verdict: Literal["denied", "invalid"] = "denied",
    ) -> None:
        site = call_site()
        denied = ToolDenied(
            tool=entry.name, args=recorded, reason=reason, verdict=verdict, site=site, composed=at
        )
        self.machine.emit(op, denied)

    def _tool(self, entry: Entry) -> ComposedTool:
        if entry.binding not in self._tools:
            self._tools[entry.binding] = ComposedTool(entry, self.carrier)
        return self._tools[entry.binding]

    def _refusal(self, entry: Entry) -> str | None:
        said = f"composition binding '{entry.binding}'"
        if entry.policy.disposition == "denied":
            return f"{said} denied: {entry.policy.reason}"
        if entry.policy.disposition == "gated":
            return f"{said} requires approval and cannot run without one"
        if not entry.within(self.ceiling):
            level = entry.side_effect_level or "undeclared"
            return f"{said} requires side-effect level '{level}' above requested ceiling '{self.ceiling}'"
        return None

    def _wish(self, entry: Entry, arguments: dict[str, Any], recorded: Raw, at: ComposedWords) -> Wish:
        def reads(edited: Raw) -> Mapping[str, Any]:
            given = cast("dict[str, Any]", msgspec.msgpack.decode(edited))
            self.carrier.check(entry, "input", given)
            return given

        said = entry.tool.annotations
        action = self._action_of(entry, self.carrier.effect_of(entry))
        return Wish(entry.name, said, action, arguments, recorded, reads, at)

    def _action_of(self, entry: Entry, effect: EffectClass) -> Action | None:
        """What a call changes. What an MCP server says of its tools counts only where somebody trusts it."""
        if entry.server is None:
            said = entry.tool.annotations
            return action_of(entry.name, said, effect=effect, declared=entry.action_class)
        return None if effect in (EffectClass.PURE, EffectClass.READ_ONLY) else Action(entry.name, "mcp.call")

    def _ask(
        self,
        entry: Entry,
        op: str,
        arguments: dict[str, Any],
        recorded: Raw,
        at: ComposedWords,
        effect: Effect | None = None,
    ) -> Pending:
        executor = ComposedCall(self.carrier, entry, arguments, self._tool(entry), self.machine)
        action = self._action_of(entry, executor.effect)
        request = ToolRequested(
            tool=entry.name,
            args=recorded,
            effect=executor.effect.value,
            composed=at,
            side_effect="" if action is None else action.kind,
        )
        settle = effect.watch(_outcome_of, request) if effect else _outcome_of
        return self.machine.ask(op, request, settle, executor)

    async def _asked_about(
        self, entry: Entry, op: str, arguments: dict[str, Any], at: ComposedWords
    ) -> Outcome:
        """A call that hooks are asked about, before and after, and people where a policy wants them."""
        tool = self._tool(entry)
        try:
            _, given = await before_tool(self.scope, op, tool, ((), arguments), composed=at)
        except HookFailed as error:
            self._deny(entry, op, self._recorded(tool, arguments), error.message, at)
            return Err("permission_denied", error.message)
        except HookDenied as error:
            return Err("permission_denied", error.message)
        try:
            changed = given != arguments
            recorded = self._allowed(entry, op, given, at) if changed else self._recorded(tool, given)
            permit = Permit()
            if self.scope.around.policy is not None:
                permit = await permitted(self.scope, op, self._wish(entry, given, recorded, at))
            if permit.proposed is not None:
                return _ok(msgspec.to_builtins(permit.proposed) | {"proposed": True})
            if permit.edited is not None:
                given, recorded = tool.signature.decode(permit.edited)[1], permit.edited
                await ask_again(self.scope, op, tool, ((), given), permit, composed=at)
            outcome = await self._outcome(entry, op, given, recorded, at, permit.effect)
            if not isinstance(outcome, Ok):
                return outcome
            answer = json.loads(outcome.value_json)
            return _ok(await after_tool(self.scope, op, tool, ((), given), answer))
        except (HookDenied, HookFailed, ApprovalDenied, ApprovalTimedOut) as error:
            return Err("permission_denied", error.message)
        except ToolRejected as error:
            return _refused(error)

    async def _outcome(
        self,
        entry: Entry,
        op: str,
        arguments: dict[str, Any],
        recorded: Raw,
        at: ComposedWords,
        effect: Effect | None,
    ) -> Outcome:
        pending = self._ask(entry, op, arguments, recorded, at, effect)
        try:
            outcome: Outcome = await pending.future
        except asyncio.CancelledError:
            self.machine.abandon(pending)
            raise
        finally:
            if effect is not None:
                effect.over()
        return outcome

    def _recorded(self, tool: ComposedTool, arguments: dict[str, Any]) -> Raw:
        return self.machine.redacted(tool.signature.encode(arguments))

    async def _give_up(self) -> None:
        """Stop waiting for what is still under way."""
        waiting, self._open = list(self._open.values()), {}
        tasks = [each for each in waiting if isinstance(each, asyncio.Task)]
        for each in waiting:
            if isinstance(each, asyncio.Task):
                each.cancel()
            else:
                each.future.cancel()
                self.machine.abandon(each)
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)


def _refused(error: ToolRejected) -> Err:
    """What the machine is told of a call that was not allowed."""
    return Err("schema_validation" if error.verdict == "invalid" else "permission_denied", error.message)


def _outcome_of(fact: OutcomeFact) -> Outcome:
    """What the machine is handed for a recorded outcome."""
    if isinstance(fact, ToolCompleted):
        return _ok(msgspec.msgpack.decode(fact.result))
    assert isinstance(fact, ToolFailedFact)
    return Err(cause_of_failure(fact.failure), words_of_failure(fact.failure))


def _ok(value: Any) -> Ok:
    return Ok(msgspec.json.encode(value).decode())
