"""The pages are true: what they show runs, and what there is stands in them.

tests/pages.py says how a page is read and run.
"""

import asyncio
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import msgspec
import pytest

from tests.checkout import ROOT, name_of
from tests.pages import EVENTS, RUN, SHOWN_ONLY, Page, blocks, in_shell, looks_like, pages, turns

every_page = pytest.mark.parametrize("path", pages(), ids=name_of)


@every_page
def test_a_page_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_true(path, tmp_path, monkeypatch)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_page_of_long_runs_is_true_of_a_run_of_a_hundred_thousand_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_true(ROOT / "docs" / "long_runs.md", tmp_path, monkeypatch, events=100_000)


def hold_true(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, events: int = EVENTS) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)

    try:
        with asyncio.Runner() as runner:
            page = Page(path, tmp_path, runner, events)
            monkeypatch.setitem(sys.modules, page.module.__name__, page.module)
            page.run()
    finally:
        # The next page may write a module of the same name.
        for name in set(sys.modules) - known:
            if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
                monkeypatch.delitem(sys.modules, name)


@every_page
def test_every_block_says_what_it_is_and_why_it_does_not_run(path: Path) -> None:
    for block in blocks(path.read_text()):
        where = f"{name_of(path)}:{block.line}"
        assert block.language in RUN | SHOWN_ONLY, (
            f"{where}: {block.language!r} is no language that pages use"
        )
        assert not block.verb or block.what, f"{where}: {block.verb} says nothing"


# What there is stands in the docs.


def said_in_docs() -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / "docs").glob("**/*.md")))


def missing(names: Iterator[str]) -> list[str]:
    """The names that no page mentions as a word of its own."""
    said = said_in_docs()
    return [
        name for name in sorted(set(names)) if not re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", said)
    ]


def public_names() -> Iterator[str]:
    yield from getattr(importlib.import_module("playhead"), "__all__", ())


def error_names() -> Iterator[str]:
    module = importlib.import_module("playhead.errors")
    for name, thing in vars(module).items():
        ours = inspect.isclass(thing) and thing.__module__ == module.__name__
        if ours and issubclass(thing, BaseException) and not name.startswith("_"):
            yield name


def event_types() -> Iterator[str]:
    """The tag of every event, as `run.started`, wherever under playhead.events it is defined."""
    package = importlib.import_module("playhead.events")
    for found in pkgutil.walk_packages(package.__path__, "playhead.events."):
        for thing in vars(importlib.import_module(found.name)).values():
            tag = struct_tag(thing)
            if "." in tag:
                yield tag


def struct_tag(thing: object) -> str:
    """The tag of a msgspec struct class; nothing for everything else."""
    if not (isinstance(thing, type) and issubclass(thing, msgspec.Struct)):
        return ""
    return str(thing.__struct_config__.tag or "")


def commands() -> Iterator[str]:
    module = importlib.import_module("playhead_projections.cli")
    for group in vars(module).values():
        if isinstance(group, click.Group):
            yield from (f"playhead {name}" for name in group.list_commands(click.Context(group)))


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("playhead", public_names),
        ("playhead.errors", error_names),
        ("playhead.events", event_types),
        ("playhead_projections.cli", commands),
    ],
    ids=["public names", "errors", "events", "commands"],
)
def test_what_there_is_stands_in_the_docs(module: str, names: Callable[[], Iterator[str]]) -> None:
    if not is_there(module):
        pytest.skip(f"{module} is not there yet")

    assert not missing(names())


def is_there(module: str) -> bool:
    package = module.rpartition(".")[0]
    return (not package or is_there(package)) and find_spec(module) is not None


# The reader of pages reads as it says.

PAGE = """\
# A page

<!-- file: greet.py -->
```python
WHO = "Ada"
```

```python
import asyncio
from greet import WHO
await asyncio.sleep(0)
```

1. In a list:

    ```python
    def f():
        return __import__("inspect").currentframe().f_lineno

    line = f()
    ```

<!-- no-run: it would fail -->
```python
raise RuntimeError
```

```console
$ python -c 'import greet; print("hello", greet.WHO, "k3f9x2abcdef")'
hello   Ada k3f9zz999999
$ false
$ echo $?
1
$ echo one && \\
> echo two
…
two
```
"""


def run_page(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    path = tmp_path / "page.md"
    path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with asyncio.Runner() as runner:
        page = Page(path, tmp_path, runner)
        page.run()
    monkeypatch.delitem(sys.modules, "greet", raising=False)
    return page


def test_blocks_share_names_await_and_stand_on_their_own_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = run_page(PAGE, tmp_path, monkeypatch)

    assert page.module.WHO == "Ada"
    assert PAGE.splitlines()[page.module.line - 1].strip().startswith("return __import__")


def test_output_that_is_not_what_the_page_says_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match=r"page.md:4: \$ echo two"):
        run_page("a\n\n```console\n$ echo two\none\n```\n", tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("expected", "found", "alike"),
    [
        ("", "", True),
        ("", "x", False),
        ("took … ms", "took 12.5 ms", True),
        ("took … ms", "took 12.5 s", False),
        ("a\n…\nz", "a\nb\nc\nz", True),
        ("a\n…", "a", True),
        ("…", "", True),
        ("run k3f9x2  ok", "run abc123def   ok", True),
        ("run k3f9x2  ok", "run  no", False),
        ("one two", "onetwo", False),
        ("a.c", "abc", False),
        ("a\nb", "b\na", False),
    ],
)
def test_expected_output_is_read_loosely_but_not_blindly(expected: str, found: str, *, alike: bool) -> None:
    assert looks_like(expected, found) is alike


def test_a_shell_keeps_its_directory_between_commands(tmp_path: Path) -> None:
    assert in_shell(
        ["mkdir d && cd d", "basename $PWD", "exit_code() { return 3; }; exit_code", "echo $?"], tmp_path
    ) == [
        "",
        "d\n",
        "",
        "3\n",
    ]


def test_a_console_block_begins_with_a_command() -> None:
    with pytest.raises(AssertionError, match="begins with a command"):
        turns("output only\n")
