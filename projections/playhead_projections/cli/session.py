"""One invocation: which store it means and why, and how it prints.

The store is the one named by --store, else by PLAYHEAD_STORE, else the first of
`runs.db` and `.playhead/runs.db` in the current directory or one above it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from playhead.errors import NotAStore, NotFound
from playhead_projections.cli.faults import Usage
from playhead_projections.cli.output import Printer

if TYPE_CHECKING:
    from playhead.log.reader import LogReader

ENVIRONMENT: Final = "PLAYHEAD_STORE"
KEYS_ENVIRONMENT: Final = "PLAYHEAD_REVIEWER_KEYS"
KEY_ENVIRONMENT: Final = "PLAYHEAD_SIGNING_KEY"
DEFAULT: Final = "runs.db"
CANDIDATES: Final = (DEFAULT, ".playhead/runs.db")

C = TypeVar("C", bound=Callable[..., Any])


class Place(NamedTuple):
    """A store file and why it is the one."""

    path: Path
    why: str
    exists: bool


def find_store(wish: str | None, environment: str | None, start: Path) -> Place:
    """Which store is meant, given --store, the variable and the current directory."""
    if wish:
        path = Path(wish)
        return Place(path, "named by --store", path.exists())
    if environment:
        path = Path(environment)
        return Place(path, f"named by {ENVIRONMENT}", path.exists())
    for directory in (start, *start.parents):
        for candidate in CANDIDATES:
            path = directory / candidate
            if path.is_file():
                where = (
                    "the current directory" if directory == start else f"{directory}, above the current one"
                )
                return Place(path, f"{candidate} found in {where}", exists=True)
    return Place(
        start / DEFAULT,
        f"nothing found from {start} upward, so this is where one would be made",
        exists=False,
    )


def refuse_directory(path: Path) -> None:
    """Raises `NotAStore` where `path` is a directory."""
    if path.is_dir():
        raise NotAStore(
            f"{path} is no store.",
            expected="a file, such as runs.db",
            found="a directory",
            next_step=f"Name the file in it: --store {path / DEFAULT}",
        )


def refuse_output(store: Path, output: Path, key_file: str | None = None) -> None:
    """Raises `Usage` where `output` is the store, a file of it, or the key that signs."""
    place, here = output.resolve(), store.resolve()
    if place == here or (place.parent == here.parent and place.name.startswith(f"{here.name}-")):
        raise Usage("it would be written over the store, or what is kept beside it.", found=str(output))
    if key_file is not None and place == Path(key_file).resolve():
        raise Usage("it would be written over the key.", found=str(output))


class Session:
    """What the options before the command said."""

    def __init__(self, *, store: str | None, color: str, verbose: bool) -> None:
        self.wish = store
        self.verbose = verbose
        self.out = Printer(color)
        self.reviewer_keys: str | None = None
        """The keyring that runs begin with which are started here."""

    @property
    def place(self) -> Place:
        """The store that is meant, whether it exists or not."""
        return find_store(self.wish, os.environ.get(ENVIRONMENT), Path.cwd())

    @property
    def target(self) -> Path:
        """The store, which is made where there is none. Raises `NotAStore` where a directory stands."""
        place = self.place.path
        refuse_directory(place)
        return place

    @property
    def store(self) -> Path:
        """The store, which exists. Raises `NotFound`, and `NotAStore` where it is a directory."""
        place = self.place
        if not place.exists:
            raise NotFound(
                f"there is no store at {place.path} ({place.why}).",
                next_step="Name one: playhead --store PATH …, or set PLAYHEAD_STORE.",
            )
        refuse_directory(place.path)
        # Whatever lies beside a store lies where it really is, whichever name it was given.
        return place.path.resolve()

    @contextmanager
    def reading(self) -> Generator[LogReader]:
        """The store, open for reading."""
        from playhead.log.reader import LogReader

        with LogReader(self.store) as log:
            yield log


def command(name: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """A command that also takes --store and -v behind its name, and is handed the session."""

    def made(function: Callable[..., Any]) -> click.Command:
        def call(ctx: click.Context, /, *, store: str | None, verbose: bool, **options: Any) -> Any:
            session = ctx.find_object(Session)
            assert session is not None
            session.wish = store or session.wish
            session.verbose = verbose or session.verbose
            if not options.get("as_json"):
                return function(session, **options)
            # One document and nothing else: what a program prints of its own goes to standard error.
            with redirect_stdout(sys.stderr):
                return function(session, **options)

        call.__doc__ = function.__doc__
        told: Any = click.pass_context(call)
        told.__dict__["__click_params__"] = function.__dict__.get("__click_params__", [])
        click.option("--store", metavar="PATH", hidden=True)(told)
        click.option("-v", "--verbose", is_flag=True, hidden=True)(told)
        finish: Callable[[Any], click.Command] = click.command(name, **settings)
        return finish(told)

    return made


def json_option(function: C) -> C:
    """Adds `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def jsonl_option(function: C) -> C:
    """Adds `--jsonl`."""
    return click.option("--jsonl", "as_jsonl", is_flag=True, help="Print one JSON object per line.")(function)


def keys_option(function: C) -> C:
    """Adds `--reviewer-keys`, which the session remembers."""

    def remember(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        session = ctx.find_object(Session)
        assert session is not None
        session.reviewer_keys = value

    return click.option(
        "--reviewer-keys",
        metavar="FILE",
        envvar=KEYS_ENVIRONMENT,
        expose_value=False,
        callback=remember,
        help=f"Runs started here count only answers signed with these keys. Default: {KEYS_ENVIRONMENT}.",
    )(function)


def key_option(function: C) -> C:
    """Adds `--key`, the file of a private key to sign with, as `key_file`."""
    return click.option(
        "--key",
        "key_file",
        metavar="FILE",
        envvar=KEY_ENVIRONMENT,
        help=f"Sign it with the key in FILE. Default: {KEY_ENVIRONMENT}.",
    )(function)
