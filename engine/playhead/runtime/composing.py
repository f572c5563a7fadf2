"""Compositions inside of runs: a small program over tools, every call of which is an operation of the run.

    found = await compose(snippet, manifest, host)
    found.value()                    # the result, or an error that says why there is none

The snippet runs on a machine that knows nothing of the world: `playhead.snippet`. This drives it, as part
of the program: what the machine asks for becomes tool requests, and it is handed their recorded outcomes
in the order of the log. So a resumed or replayed run drives the same machine to the same place, and asks
no host again.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor as ThreadExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from playhead.composition.hashing import snippet_hash
from playhead.composition.hosts import Host
from playhead.composition.limits import CompositionLimits
from playhead.composition.machines import Workers, in_process
from playhead.composition.manifest import Entry, Manifest, changes_since
from playhead.composition.retrying import CallRetry, Trust
from playhead.composition.schema_types import parameters_of
from playhead.errors import CompositionFailed, HookDenied, HookFailed, ProgramError, ToolRejected
from playhead.events.catalog import ToolCompleted, ToolRequested
from playhead.events.catalog import ToolFailed as ToolFailedFact
from playhead.events.composition import (
    CompositionCause,
    CompositionCompleted,
    CompositionExpired,
    CompositionStarted,
    FailureCategory,
)
from playhead.events.composition import CompositionFailed as CompositionFailedFact
from playhead.events.fact import Failure, OutcomeFact
from playhead.events.rules import ToolDenied
from playhead.events.words import ComposedWords, SnippetErrorWords
from playhead.policy.effect import EffectClass
from playhead.policy.level import Level, known_level
from playhead.policy.retry import ONCE
from playhead.runtime import guard
from playhead.runtime.composed import Carrier, ComposedCall, ComposedTool, cause_of_failure
from playhead.runtime.machine import Machine, Pending
from playhead.runtime.moments import after_tool, before_tool
from playhead.runtime.permission import check_tool
from playhead.runtime.place import call_site
from playhead.runtime.scope import Scope, require_scope
from playhead.snippet.check import Checked, check
from playhead.snippet.protocol import (
    LANGUAGE,
    Call,
    Err,
    Ok,
    Outcome,
    SnippetError,
    SnippetVM,
    Step,
    ToolBinding,
)

ENGINE: Final = "closures/1"
"""The machine that runs snippets, as it is recorded."""
MESSAGE_CHARS_MAX: Final = 2_000
LOOK_S: Final = 0.5
SNIPPET_CHARS_MAX: Final = 262_144
"""How much of a snippet is recorded. One that is so long is refused; its hash is that of the whole."""
Engine = Literal["worker", "in_process"]

_CATEGORIES: Final[Mapping[CompositionCause, FailureCategory]] = {
    "unsupported_language": "unsupported_language",
    "manifest_changed": "policy_denied",
    "refused": "policy_denied",
    "denied": "policy_denied",
    "tool_failed": "child_tool_error",
    "error": "execution_error",
    "limit": "execution_error",
    "deadline": "timeout",
    "cancelled": "cancelled",
    "engine_error": "unknown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """How a composition ended. `cause` is None where it has a result; see docs/composition.md for the words.

    `problems` are what the check found in a snippet that was refused. `steps` are those of the machine, and
    `calls` the tools that were asked for.
    """

    result: Any = None
    stdout: str = ""
    cause: CompositionCause | None = None
    category: FailureCategory | None = None
    message: str = ""
    error: SnippetErrorWords | None = None
    problems: tuple[dict[str, Any], ...] = ()
    steps: int = 0
    calls: int = 0

    @property
    def ok(self) -> bool:
        """Whether the snippet ended with a result."""
        return self.cause is None

    def value(self) -> Any:
        """The result. Raises `CompositionFailed` where there is none."""
        if self.cause is not None:
            raise CompositionFailed(self.message, cause=self.cause, category=self.category or "unknown")
        return self.result


async def compose(
    snippet: str,
    manifest: Manifest,
    host: Host,
    *,
    limits: CompositionLimits | None = None,
    retry: CallRetry | None = None,
    trust: Trust | None = None,
    ceiling: Level = "read_only",
    pinned: str | None = None,
    language: str = LANGUAGE,
    engine: Engine = "worker",
) -> Composed:
    """Check a snippet and run it, with the tools of `manifest` carried out by `host`.

    `ceiling` is the level that no call goes beyond, and everything that encloses the call holds too: its
    policy, its stage and its hooks. `pinned` is the hash of the manifest that somebody agreed to; another
    one is refused. `engine="in_process"` runs the machine in this process, where nothing but its own counts
    stops it: for tests, and for snippets that are trusted.

    Whatever a snippet does wrong is an answer and not an error. Raises `ValueError` for a ceiling that is no
    level, `ProgramError` for a snippet that is no text, and `OutsideRun`. A crash in the middle loses no
    completed call: the resumed run goes on after it, and a call in flight is repeated or in doubt as its
    tool declares.
    """
    known_level(ceiling)
    if not isinstance(snippet, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ProgramError(f"a snippet is a text, not {type(snippet).__qualname__}.", found=snippet)
    if not isinstance(manifest, Manifest):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ProgramError(
            f"a manifest is made by build_manifest(), and is not {type(manifest).__qualname__}."
        )
    if engine not in ("worker", "in_process"):
        raise ProgramError(f"engine is worker or in_process, not {engine!r}.", found=engine)
    scope = require_scope("compose()")
    machine: Machine = scope.machine
    op = scope.op("compose")
    machine.check_inside(op)
    bounds = limits or CompositionLimits()
    started = CompositionStarted(
        language=language,
        engine=ENGINE,
        snippet=_writable(snippet)[:SNIPPET_CHARS_MAX],
        snippet_hash=snippet_hash(language, snippet),
        manifest_hash=manifest.hash,
        ceiling=ceiling,
        limits=bounds.document(),
        site=call_site(),
    )
    hidden = machine.redaction is not None and bool(machine.redaction)
    carrier = Carrier(host, bounds, retry or CallRetry(), trust or Trust(), hidden=hidden)
    run = _Composition(scope, op, manifest, ceiling, carrier)
    pending = machine.ask(op, started, run.expired, _Deadline(bounds.timeout_ms))
    try:
        composed = run.refused(snippet, language, pinned) or await run.go(snippet, engine)
    except asyncio.CancelledError:
        run.end(pending, run.failed("cancelled", "the composition was cancelled."))
        raise
    except Exception as error:
        run.end(pending, run.failed("engine_error", f"{type(error).__name__}: {error}"))
        raise
    run.end(pending, composed)
    return composed


def bindings_of(manifest: Manifest) -> dict[str, ToolBinding]:
    """What a snippet may write, of everything in a manifest."""
    found: dict[str, ToolBinding] = {}
    for entry in manifest.entries:
        shape = parameters_of(entry.tool.input_schema)
        schema = entry.tool.input_schema
        more = schema.get("additionalProperties") if isinstance(schema, dict) else None
        names, required = shape or ((), ())
        denied = entry.policy.disposition == "denied"
        found[entry.binding] = ToolBinding(
            names,
            required,
            shape is None or more is True or isinstance(more, dict),
            f"{entry.binding} is denied: {entry.policy.reason}" if denied else "",
        )
    return found


class _Deadline:
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


class _Composition:
    """One composition under way, as part of the program."""

    def __init__(self, scope: Scope, op: str, manifest: Manifest, ceiling: Level, carrier: Carrier) -> None:
        self.machine: Machine = scope.machine
        self.scope = scope.inner(op)
        self.op = op
        self.manifest = manifest
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
        self._vm: SnippetVM | None = None

    # ------------------------------------------------------------ the whole

    def refused(self, snippet: str, language: str, pinned: str | None) -> Composed | None:
        """Why this must not even begin; None where it may."""
        if language != LANGUAGE:
            return self.failed("unsupported_language", f"unsupported composition language '{language}'")
        changes = None if pinned is None else changes_since(pinned, self.manifest)
        if changes is not None:
            return self.failed("manifest_changed", f"{changes}.")
        found = check(snippet, bindings_of(self.manifest))
        if isinstance(found, Checked):
            return None
        problems = tuple({name: _plain(said) for name, said in each._asdict().items()} for each in found)
        first = found[0]
        said = f"line {first.line}: {first.message}" + (
            f", and {len(found) - 1} more" if len(found) > 1 else ""
        )
        syntax = any(problem.code == "syntax" for problem in found)
        category: FailureCategory = "schema_validation" if syntax else "policy_denied"
        return self.failed("refused", said, problems=problems, category=category)

    async def go(self, snippet: str, engine: Engine) -> Composed:
        """Drive the machine to its end, or to that of the composition."""
        bindings, limits = bindings_of(self.manifest), self.carrier.limits.of_the_machine()
        workers: Workers | None = getattr(self.machine.host, "snippets", None)
        if workers is None or engine == "in_process":  # whoever only plays a tape has no workers
            vm: SnippetVM = in_process(snippet, bindings, limits)
        else:
            vm = workers.machine(snippet, bindings, limits)
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
        words = _words_of(error)
        if step.status == "limit":
            return self.failed("limit", error.message, error=words)
        causes: dict[str, CompositionCause] = {"engine_error": "engine_error", "ToolError": "tool_failed"}
        message = f"{error.type}: {error.message}" if error.type != "ToolError" else error.message
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
            category=category or _CATEGORIES[cause],
            message=_writable(message)[:MESSAGE_CHARS_MAX],
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
            CompositionFailedFact(
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
        hooks = self.scope.around.hooks
        try:
            recorded = self._allowed(entry, op, arguments)
        except ToolRejected as refused:
            self._arrived.append((call.op, Err("permission_denied", refused.message)))
            return
        if hooks is None:
            pending = self._ask(entry, op, arguments, recorded, call)
            self._open[call.op] = pending
            pending.future.add_done_callback(partial(self._done, call.op))
        else:
            task = self.machine.spawn(self._hooked(entry, op, arguments, call), self.scope)
            self._open[call.op] = task
            task.add_done_callback(partial(self._done, call.op))

    def _done(self, number: int, answer: asyncio.Future[Outcome]) -> None:
        if self._open.pop(number, None) is None or answer.cancelled():
            return
        self._fault = self._fault or answer.exception()
        if self._fault is None:
            self._arrived.append((number, answer.result()))
        self._wake()

    def _allowed(self, entry: Entry, op: str, arguments: dict[str, Any]) -> Raw:
        """The arguments as they are recorded. Raises `ToolRejected`, which is written down."""
        tool = ComposedTool(entry)
        recorded = self.machine.redacted(tool.signature.encode(arguments))
        reason = self._refusal(entry)
        if reason is not None:
            self.machine.emit(op, ToolDenied(tool=entry.name, args=recorded, reason=reason, site=call_site()))
            raise ToolRejected(reason, tool=entry.name)
        if self.scope.around.policy is not None:
            check_tool(self.scope, op, entry.name, entry.tool.annotations, arguments, recorded)
        return recorded

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

    def _ask(self, entry: Entry, op: str, arguments: dict[str, Any], recorded: Raw, call: Call) -> Pending:
        executor = ComposedCall(self.carrier, entry, arguments, ComposedTool(entry), self.machine)
        request = ToolRequested(
            tool=entry.name,
            args=recorded,
            effect=executor.effect.value,
            composed=ComposedWords(
                binding=entry.binding, line=call.line, col=call.col, path=call.path, server=entry.server
            ),
        )
        return self.machine.ask(op, request, _outcome_of, executor)

    async def _hooked(self, entry: Entry, op: str, arguments: dict[str, Any], call: Call) -> Outcome:
        """A call that hooks are asked about, before and after."""
        tool = ComposedTool(entry)
        try:
            _, given = await before_tool(self.scope, op, tool, ((), arguments))
            recorded = self._allowed(entry, op, given) if given != arguments else self._recorded(tool, given)
            pending = self._ask(entry, op, given, recorded, call)
            try:
                outcome: Outcome = await pending.future
            except asyncio.CancelledError:
                self.machine.abandon(pending)
                raise
            if not isinstance(outcome, Ok):
                return outcome
            answer = json.loads(outcome.value_json)
            return _ok(await after_tool(self.scope, op, tool, ((), given), answer))
        except (HookDenied, HookFailed, ToolRejected) as error:
            return Err("permission_denied", error.message)

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


def _outcome_of(fact: OutcomeFact) -> Outcome:
    """What the machine is handed for a recorded outcome."""
    if isinstance(fact, ToolCompleted):
        return _ok(msgspec.msgpack.decode(fact.result))
    assert isinstance(fact, ToolFailedFact)
    return Err(cause_of_failure(fact.failure), fact.failure.message)


def _ok(value: Any) -> Ok:
    return Ok(msgspec.json.encode(value).decode())


def _writable(text: str) -> str:
    """`text` as a log can hold it: half a character is written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(said: str | int) -> str | int:
    return _writable(said) if isinstance(said, str) else said


def _words_of(error: SnippetError) -> SnippetErrorWords:
    return SnippetErrorWords(
        type=error.type, message=error.message, line=error.line, col=error.col, trace=error.trace
    )
