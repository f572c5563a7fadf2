"""`playhead approvals`, `approve` and `deny`: people answer from anywhere, and the run goes on."""

import asyncio
import json
import sys
import time
from datetime import UTC, datetime

import pytest

from playhead import Engine
from playhead.events.codec import CATALOG
from playhead.log.reader import LogReader
from playhead.trust.timestamp import written
from playhead_projections.cli.programs import load
from playhead_projections.inbox import Box, Inbox
from tests.cli.shell import Shell
from tests.runtime.conftest import until

ASKS = """
from playhead import persona
from playhead.runtime.approving import ask_user, request_approval


@persona
async def publishes(page: str) -> list:
    agreed = await request_approval("publish", args={"page": page}, reviewers=["ada", "bob", "cy"], quorum=2)
    return [agreed.reviewers, agreed.args]


@persona
async def hurries() -> list:
    return (await request_approval("publish", deadline_s=0.2)).reviewers


@persona
async def asks() -> int:
    return await ask_user("how many?", kind=int)


@persona
async def asks_at_length() -> int:
    return await ask_user("how many\\nof them?" * 20, kind=int)
"""


@pytest.fixture
def home(shell: Shell) -> Shell:
    (shell.directory / "asks.py").write_text(ASKS)
    sys.modules.pop("asks", None)
    return shell


def started(home: Shell, persona: str, *words: str) -> str:
    """A run of that persona that waits for people, and whose process is over."""
    (program,) = load([str(home.directory / f"asks.py:{persona}")]).personas

    async def once() -> str:
        async with Engine.open(home.directory / "runs.db", personas=[program], suspend_after_s=0) as engine:
            run = await engine.start(program, *words)
            await until(lambda: _waits(engine, run.id))
            return run.id

    return asyncio.run(once())


async def _waits(engine: Engine, run: str) -> bool:
    return (await engine.store.head(f"run/{run}")).status == "suspended"


def resumed(home: Shell, run: str) -> str:
    done = home("resume", run, "--program", "asks.py")
    assert done.code == 0, done.err
    return done.out.splitlines()[-1].strip()


def test_a_run_that_waits_for_people_says_what_it_asks_them_and_how_they_answer(home: Shell) -> None:
    done = home("run", "asks.py:asks", "--name", "counts")
    listed, report = home("runs"), home("report", "counts")
    told, _, command = done.out.splitlines()[-1].partition(": playhead ")

    assert (done.code, told) == (7, "waits for people, how many?")
    assert "waiting for people: how many?" in listed.out
    assert f"playhead {command}" in report.out
    assert home(*command.split(), "--value", "3", "--by", "ada").code == 0
    assert home("resume", "counts", "--program", "asks.py").out.splitlines()[-1] == "3"


def test_a_long_question_is_told_on_one_line(home: Shell) -> None:
    *_, last = home("run", "asks.py:asks_at_length").out.splitlines()

    told, _, command = last.partition("…: playhead ")
    assert told.startswith("waits for people, how many of them?how many")
    assert command.startswith("approve ")


def test_what_people_are_asked_is_listed_and_their_answers_bring_the_run_on(home: Shell) -> None:
    run = started(home, "publishes", "about")
    shown = home("approvals").out
    assert 'approval: publish {"page": "about"}' in shown
    assert "ada, bob, cy" in shown
    assert "0 of 2" in shown
    (asked,) = home("approvals", "--json").document["approvals"]
    assert (asked["run"], asked["principal"], asked["quorum"]) == (run, "publishes", 2)

    assert home("approve", asked["request"], "--by", "ada").code == 0
    assert "1 answer on the way" in home("approvals").out
    place = f"{run}@{asked['seq']}"
    assert home("approve", place, "--by", "cy", "--reason", "fine").code == 0
    assert resumed(home, run) == '[["ada", "cy"], {"page": "about"}]'
    assert home("approvals").code == 1
    late = home("approve", place, "--by", "bob")
    assert (late.code, "is decided" in late.err) == (1, True)
    assert home("replay", run, "--program", "asks.py").code == 0
    log = home("log", run).out
    assert "approve by cy: fine" in log
    assert "approval.granted" in log


def test_a_denial_decides_and_an_edit_is_agreed_to_as_such(home: Shell) -> None:
    denied = started(home, "publishes", "about")
    assert (
        home("deny", home("approvals", "--json").document["approvals"][0]["request"][:14], "--by", "bob").code
        == 0
    )
    done = home("resume", denied, "--program", "asks.py")
    assert (done.code, "was denied by bob" in done.out) == (1, True)

    edited = started(home, "publishes", "about")
    for name in ("ada", "bob"):
        request = home("approvals", "--json").document["approvals"][0]["request"]
        assert home("approve", request, "--edit", '{"page": "draft"}', "--by", name).code == 0
    assert json.loads(resumed(home, edited)) == [["ada", "bob"], {"page": "draft"}]


def test_a_question_is_answered_and_an_answer_that_does_not_fit_leaves_it_open(home: Shell) -> None:
    run = started(home, "asks")
    assert "question: how many?" in home("approvals", "--kind", "question").out
    assert home("approvals", "--kind", "approval").code == 1
    assert home("approve", "question_", "--value", '"many"', "--by", "ada").code == 0
    assert home("resume", run, "--program", "asks.py").code == 7
    assert home("approve", "question_", "--value", "3", "--by", "ada").code == 0
    assert resumed(home, run) == "3"


def test_what_is_asked_is_found_by_whom_it_is_for_and_when(home: Shell) -> None:
    started(home, "publishes", "about")
    started(home, "asks")
    assert len(home("approvals", "--json").document["approvals"]) == 2
    for words, many in (
        (("--for", "ada"), 2),
        (("--for", "eve"), 1),
        (("--for", "publishes"), 1),
        (("--agent", "asks"), 1),
        (("--since", "2999-01-01T00:00:00Z"), 0),
        (("--until", "2999-01-01T00:00:00Z"), 2),
        (("--limit", "1"), 1),
    ):
        assert len(home("approvals", *words, "--json").document["approvals"]) == many, words


def test_the_newest_request_comes_first_and_a_time_that_is_named_counts_in(home: Shell) -> None:
    for page in ("one", "two", "three"):
        started(home, "publishes", page)
    every = home("approvals", "--json").document["approvals"]
    assert [each["args"]["page"] for each in every] == ["three", "two", "one"]
    (newest,) = home("approvals", "--limit", "1", "--json").document["approvals"]
    assert newest == every[0]
    first, last = (written(each["at"]) for each in (every[1], every[0]))
    assert len(home("approvals", "--since", first, "--json").document["approvals"]) == 2
    assert len(home("approvals", "--until", first, "--json").document["approvals"]) == 2
    assert len(home("approvals", "--since", last, "--until", last, "--json").document["approvals"]) == 1
    assert len(home("approvals", "--since", "2020-01-01T12:00+02:00", "--json").document["approvals"]) == 3


def test_a_list_of_requests_has_a_limit_and_known_kinds(home: Shell) -> None:
    started(home, "asks")
    for words, code, said in (
        (("--kind", "wish"), 2, "wish"),
        (("--limit", "0"), 2, "0"),
        (("--limit", "5001"), 2, "5001"),
        (("--limit", "5000"), 0, ""),
        (("--kind", "question", "--kind", "approval"), 0, ""),
    ):
        done = home("approvals", *words)
        assert (done.code, said in done.err) == (code, True), (words, done.err)
    assert "500" in home("approvals", "--help").out


WRONG: list[tuple[tuple[str, ...], int, str]] = [
    (
        ("approve", "approval_", "--by", "eve"),
        1,
        "eve has no say about publish: that is for ada, bob, cy",
    ),
    (("approve", "approval_", "--by", "publishes"), 1, "it asked itself"),
    (("approve", "approval_", "--by", ""), 2, "names who gives it"),
    (("approve", "nothing", "--by", "ada"), 3, "nobody is asked for 'nothing' now"),
    (("approve", "", "--by", "ada"), 3, "nobody is asked for"),
    (("approve", "approval_", "--value", "1", "--by", "ada"), 2, "is no question"),
    (("approve", "approval_", "--edit", "{", "--by", "ada"), 2, "JSON"),
    (("approve", "approval_", "--edit", "1", "--withdraw", "--by", "ada"), 2, "one answer"),
    (("approve", "@@99", "--by", "ada"), 3, ""),
    (("approvals", "--since", "yesterday"), 2, "is a time"),
    (("approvals", "--since", "2026-01-01"), 2, "needs a time zone"),
    (("deny", "approval_", "--by", "eve"), 1, "has no say"),
]


def test_who_has_no_say_and_what_is_no_answer_is_refused_before_it_is_sent(home: Shell) -> None:
    run = started(home, "publishes", "about")
    for words, code, said in WRONG:
        done = home(*words)
        assert (done.code, said in done.err) == (code, True), (words, done.err)
    assert "answer.sent" not in home("log", f"mailbox/{run}").out


def test_an_agreement_is_withdrawn_while_it_is_open(home: Shell) -> None:
    run = started(home, "publishes", "about")
    for words in (("ada",), ("ada", "--withdraw"), ("bob",), ("cy",)):
        assert home("approve", "approval_", "--by", *words).code == 0
    assert json.loads(resumed(home, run))[0] == ["bob", "cy"]


def test_an_answer_that_cannot_count_is_recorded_and_said_to_have_no_effect(home: Shell) -> None:
    run = started(home, "publishes", "about")
    for words, why in (
        (("approve", "--withdraw", "--by", "cy"), "cy has not agreed to anything"),
        (("approve", "--by", "ada"), ""),
        (("approve", "--by", "ada"), "ada has agreed already"),
        (("approve", "--by", "bob"), ""),
        (("deny", "--by", "cy"), "it was decided already"),
    ):
        word, *more = words
        done = home(word, "approval_", *more)
        assert (done.code, why in done.err, "told" in done.out) == (1 if why else 0, True, True), words
        assert ("has no effect" in done.err) == bool(why)
    assert home("log", f"mailbox/{run}").out.count("answer.sent") == 5
    assert json.loads(resumed(home, run))[0] == ["ada", "bob"]

    late = started(home, "hurries")
    (asked,) = home("approvals", "--json").document["approvals"]
    while time.time_ns() <= asked["due"]:
        time.sleep(0.01)
    done = home("approve", "approval_", "--by", "ada")
    assert (done.code, "the time for it was over" in done.err) == (1, True)
    assert home("resume", late, "--program", "asks.py").code == 1


def test_what_was_asked_is_shown_as_of_any_event_and_any_time(home: Shell) -> None:
    first = started(home, "publishes", "about")
    second = started(home, "publishes", "terms")
    for run in (first, second):
        (asked,) = [each for each in home("approvals", "--json").document["approvals"] if each["run"] == run]
        assert home("approve", asked["request"], "--by", "ada").code == 0
        assert home("deny", asked["request"], "--by", "bob").code == 0
        home("resume", run, "--program", "asks.py")
    with LogReader(home.directory / "runs.db") as log:
        events = log.feed(0, 1_000)
    inbox, boxes = Inbox(), dict[str, Box]()
    seen = set[int]()
    for event in events:
        of = inbox.key(event)
        if of is None:
            continue
        box = boxes.get(of) or inbox.initial(of)
        boxes[of] = inbox.take(box, event, CATALOG.decode(event))
        there = {
            (each.request, tuple(answer.reviewer for answer in each.said))
            for box in boxes.values()
            for each in box.open.values()
        }
        then = home.here("approvals", "--as-of", f"{of}@{event.seq}", "--json").document["approvals"]
        assert {(each["request"], tuple(one["reviewer"] for one in each["said"])) for each in then} == there
        seen.add(len(then))
    assert seen == {0, 1, 2}

    asked_at = [event.at for event in events if event.type == "approval.requested"]
    at = datetime.fromtimestamp(asked_at[1] / 1e9 + 1e-3, UTC).isoformat()
    assert len(home.here("approvals", "--as-of", at, "--json").document["approvals"]) == 2
    assert home("approvals").code == 1
    assert "is no moment" in home.here("approvals", "--as-of", "yesterday").err
