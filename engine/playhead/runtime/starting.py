"""What a run begins with: its first fact, and the id that a key stands for."""

from __future__ import annotations

import functools
import platform
from hashlib import sha256
from importlib import metadata
from typing import Any, Final

from msgspec import Raw

from playhead.clock import encode_id
from playhead.events.catalog import RunStarted
from playhead.runtime.persona import Persona

SEED_BYTES: Final = 16


def run_started(
    persona: Persona[..., Any],
    arguments: Raw,
    *,
    seed: bytes,
    name: str | None,
    key: str | None,
    parent: tuple[str, str] | None,
) -> RunStarted:
    """The first fact of a run. `parent` is the run and operation that asked for it."""
    return RunStarted(
        persona=persona.name,
        args=arguments,
        args_digest=sha256(arguments).hexdigest()[:32],
        mode=persona.mode,
        seed=seed,
        name=name,
        key=key,
        parent=parent[0] if parent else None,
        parent_op=parent[1] if parent else None,
        module=persona.function.__module__,
        code=persona.code,
        python=platform.python_version(),
        anyio=_version("anyio"),
        playhead=_version("playhead"),
    )


def id_of_key(key: str) -> str:
    """The id of the run that an idempotency key stands for, in any store."""
    return encode_id(sha256(f"playhead.key/1:{key}".encode()).digest())


def id_of_child(run: str, op: str) -> str:
    """The id of the child run that operation `op` of `run` asks for."""
    return encode_id(sha256(f"playhead.child/1:{run}:{op}".encode()).digest())


@functools.cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
