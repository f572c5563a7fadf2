"""An edited program is told where it left its tape: the event, the operation, the field and the line.

None of these edits is silent, and none waits for ever. Comments and formatting are no edits, and
`patched` keeps old runs on the branch that they took.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from playhead.events.codec import CATALOG
from playhead.log.envelope import Event
from playhead.log.memory_store import MemoryLog
from tests.checkout import ROOT
from tests.replay.programs import NAME, PROGRAM, load, record, replay

URLS = ["a", "b"]


class Edit(NamedTuple):
    """One edit, and what its report must name."""

    name: str
    old: str
    new: str
    kind: str
    recorded: str
    """The recorded operation, or "" for the run itself."""
    now: str | None
    field: str | None
    line: str
    """What stands in the line that the report names."""


BODY = "    number = await count(urls)\n"
EDITS = [
    Edit(
        "a step is renamed",
        "gather_up",
        "collect",
        "changed",
        "0/gather_up#0",
        "0/collect#0",
        "op",
        "texts = await collect(urls)",
    ),
    Edit(
        "two steps are reordered",
        "    texts = await gather_up(urls)\n" + BODY,
        BODY + "    texts = await gather_up(urls)\n",
        "changed",
        "0/gather_up#0",
        "0/count#0",
        "op",
        "number = await count(urls)",
    ),
    Edit(
        "a step is added",
        BODY,
        BODY + "    await gather_up(urls[:1])\n",
        "changed",
        "0/fetch#0",
        "0/gather_up#1",
        "type",
        "await gather_up(urls[:1])",
    ),
    Edit(
        "a step is removed",
        BODY,
        "    number = len(urls)\n",
        "changed",
        "0/count#0",
        "0/fetch#0",
        "type",
        'note = await fetch("many")',
    ),
    Edit(
        "an argument is changed",
        'fetch("many")',
        'fetch("plenty")',
        "changed",
        "0/fetch#0",
        "0/fetch#0",
        "args.url",
        'note = await fetch("plenty")',
    ),
    Edit(
        "a branch is flipped",
        "number > 1",
        "number > 2",
        "changed",
        "0/fetch#0",
        "0/fetch#0",
        "args.url",
        'note = await fetch("few")',
    ),
    Edit(
        "an argument of a step that is awaited later is changed",
        BODY,
        "    counting = count(urls[:1])\n    number = await counting\n",
        "changed",
        "0/count#0",
        "0/count#0",
        "args.urls.1",
        "counting = count(urls[:1])",
    ),
    Edit(
        "the contenders of a race change places",
        'race(fetch("quick"), wait_long("slow"))',
        'race(wait_long("slow"), fetch("quick"))',
        "changed",
        "0/race#0.1/fetch#0",
        "0/race#0.1/wait_long#0",
        "op",
        'await race(wait_long("slow"), fetch("quick"))',
    ),
    Edit(
        "a loop ends early",
        "for url in urls]",
        "for url in urls[:1]]",
        "changed",
        "0/gather_up#0/fetch#1",
        "0/gather_up#0",
        "type",
        "texts = await gather_up(urls)",
    ),
    Edit(
        "a step returns something else",
        "return len(urls)",
        "return len(urls) + 1",
        "changed",
        "0/count#0",
        "0/count#0",
        "result",
        "number = await count(urls)",
    ),
    Edit(
        "a wait is longer",
        "sleep(0.001)",
        "sleep(5)",
        "changed",
        "0/sleep#0",
        "0/sleep#0",
        "due",
        "await sleep(5)",
    ),
    Edit(
        "an operation moves into a task",
        'note = await fetch("many")',
        'note = await asyncio.create_task(fetch("many"))',
        "changed",
        "0/fetch#0",
        "0.1/fetch#0",
        "op",
        'note = await asyncio.create_task(fetch("many"))',
    ),
    Edit(
        "the last operation is dropped",
        'done = await publish(f"{texts[0]} {note} {winner}")',
        'done = f"{texts[0]} {note} {winner}"',
        "changed",
        "0/publish#0",
        "",
        "type",
        "",
    ),
    Edit(
        "an operation is added at the end",
        "    return done\n",
        '    await fetch("more")\n    return done\n',
        "changed",
        "",
        "0/fetch#1",
        "type",
        'await fetch("more")',
    ),
    Edit(
        "the program waits for nothing",
        'note = await fetch("many")',
        "note = await asyncio.Event().wait()",
        "missing",
        "0/fetch#0",
        None,
        None,
        "note = await asyncio.Event().wait()",
    ),
    Edit(
        "the program fails",
        'note = await fetch("many")',
        'raise ValueError("no")',
        "changed",
        "0/fetch#0",
        "",
        "type",
        "",
    ),
    Edit(
        "a shared tool fails otherwise",
        "return done",
        "return done[:3]",
        "changed",
        "",
        "",
        "result",
        "",
    ),
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
async def test_an_edit_is_reported_where_it_is(tmp_path: Path, edit: Edit) -> None:
    assert edit.old in PROGRAM
    log, run = await record(load(tmp_path, PROGRAM), URLS)
    source = PROGRAM.replace(edit.old, edit.new)
    changed = load(tmp_path, source)

    outcome = await replay(changed, log, run)

    report = outcome.divergence
    assert outcome.verdict == "diverged"
    assert report
    assert (report.kind, report.op, report.now_op, report.field) == (
        edit.kind,
        edit.recorded,
        edit.now,
        edit.field,
    )
    assert log.streams[f"run/{run}"][report.event].op == edit.recorded
    assert changed.ran == []
    if edit.line:
        assert report.site
        assert (report.site.module, line(source, report.site.line)) == (NAME, edit.line)
    assert f"at event {report.event}" in str(report)


def line(source: str, number: int) -> str:
    """What stands in that line."""
    text = source.splitlines()[number - 1].strip()
    return text.removeprefix("winner, _ = ") if "race(" in text else text


# What no tape holds.


@pytest.mark.parametrize(
    ("read", "hint"),
    [
        ("str(time.time_ns())", "unrecorded time (time.time_ns)"),
        ("str(chance.random())", "unrecorded chance"),
        ("str(id(object())) + os.urandom(4).hex()", "unrecorded chance (os.urandom)"),
        ("os.environ['AUDITED']", "unrecorded environment (os.environ)"),
    ],
)
async def test_an_unrecorded_read_is_reported_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str, hint: str
) -> None:
    source = PROGRAM.replace('fetch("many")', f"fetch({read})")
    monkeypatch.setenv("AUDITED", "then")
    module = load(tmp_path, source)
    log, run = await record(module, URLS)
    monkeypatch.setenv("AUDITED", "now")

    report = (await replay(module, log, run)).divergence

    assert report
    assert (report.kind, report.op, report.field) == ("changed", "0/fetch#0", "args.url")
    assert report.site
    assert line(source, report.site.line) == f"note = await fetch({read})"
    assert any(hint in cause and f":{report.site.line}" in cause for cause in report.causes), report.causes


def in_a_process(hash_seed: int, *words: str) -> str:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONPATH": os.pathsep.join((str(ROOT / "engine"), str(ROOT))),
    }
    command = [sys.executable, "-m", "tests.replay.hashed", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def test_iterating_over_a_set_is_reported_under_another_hash_seed(tmp_path: Path) -> None:
    words = "{'one', 'two', 'three', 'four', 'five', 'six', 'seven'}"
    source = PROGRAM.replace("for url in urls]", f"for url in {words}]")
    (tmp_path / "program.txt").write_text(source)
    places = str(tmp_path / "program.txt"), str(tmp_path / "tape")
    in_a_process(0, "record", *places)

    told = [in_a_process(seed, "replay", *places).splitlines() for seed in (0, 1, 2)]

    assert told[0] == ["identical"]
    for report in told[1:]:
        assert report[:2] == ["changed", "args.url"]
        assert any("iteration over a set" in cause for cause in report[2:])


# What is no edit.


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@persona\n", "\n\n# A new comment,\n# over two lines.\n@persona\n"),
        ('note = await fetch("many")', "note = await fetch(\n            url='many',\n        )"),
        ("ran = []\n", "ran = []\nunused = 7\n\n\ndef helper() -> None: ...\n"),
        ("    done = await publish(", "    # why\n    done = await publish("),
    ],
)
async def test_comments_and_formatting_are_no_edit(tmp_path: Path, old: str, new: str) -> None:
    assert old in PROGRAM
    log, run = await record(load(tmp_path, PROGRAM), URLS)

    outcome = await replay(load(tmp_path, PROGRAM.replace(old, new)), log, run)

    assert outcome.identical, str(outcome.divergence)


# A guarded change.

GUARDED = PROGRAM.replace(
    'note = await fetch("many")',
    'note = await fetch("plenty" if patched("plenty") else "many")',
).replace("    return done\n", '    if patched("plenty"):\n        await fetch("more")\n    return done\n')


async def test_a_guarded_change_leaves_old_runs_on_the_old_branch(tmp_path: Path) -> None:
    log, run = await record(load(tmp_path, PROGRAM), URLS)

    outcome = await replay(load(tmp_path, GUARDED), log, run)

    assert outcome.identical, str(outcome.divergence)


async def test_a_guarded_change_starts_new_runs_on_the_new_branch(tmp_path: Path) -> None:
    module = load(tmp_path, GUARDED)

    log, run = await record(module, URLS)

    assert {"plenty", "more"} <= set(module.ran)
    assert (await replay(module, log, run)).identical
    assert [event.op for event in of_type(log, run, "patch.taken")] == ["0/patched[plenty]"]


async def test_a_run_on_the_new_branch_diverges_when_the_guard_is_taken_out(tmp_path: Path) -> None:
    log, run = await record(load(tmp_path, GUARDED), URLS)

    report = (await replay(load(tmp_path, PROGRAM), log, run)).divergence

    assert report
    assert report.recorded_type == "patch.taken"


def of_type(log: MemoryLog, run: str, name: str) -> list[Event]:
    assert name in CATALOG.facts
    return [event for event in log.streams[f"run/{run}"] if event.type == name]
