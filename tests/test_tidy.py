"""The house, kept: what a reviewer would otherwise have to say twice.

When a rule needs an exception, list it in the table of that rule with its size and the reason. The lists only
shrink: an exception that is no longer needed, or that could be smaller, fails here too.
"""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.checkout import ROOT, ROOTS, files, name_of

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
FILE_BYTES_MAX = 1_000_000


class Allowed(NamedTuple):
    """An exception: how many lines it may have at most, and why."""

    lines: int
    why: str


FUNCTIONS_LONG: Mapping[str, Allowed] = {}  # "engine/playhead/log/writer.py::Writer.drain": Allowed(82, "…")
FILES_LONG: Mapping[str, Allowed] = {}  # "engine/playhead/runtime/engine.py": Allowed(640, "…")

# Modules that nobody imports and that are needed all the same.
ENTRY_POINTS: Mapping[str, str] = {
    "playhead": "what users import",
    "playhead.testing": "what users import in their tests",
    "playhead_projections": "what users import to read a log",
}

TOP_LEVEL = {
    ".ci",
    ".editorconfig",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "benchmarks",
    "docs",
    "engine",
    "projections",
    "pyproject.toml",
    "replay_fixtures",
    "requirements.lock",
    "scripts",
    "tests",
}

# Banned in every text file, with what to write instead. This file names them, so it alone is not read.
BANNED: Mapping[str, str] = {
    r"\b(TODO|FIXME|XXX)\b": "do it, or write down in docs/ why it is left",
    r"NonDeterminism(Error)?": "the word is Diverged",
    r"__function:": "an error composes its own sentence",
    r"(?i)\b(pypi|pythonhosted|npmjs|yarnpkg|deb\.debian)\.(org|com)\b": "pip and npm know their registries",
    r"(?<![\w.~*$}])/(root|home/\w+|Users/\w+|work|workspace)/": "a path of one machine",
}


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file but this one."""
    for path in files():
        data = path.read_bytes()
        if path != Path(__file__).resolve() and b"\0" not in data:
            yield path, data.decode("utf-8", "replace")


PYTHON = [path for path in files() if path.suffix == ".py"]


class Looked(NamedTuple):
    """What a look at a Python file found. No tree is kept: all of them would slow down what comes after."""

    lines: int
    says_why: bool
    long: dict[str, int]
    swallowed: list[int]


@cache
def looked() -> dict[str, Looked]:
    """What every Python file comes to, by its name."""
    found: dict[str, Looked] = {}
    for path in PYTHON:
        text = path.read_text()
        tree = ast.parse(text)
        says_why = bool(ast.get_docstring(tree))
        lines = len(text.splitlines())
        found[name_of(path)] = Looked(lines, says_why, functions_too_long(tree), swallowed_errors(tree))
    return found


# The readers.


def functions_too_long(tree: ast.Module) -> dict[str, int]:
    """Qualified name to lines, for every function that does not fit on a screen."""
    found: dict[str, int] = {}

    def visit(node: ast.AST, inside: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = inside
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{inside}.{child.name}".lstrip(".")
                lines = (child.end_lineno or child.lineno) - child.lineno + 1
                if not isinstance(child, ast.ClassDef) and lines > FUNCTION_LINES_MAX:
                    found[name] = lines
            visit(child, name)

    visit(tree, "")
    return found


def swallowed_errors(tree: ast.Module) -> list[int]:
    """The lines of handlers that catch everything and do nothing."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and all(isinstance(line, ast.Pass) or ast.unparse(line) == "..." for line in node.body)
    ]


def banned_words(text: str) -> list[str]:
    """What the text says that it must not, each with its line and what to do about it."""
    return [
        f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}: {instead}"
        for pattern, instead in BANNED.items()
        for match in re.finditer(pattern, text)
    ]


def mentioned_modules(source: str, known: set[str]) -> set[str]:
    """The known modules that this source imports, at any depth, or names in a string for a lazy import."""
    mentioned: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            mentioned |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            mentioned |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            mentioned.add(node.value.partition(":")[0])
    return mentioned & known


def orphans(sources: Mapping[str, str], entry_points: set[str]) -> set[str]:
    """The modules that no other module needs. A package is needed by whoever needs a module in it."""
    known = set(sources)
    needed = set(entry_points)
    for module, source in sources.items():
        needed |= mentioned_modules(source, known) - {module}
    return {
        module
        for module in known
        if not module.endswith("__main__")
        and not any(other == module or other.startswith(f"{module}.") for other in needed)
    }


def out_of_date(listed: Mapping[str, Allowed], found: Mapping[str, int]) -> list[str]:
    """Exceptions that are gone, too generous, or without a reason: the list only shrinks."""
    return [
        name
        for name, allowed in listed.items()
        if not allowed.why.strip() or found.get(name, 0) < allowed.lines
    ]


def module_name(path: Path) -> str:
    """`engine/playhead/log/chain.py` is `playhead.log.chain`."""
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# The rules.


def test_a_module_opens_by_saying_what_it_is_for() -> None:
    assert not [name for name, found in looked().items() if not found.says_why]


def long_functions() -> dict[str, int]:
    return {
        f"{name}::{function}": lines
        for name, found in looked().items()
        for function, lines in found.long.items()
    }


def long_files() -> dict[str, int]:
    return {name: found.lines for name, found in looked().items() if found.lines > FILE_LINES_MAX}


def not_allowed(found: Mapping[str, int], listed: Mapping[str, Allowed]) -> dict[str, int]:
    return {name: lines for name, lines in found.items() if name not in listed or lines > listed[name].lines}


def test_a_function_fits_on_a_screen() -> None:
    assert not not_allowed(long_functions(), FUNCTIONS_LONG)


def test_a_file_is_read_in_one_sitting() -> None:
    assert not not_allowed(long_files(), FILES_LONG)


def test_the_lists_of_exceptions_only_shrink() -> None:
    assert not out_of_date(FUNCTIONS_LONG, long_functions())
    assert not out_of_date(FILES_LONG, long_files())


def test_no_error_is_swallowed_unseen() -> None:
    assert not {name: found.swallowed for name, found in looked().items() if found.swallowed}


def test_no_module_is_forgotten() -> None:
    sources = {
        module_name(path): path.read_text() for path in PYTHON if path.relative_to(ROOT).parts[0] in ROOTS
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project.get("scripts", {}).values()]
    for group in project.get("entry-points", {}).values():
        declared += group.values()

    assert not orphans(sources, {*ENTRY_POINTS, *(target.partition(":")[0] for target in declared)})


@pytest.mark.parametrize(("root", "package"), ROOTS.items())
def test_a_source_root_holds_one_package_and_nothing_else(root: str, package: str) -> None:
    below = [path.relative_to(ROOT).parts for path in files()]

    assert {parts[1] for parts in below if parts[0] == root} == {package}


def test_the_top_of_the_checkout_holds_what_is_on_the_list() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in files()} <= TOP_LEVEL


def test_no_text_says_what_it_must_not() -> None:
    found = {name_of(path): said for path, text in texts() if (said := banned_words(text))}

    assert not found


def test_no_text_names_the_place_where_this_checkout_lies() -> None:
    places = {f"{place}/" for place in (ROOT, Path.home()) if len(place.parts) > 2}

    assert not [name_of(path) for path, text in texts() if any(place in text for place in places)]


def test_no_file_is_a_blob() -> None:
    assert not [name_of(path) for path in files() if path.stat().st_size > FILE_BYTES_MAX]


def test_gitignore_cannot_take_a_schema_or_a_fixture_out_of_the_wheel() -> None:
    patterns = [
        line for line in (ROOT / ".gitignore").read_text().splitlines() if line and not line.startswith("#")
    ]

    assert not [line for line in patterns if "*" in line or not (line.startswith("/") or line[0] in "_.")]


# The rules see what they should.


def test_a_long_function_is_seen_inside_a_class_and_inside_another() -> None:
    body = "\n".join(f"            x = {n}" for n in range(FUNCTION_LINES_MAX))
    source = f"class A:\n    def f(self):\n        async def g():\n{body}\n"

    assert functions_too_long(ast.parse(source)) == {
        "A.f": FUNCTION_LINES_MAX + 2,
        "A.f.g": FUNCTION_LINES_MAX + 1,
    }
    assert functions_too_long(ast.parse("def short():\n    return 1\n")) == {}


@pytest.mark.parametrize(
    ("handler", "seen"),
    [
        ("except Exception:\n    pass", True),
        ("except BaseException:\n    ...", True),
        ("except:\n    pass", True),
        ("except KeyError:\n    pass", False),
        ("except Exception:\n    raise", False),
    ],
)
def test_a_swallowed_error_is_seen(handler: str, seen: bool) -> None:
    assert bool(swallowed_errors(ast.parse(f"try:\n    f()\n{handler}\n"))) is seen


@pytest.mark.parametrize(
    "text",
    [
        "x = 1  # TODO later",
        "raise NonDeterminismError",
        "__function:denied",
        "see https://" + "pypi" + ".org/simple",
        "https://files." + "pythonhosted" + ".org/x",
        "open('/workspace/x')",
        "cd /home/ada/playhead",
        "/Users/ada/playhead",
    ],
)
def test_a_banned_word_is_seen_with_its_line(text: str) -> None:
    (said,) = banned_words(f"fine\n{text}\n")

    assert said.startswith("line 2: ")


@pytest.mark.parametrize(
    "text", ["mastodon", "the root/leaf", "~/work/x", "work/", "https://example.org/home/x", "Diverged"]
)
def test_ordinary_words_pass(text: str) -> None:
    assert banned_words(text) == []


def test_an_orphan_is_seen_and_a_lazily_imported_module_is_none() -> None:
    sources = {
        "p": "_LAZY = {'Engine': 'p.a:Engine'}",
        "p.a": "def f():\n    from p.q import b",
        "p.q": "",
        "p.q.b": "import p.q.b",
        "p.lost": "import p.a",
        "p.__main__": "",
    }

    assert orphans(sources, {"p"}) == {"p.lost"}


def test_an_exception_that_is_too_generous_is_seen() -> None:
    listed = {
        "exact": Allowed(80, "why"),
        "generous": Allowed(90, "why"),
        "gone": Allowed(80, "why"),
        "mute": Allowed(80, ""),
    }

    assert out_of_date(listed, {"exact": 80, "generous": 85, "mute": 80}) == ["generous", "gone", "mute"]
