"""Pages of the documentation, taken apart and run.

A page is README.md or docs/*.md. Its fenced blocks run from top to bottom in a directory of their own:

    ```python        runs; the blocks of a page share their names, and `await` works at the top
    ```console       each line after `$ ` runs in a shell, and what it prints is compared with what follows
    anything else    is only shown

On the line above a block, a comment changes that: `<!-- no-run: why -->` leaves it alone, and
`<!-- file: name.py -->` writes it to that file instead. In expected output `…` stands for any text, alone
on a line for any lines; ids (six or more letters and digits mixed) and runs of spaces are matched loosely.
"""

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.checkout import ROOT

CONSOLE_WAIT_S_MAX = 60
EVENTS = 2_000
SHOWN_ONLY = {"json", "jsonl", "mermaid", "sql", "text", "toml", "yaml", "bash", "make"}
RUN = {"python", "console"}

_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL
)
_DIRECTIVE = re.compile(r"<!-- *(?P<verb>no-run|file): *(?P<what>.*?) *-->")
_TURN = "\x1e"


class Block(NamedTuple):
    """One fenced block: what it holds, where it begins, and what the comment above it asks for."""

    language: str
    body: str
    line: int
    verb: str
    what: str


class Turn(NamedTuple):
    """One command of a console block, and what it is said to print."""

    command: str
    expected: str


def pages() -> list[Path]:
    """Every page that is held to run."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for match in _BLOCK.finditer(text):
        above = text[: match.start()].rstrip("\n").rpartition("\n")[2] if match.start() else ""
        asked = _DIRECTIVE.search(above)
        indent = len(match["indent"])
        body = "".join(line[indent:] or "\n" for line in match["body"].splitlines(keepends=True))
        yield Block(
            language=match["language"].strip(),
            body=body,
            line=text.count("\n", 0, match.start("body")) + 1,
            verb=asked["verb"] if asked else "",
            what=asked["what"] if asked else "",
        )


def turns(body: str) -> list[Turn]:
    """The commands of a console block. A line that begins with `> ` goes on with the command above it."""
    found: list[Turn] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append(Turn(line[2:], ""))
        elif line.startswith("> ") and found and not found[-1].expected:
            found[-1] = Turn(f"{found[-1].command}\n{line[2:]}", "")
        else:
            assert found, f"a console block begins with a command, not with {line!r}"
            found[-1] = Turn(found[-1].command, f"{found[-1].expected}{line}\n")
    return found


def looks_like(expected: str, found: str) -> bool:
    """Whether the output is what the page says, as loosely as a reader would see it."""
    pattern = "".join(
        r"(?:[^\n]*\n)*?" if line.strip() == "…" else f"{_line_pattern(line)}[ \t]*\n"
        for line in expected.strip("\n").splitlines()
    )
    shown = "\n".join(line.rstrip() for line in found.strip("\n").splitlines())
    return re.fullmatch(pattern, f"{shown}\n" if shown else "") is not None


def _line_pattern(line: str) -> str:
    pieces = re.split(r"(…|\s+|\b(?=[a-z]*[0-9])(?=[0-9]*[a-z])[a-z0-9]{6,}\b)", line.rstrip())
    return "".join(map(_piece_pattern, pieces))


def _piece_pattern(piece: str) -> str:
    if piece == "…":
        return r"[^\n]*?"
    if piece.isspace():
        return r"[ \t]+"
    if re.fullmatch(r"(?=[a-z]*[0-9])(?=[0-9]*[a-z])[a-z0-9]{6,}", piece):
        return r"[a-z0-9]+"
    return re.escape(piece)


class Page:
    """A page while it runs: a module that its python blocks fill, a directory, and one event loop."""

    def __init__(self, path: Path, directory: Path, runner: asyncio.Runner, events: int = EVENTS) -> None:
        self.text = path.read_text()
        self.directory = directory
        self.module = types.ModuleType(f"page_{re.sub(r'[^0-9a-z]', '_', path.stem.lower())}")
        self._name = path.name
        self._runner = runner
        self._events = events
        self._source = directory / f".{path.stem}.py"
        self.module.__file__ = str(self._source)

    def run(self) -> None:
        """Run every block that is not marked otherwise, from top to bottom."""
        for block in blocks(self.text):
            if block.verb == "file":
                target = self.directory / block.what
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.body)
            elif block.verb == "" and block.language == "python":
                self._python(block)
            elif block.verb == "" and block.language == "console":
                self._console(block)

    def _python(self, block: Block) -> None:
        # The file holds the block at the line where it stands on the page, so that a traceback, and a
        # divergence that names a line of the user's code, point into the page itself.
        self._source.write_text("\n" * (block.line - 1) + block.body)
        code = compile(
            self._source.read_text(), str(self._source), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        waiting = eval(code, self.module.__dict__)
        if inspect.iscoroutine(waiting):
            self._runner.run(waiting)

    def _console(self, block: Block) -> None:
        said = turns(block.body)
        for turn, found in zip(said, self._in_shell(said), strict=True):
            assert looks_like(turn.expected, found), (
                f"{self._name}:{block.line}: $ {turn.command}\n"
                f"--- the page says\n{turn.expected}--- it printed\n{found}"
            )

    def _in_shell(self, said: Sequence[Turn]) -> list[str]:
        return in_shell([turn.command for turn in said], self.directory, self._events)


def in_shell(commands: Sequence[str], directory: Path, events: int = EVENTS) -> list[str]:
    """What each command prints, errors included. One shell runs them all, so `cd` and `$?` carry over.

    `$EVENTS` is how long a run is made where a page leaves that to whoever reads it.
    """
    script = "\n".join(f"{command}\ncode=$?; printf '\\x1e'; (exit $code)" for command in commands)
    roots = [str(ROOT / "engine"), str(ROOT / "projections"), str(ROOT)]
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(roots),
        "HOME": str(directory),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "COLUMNS": "110",
        # The pytest plugin of this checkout, whether or not one is installed.
        "PYTEST_ADDOPTS": "-p no:playhead -p playhead.testing.plugin -p no:cacheprovider",
        "PYTHONUNBUFFERED": "1",
        "EVENTS": str(events),
    }
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=CONSOLE_WAIT_S_MAX + events / EVENTS,
    )
    found = done.stdout.split(_TURN)
    assert len(found) == len(commands) + 1, f"the shell ended early:\n{done.stdout}"
    return found[:-1]
