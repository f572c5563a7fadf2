"""What a run begins with: its first fact, and the id that a key stands for."""

from __future__ import annotations

import functools
import platform
from hashlib import sha256
from importlib import metadata
from typing import Any, Final

from msgspec import Raw

from playhead.clock import encode_id
from playhead.errors import BadValue
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


def check_text(what: str, text: object) -> None:
    """Raise `BadValue` where `text` is not what the `what` of a run may be: None, or a text of its own."""
    if text is None:
        return
    try:
        if isinstance(text, str) and text and text.encode():
            return
    except UnicodeEncodeError:
        pass
    raise BadValue(
        f"the {what} of a run cannot be {text!r}.",
        expected="a text of at least one character",
        found=type(text).__qualname__,
        next_step=f"Give {what}=... as a text, or leave it out.",
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
