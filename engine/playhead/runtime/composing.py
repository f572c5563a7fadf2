"""Compositions inside of runs: a small program over tools, every call of which is an operation of the run.

    found = await compose(snippet, manifest, host)
    found.value()                    # the result, or an error that says why there is none

The snippet runs on a machine that knows nothing of the world: `playhead.snippet`. It is driven as part of
the program, by `playhead.runtime.driving`: what it asks for becomes tool requests, and it is handed their
recorded outcomes in the order of the log. So a resumed or replayed run drives the same machine to the same
place, and asks no host again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Raw

from playhead.composition.hashing import snippet_hash
from playhead.composition.hosts import Host
from playhead.composition.limits import CompositionLimits
from playhead.composition.manifest import Manifest
from playhead.composition.retrying import CallRetry, Trust
from playhead.errors import ProgramError
from playhead.events.composition import CompositionStarted, ManifestRecorded
from playhead.events.values import encode_value
from playhead.policy.level import Level, known_level
from playhead.runtime.composed import Carrier
from playhead.runtime.composition import Composed, writable
from playhead.runtime.driving import Deadline, Drive, Engine, Inputs
from playhead.runtime.machine import Machine
from playhead.runtime.scope import require_scope
from playhead.snippet.protocol import LANGUAGE

ENGINE: Final = "closures/1"
"""The machine that runs snippets, as it is recorded."""
SNIPPET_CHARS_MAX: Final = 262_144
"""How much of a snippet is recorded. One that is so long is refused; its hash is that of the whole."""


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
    inputs: Mapping[str, Any] | None = None,
    language: str = LANGUAGE,
    engine: Engine = "worker",
) -> Composed:
    """Check a snippet and run it, with the tools of `manifest` carried out by `host`.

    `inputs` are variables that the snippet begins with: plain JSON values, of which it gets copies.

    `ceiling` is the level that no call goes beyond, and everything that encloses the call holds too: its
    policy, its stage and its hooks. `pinned` is the hash of the manifest that somebody agreed to; another
    one is refused. `engine="in_process"` runs the machine in this process, where nothing but its own counts
    stops it: for tests, and for snippets that are trusted. A blank `language` is the one that there is.

    Whatever a snippet does wrong is an answer and not an error. Raises `ValueError` for a ceiling that is no
    level, `ProgramError` for a snippet that is no text and for inputs that cannot be, and `OutsideRun`. A
    crash in the middle loses no completed call: the resumed run goes on after it, and a call in flight is
    repeated or in doubt as its tool declares.
    """
    known_level(ceiling)
    language = language if language.strip() else LANGUAGE
    _check_kinds(snippet, manifest, host, limits, inputs, engine)
    scope = require_scope("compose()")
    machine: Machine = scope.machine
    op = scope.op("compose")
    machine.check_inside(op)
    bounds = limits or CompositionLimits()
    given = Inputs.of(inputs or {}, manifest)
    started = CompositionStarted(
        language=language,
        engine=ENGINE,
        snippet=writable(snippet)[:SNIPPET_CHARS_MAX],
        snippet_hash=snippet_hash(language, snippet),
        manifest_hash=_shown(machine, op, manifest),
        ceiling=ceiling,
        limits=bounds.document(),
        inputs=machine.redacted(given.recorded),
        site=machine.site(),
    )
    hidden = machine.redaction is not None and bool(machine.redaction)
    carrier = Carrier(host, bounds, retry or CallRetry(), trust or Trust(), hidden=hidden)
    run = Drive(scope, op, manifest, ceiling, carrier)
    pending = machine.ask(op, started, run.expired, Deadline(bounds.timeout_ms))
    try:
        composed = run.refused(snippet, language, pinned, given) or await run.go(snippet, engine, given)
    except asyncio.CancelledError:
        run.end(pending, run.failed("cancelled", "the composition was cancelled."))
        raise
    except Exception as error:
        run.end(pending, run.failed("engine_error", f"{type(error).__name__}: {error}"))
        raise
    run.end(pending, composed)
    return composed


def _check_kinds(snippet: Any, manifest: Any, host: Any, limits: Any, inputs: Any, engine: Any) -> None:
    """Raise `ProgramError` where a composition is made of other things than it can be."""
    if not isinstance(snippet, str):
        raise ProgramError(f"a snippet is a text, not {type(snippet).__qualname__}.", found=snippet)
    if not isinstance(manifest, Manifest):
        raise ProgramError(
            f"a manifest is made by build_manifest(), and is not {type(manifest).__qualname__}."
        )
    if not callable(getattr(host, "call", None)):
        raise ProgramError(
            f"a host has a method call(entry, arguments), and {type(host).__qualname__} has none.",
            expected="ToolHost, CallableHost, StaticHost, McpHost, or an object of your own",
        )
    if limits is not None and not isinstance(limits, CompositionLimits):
        raise ProgramError(f"limits are CompositionLimits, and not {type(limits).__qualname__}.")
    if inputs is not None and not isinstance(inputs, Mapping):
        raise ProgramError(f"inputs are given by name, and not as {type(inputs).__qualname__}.")
    if engine not in ("worker", "in_process"):
        raise ProgramError(f"engine is worker or in_process, not {engine!r}.", found=engine)


def _shown(machine: Machine, op: str, manifest: Manifest) -> str:
    """The hash of a manifest, which is written down in full where this run has not shown it before."""
    found = manifest.hash
    if found not in machine.manifests:
        machine.manifests.add(found)
        whole = Raw(encode_value(manifest.document(), where="the manifest", plain=True, ordered=True))
        machine.emit(op, ManifestRecorded(hash=found, manifest=machine.redacted(whole)))
    return found
