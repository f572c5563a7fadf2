"""Programs of the user's own, loaded only when they are named: a file, or a module on the path.

    path/to/file.py            every persona in it
    path/to/file.py:audit      the persona called `audit`, or held by the name `audit`
    package.module:audit

Nothing is imported because a log names it. A program may say how its engine is made
in a dictionary called PLAYHEAD, with `model`, `errors`, `secrets` and `hooks` as Engine.open takes them.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from playhead.errors import NotFound
from playhead_projections.cli.faults import Usage

if TYPE_CHECKING:
    from playhead.runtime.binding import Binding
    from playhead.runtime.persona import Persona

ENVIRONMENT: Final = "PLAYHEAD_PROGRAM"
OPTIONS: Final = "PLAYHEAD"
OPTION_NAMES: Final = frozenset({"model", "errors", "secrets", "hooks"})


class Program(NamedTuple):
    """Personas, and how their engine is made."""

    personas: tuple[Persona[..., Any], ...]
    options: dict[str, Any]
    bindings: tuple[Binding, ...] = ()

    def with_keys(self, keys: str | None) -> Program:
        """The same, whose runs begin with the keyring in that file."""
        return self._replace(options={**self.options, "reviewer_keys": keys})


def load(words: Sequence[str]) -> Program:
    """The program in all of `words` together. Raises `NotFound`, and `Usage` where one makes no sense."""
    personas: dict[int, Persona[..., Any]] = {}
    options: dict[str, Any] = {}
    bindings: list[Binding] = []
    for word in words:
        module, name = module_of(word)
        for persona in _personas(module, word, name):
            personas[id(persona)] = persona
        options |= _options(module, word)
        bindings += _bindings(module)
    return Program(tuple(personas.values()), options, tuple(bindings))


def asked_for(words: Sequence[str]) -> tuple[str, ...]:
    """The programs that were named, else those in PLAYHEAD_PROGRAM, parted as a path is."""
    if words:
        return tuple(words)
    return tuple(word for word in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if word)


def needed(run: str, persona: str | None, module: str | None, *, said_as: str = "--program ") -> Usage:
    """What to say where no program was named, to a command that wants it behind `said_as`."""
    guess = f"{module.rpartition('.')[2]}.py" if module and module != "__main__" else "path/to/file.py"
    return Usage(
        f"run {run} needs its program, and nothing is imported because a log names it.",
        expected=f"persona {persona} of module {module}",
        found=f"no {said_as.strip() or 'PROGRAM'}, and PLAYHEAD_PROGRAM is not set",
        next_step=f"Say where it is: {said_as}{guess}" if said_as else f"Say where it is, last: … {guess}",
    )


def module_of(word: str) -> tuple[ModuleType, str | None]:
    """The module that a word names, and the name in it. Raises `NotFound`, and `Usage`."""
    place, separator, name = word.rpartition(":")
    if not separator:
        place, name = word, ""
    if place.endswith(".py") or os.sep in place:
        return _from_file(Path(place)), name or None
    if not all(part.isidentifier() for part in place.split(".")):
        raise Usage(
            f"{word!r} names no program.",
            expected="path/to/file.py[:NAME] or package.module[:NAME]",
            found=word or "nothing",
        )
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        with _blaming(place):
            return importlib.import_module(place), name or None
    except ModuleNotFoundError as error:
        raise NotFound(
            f"there is no module {place!r} on the path.",
            expected="path/to/file.py[:persona] or package.module[:persona]",
            found=word,
        ) from error


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NotFound(f"there is no file at {path}.", expected="path/to/file.py[:persona]", found=str(path))
    real = path.resolve()
    loaded = sys.modules.get(real.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(real):
        return loaded
    if loaded is not None:
        raise Usage(
            f"a module called {real.stem!r} is loaded already.", found=str(path), next_step="Rename the file."
        )
    spec = importlib.util.spec_from_file_location(real.stem, real)
    assert spec is not None
    assert spec.loader is not None
    if str(real.parent) not in sys.path:
        sys.path.insert(0, str(real.parent))
    module = importlib.util.module_from_spec(spec)
    # Under its own name, so that its types are recorded and found as if it had been imported.
    sys.modules[real.stem] = module
    try:
        with _blaming(str(path)):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[real.stem]
        raise
    return module


@contextmanager
def _blaming(program: str) -> Generator[None]:
    """Whatever goes wrong while `program` is loaded is its own, and said with the line it went wrong at."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is not None and f"{program}.".startswith(f"{error.name}."):
            raise  # it is the program that is not there
        raise _cannot_be_loaded(program, error) from error
    except (Exception, SystemExit) as error:
        raise _cannot_be_loaded(program, error) from error


def _cannot_be_loaded(program: str, error: BaseException) -> Usage:
    if isinstance(error, SyntaxError):
        place, said = f"{error.filename}:{error.lineno}", error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
        place, said = (f"{own[-1].filename}:{own[-1].lineno}" if own else program), str(error)
    return Usage(
        f"{program} cannot be loaded: {type(error).__name__}: {said}.",
        found=place,
        next_step="Correct it and try again; -v shows the whole traceback.",
    )


def _personas(module: ModuleType, word: str, name: str | None) -> list[Persona[..., Any]]:
    from playhead.runtime.persona import Persona

    held: dict[str, Persona[..., Any]] = {
        attribute: value for attribute, value in vars(module).items() if isinstance(value, Persona)
    }
    for binding in _bindings(module):
        if binding.persona not in held.values():
            held[binding.name] = binding.persona
    if name is None:
        chosen = list(held.values())
    else:
        chosen = [value for attribute, value in held.items() if name in (attribute, value.name)]
    if not chosen:
        known = sorted({value.name for value in held.values()})
        raise Usage(
            f"{word} holds no persona{f' called {name!r}' if name else ''}.",
            expected="an async function marked with @persona",
            found=", ".join(known) or "none",
        )
    return chosen


def _bindings(module: ModuleType) -> list[Binding]:
    """How personas of a program are on duty: bindings by themselves, and in lists and tuples."""
    from playhead.runtime.binding import Binding

    found: dict[int, Binding] = {}
    for value in vars(module).values():
        several = cast("Sequence[Any]", value if isinstance(value, (list, tuple)) else [value])
        found.update((id(each), each) for each in several if isinstance(each, Binding))
    return list(found.values())


def _options(module: ModuleType, word: str) -> dict[str, Any]:
    options: Any = getattr(module, OPTIONS, {})
    if not isinstance(options, dict) or not set(cast("dict[str, Any]", options)) <= OPTION_NAMES:
        raise Usage(
            f"{OPTIONS} of {word} makes no sense.",
            expected=f"a dictionary with {', '.join(sorted(OPTION_NAMES))}",
            found=repr(cast("object", options))[:200],
        )
    return dict(cast("dict[str, Any]", options))
