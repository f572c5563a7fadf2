"""An export, read and played again: what `playhead_replay` does, without pytest.

    first, *others = replay_recording(Path("nightly.jsonl"), Programs.of([audit]))

The file is checked as `playhead import` checks it, in memory, and each run in it is played against its own
tape: nothing is written, no tool and no model is entered, and nobody is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

from playhead.errors import BadValue, PlayheadError
from playhead.events.codec import CATALOG
from playhead.events.redaction import KEY_BYTES, PREFIX, Redaction, secret_names
from playhead.log.graft import StreamCopy
from playhead.log.transfer import import_lines
from playhead.replay.divergence import Report
from playhead.replay.player import Outcome, Player
from playhead.runtime.binding import Binding
from playhead.runtime.failures import ErrorTypes, error_types
from playhead.runtime.persona import Persona, Personas
from playhead.runtime.tape import Tape
from playhead.testing.replayed import Replayed, cleaned

OPTIONS: Final = "PLAYHEAD"
SQLITE_MAGIC: Final = b"SQLite format 3\0"
NEIGHBOURS_MAX: Final = 10


class NotReplayed(AssertionError):
    """A recording that cannot be played, or no longer does what it did, in words for people."""

    def __init__(self, text: str) -> None:
        super().__init__(cleaned(text))


@dataclass(frozen=True)
class Programs:
    """The personas of a test, and what their engine is told: as `Engine.open` takes it."""

    personas: Personas
    model: Any = None
    errors: tuple[type[Exception], ...] = ()
    secrets: tuple[str, ...] = ()
    key: bytes | None = None
    """What secrets were redacted with."""
    key_named: str = "redaction_key="
    """How the key is called where it is the wrong one."""

    @classmethod
    def of(
        cls,
        given: Iterable[Any],
        *,
        model: Any = None,
        errors: Sequence[type[Exception]] = (),
        secrets: Sequence[str] = (),
        key: bytes | None = None,
        key_named: str = "redaction_key=",
    ) -> Programs:
        """From personas, bindings, and modules with their `PLAYHEAD`. Raises `NotReplayed`."""
        if key is not None:
            _check_size(key, key_named)
        personas = Personas()
        try:
            found_errors, found_secrets = [*error_types(errors, "errors")], [*secret_names(secrets)]
            for one in given:
                options = _options(one) if isinstance(one, ModuleType) else {}
                model = model if model is not None else options.get("model")
                found_errors += error_types(
                    options.get("errors", ()), f"errors in {OPTIONS} of {getattr(one, '__name__', one)}"
                )
                found_secrets += secret_names(options.get("secrets", ()))
                for persona in _personas_of(one):
                    personas.add(persona)
        except PlayheadError as error:
            raise NotReplayed(_said(error)) from None
        if not personas.names:
            raise NotReplayed(
                "a recording is replayed with a program: hand over a persona, or a module with some."
            )
        return cls(personas, model, tuple(found_errors), tuple(found_secrets), key, key_named)


def _options(module: ModuleType) -> dict[str, Any]:
    said: Any = getattr(module, OPTIONS, {})
    if not isinstance(said, dict):
        raise BadValue(
            f"{OPTIONS} of module {module.__name__} is a dictionary of what Engine.open takes, not {said!r}.",
            expected='{"model": ..., "errors": [...], "secrets": [...]}',
            found=cast("object", said),
        )
    return cast("dict[str, Any]", said)


def _personas_of(given: Any) -> list[Persona[..., Any]]:
    if isinstance(given, Binding):
        return [given.persona]
    if isinstance(given, Persona):
        return [cast("Persona[..., Any]", given)]
    if isinstance(given, ModuleType):
        held = vars(given).values()
        found = {id(one): one for value in held if (one := _persona_in(value)) is not None}
        if found:
            return list(found.values())
        raise NotReplayed(f"module {given.__name__} holds no persona: mark the function with @persona.")
    raise NotReplayed(f"{given!r} is no persona, and no module with personas.")


def _persona_in(value: Any) -> Persona[..., Any] | None:
    value = value.persona if isinstance(value, Binding) else value
    return cast("Persona[..., Any]", value) if isinstance(value, Persona) else None


def replay_recording(path: Path, programs: Programs, *, shown: str = "") -> tuple[Replayed, ...]:
    """Every run in the file at `path`, played again, in its order.

    Raises `NotReplayed` for what is no export, a chain that is broken, a run whose persona was not handed
    over, a tape that this version cannot follow, and, with the report of each, for runs that diverged.
    """
    shown = shown or str(path)
    played: list[Replayed] = []
    faults: list[str] = []
    for tape in _tapes(path, shown):
        persona = programs.personas.get(tape.started.persona)
        if persona is None:
            given = ", ".join(programs.personas.names)
            module = f" of module {tape.started.module}" if tape.started.module else ""
            raise NotReplayed(
                f"run {tape.run} in {shown} is one of persona {tape.started.persona}{module}, "
                f"and only {given} was given."
            )
        try:
            outcome = _play(tape, persona, programs)
        except PlayheadError as error:
            raise NotReplayed(f"run {tape.run} in {shown} cannot be replayed.\n{_said(error)}") from None
        if outcome.lost:
            raise NotReplayed(f"run {tape.run} in {shown} cannot be replayed.\n{outcome.lost}")
        if outcome.divergence is not None:
            faults.append(str(outcome.divergence))
        played.append(Replayed(shown, tape, persona, outcome, played))
    if faults:
        raise NotReplayed(f"{shown} no longer replays. " + "\n\n".join(faults))
    return tuple(played)


def read_key(path: Path) -> bytes:
    """The key in a file that lay beside a store. Raises `NotReplayed` for a file without one."""
    try:
        key = path.read_bytes()
    except (OSError, ValueError) as error:  # a path with a NUL is no OSError
        raise NotReplayed(f"the redaction key at {path} cannot be read: {_why(error)}.") from None
    _check_size(key, str(path))
    return key


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _check_size(key: bytes, named: str) -> None:
    said: Any = key
    if not isinstance(said, bytes):
        raise NotReplayed(
            f"{named} is the key in bytes, or the file that holds it, and no {type(said).__name__}."
        )
    if len(key) != KEY_BYTES:
        raise NotReplayed(f"{named} holds no redaction key: {len(key)} bytes instead of {KEY_BYTES}.")


def chosen(runs: Sequence[Replayed], wanted: str | None) -> Replayed:
    """The run that a test is about: `wanted` by name, id or beginning of an id; else the first root.

    Raises `NotReplayed` where that is none, or several.
    """
    if wanted is None:
        ids = {one.id for one in runs}
        return next((one for one in runs if one.tape.started.parent not in ids), runs[0])
    named = [one for one in runs if wanted in (one.id, one.name)]
    found = named or [one for one in runs if wanted and one.id.startswith(str(wanted))]
    if len(found) != 1:
        held = "\n".join(f"    {one.id}  {one.persona.name}  {one.name or '-'}" for one in runs)
        many = "no run is called" if not found else "several runs are called"
        raise NotReplayed(f"{many} {wanted!r} in {runs[0].file}, which holds\n{held}")
    return found[0]


def _tapes(path: Path, shown: str) -> list[Tape]:
    copies = _copies(path, shown)
    try:
        for copy in copies:
            for event in copy.events:
                CATALOG.decode(event)
        found = [
            Tape(copy.stream.partition("/")[2], copy.events)
            for copy in copies
            if copy.stream.startswith("run/")
        ]
    except PlayheadError as error:
        raise NotReplayed(f"{shown} holds an event that cannot be read.\n{_said(error)}") from None
    if not found:
        raise NotReplayed(f"{shown} holds no run. Write one into it: playhead export RUN -o {path.name}")
    return found


def _copies(path: Path, shown: str) -> list[StreamCopy]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotReplayed(f"there is no recording at {shown}.{_neighbours(path)}") from None
    except (OSError, ValueError) as error:
        raise NotReplayed(f"{shown} cannot be read: {_why(error)}.") from None
    if data.startswith(SQLITE_MAGIC):
        raise NotReplayed(
            f"{shown} is a store and no export. Write a run of it into a file of its own: "
            f"playhead --store {path.name} export RUN -o RUN.jsonl"
        )
    try:
        return import_lines(data.splitlines(keepends=True))
    except PlayheadError as error:
        raise NotReplayed(f"{shown} is no export that can be trusted.\n{_said(error)}") from None


def _neighbours(path: Path) -> str:
    near: list[str] = []
    with contextlib.suppress(OSError):
        near = sorted(other.name for other in path.parent.glob("*.jsonl"))
    if not near:
        return " Record one: playhead export RUN -o FILE.jsonl"
    more = f" and {len(near) - NEIGHBOURS_MAX} more" if len(near) > NEIGHBOURS_MAX else ""
    return f" Beside it lie {', '.join(near[:NEIGHBOURS_MAX])}{more}."


def _play(tape: Tape, persona: Persona[..., Any], programs: Programs) -> Outcome:
    asked: list[bool] = []

    def key() -> bytes:
        asked.append(True)
        return programs.key or bytes(KEY_BYTES)

    redaction = Redaction(programs.secrets, key)
    errors = ErrorTypes(programs.errors)
    player = Player(tape, persona, errors=errors, redaction=redaction, model=programs.model)
    outcome = _play_relaxed(player) if tape.started.mode == "relaxed" else player.play()
    if asked and outcome.divergence is not None:
        _check_key(programs, outcome.divergence)
    return outcome


def _check_key(programs: Programs, found: Report) -> None:
    """Raise `BadValue` where it is the key of secrets, and not the program, that is another than then."""
    if programs.key is None:
        raise BadValue(
            "it holds secrets, which are compared by digests that only the key of its store can make.",
            expected="redaction_key=, the file beside the store whose name ends in -redaction-key",
            found="no key",
        )
    if all(str(value).startswith(PREFIX) for value in (found.recorded_value, found.now_value)):
        raise BadValue(
            f"a secret has another digest than then, {found.field} at event {found.event}:"
            f" {programs.key_named} is not the key of the store that this was recorded in,"
            " or the program is told another secret.",
            expected="the file beside that store whose name ends in -redaction-key",
            found=programs.key_named,
        )


def _play_relaxed(player: Player) -> Outcome:
    """In a loop of its own, and a thread of its own: the test may be in a loop already."""
    with ThreadPoolExecutor(1, thread_name_prefix="playhead-replay") as thread:
        return thread.submit(asyncio.run, player.play_relaxed()).result()


def _said(error: PlayheadError) -> str:
    """What the command line says of an error."""
    lines = [f"{error.code}: {error.message}"]
    if error.expected is not None:
        lines.append(f"  expected   {error.expected}")
    if error.found is not None:
        lines.append(f"  found      {error.found}")
    return "\n".join([*lines, *([error.next] if error.next else [])])
