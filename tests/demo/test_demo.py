"""The demo is true: a stranger's first minute holds what it says, and it says when it does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from playhead import Reply, Request, Usage
from playhead.log.reader import LogReader
from playhead.log.verify import verify
from playhead_projections.demo.audit import DIES_AT, PLAYHEAD, Finding, audit
from playhead_projections.demo.count import Body, bodies, counted, finished
from playhead_projections.demo.model import LicenceModel, judged, price, tokens
from playhead_projections.demo.story import NotTrue, Story, claim
from tests.checkout import ROOT, ROOTS

TELL = "import sys; from playhead_projections.demo import main; sys.exit(main(sys.argv[1:]))"
TOLD_S_MAX = 60


def tell(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The demo in a process of its own, as `make demo` starts it."""
    return subprocess.run(
        [sys.executable, "-c", TELL, *words],
        cwd=cwd,
        env={"PYTHONPATH": ":".join(str(ROOT / root) for root in ROOTS), "HOME": str(cwd)},
        check=False,
        capture_output=True,
        text=True,
        timeout=TOLD_S_MAX,
    )


def test_a_stranger_sees_it_work(tmp_path: Path) -> None:
    told = tell(cwd=tmp_path)

    assert (told.returncode, told.stderr) == (0, "")
    for said in (
        "killed with SIGKILL",
        "1 of owner must agree to exactly this call",
        "playhead approve approval_",
        "identical: ",
        "of these, run again                   0             0",
        "now reads",
        "Everything above was checked",
    ):
        assert said in told.stdout
    assert not list(tmp_path.iterdir()), "without --keep nothing stays"


def test_what_it_keeps_bears_it_out_also_the_second_time(tmp_path: Path) -> None:
    keep = tmp_path / "kept"

    first, second = tell("--keep", "kept", cwd=tmp_path), tell("--keep", "kept", cwd=tmp_path)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert verify(keep / "runs.db").ok
    assert not verify(keep / "edited-copy.db", anchors=()).ok
    with LogReader(keep / "runs.db") as log:
        streams = log.streams("run")
        assert len(streams) == 2
        for stream in streams:
            events = list(log.scan(stream))
            entered = bodies(keep / "bodies.jsonl", stream.partition("/")[2])
            assert events[-1].type == "run.completed"
            assert [event.type for event in events].count("run.resumed") == 2
            assert len({body.pid for body in entered}) == 3
            assert {body.op for body in entered} == finished(events)
            assert sum(body.name == "write_report" for body in entered) == 1
    assert (keep / "workspace" / "licences.md").read_text().count("\n| ") > 2


def test_a_tape_of_the_demo_replays_from_the_command_line(tmp_path: Path) -> None:
    assert tell("--keep", ".", cwd=tmp_path).returncode == 0
    cli = "import sys; from playhead_projections.cli import main; main(sys.argv[1:])"

    replayed = subprocess.run(
        [sys.executable, "-c", cli, "replay", "@", "--program", "playhead_projections.demo.audit", "--json"],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(str(ROOT / root) for root in ROOTS), "HOME": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )

    assert json.loads(replayed.stdout)["verdict"] == "identical"


def test_it_stops_where_something_is_not_true(tmp_path: Path) -> None:
    # A process that nobody tells to die lives to the end, and the first claim is false.
    story = Story(tmp_path)

    with pytest.raises(NotTrue, match="died by SIGKILL, not with 0"):
        story.begin_and_die("read_licence", "no such package")


def test_a_false_claim_is_raised_and_a_true_one_is_not() -> None:
    claim(true=True, what="fine")
    with pytest.raises(NotTrue, match="the moon"):
        claim(true=False, what="the moon")


# The counts that everything rests on.


def test_a_finished_call_that_runs_again_is_counted(tmp_path: Path) -> None:
    with LogReader(_store_of_one_run(tmp_path)) as log:
        events = list(log.scan(log.streams("run")[0]))
    done = sorted(finished(events))
    entered = [Body(done[0], 1, "tool", "t", 1), Body("0/other#0", 1, "tool", "t", 1)]

    honest = counted("tool", [*entered, Body("0/other#0", 1, "tool", "t", 2)], events, 1)
    caught = counted("tool", [*entered, Body(done[0], 1, "tool", "t", 2)], events, 1)

    assert (honest.finished, honest.finished_again, honest.in_flight, honest.in_flight_again) == (1, 0, 1, 1)
    assert (caught.finished_again, caught.later) == (1, 0)


def _store_of_one_run(tmp_path: Path) -> Path:
    story = Story(tmp_path)
    assert story.live("begin", {DIES_AT: ""}).code == 0
    return story.store


# The model is honest.


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("MIT", 1), ("Apache", 2), ("a, b", 3), ("licence-rules", 5), ("§ 12345", 3)]
)
def test_tokens_are_counted_by_the_rule(text: str, count: int) -> None:
    assert tokens(text) == count


def test_money_is_rounded_half_to_even_once() -> None:
    assert price(Usage(input_tokens=10, output_tokens=0)) == 2
    assert price(Usage(input_tokens=0, output_tokens=5)) == 3
    assert price(Usage(input_tokens=30, output_tokens=0)) == 4


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("Permission is hereby granted, free\n of charge, to any person", "MIT"),
        ("Redistribution and use in source and binary forms … Neither the name of", "BSD-3-Clause"),
        ("Redistribution and use in source and binary forms", "BSD-2-Clause"),
        ("Apache License\n  Version 2.0, January 2004", "Apache-2.0"),
        ("all rights reserved", "unclear"),
    ],
)
def test_a_licence_is_known_by_its_words(text: str, licence: str) -> None:
    assert judged({"text": text, "classifiers": []}) == licence


async def test_a_reply_says_what_it_took() -> None:
    request = Request(prompt="Which?", context={"text": "", "classifiers": [], "declared": None})

    reply = await LicenceModel().complete(request)

    assert isinstance(reply, Reply)
    assert (reply.text, reply.cost_source) == ("unclear", "price_table")
    assert reply.usage.output_tokens == 2
    assert reply.cost_micros == price(reply.usage)


def test_the_program_is_registered_under_its_own_name() -> None:
    assert audit.name == "audit"
    assert PLAYHEAD["model"].name == LicenceModel.name
    assert Finding("a", "1", None, "judged").licence is None
