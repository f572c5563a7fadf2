"""The same source and outcomes give the same steps: again, with other hash seeds, in other Pythons."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.checkout import ROOT
from tests.snippet.elsewhere import all_of
from tests.snippet.host import replay, run
from tests.snippet.programs import program
from tests.snippet.test_language import ALIKE, DIFFERENT

HERE = Path(__file__).parent
QUICK = [20_000, 200_000, 65_536, 262_144, 8]
"""Limits that are reached soon: what is compared is that they are reached at the same step."""

SNIPPETS = {
    "calls one after the other": "t = 0\nfor i in range(5):\n    t += echo(value=i)\nreturn t",
    "many at once, in an order of their own": (
        "seen = []\n"
        "def f(ms):\n"
        "    slow(ms=ms)\n"
        "    seen.append(ms)\n"
        "    return ms\n"
        "map_bounded([25, 5, 15], f)\n"
        "return seen"
    ),
    "maps in maps": (
        "return map_bounded([1, 2, 3], lambda i: map_bounded([3, 2, 1], "
        "lambda j: slow(ms=i * j)['ms'], concurrency=2))"
    ),
    "failing tools": (
        "r = []\n"
        "for i in range(3):\n"
        "    try:\n"
        "        fail(message=f'm{i}')\n"
        "    except ToolError as e:\n"
        "        r.append(str(e))\n"
        "return r"
    ),
    "sets and texts": "s = {f'k{i}' for i in range(20)}\nprint(s)\nreturn [x for x in s | {'z'}]",
    "ends by an error": "echo(value=1)\nx = {}\nreturn x['a']",
    "ends by a limit": "while True:\n    echo(value='x')",
}


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_replay_gives_the_same_steps(name: str) -> None:
    ended = run(SNIPPETS[name])

    again = replay(SNIPPETS[name], ended)

    if ended.steps[-1].status == "limit" and again.steps[-1].status == "waiting":  # the host ended it
        ended.steps.pop()
        again.steps.pop()
    assert again.steps == ended.steps


def test_another_order_of_outcomes_is_another_run_but_the_same_each_time() -> None:
    ended = run(SNIPPETS["many at once, in an order of their own"])
    assert ended.value == [5, 15, 25]

    ended.outcomes.reverse()

    turned = replay(SNIPPETS["many at once, in an order of their own"], ended)
    assert json.loads(turned.step.result_json or "") == [25, 15, 5]


def sources() -> list[tuple[str, list[int]]]:
    attacks = [
        json.loads((HERE / name).read_text(encoding="utf-8"))
        for name in ("attacks.json", "more_attacks.json")
    ]
    found = [each["code"] for several in attacks for each in several]
    found += [*SNIPPETS.values(), *ALIKE.values(), *(each.source for each in DIFFERENT.values())]
    found += [f"{program(seed)}return log\n" for seed in range(150)]
    return [(source, QUICK) for source in found]


@cache
def expected() -> list[Any]:
    found: list[Any] = json.loads(json.dumps([all_of(*each) for each in sources()]))
    return found


def pythons() -> dict[str, str | None]:
    """Releases of Python by name, and where they are; None where they are not."""
    found: dict[str, str | None] = {}
    for release in ("3.11", "3.12", "3.13", "3.14"):
        installed = sorted(Path.home().glob(f".pyenv/versions/{release}.*/bin/python"))
        found[release] = str(installed[-1]) if installed else shutil.which(f"python{release}")
    return found


@pytest.mark.parametrize("release", pythons())
def test_every_release_of_python_gives_the_same_steps(release: str) -> None:
    python = pythons()[release]
    if python is None:
        pytest.skip(f"there is no Python {release}")

    finished = subprocess.run(
        [python, "-W", "error", "-S", str(HERE / "elsewhere.py"), str(ROOT / "engine"), str(ROOT)],
        input=json.dumps(sources()),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": release[-1]},
    )

    assert finished.stderr == ""
    found = json.loads(finished.stdout)
    for (source, _), here, there in zip(sources(), expected(), found, strict=True):
        assert there == here, source


def test_the_machine_needs_nothing_that_is_installed() -> None:
    python = next(each for each in pythons().values() if each)
    code = (
        "import sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import playhead.snippet.machine\n"
        "own = [name for name in sys.modules if name.startswith('playhead.')]\n"
        "print([name for name in own if not name.startswith('playhead.snippet')])\n"
    )

    finished = subprocess.run(
        [python, "-I", "-S", "-c", code, str(ROOT / "engine")], capture_output=True, text=True, check=True
    )

    assert finished.stdout.strip() == "[]"
