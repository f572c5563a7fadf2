"""Forty divergences that were put there: the report names event, field, call site and cause of each."""

import asyncio
from pathlib import Path
from typing import NamedTuple, get_args

import pytest

from playhead.events.catalog import RaceDecided
from playhead.events.codec import CATALOG
from playhead.replay.cause_class import MEANING, CauseClass
from tests.replay import wide
from tests.replay.programs import NAME, PROGRAM, load, record, replay
from tests.replay.test_divergence import in_a_process


class Seeded(NamedTuple):
    """An edit of the program and what the report of it must say."""

    name: str
    old: str
    new: str
    recorded: tuple[str, str]
    """Type and operation of the event on the tape."""
    field: str | None
    line: str
    """The line of the program that the report names, "" for none."""
    cause: CauseClass


NOTE = 'note = await fetch("many")'
COUNT = "    number = await count(urls)\n"
DONE = 'done = await publish(f"{texts[0]} {note} {winner}")'
SEEDED = [
    Seeded(
        "an argument is changed", NOTE, 'note = await fetch("plenty")',
        ("tool.requested", "0/fetch#0"), "args.url", 'note = await fetch("plenty")', "argument",
    ),
    Seeded(
        "a wait is longer", "sleep(0.001)", "sleep(5)",
        ("timer.set", "0/sleep#0"), "due", "await sleep(5)", "argument",
    ),
    Seeded(
        "two steps change places",
        "    texts = await gather_up(urls)\n" + COUNT, COUNT + "    texts = await gather_up(urls)\n",
        ("step.started", "0/gather_up#0"), "op", "number = await count(urls)", "reordered",
    ),
    Seeded(
        "two calls change places",
        '    await sleep(0.001)\n    winner, _ = await race(fetch("quick"), wait_long("slow"))\n    ' + DONE,
        '    done = await publish(f"{texts[0]} {note} 0")\n    await sleep(0.001)\n'
        '    winner, _ = await race(fetch("quick"), wait_long("slow"))',
        ("timer.set", "0/sleep#0"), "type", 'done = await publish(f"{texts[0]} {note} 0")', "reordered",
    ),
    Seeded(
        "a call is added", f"        {NOTE}\n", f'        await publish("hello")\n        {NOTE}\n',
        ("tool.requested", "0/fetch#0"), "op", 'await publish("hello")', "added",
    ),
    Seeded(
        "a step is added", COUNT, COUNT + "    await gather_up(urls[:1])\n",
        ("tool.requested", "0/fetch#0"), "type", "await gather_up(urls[:1])", "added",
    ),
    Seeded(
        "a call is added at the end", "    return done\n", '    await fetch("more")\n    return done\n',
        ("run.completed", ""), "type", 'await fetch("more")', "added",
    ),
    Seeded(
        "a step is removed", COUNT, "    number = len(urls)\n",
        ("step.started", "0/count#0"), "type", NOTE, "removed",
    ),
    Seeded(
        "a loop ends early", "for url in urls]", "for url in urls[:1]]",
        ("tool.requested", "0/gather_up#0/fetch#1"), "type", "texts = await gather_up(urls)", "removed",
    ),
    Seeded(
        "the last call is removed", DONE, 'done = f"{texts[0]} {note} {winner}"',
        ("tool.requested", "0/publish#0"), "type", "", "removed",
    ),
    Seeded(
        "a tool is renamed", "fetch", "get",
        ("tool.requested", "0/gather_up#0/fetch#0"), "op",
        "return [await get(url) for url in urls]", "renamed",
    ),
    Seeded(
        "a step is renamed", "gather_up", "collect",
        ("step.started", "0/gather_up#0"), "op", "texts = await collect(urls)", "renamed",
    ),
    Seeded(
        "another branch is taken", "number > 1", "number > 2",
        ("tool.requested", "0/fetch#0"), "args.url", 'note = await fetch("few")', "branch",
    ),
    Seeded(
        "a branch to another tool is taken",
        "    if number > 1:\n        " + NOTE + "\n    else:\n        note = await fetch(\"few\")\n",
        "    if number > 2:\n        note = await fetch(\"many\")\n    else:\n"
        "        note = await publish(\"few\")\n",
        ("tool.requested", "0/fetch#0"), "op", 'note = await publish("few")', "branch",
    ),
    Seeded(
        "another tool is called in its place", NOTE, 'note = await publish("others")',
        ("tool.requested", "0/fetch#0"), "op", 'note = await publish("others")', "replaced",
    ),
    Seeded(
        "a call moves into a task", NOTE, 'note = await asyncio.create_task(fetch("many"))',
        ("tool.requested", "0/fetch#0"), "op", 'note = await asyncio.create_task(fetch("many"))', "moved",
    ),
    Seeded(
        "the code of a step is changed", "return len(urls)", "return len(urls) + 1",
        ("step.completed", "0/count#0"), "result", "number = await count(urls)", "result",
    ),
    Seeded(
        "an error is raised", NOTE, 'raise ValueError("no")',
        ("tool.requested", "0/fetch#0"), "type", "", "exception",
    ),
    Seeded(
        "what is waited for never comes", NOTE, "note = await asyncio.Event().wait()",
        ("tool.requested", "0/fetch#0"), None, "note = await asyncio.Event().wait()", "stuck",
    ),
    Seeded(
        "a guard is taken out", "", "",
        ("patch.taken", "0/patched[plenty]"), "type", NOTE, "patch",
    ),
]  # fmt: skip


@pytest.mark.parametrize("seeded", SEEDED, ids=lambda seeded: seeded.name)
async def test_a_seeded_divergence_is_named_with_its_cause(tmp_path: Path, seeded: Seeded) -> None:
    before, after = PROGRAM, PROGRAM.replace(seeded.old, seeded.new) if seeded.old else PROGRAM
    if seeded.cause == "patch":
        before = PROGRAM.replace(f"        {NOTE}\n", f'        patched("plenty")\n        {NOTE}\n')
    assert before != after
    log, run = await record(load(tmp_path, before), ["a", "b"])

    report = (await replay(load(tmp_path, after), log, run)).divergence

    assert report
    event = log.streams[f"run/{run}"][report.event]
    assert (event.type, event.op) == seeded.recorded
    assert report.field == seeded.field
    if seeded.line:
        assert report.site
        assert (report.site.module, _line(after, report.site.line)) == (NAME, seeded.line)
    assert report.cause == seeded.cause
    assert f"cause      {seeded.cause}: {MEANING[seeded.cause]}" in str(report)


def _line(source: str, number: int) -> str:
    return source.splitlines()[number - 1].strip()


PROMPT = 'return (await model_call(Request(prompt=f"What of {text}?"))).text'
APPROVAL = 'await request_approval("publishing", args={"text": said})'
LOOK = 'where = await side_value("host", host)'
OF_EVERY_KIND = [
    Seeded(
        "a prompt is changed", "What of {text}?", "What of {text}, then?",
        ("model.called", "0/think#0/tiny#0"), "request.prompt", PROMPT.replace("}?", "}, then?"), "argument",
    ),
    Seeded(
        "another model is asked", "Request(prompt", "Request(model='large', prompt",
        ("model.called", "0/think#0/tiny#0"), "model", PROMPT.replace("(prompt", "(model='large', prompt"),
        "argument",
    ),
    Seeded(
        "a step is given something else", "think(urls[0])", "think(urls[1])",
        ("step.started", "0/think#0"), "args.text", "said = await think(urls[1])", "argument",
    ),
    Seeded(
        "a signal is renamed", 'signal("go", str)', 'signal("start", str)',
        ("wait.started", "0/go#0"), "op", 'told = await signal("start", str)', "renamed",
    ),
    Seeded(
        "a signal is not waited for", 'told = await signal("go", str)', 'told = "now"',
        ("wait.started", "0/go#0"), "type", "more = await child_run(kid, 2)", "removed",
    ),
    Seeded(
        "a child is given something else", "child_run(kid, 2)", "child_run(kid, 3)",
        ("child.requested", "0/kid#0"), "args.number", "more = await child_run(kid, 3)", "argument",
    ),
    Seeded(
        "another child does the same", "child_run(kid, 2)", "child_run(cousin, 2)",
        ("child.requested", "0/kid#0"), "op", "more = await child_run(cousin, 2)", "renamed",
    ),
    Seeded(
        "something else is kept", '"more": more}', '"more": more + 1}',
        ("state.requested", "0/keep#0/state.write#0"), "content.more",
        'await notes.write("a.json", {"said": said, "more": more + 1})', "argument",
    ),
    Seeded(
        "a look is renamed", LOOK, LOOK.replace('"host"', '"place"'),
        ("value.requested", "0/host#0"), "op", LOOK.replace('"host"', '"place"'), "renamed",
    ),
    Seeded(
        "people are asked for another thing", "publishing", "printing",
        ("approval.requested", "0/approval#0"), "action", APPROVAL.replace("publishing", "printing"),
        "argument",
    ),
    Seeded(
        "people are shown another thing", '"text": said', '"text": told',
        ("approval.requested", "0/approval#0"), "args.text", APPROVAL.replace("said", "told"), "argument",
    ),
    Seeded(
        "people are not asked", f"    {APPROVAL}\n", "",
        ("approval.requested", "0/approval#0"), "type", 'note = await fetch("few")', "removed",
    ),
    Seeded(
        "people are asked first", f"    {LOOK}\n    {APPROVAL}\n", f"    {APPROVAL}\n    {LOOK}\n",
        ("value.requested", "0/host#0"), "type", APPROVAL, "reordered",
    ),
    Seeded(
        "a time limit with a call is added", "    more = await child",
        "    async with asyncio.timeout(3):\n        await fetch(told)\n    more = await child",
        ("child.requested", "0/kid#0"), "type", "await fetch(told)", "added",
    ),
    Seeded(
        "a step raises", "    notes = await state", '    raise ValueError("no")\n    notes = await state',
        ("state.requested", "0/keep#0/state.init#0"), "type", "await keep(said, more)", "exception",
    ),
    Seeded(
        "the result is another", "return await publish(", 'return "re" + await publish(',
        ("run.completed", ""), "result", "", "result",
    ),
    Seeded(
        "a policy is put around all", "@persona\nasync def audit",
        '@persona(policy=Policy(tools=["fetch"]))\nasync def audit',
        ("step.started", "0/think#0"), "type", "", "policy",
    ),
]  # fmt: skip


@pytest.mark.parametrize("seeded", OF_EVERY_KIND, ids=lambda seeded: seeded.name)
async def test_a_divergence_of_any_kind_of_operation_is_named_with_its_cause(
    tmp_path: Path, seeded: Seeded
) -> None:
    before = wide.WIDE
    after = before.replace(seeded.old, seeded.new)
    assert before != after
    log, run = await wide.record(load(tmp_path, before))

    report = (await wide.replay(load(tmp_path, after), log, run)).divergence

    assert report
    event = log.streams[f"run/{run}"][report.event]
    assert (event.type, event.op, report.field) == (*seeded.recorded, seeded.field)
    line = _line(after, report.site.line) if report.site else ""
    assert (line, report.cause) == (seeded.line, seeded.cause)


async def test_what_the_same_code_reads_from_a_global_is_an_unknown_cause(tmp_path: Path) -> None:
    module = load(tmp_path, wide.WIDE.replace('fetch("few")', 'fetch(str(LIMIT["words"]))'))
    log, run = await wide.record(module)
    module.LIMIT["words"] = 9

    report = (await wide.replay(module, log, run)).divergence

    assert report
    assert (report.op, report.field, report.cause) == ("0/fetch#0", "args.url", "unknown")


CALLED = """

class Clock:
    def tells(self):
        return self.reads()

    def reads(self):
        return time.time()


def once():
    return Clock().tells() or time.monotonic()


@persona
async def another() -> str:
    return await fetch(str(time.time_ns()) + str(os.urandom(4)))
"""


def calling(read: str) -> str:
    program = wide.WIDE.replace("import asyncio\n", "import asyncio, os, time\nimport random as chance\n")
    return program.replace('fetch("few")', f"fetch({read})") + CALLED


async def test_only_what_the_persona_comes_to_is_a_cause(tmp_path: Path) -> None:
    sorts = "str(sorted(each for each in {'a', 'b'}))"
    module = load(tmp_path, calling(f"str(LIMIT['words']) + str(chance.Random(7).random()) + {sorts}"))
    log, run = await wide.record(module)
    module.LIMIT["words"] = 9

    report = (await wide.replay(module, log, run)).divergence

    assert report
    assert (report.op, report.field, report.cause) == ("0/fetch#0", "args.url", "unknown")
    assert report.causes == ()


async def test_what_the_persona_calls_is_a_cause(tmp_path: Path) -> None:
    module = load(tmp_path, calling("str(once())"))
    log, run = await wide.record(module)

    report = (await wide.replay(module, log, run)).divergence

    assert report
    assert report.cause == "unrecorded_time"
    assert [cause.rpartition(":")[0] for cause in report.causes] == [
        f"unrecorded time (time.monotonic) at {module.__name__}:once",
        f"unrecorded time (time.time) at {module.__name__}:Clock.reads",
    ]


@pytest.mark.parametrize(
    ("read", "cause"),
    [
        ("str(time.time_ns())", "unrecorded_time"),
        ("str(chance.random())", "unrecorded_chance"),
        ("os.environ['AUDITED']", "unrecorded_environment"),
    ],
)
async def test_what_is_read_past_the_tape_is_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str, cause: CauseClass
) -> None:
    source = PROGRAM.replace('fetch("many")', f"fetch({read})")
    monkeypatch.setenv("AUDITED", "then")
    module = load(tmp_path, source)
    log, run = await record(module, ["a", "b"])
    monkeypatch.setenv("AUDITED", "now")
    await asyncio.sleep(0.001)

    report = (await replay(module, log, run)).divergence

    assert report
    event = log.streams[f"run/{run}"][report.event]
    assert (event.type, event.op, report.field) == ("tool.requested", "0/fetch#0", "args.url")
    assert report.site
    assert _line(source, report.site.line) == f"note = await fetch({read})"
    assert report.cause == cause


def test_the_order_of_a_set_is_the_cause(tmp_path: Path) -> None:
    words = "{'one', 'two', 'three', 'four', 'five', 'six', 'seven'}"
    source = PROGRAM.replace("for url in urls]", f"for url in {words}]")
    (tmp_path / "program.txt").write_text(source)
    places = str(tmp_path / "program.txt"), str(tmp_path / "tape")
    in_a_process(0, "record", *places)

    told = in_a_process(1, "replay", *places).splitlines()

    assert told[:2] == ["changed", "args.url"]
    assert "cause unrecorded_order" in told


async def test_a_race_that_another_wins_is_the_cause(tmp_path: Path) -> None:
    log, run = await record(load(tmp_path, PROGRAM), ["a", "b"])
    stream = log.streams[f"run/{run}"]
    at = next(n for n, event in enumerate(stream) if event.type == "race.decided")
    winner = RaceDecided(winner=1)
    stream[at] = stream[at]._replace(payload=CATALOG.new_event(winner, at=0).payload)

    report = (await replay(load(tmp_path, PROGRAM), log, run)).divergence

    assert report
    assert (report.event, report.op, report.field) == (stream[at].seq, stream[at].op, "winner")
    assert report.cause == "race"


def test_every_cause_has_a_meaning() -> None:
    assert set(MEANING) == set(get_args(CauseClass))
