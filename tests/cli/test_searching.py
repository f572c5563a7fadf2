"""`playhead runs --where` and `playhead log --grep`: what is found, what is cut, and what is refused."""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from playhead.events.erasing import MARK
from playhead.log.driver import sqlite
from playhead.log.reader import LogReader
from playhead_projections.projector import models_path
from playhead_projections.search.index import index_of
from playhead_projections.search.language import parse
from tests.cli.shell import Shell, environment
from tests.cli.test_reading import HEAVY, Recorded
from tests.log.second_writer import SecondWriter
from tests.projections.recorded import audit, failing, record
from tests.search.generated import WORDS, Making, make_store


def ids(shell: Shell, *words: str) -> list[str]:
    return [run["run"] for run in shell("runs", *words, "--json").document["runs"]]


# --------------------------------------------------------------------- runs


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("status = failed", ["breaks"]),
        ("persona in (audit, naps)", ["naps", "audit"]),
        ("tool = fetch", ["breaks", "audit"]),
        ("tool = fetch and args.n = 4", ["audit"]),
        ("tool = publish and args.n = 4", []),
        ("op(tool = publish) and op(args.n = 4)", ["audit"]),
        ("not tool exists", ["asks", "naps"]),
        ('error ~ "division BY zero" and error = "RuntimeError: it broke"', ["breaks"]),
        ("cost > $0.001 and tokens >= 340", ["audit"]),
        ('"LICENCE?"', ["audit"]),
        ("cost = 0", ["asks", "naps", "breaks"]),
        ("tokens > -1", ["asks", "naps", "breaks", "audit"]),
        ("tokens = 0 and not status = failed", ["asks", "naps"]),
        ("step = ask and model = tiny-1 and op(name = tiny)", ["audit"]),
        ("op(kind = signal and status = open)", ["asks"]),
        ("started > -1h and duration < 1h", ["naps", "breaks", "audit"]),
        ("event = run.suspended", ["asks"]),
        ("name = tw*", ["naps", "breaks"]),
    ],
)
def test_runs_are_found_by_what_happened_in_them(recorded: Recorded, where: str, names: list[str]) -> None:
    shell, runs = recorded

    assert ids(shell, "--where", where) == [runs[name] for name in names]


def test_what_is_found_is_printed_as_the_list_of_runs_is_and_cut_like_it(recorded: Recorded) -> None:
    shell, runs = recorded

    whole, found = shell("runs").out.splitlines(), shell("runs", "--where", "run exists").out.splitlines()
    one = shell("runs", "--where", "run exists", "-n", "1")

    assert found == whole
    assert one.out.splitlines()[-1] == "… 3 more: playhead runs --all, or -n 4"
    assert shell("runs", "--where", "status = parked").out == "no runs.\n"
    assert ids(shell, "--where", "tool = fetch", "--status", "failed") == [runs["breaks"]]
    lines = shell("runs", "--where", "tool = fetch", "--persona", "audit", "--jsonl").lines
    assert [line["run"] for line in lines] == [runs["audit"]]


def test_facets_are_of_all_that_is_found_whatever_is_cut(recorded: Recorded) -> None:
    shell, _ = recorded

    words = (
        "--where",
        "tool = fetch",
        "-n",
        "1",
        "--facet",
        "persona",
        "--facet",
        "args.n",
        "--facet",
        "tag",
    )
    document = shell("runs", *words, "--json").document

    assert document["left_out"] == 1
    assert document["full_text"] is True
    assert document["facets"] == {
        "persona": [{"value": "audit", "runs": 1}, {"value": "breaks", "runs": 1}],
        "args.n": [{"value": "0", "runs": 1}, {"value": "4", "runs": 1}],
        "tag": [],
    }
    assert shell("runs", *words).out.splitlines()[3:] == [
        "", "persona", "  1  audit", "  1  breaks", "", "args.n", "  1  0", "  1  4", "", "tag", "  no values"
    ]  # fmt: skip


def test_runs_can_be_sorted(recorded: Recorded) -> None:
    shell, runs = recorded

    by_name = [runs[name] for name in ("asks", "audit", "breaks", "naps")]

    assert ids(shell, "--sort", "persona") == by_name
    assert ids(shell, "--sort", "-persona") == by_name[::-1]
    assert ids(shell, "--sort", "-cost")[0] == runs["audit"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--where", "status ="], "at character 9"),
        (["--where", "\x1b[31mred"], "at character"),
        (["--where", "\udcff"], "no text"),
        (["--where", ""], "at character 1"),
        (["--sort", "tag"], "cannot be sorted"),
        (["--sort", ""], "cannot be sorted"),
        (["--facet", "nope"], "is no field"),
        (["--facet", "text"], "no values"),
        (["--facet", "tag", "--jsonl"], "no place for facets"),
    ],
)
def test_what_cannot_be_understood_is_a_usage_error_with_its_place(
    recorded: Recorded, words: list[str], said: str
) -> None:
    shell, _ = recorded

    done, document = shell("runs", *words), shell("runs", *words, "--json")

    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err
    assert document.code == 2
    assert document.document["schema"] == "playhead.error/1"


@pytest.mark.parametrize(
    "words", [["runs", "--where", "tool = fetch", "--facet", "tool"], ["log", "--grep", "fetch"]]
)
def test_searching_imports_nothing_heavy(recorded: Recorded, words: list[str]) -> None:
    shell, _ = recorded
    code = (
        "import sys\nfrom playhead_projections.cli import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        f"    print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=shell.directory,
        env=environment(),
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0
    assert done.stderr.decode().splitlines()[-1] == "[]"


def test_the_index_is_made_by_nobody_but_who_asks_it(shell: Shell) -> None:
    shell.run("naps")

    def tables() -> set[str]:
        db = sqlite.connect(models_path(shell.store))
        found = {name for (name,) in db.execute("select name from sqlite_schema")}
        db.close()
        return found

    for words in (
        ["runs"],
        ["runs", "--status", "failed"],
        ["log", "--grep", "x"],
        ["show", "@"],
        ["doctor"],
    ):
        shell(*words)
    assert "list_search" not in tables()

    shell("runs", "--where", "status = completed")
    assert "list_search" in tables()


def test_tags_are_given_at_the_start_and_found(shell: Shell) -> None:
    tagged, _ = shell.run("naps", "--tag", "release", "--tag", "Über uns")
    shell.run("naps")

    assert ids(shell, "--where", "tag = release and tag = Ü*") == [tagged]
    assert ids(shell, "--where", "tag ~ über") == [tagged]
    assert len(ids(shell, "--where", "not tag = nightly")) == 2
    listed = shell("runs").out.splitlines()
    assert listed[0].split()[-1] == "tags"
    assert [line.endswith("release, Über uns") for line in listed[1:]] == [False, True]
    assert shell("runs", "-n", "1").out.splitlines()[0].split()[-1] == "cost"
    assert "  tags  release, Über uns" in shell("show", tagged).out.splitlines()
    assert shell("show", tagged, "--json").document["tags"] == ["release", "Über uns"]
    assert shell("run", "agents.py:naps", "--tag", "").code == 2


def test_a_read_model_that_stands_still_is_said(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "runs.db")
    making = Making(writer, "onerun000000", Random(1))
    making.tell("run.claimed", worker="w", pid=1, host="h")
    writer.event("run/onerun000000", b"\xc1", type_="run.completed")
    writer.close()
    shell = Shell(tmp_path)

    done = shell("runs", "--where", "events > 0", "--json")

    assert done.code == 0
    assert "stops at run/onerun000000@1" in done.err
    assert done.document["stopped_at"]["seq"] == 1


# ---------------------------------------------------------------------- log


def test_events_are_found_in_all_runs_with_the_part_that_matches(recorded: Recorded) -> None:
    shell, runs = recorded

    lines = shell("log", "--grep", "licence").out.splitlines()

    assert [line.split()[0] for line in lines] == [
        f"run/{runs['audit']}@3", "args.prompt", f"run/{runs['audit']}@4", "request.prompt"
    ]  # fmt: skip
    assert "«licence»?" in lines[1]


def test_a_document_holds_what_stands_around_each_match(recorded: Recorded) -> None:
    shell, runs = recorded

    document = shell("log", "nightly@4..5", "--grep", "cence", "--json").document

    assert document["schema"] == "playhead.grep/1"
    assert document["events_read"] == 2
    (event,) = document["events"]
    assert (event["stream"], event["seq"], event["type"]) == (f"run/{runs['audit']}", 4, "model.called")
    assert event["hits"] == [{"path": "request.prompt", "before": "li", "match": "cence", "after": "?"}]


@pytest.mark.parametrize(
    ("words", "seqs"),
    [
        (["--grep", "LICENCE"], []),
        (["--grep", "LICENCE", "-i"], [3, 4]),
        (["--regex", "^lic.*[?]$"], [3, 4]),
        (["--regex", "LIC", "-i", "--type", "model.called"], [4]),
        (["--grep", "licence", "--not", "--type", "step.started"], [2]),
        (["--grep", "licence", "-n", "1"], [3]),
    ],
)
def test_what_is_looked_for_can_be_narrowed_and_turned_round(
    recorded: Recorded, words: list[str], seqs: list[int]
) -> None:
    shell, _ = recorded

    done = shell("log", "nightly", *words, "--json")

    assert [event["seq"] for event in done.document["events"]] == seqs
    assert done.code == (0 if seqs else 1)


def test_events_around_a_match_are_shown_once_and_gaps_are_marked(recorded: Recorded) -> None:
    shell, _ = recorded

    lines = shell("log", "nightly", "--regex", "^(fine|HI 8)$", "-C", "1", "--type", "model.answered",
                  "--type", "tool.completed").out.splitlines()  # fmt: skip
    events = [line for line in lines if "«" not in line]

    shown = [
        line.split()[:2] if line.startswith(">") else [" ", *line.split()[:1]]
        for line in events
        if line != "--"
    ]
    answered = next(int(seq) for mark, seq in shown if mark == ">")
    assert shown[:3] == [[" ", str(answered - 1)], [">", str(answered)], [" ", str(answered + 1)]]
    assert lines.count("--") == 1


def test_what_is_cut_says_how_much_there_is(recorded: Recorded) -> None:
    shell, _ = recorded

    done = shell("log", "--grep", "licence", "-n", "1")

    assert done.out.splitlines()[-1] == "… 1 more: --all, or -n 2"
    assert shell("log", "--grep", "nowhere").out == "nothing found.\n"


@pytest.mark.parametrize(
    "words",
    [["--grep", "a", "--regex", "b"], ["-i"], ["--not"], ["-C", "2"], ["--regex", "("], ["--grep", ""],
     ["--regex", ""], ["--grep", "\udcff"], ["-C", "-1", "--grep", "x"], ["--regex", "a{99999999999}"]],
)  # fmt: skip
def test_what_cannot_be_looked_for_is_a_usage_error(recorded: Recorded, words: list[str]) -> None:
    shell, _ = recorded

    done = shell("log", *words)

    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err


def test_an_event_that_cannot_be_read_is_counted_and_one_that_was_erased_says_nothing(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "runs.db")
    making = Making(writer, "onerun000000", Random(1))
    making.tell("value.requested", "0/v#1", name="secret")
    making.tell("value.requested", "0/w#1", name="plain\x1b[31m")
    writer.event("run/onerun000000", b"\xc1 plain secret", type_="value.recorded", op="")
    writer.erase("run/onerun000000", 0, say_so=False)
    writer.close()
    shell = Shell(tmp_path)

    found, missed = shell("log", "--grep", "plain"), shell("log", "--grep", "secret", "--json")

    assert found.code == missed.code == 4
    assert "«plain»" in found.out
    assert "\x1b" not in found.out
    assert found.err == "1 event could not be read.\n"
    assert missed.document["events"] == []
    assert missed.document["events_unreadable"] == 1


def test_a_value_that_is_as_usual_is_found_though_no_payload_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    record(path, (failing,))
    shell = Shell(tmp_path)
    with LogReader(path) as log:
        payloads = {event.seq: event.payload or b"" for event in log.scan(log.streams("run")[0])}
    failures = [seq for seq, said in payloads.items() if b"RuntimeError" in said]  # of no other category
    assert failures
    assert not any(b"generic" in said for said in payloads.values())

    for words in (["--grep", "generic"], ["--grep", "GENERIC", "-i"], ["--regex", "^gen.*c$"]):
        found = shell("log", "@", *words, "--json").document["events"]
        assert [event["seq"] for event in found] == failures
        assert found[0]["hits"][0]["path"] == "failure.category"


def test_an_error_is_found_as_it_is_shown_though_no_payload_holds_it_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "runs.db"
    record(path, (failing,))
    shell = Shell(tmp_path)
    shown = shell("log", "@", "--all").out
    for said in ("RuntimeError: no answer", "or: no", "Error:", " no answer"):
        assert said in shown
        assert shell("runs", "--where", f'"{said}"', "--json").document["runs"]
        assert shell("log", "@", "--grep", said, "--json").document["events"]
    hits = shell("log", "@", "--regex", "^RuntimeError: no", "--json").document["events"][0]["hits"]
    assert [(hit["path"], hit["match"]) for hit in hits] == [("failure", "RuntimeError: no")]
    halves = shell("log", "@", "--grep", "no answer", "--json").document["events"][0]["hits"]
    assert [hit["path"] for hit in halves] == ["failure.message", "failure.arguments[0]"]


def test_a_scan_finds_what_is_left_of_an_event_and_not_the_mark_of_what_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    (run,) = record(path, (audit, [1, 2]))
    shell = Shell(tmp_path)
    assert shell("redact", f"{run}@0", "/args/numbers", "--by", "ada", "--reason", "asked to").code == 0

    (left,) = shell("log", "--grep", "audit", "--type", "run.started", "--json").document["events"]
    assert left["hits"][0]["path"] == "persona"
    for words in (["--grep", MARK], ["--regex", "playhead:"], ["--grep", "Playhead:", "-i"]):
        found = shell("log", *words, "--type", "run.started", "--json")
        assert (found.code, found.document["events"]) == (1, [])


IN_PARTS = {
    "run.started": ("args", "name", "key", "tags"),
    "run.completed": ("result",),
    "run.failed": ("failure",),
    "step.started": ("args",),
    "step.completed": ("result",),
    "step.failed": ("failure",),
    "tool.requested": ("tool", "args"),
    "tool.completed": ("result",),
    "tool.failed": ("failure",),
    "tool.denied": ("tool", "args", "reason"),
    "model.called": ("request",),
    "model.answered": ("reply",),
    "value.recorded": ("value",),
    "child.requested": ("args",),
    "hook.fired": ("shown",),
    "state.requested": ("key", "content"),
    "approval.requested": ("args", "detail", "action"),
    "composition.started": ("snippet", "inputs"),
}


def test_a_scan_and_the_index_find_the_same_texts(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    make_store(path, seed=11, runs=60)
    shell = Shell(tmp_path)
    with LogReader(path) as log, index_of(log, path) as index:
        for needle in [word for word in WORDS if word]:
            scanned: set[str] = set()
            must: set[str] = set()
            for event in shell("log", "--grep", needle, "-i", "--all", "--json").document["events"]:
                scanned.add(event["stream"])
                places = [hit["path"].partition(".")[0].partition("[")[0] for hit in event["hits"]]
                if event["kept_as"] == "fact" and set(places) & set(IN_PARTS.get(event["type"], ())):
                    must.add(event["stream"])
            quoted = needle.replace('"', '\\"')
            asked = {
                f"run/{run}" for run in index.find(parse(f'"{quoted}"', now=0), living=lambda worker: True)
            }
            assert must <= asked <= scanned, needle
            assert must
