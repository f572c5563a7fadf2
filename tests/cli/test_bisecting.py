"""Bisecting and comparing as people do it: what cannot be shown is said, and no mixture touches the world."""

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from playhead import Engine
from tests.cli.shell import Done, Shell, command, environment

Recorded = tuple[Shell, dict[str, str]]

PROGRAM = '''
import asyncio
import json
from pathlib import Path

from playhead import ask_user, now, persona, signal, tool


@tool(side_effect_level="read_only")
async def look(name: str) -> int:
    with open("entered.txt", "a") as file:
        file.write(f"look {name}\\n")
    return json.loads(Path("world.json").read_text())[name]


@tool
async def transfer(cents: int) -> str:
    with open("entered.txt", "a") as file:
        file.write(f"transfer {cents}\\n")
    return "done"


@tool(side_effect_level="read_only")
async def slow(name: str) -> int:
    with open("entered.txt", "a") as file:
        file.write(f"slow {name}\\n")
    seconds = json.loads(Path("world.json").read_text())[name]
    await asyncio.sleep(seconds)
    return seconds


@persona
async def pays() -> str:
    """Two answers that always agree. Where they do not, money would move."""
    one, other = await look("one"), await look("other")
    await look("noise")
    if one != other:
        await transfer(one)
    return "bad" if one else "good"


@persona
async def hurries() -> str:
    await look("noise")
    try:
        async with asyncio.timeout(0.5):
            await slow("answer")
    except TimeoutError:
        return "bad"
    return "good"


@persona
async def loses() -> str:
    found = [await look(name) for name in ("one", "other", "noise")]
    return "bad" if found[1] else "good"
'''
GOOD = {"one": 0, "other": 0, "noise": 3, "answer": 0}
BAD = {"one": 1, "other": 1, "noise": 4, "answer": 3}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A good and a bad run of each persona; afterwards nothing is left that could answer."""
    shell = Shell(tmp_path_factory.mktemp("pairs"))
    (shell.directory / "pairs.py").write_text(PROGRAM)
    with contextlib.chdir(shell.directory):
        asyncio.run(record(shell))
    (shell.directory / "world.json").unlink()
    (shell.directory / "entered.txt").unlink()
    return shell


async def record(shell: Shell) -> None:
    spec = importlib.util.spec_from_file_location("pairs", shell.directory / "pairs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    personas = [module.pays, module.hurries, module.loses]
    async with Engine.open(shell.store, personas=personas) as engine:
        for name, world in (("good", GOOD), ("bad", BAD)):
            (shell.directory / "world.json").write_text(json.dumps(world))
            for persona in personas:
                run = await engine.start(persona, name=f"{persona.name}-{name}")
                assert await run.result() == name


def entered(shell: Shell) -> bool:
    """Whether anything at all was carried out since the pairs were recorded."""
    return (shell.directory / "entered.txt").exists()


def here(shell: Shell, *words: str) -> Done:
    """What bisect says in this process, which then knows no more of the program than before."""
    path = list(sys.path)
    try:
        return shell.here("bisect", *words[:2], "pairs.py", *words[2:])
    finally:
        sys.path[:] = path
        sys.modules.pop("pairs", None)


def test_where_every_half_would_go_live_the_answer_is_untestable_and_the_world_is_not_touched(
    pairs: Shell,
) -> None:
    done = pairs("bisect", "pays-good", "pays-bad", "pairs.py", "--json")

    said = done.document
    assert done.code == 1
    assert said["verdict"] == "untestable"
    assert said["untestable"] >= 2
    assert "tool 0/transfer#0 is answered by no tape" in said["reason"]
    assert [culprit["name"] for culprit in said["culprits"]] == ["0/look#0", "0/look#1"]
    assert not entered(pairs)
    assert len(pairs("runs", "--json").document["runs"]) == 6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_while_a_command_judges_it_leaves_neither_that_nor_what_it_was_given(
    pairs: Shell, tmp_path: Path, number: signal.Signals
) -> None:
    scratch, judge = tmp_path / "scratch", tmp_path / "judge"
    scratch.mkdir()
    code = (
        "import os, sys, time; place = sys.argv[1]; open(place + '+', 'w').write(str(os.getpid()));"
        " os.rename(place + '+', place); time.sleep(60)"
    )
    words = ["bisect", "pays-good", "pays-bad", "pairs.py", "--", sys.executable, "-c", code, str(judge)]

    with subprocess.Popen(
        command(*words), cwd=pairs.directory, env=environment(TMPDIR=str(scratch)), stderr=subprocess.PIPE
    ) as process:
        while not judge.exists():
            assert process.poll() is None
            time.sleep(0.01)
        found = list(scratch.iterdir())
        process.send_signal(number)
        _, said = process.communicate(timeout=30)

    assert [place.name[:16] for place in found] == ["playhead-bisect-"]
    assert (process.returncode, list(scratch.iterdir())) == (130, [])
    assert b"stopped by a signal" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(judge.read_text()), 0)


def test_what_took_longer_than_its_time_limit_is_found(pairs: Shell) -> None:
    done = here(pairs, "hurries-good", "hurries-bad", "--json")

    (culprit,) = done.document["culprits"]
    assert (done.code, done.document["verdict"]) == (0, "found")
    assert (culprit["kind"], culprit["name"], culprit["bad"]) == ("time", "0/slow#0", None)
    said = here(pairs, "hurries-good", "hurries-bad").out
    assert "time  0/slow#0  good@" in said
    assert ", which the bad run stopped waiting for" in said
    assert not entered(pairs)


def test_what_was_erased_is_said_not_to_be_tested_and_what_is_left_is_searched(
    pairs: Shell, tmp_path: Path
) -> None:
    shell = Shell(tmp_path)
    for name in ("pairs.py", "runs.db"):
        (tmp_path / name).write_bytes((pairs.directory / name).read_bytes())
    asked = ("loses-good", "loses-bad")
    culprit = here(shell, *asked, "--json").document["culprits"][0]
    assert culprit["name"] == "0/look#1"

    erase(shell, "loses-bad", "0/look#2")
    noise = here(shell, *asked)
    erase(shell, "loses-bad", "0/look#1")
    gone = here(shell, *asked)
    erase(shell, "loses-good", "0/look#0")
    both = here(shell, *asked)

    assert (noise.code, noise.out.split()[0]) == (0, "found")
    assert "0/look#1" in noise.out
    assert "erased, so it was not tested" in noise.out
    assert (gone.code, gone.out.split()[0]) == (1, "untestable")
    assert f"@{culprit['bad']}" in gone.out
    assert (both.code, both.out.split()[0]) == (1, "untestable")
    assert "the good run by itself cannot be tested: tool 0/look#0" in both.out
    assert not entered(shell)


def erase(shell: Shell, run: str, op: str) -> None:
    """Take out what came back of `op`."""
    events = shell("log", run, "--jsonl").lines
    (at,) = [event["seq"] for event in events if (event["type"], event["op"]) == ("tool.completed", op)]
    done = shell.here("redact", f"{run}@{at}", "--by", "ada", "--reason", "private")
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("good_if", "said"),
    [
        ("reslt == 'good'", "names reslt"),
        ("status == 'failed' and result.total > 3", "names result.total"),
        ("not error.mesage", "names error.mesage"),
        ("event.seq > 3", "names event"),
    ],
)
def test_a_test_of_the_end_that_names_what_no_end_has_is_refused(
    pairs: Shell, good_if: str, said: str
) -> None:
    done = here(pairs, "loses-good", "loses-bad", "--good-if", good_if, "--json")

    assert done.code == 2
    assert said in done.document["message"]


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("nosuch > 3", "names nosuch"),
        ("not nosuch", "names nosuch"),
        ("status == 'failed' or opeartions > 1", "names opeartions"),
        ("status.word == 'failed'", "names status.word"),
        ("error.mesage == 'no'", "names error.mesage"),
        ("event.tpye == 'tool.requested'", "names event.tpye"),
        ("event.payload.tol == 'look'", "names event.payload.tol"),
        ("state['k.json'] == 1", "names state['k.json']"),
        ("waits_for[0].nmae == 'look'", "names waits_for[0].nmae"),
    ],
)
def test_what_names_what_the_run_never_has_is_refused(pairs: Shell, when: str, said: str) -> None:
    done = pairs.here("bisect", "loses-bad", "--when", when, "--json")

    assert done.code == 2
    assert said in done.document["message"]


@pytest.mark.parametrize(
    "when",
    [
        "error.message == 'no'",
        "owner.pid > 0",
        "waits_for[0].name == 'look'",
        "event.payload.tool == 'look'",
        "event.payload.args.name == 'other'",
        "not state",
        "max(len(state), 0) == 0",
    ],
)
def test_what_is_there_somewhere_may_be_named(pairs: Shell, when: str) -> None:
    assert pairs.here("bisect", "loses-bad", "--when", when).code in (0, 1)


@pytest.mark.parametrize("more", [(), ("--monotone",)])
def test_what_can_be_compared_at_no_event_is_said(pairs: Shell, more: tuple[str, ...]) -> None:
    said = pairs.here("bisect", "pays-good", "--when", "operations > 'a'", *more)
    assert said.code == 1
    assert "could not be asked of any event: '>' not supported between" in said.err
    assert pairs.here("bisect", "pays-good", "--when", "operations > 99", *more).err == ""


@pytest.mark.parametrize("names", [["argz"], ["["], ["args.nothing", "toool.*"]])
def test_a_field_to_ignore_that_is_nowhere_is_said(pairs: Shell, names: list[str]) -> None:
    words = [word for name in names for word in ("--ignore", name)]
    known = [word for name in ("args", "tool.*", "tool.completed", "resu*") for word in ("--ignore", name)]
    said = pairs.here("diff", "pays-good", "pays-bad", *words, *known)
    assert said.err.splitlines() == [
        f"--ignore {name} ignores nothing: neither run has what is called so." for name in names
    ]


@pytest.mark.parametrize("words", [("bisect", "--when", "steps >= 0"), ("diff", "loses-good")])
def test_an_event_beyond_the_run_is_not_found(pairs: Shell, words: tuple[str, ...]) -> None:
    command, *rest = words

    for place in ("@99", "@99..", "@99..120") if command == "bisect" else ("@99",):
        done = pairs.here(command, f"loses-bad{place}", *rest, "--json")

        assert done.code == 3, place
        assert "has no event 99" in done.document["message"]


@pytest.mark.parametrize("words", [("bisect", "loses-good@3", "loses-bad"), ("replay", "loses-good@3")])
def test_where_a_whole_run_is_meant_an_event_of_it_is_refused(pairs: Shell, words: tuple[str, ...]) -> None:
    done = pairs.here(*words, "--json")

    assert done.code == 2
    assert "a whole run is meant" in done.document["message"]


def test_a_run_that_has_not_ended_cannot_be_tested(recorded: Recorded) -> None:
    shell, runs = recorded

    ends = shell("bisect", runs["asks"], "nightly", "agents.py")
    open_ = shell("bisect", runs["asks"], runs["asks"], "agents.py", "--good-if", "status == 'completed'")

    assert (ends.code, "has not ended" in ends.err) == (2, True)
    assert open_.code == 1
    assert "signal 0/approve#0 has no answer on a tape" in open_.out


# ------------------------------------------------------------------------ totals

COUNTED = ("operations", "steps", "model_calls", "input_tokens", "output_tokens", "cost_micros")


def test_what_a_run_took_is_counted_alike_by_all_who_say_it(recorded: Recorded, pairs: Shell) -> None:
    for shell in (recorded[0], pairs):
        listed = {run["run"]: run for run in shell.here("runs", "--json").document["runs"]}
        assert len(listed) >= 4
        for run, line in listed.items():
            code = shell.here("diff", run, run, "--json")
            total = code.document["totals"]["a"]
            shown = shell.here("show", run, "--json").document
            report = shell.here("report", run, "--json").document

            assert code.document["totals"]["b"] == total
            assert total["status"] == shown["status"] == line["status"] == report["run"]["status"]
            assert total["retries"] == shown["totals"]["retries"] == report["totals"]["retries"]
            assert total["events"] == shown["events"]
            for name in COUNTED:
                assert total[name] == shown["totals"][name] == line[name] == report["totals"][name], name


def test_a_part_of_a_run_is_counted_as_it_stood_then(recorded: Recorded) -> None:
    shell, _ = recorded

    total: Any = shell.here("diff", "nightly@4", "nightly", "--json").document["totals"]
    shown = shell.here("show", "nightly@4", "--json").document

    assert total["a"]["events"] == shown["events"] == 5
    assert total["a"]["status"] == shown["status"] == "running"
    assert total["a"]["operations"] == shown["totals"]["operations"]
