"""How a command fails: an exit code that scripts can use, and words that people can.

0 done or same         4 integrity broken     7 refused, or waiting for somebody
1 the answer is no     5 diverged             8 import had rejected records
2 usage                6 store busy, locked   70 internal error
3 not found              or newer             130 interrupted
"""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

import click

from playhead import errors
from playhead_projections.cli.output import cleaned, in_json

DONE: Final = 0
NO: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
BROKEN: Final = 4
DIVERGED: Final = 5
BUSY: Final = 6
WAITING: Final = 7
REJECTED: Final = 8
INTERNAL: Final = 70
INTERRUPTED: Final = 130

# The first that fits counts, so the narrow ones stand first.
_CODES: Final[tuple[tuple[type[errors.PlayheadError], int], ...]] = (
    (errors.NotFound, NOT_FOUND),
    (errors.NotAStore, NOT_FOUND),
    (errors.Corrupt, BROKEN),
    (errors.LiveFileOpened, BROKEN),
    (errors.BadEvent, BROKEN),
    (errors.ErasedPayload, NO),
    (errors.ImportRefused, REJECTED),
    (errors.StoreError, BUSY),
    (errors.Diverged, DIVERGED),
    (errors.ForkUnavailable, DIVERGED),
    (errors.PersonaMissing, USAGE),
    (errors.HookMissing, USAGE),
    (errors.KeyReuse, USAGE),
    (errors.BadValue, USAGE),
    (errors.RunError, NO),
    (errors.OperationError, NO),
    (errors.ProgramError, NO),
)


_AFTER_INTERRUPT: Final = (
    "A run that it had begun can be taken up again: playhead resume RUN, or playhead compose resume RUN."
)


class Usage(errors.PlayheadError):
    """What was asked for cannot be asked for like that."""

    code = "usage"


class AnswerIsNo(errors.PlayheadError):
    """Nothing is wrong, but what was asked for is not so, or cannot be any more."""

    code = "no"


def exit_code_of(error: BaseException) -> int:
    """The exit code for an error that left a command."""
    if isinstance(error, Usage):
        return USAGE
    if isinstance(error, AnswerIsNo):
        return NO
    return next((code for kind, code in _CODES if isinstance(error, kind)), INTERNAL)


def guarded(command: click.Command, arguments: Sequence[str] | None) -> int:
    """Run `command` and return its exit code; whatever it raised has been told by then."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _speak_utf8()
    try:
        code = command.main(words, prog_name="playhead", standalone_mode=False)
        return code if isinstance(code, int) else DONE
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return USAGE
    except click.ClickException as error:
        return _tell(words, "usage", error.format_message(), USAGE, hint=_hint_of(error))
    except (KeyboardInterrupt, click.Abort):
        return _tell(words, "interrupted", "stopped by a signal.", INTERRUPTED, hint=_AFTER_INTERRUPT)
    except BrokenPipeError:
        _let_go_of_stdout()  # whoever read has seen enough
        return DONE
    except errors.PlayheadError as error:
        _show_where(words)
        return _tell_ours(words, error)
    except OSError as error:
        _show_where(words)
        try:
            sys.stdout.flush()
        except OSError:
            _let_go_of_stdout()
        return _tell(words, "os", _of_the_system(error), _code_of_the_system(error), hint="")
    except Exception as error:  # noqa: BLE001  whatever it is, a command says so in words and ends with a code
        _show_where(words)
        sentence = f"{type(error).__name__}: {error}"
        return _tell(words, "internal", sentence, INTERNAL, hint="Run it again with -v to see where.")


@contextmanager
def tidied() -> Generator[None]:
    """Let SIGTERM be an interrupt: there are processes to end in here, and files to take away."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _let_go_of_stdout() -> None:
    """Nobody takes answers there any more: the interpreter must not complain when it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _speak_utf8() -> None:
    """Say whatever there is to say, also where the locale knows ASCII only."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() in _ASCII:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


_ASCII: Final = frozenset({"ascii", "us-ascii", "ansi_x3.4-1968", "646"})


def _show_where(words: Sequence[str]) -> None:
    """With -v, the traceback as well: to standard error, so that an answer stays one document."""
    if _verbose(words):
        traceback.print_exc()


def _of_the_system(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}."


def _code_of_the_system(error: OSError) -> int:
    return NOT_FOUND if isinstance(error, FileNotFoundError) else USAGE


def _verbose(words: Sequence[str]) -> bool:
    return "-v" in words or "--verbose" in words


def _hint_of(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"See `{context.command_path} --help`." if context is not None else "See `playhead --help`."


def _tell_ours(words: Sequence[str], error: errors.PlayheadError) -> int:
    if isinstance(error, errors.PersonaMissing):
        behind = {"fork", "bisect"}.intersection(words)
        error.next = f"Say where it is: {'RUN ' if behind else '--program '}path/to/file.py"
    return _tell(
        words,
        error.code,
        error.message,
        exit_code_of(error),
        hint=error.next,
        expected=error.expected,
        found=error.found,
    )


def _tell(
    words: Sequence[str],
    code: str,
    sentence: str,
    exit_code: int,
    *,
    hint: str,
    expected: Any = None,
    found: Any = None,
) -> int:
    if "--json" in words:
        told = {
            "schema": "playhead.error/1",
            "code": code,
            "message": sentence,
            "expected": _said(expected),
            "found": _said(found),
            "next": hint or None,
            "exit": exit_code,
        }
        with suppress(OSError):  # where nothing can be written, the exit code still says it
            click.echo(in_json(told))
        return exit_code
    lines = [f"{code}: {sentence}"]
    if expected is not None:
        lines.append(f"  expected  {_said(expected)}")
    if found is not None:
        lines.append(f"  found     {_said(found)}")
    if hint:
        lines.append(hint)
    click.echo(cleaned("\n".join(lines)), err=True)
    return exit_code


def _said(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, cast("list[Any]", value))) or "none"
    return str(value)
