"""The doctor names every source of nondeterminism with its file, line and function, and what came of it."""

import sys
from pathlib import Path
from typing import Any

import pytest

from playhead.replay.doctor import Counting
from playhead.replay.sources import Watch
from playhead.replay.trail import Tracer
from tests.cli.shell import Done, Shell
from tests.replay.debugging import Quick

# A line of the program, its kind and what is named: each is used once, in a function of its own.
SEEDED = (
    ("time.time()", "time", "time.time"),
    ("monotonic_ns()", "time", "time.monotonic_ns"),
    ("datetime.datetime.now()", "time", "datetime.datetime.now"),
    ("datetime.date.today()", "time", "datetime.date.today"),
    ("random.random()", "chance", "random.random"),
    ("random.shuffle([1, 2, 3])", "chance", "random.shuffle"),
    ("random.Random().random()", "chance", "random.Random() without a seed"),
    ("uuid.uuid4()", "chance", "uuid.uuid4"),
    ("secrets.token_hex()", "chance", "secrets.token_hex"),
    ("os.urandom(4)", "chance", "os.urandom"),
    ("[name for name in NAMES]", "set order", "iteration over a set"),
    ("list(frozenset(NAMES))", "set order", "iteration over a set"),
    ("set(NAMES).pop()", "set order", "iteration over a set"),
    ("[*NAMES, 'more']", "set order", "iteration over a set"),
    ("f'{NAMES}'", "set order", "iteration over a set"),
    ("os.environ.get('EDITOR')", "environment", "os.environ['EDITOR']"),
    ("os.getenv('TERM')", "environment", "os.environ['TERM']"),
    ("os.getcwd()", "environment", "os.getcwd"),
    ("os.getpid()", "environment", "os.getpid"),
    ("socket.gethostname()", "environment", "socket.gethostname"),
    ("threading.Thread(target=print).start()", "threads", "threading.Thread.start"),
    ("threading.active_count()", "threads", "threading.active_count"),
    ("asyncio.get_running_loop().run_in_executor(None, print)", "threads", "run_in_executor"),
    ("open('somewhere.txt')", "unrecorded I/O", "io.open"),
    ("os.path.exists('somewhere.txt')", "unrecorded I/O", "os.stat"),
    ("socket.socket()", "unrecorded I/O", "socket.socket.__init__"),
    ("subprocess.run(['true'])", "unrecorded I/O", "subprocess.Popen.__init__"),
    ("pathlib.Path('.').iterdir().__next__()", "unrecorded I/O", "os.listdir"),
    ("id(NAMES)", "ids", "builtins.id"),
    ("hash('text')", "ids", "builtins.hash"),
    ("gc.collect()", "memory", "gc.collect"),
    ("len(WEAK)", "memory", "_weakrefset.WeakSet.__len__"),
)

HEAD = """\
import asyncio, datetime, gc, os, pathlib, random, secrets, socket, subprocess, threading, time, uuid, weakref
from time import monotonic_ns

from playhead import now, persona, step, tool
from playhead import random as recorded_random
from playhead.errors import WorldTouched

NAMES = {"ada", "grace", "edsger", "barbara", "tony"}
WEAK = weakref.WeakSet()


@tool(side_effect_level="read_only")
async def fetch(text: str) -> str:
    return f"{text} at {time.time()}"

"""


def program() -> str:
    """All of them, each in a function of its own."""
    functions = "".join(f"\ndef uses_{n}():\n    return {line}\n" for n, (line, _, _) in enumerate(SEEDED))
    guarded = "    try:\n        uses_{}()\n    except WorldTouched:\n        pass\n"
    calls = "".join(guarded.format(n) for n in range(len(SEEDED)))
    body = f"{calls}    return await fetch(text)\n"
    return f"{HEAD}{functions}\n\n@persona\nasync def seeded(text: str) -> str:\n{body}"


QUIET = f"""{HEAD}
@step
async def orders(names: list[str]) -> list[str]:
    return sorted({{*names}}, key=str.upper)


@persona
async def quiet(names: list[str]) -> str:
    stamp = now().isoformat()
    chosen = recorded_random().choice(await orders(names))
    total = sum(each for each in {{1, 2, 3}})
    return await fetch(f"{{chosen}} {{stamp}} {{total}}")


@persona
async def guilty(text: str) -> str:
    os.environ.get("EDITOR")
    await fetch(text)
    first = list(NAMES)[0:]
    await fetch(",".join(first))
    return text


@persona
async def latent(text: str) -> str:
    stamp = datetime.datetime.now().isoformat()
    await fetch(text)
    return await fetch(stamp)


@persona
async def elsewhere(flag: bool) -> str:
    if flag:
        return await fetch(str(time.time()))
    return await fetch("same")
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Quick(tmp_path_factory.mktemp("doctored"))
    (shell.directory / "seeded.py").write_text(program())
    (shell.directory / "several.py").write_text(QUIET)
    return shell


def examined(shell: Shell, word: str, *more: str) -> tuple[Done, list[dict[str, Any]]]:
    done = shell("doctor", word, "--json", *more, EDITOR="ed", TERM="dumb")
    assert "Traceback" not in done.err
    return done, done.document.get("sources", [])


def test_every_seeded_source_is_named_with_its_line_and_function(shell: Shell) -> None:
    shell("run", "seeded.py:seeded", "--arg", "text=a")
    lines = (shell.directory / "seeded.py").read_text().splitlines()

    done, sources = examined(shell, "seeded.py")

    found = {
        (source["function"], source["kind"], lines[source["line"] - 1].strip().removeprefix("return "))
        for source in sources
        if source["file"] == str(shell.directory / "seeded.py")
    }
    assert {(f"uses_{n}", kind, line) for n, (line, kind, _) in enumerate(SEEDED)} <= found
    names = {(source["function"], source["kind"]): source["what"] for source in sources if source["times"]}
    assert [n for n, (_, kind, what) in enumerate(SEEDED) if what not in names[f"uses_{n}", kind]] == []
    assert {source["blame"] for source in sources if source["times"]} == {"harmless so far"}
    assert done.code == 1


def test_a_program_that_only_uses_what_is_recorded_is_clean(shell: Shell) -> None:
    shell("run", "several.py:quiet", "--arg-json", 'names=["b", "a", "c", "d"]')

    done, sources = examined(shell, "several.py:quiet")

    assert sources == []
    assert done.document["verdict"] == "clean"
    assert done.code == 0


def test_the_source_that_led_to_a_divergence_is_told_from_one_that_did_not(shell: Shell) -> None:
    shell("run", "several.py:guilty", "--arg", "text=a", PYTHONHASHSEED="7")

    done, sources = examined(shell, "several.py:guilty")

    by_kind = {source["kind"]: source for source in sources if source["function"] == "guilty"}
    assert by_kind["set order"]["blame"] == "led to the divergence"
    assert by_kind["set order"]["differed"] is True
    assert by_kind["environment"]["blame"] == "harmless so far"
    assert "args.text" in done.document["plays"][0]["divergence"]
    assert "the code of" not in done.document["plays"][0]["divergence"]
    assert done.code == 5


def test_a_source_in_code_that_the_tape_does_not_reach_is_a_hint(shell: Shell) -> None:
    shell("run", "several.py:elsewhere", "--arg", "flag=false")

    done, sources = examined(shell, "several.py:elsewhere")

    assert [(each["what"], each["blame"], each["function"]) for each in sources] == [
        ("unrecorded time (time.time)", "not seen on this tape", "elsewhere")
    ]
    assert done.code == 1


def test_the_doctor_causes_no_effect_unless_a_run_is_recorded(shell: Shell, tmp_path: Path) -> None:
    elsewhere = Quick(tmp_path)
    (tmp_path / "several.py").write_text(QUIET)

    none, _ = examined(elsewhere, "several.py:quiet")
    recorded, sources = examined(elsewhere, "several.py:quiet", "--record", '{"names": ["a", "b"]}')

    assert (none.code, none.document["code"]) == (3, "store.not_found")
    assert "its effects are real" in recorded.err
    assert sources == []
    assert not elsewhere.store.exists()


def test_what_makes_no_sense_is_said_in_words(shell: Shell) -> None:
    for words, code, says in (
        (("several.py",), 2, "holds several personas"),
        (("several.py:quiet", "--record", "[1]"), 2, "arguments by name"),
        (("several.py:quiet", "--record", "{"), 2, "no JSON"),
        (("several.py:quiet", "--run", "nobody"), 3, "no run is called"),
        (("nowhere.py",), 3, "no file"),
        (("--record", "{}"), 2, "go with a program"),
    ):
        done = shell("doctor", *words)

        assert done.code == code, (words, done)
        assert says in done.err
        assert "Traceback" not in done.err


def test_a_source_whose_value_is_used_later_led_there_and_a_table_says_so_in_words(shell: Shell) -> None:
    shell("run", "several.py:latent", "--arg", "text=a")

    done = shell("doctor", "several.py:latent")

    assert "several.py:" in done.out
    assert "datetime.datetime.now led to the divergence, another value each time" in " ".join(
        done.out.split()
    )
    assert "Diverged: run " in done.out
    assert done.code == 5


def test_an_edited_program_is_not_said_to_be_undetermined(shell: Shell) -> None:
    file = shell.directory / "edited.py"
    text = f"""{HEAD}
@persona
async def edited(text: str) -> str:
    os.environ.get("EDITOR")
    return await fetch(text)
"""
    file.write_text(text)
    shell("run", "edited.py:edited", "--arg", "text=a")
    file.write_text(
        text.replace("fetch(text)\n", "fetch(text + text)\n", 1).replace(
            "await fetch(text + text)", "await fetch(text + text)"
        )
    )

    done, sources = examined(shell, "edited.py")

    assert done.code == 5
    assert [each["blame"] for each in sources if each["function"] == "edited"] == [
        "may have led to the divergence"
    ]


def test_what_the_watch_does_ends_with_it() -> None:
    with Watch() as watch:
        import time

        time.time()
    time.time()

    (seen,) = watch.sightings
    assert (seen.what, seen.times, seen.file) == ("time.time", 1, __file__)
    assert sys.getprofile() is None


def test_nothing_is_looked_at_any_more_once_a_play_diverged() -> None:
    tracer = Tracer()
    sight = Counting(tracer)

    with sight.watch, tracer:
        following, watching = sys.gettrace(), sys.getprofile()
        sight.diverged()
        left = sys.gettrace(), sys.getprofile()

    assert following is not None
    assert watching is not None
    assert left == (None, None)
