"""A log from a stranger may hold anything: nonsense stays outside, and nothing in it moves a terminal."""

from typing import Any

import msgspec
import pytest

from playhead.events import catalog as facts
from playhead.events.words import Usage
from playhead.log.envelope import NewEvent
from tests.cli.shell import Shell
from tests.projections.recorded import started, unknown, write

RUN = "aaaaaaaaaaaa"
CLEAR_SCREEN = "\x1b[2J"


def event(type_: str, payload: Any, version: int = 1) -> NewEvent:
    return NewEvent(type_, version, 1, "", None, msgspec.msgpack.encode(payload))


def exported(shell: Shell, *told: Any) -> Shell:
    """`stranger.jsonl`: a run whose chain is sound, with these events. The store itself starts anew."""
    strange = shell.directory / "strange.db"
    write(strange, RUN, *told)
    assert shell("--store", "strange.db", "export", "--all", "-o", "stranger.jsonl").code == 0
    return shell


@pytest.mark.parametrize(
    ("told", "seq"),
    [
        ([event("run.started", {"type": "run.started", "persona": 7})], 0),
        ([event("run.started", {"persona": "p"})], 0),
        ([started(), event("tool.requested", [1, 2])], 1),
        ([started(), event("run.completed", {"type": "run.completed"}, version=0)], 1),
        ([started(), NewEvent("dream.dreamt", 1, 1, "", None, b"\xc1")], 1),
        ([started(), ("", facts.RunCompleted(result=msgspec.Raw(b"\xa1\xff")))], 1),
    ],
    ids=["wrong type", "missing field", "no fact", "no version", "no msgpack", "no text"],
)
def test_a_sound_chain_of_nonsense_is_not_imported(shell: Shell, told: list[Any], seq: int) -> None:
    exported(shell, *told)
    mine, _ = shell.run("naps")

    done = shell("import", "stranger.jsonl", "--json")

    assert (done.code, done.document["code"]) == (8, "store.import_refused")
    assert done.document["found"] == f"event {seq} of run/{RUN}"
    assert [run["run"] for run in shell("runs", "--json").document["runs"]] == [mine]


def test_an_event_of_a_newer_playhead_is_imported(shell: Shell) -> None:
    exported(shell, started(), unknown("dream.dreamt"))

    assert shell("import", "stranger.jsonl").code == 0
    assert shell("runs", "--json").document["events_unknown"] == 1


def test_every_command_that_reads_a_list_that_stopped_says_where_and_what_to_do(shell: Shell) -> None:
    write(shell.store, RUN, started(), unknown("run.completed"))
    later, _ = shell.run("naps", "--name", "later")

    for words in (["runs"], ["runs", "--json"], ["show", "later"], ["show", "@failed"], ["receipts", "x"]):
        done = shell(*words)
        assert f"the list of runs stops at run/{RUN}@1" in done.err, words
        assert "playhead rebuild" in done.err

    listed = shell("runs", "--json").document
    assert (listed["stopped_at"]["stream"], listed["stopped_at"]["seq"]) == (f"run/{RUN}", 1)
    assert shell("show", later).code == 0
    assert shell("show", later).err == ""


def test_a_list_of_what_people_are_asked_that_stopped_says_so_before_it_says_that_nobody_is(
    shell: Shell,
) -> None:
    write(shell.store, RUN, started(), unknown("run.completed"))

    for words in (["approvals"], ["approve", f"{RUN}@0", "--by", "ada"]):
        done = shell(*words)
        assert done.code != 0
        assert f"the list of what people are asked stops at run/{RUN}@1" in done.err, words


@pytest.mark.parametrize("words", [["log", RUN], ["tail"], ["event", f"{RUN}@1"], ["show", RUN], ["runs"]])
def test_no_escape_sequence_of_a_log_reaches_the_terminal(shell: Shell, words: list[str]) -> None:
    evil = f"evil{CLEAR_SCREEN}\x9b2J\nrun.completed"
    write(shell.store, RUN, started(evil, name=evil), event(evil, {"a": evil}))

    for more in ([], ["--color", "always"]):
        said = shell(*more, *words).out
        for ours in ("\x1b[0m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"):
            said = said.replace(ours, "")
        assert said.replace("\n", "").isprintable()
        assert not [line for line in said.splitlines() if line.startswith("run.completed")]


@pytest.mark.parametrize("words", [["show", RUN, "--json"], ["log", RUN, "--jsonl"], ["runs", "--json"]])
def test_a_document_escapes_what_a_terminal_would_obey(shell: Shell, words: list[str]) -> None:
    evil = f"evil{CLEAR_SCREEN}\x9b2J\u202e"
    write(shell.store, RUN, started(evil, name=evil))

    said = shell(*words).out

    assert said.replace("\n", "").isprintable()
    assert "\\u009b2J\\u202e" in said


def test_numbers_that_nobody_can_have_used_are_unknown_and_stop_nothing(shell: Shell) -> None:
    much = Usage(input_tokens=2**64 - 1, output_tokens=3)
    asked = ("0/m#0", facts.ModelCalled(client="m", model=None, request=msgspec.Raw(b"\xc0")))
    answered = ("0/m#0", facts.ModelAnswered(reply=msgspec.Raw(b"\xc0"), usage=much))
    write(shell.store, RUN, started(), asked, answered, asked, answered)

    listed = shell("runs", "--json").document["runs"][0]

    assert (listed["input_tokens"], listed["input_tokens_unknown"]) == (None, 2)
    assert (listed["output_tokens"], listed["output_tokens_unknown"]) == (6, 0)
    assert shell("rebuild").code == 0
