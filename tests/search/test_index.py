"""The index: a fold like any other, without what was erased, with and without full text."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from playhead.events import catalog as facts
from playhead.events.redaction import PREFIX
from playhead.log.reader import LogReader
from playhead_projections.asking import ask
from playhead_projections.projector import models_path
from playhead_projections.proving import prove
from playhead_projections.search import tables
from playhead_projections.search.index import SEARCH, Index, index_of
from playhead_projections.search.language import (
    CONDITIONS_MAX,
    DEPTH_MAX,
    VALUES_MAX,
    field_named,
    parse,
)
from playhead_projections.search.tables import FULL_TEXT, PARTS
from tests.checkout import ROOT
from tests.log.second_writer import SecondWriter
from tests.projections import recorded
from tests.search.expressions import NOW, quoted
from tests.search.generated import Making, make_store

QUESTIONS = (
    "status = failed",
    "not tool = fetch",
    "error exists",
    '"pages/7"',
    "tool = fetch and args.x exists",
    "tag = release",
    "args ~ 日本",
    "op(duration >= 1ms and not error exists)",
    '"ab"',
    "result.n = 42 or name ~ a",
)


def found(index: Index, text: str) -> list[str]:
    return index.find(parse(text, now=NOW), living=lambda worker: worker == "alive")


def answers(index: Index) -> list[list[str]]:
    return [found(index, text) for text in QUESTIONS]


def contents(index: Index) -> list[Any]:
    """All that is kept: states, rows, and every trigram with the parts that have it."""
    db = index._db
    db.execute(f"create virtual table if not exists temp.words using fts5vocab(main, {FULL_TEXT}, instance)")
    words = db.execute("select term, doc from temp.words order by term, doc").fetchall()
    runs = db.execute(f"select * from {SEARCH.table} order by run").fetchall()
    return [
        index.contents("search"),
        runs,
        db.execute(f"select * from {PARTS} order by position").fetchall(),
        words,
    ]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    make_store(tmp_path / "runs.db", seed=5, runs=40)
    return tmp_path / "runs.db"


# -------------------------------------------------------------------- a fold


def test_a_rebuild_gives_the_same_rows_and_the_same_trigrams(store: Path) -> None:
    with LogReader(store) as log, index_of(log, store) as index:
        before = contents(index)
        index.rebuild(log)

        assert contents(index) == before
        assert before[3]


@pytest.mark.parametrize("page", [4, 100])
def test_in_how_many_sittings_it_is_folded_changes_no_answer(
    store: Path, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LogReader(store) as log, index_of(log, store) as index:
        at_once, whole = answers(index), contents(index)
    models_path(store).unlink()
    monkeypatch.setattr("playhead_projections.projector.PAGE_EVENTS", page)
    monkeypatch.setattr("playhead_projections.projector.CHECKPOINT_EVENTS", page)

    with LogReader(store) as log, index_of(log, store) as index:
        assert answers(index) == at_once
        assert contents(index)[:2] == whole[:2]
        assert [row[:-1] for row in contents(index)[2]] == [row[:-1] for row in whole[2]]


def test_a_run_is_found_while_it_goes_on_and_by_its_end_when_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    writer = SecondWriter(path)
    making = Making(writer, "onerun000000", Random(1))
    making.tell(
        "run.started", persona="audit", args={"page": "one"}, args_digest="", mode="strict", seed=bytes(16)
    )
    making.tell("run.claimed", worker="alive", pid=1, host="h")
    making.tell("tool.requested", "0/fetch#1", tool="fetch", args={"url": "pages/7"}, effect="pure")
    writer.db.execute("commit")

    with LogReader(path) as log, index_of(log, path) as index:
        assert found(index, 'status = running and op(tool = fetch and status = open) and "pages/7"')
        assert not found(index, "result exists")
        writer.db.execute("begin")
        making.tell("tool.completed", "0/fetch#1", result="a licence")
        making.tell("run.completed", result=None)
        writer.close()
        index.catch_up(log)
        assert found(index, 'status = completed and result = "a licence" and not op(result = null)')
        assert found(index, 'status = completed and not op(status = open) and "A LICENCE"') == [
            "onerun000000"
        ]
        assert found(index, 'text ~ "pages/7" and result ~ licence and duration exists')


def test_what_an_attempt_says_behind_the_end_of_its_operation_is_found_as_well(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    writer = SecondWriter(path)
    making = Making(writer, "onerun000000", Random(1))
    making.tell("tool.requested", "0/fetch#1", tool="fetch", args={}, effect="pure")
    making.tell("operation.cancelled", "0/fetch#1")
    writer.db.execute("commit")
    with LogReader(path) as log, index_of(log, path) as index:
        assert not found(index, '"too late"')
        writer.db.execute("begin")
        said = {"type": "OSError", "message": "it was too late"}
        making.tell("attempt.finished", "0/fetch#1", attempt=1, failure=said)
        writer.close()
        index.catch_up(log)

        assert found(index, 'op("too late" and status = cancelled and error exists)')


KILLED = """
import os, signal, sys
from pathlib import Path
import playhead_projections.projector as projector
from playhead.log.reader import LogReader
from playhead_projections.search.index import index_of
from playhead_projections.search.tables import Search

projector.PAGE_EVENTS = projector.CHECKPOINT_EVENTS = 50
left, put = int(sys.argv[2]), Search.put

def put_and_die(self, db, rows):
    global left
    put(self, db, rows)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

Search.put = put_and_die
with LogReader(Path(sys.argv[1])) as log, index_of(log, Path(sys.argv[1])) as index:
    pass
"""


@pytest.mark.parametrize("writes", [1, 3])
def test_a_process_that_is_killed_while_it_writes_leaves_what_the_next_one_goes_on_with(
    store: Path, writes: int
) -> None:
    env = {**os.environ, "PYTHONPATH": "engine:projections"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(store), str(writes)], env=env, cwd=ROOT, check=False
    )
    assert done.returncode == -signal.SIGKILL

    with Index.open(store, [SEARCH]) as index:
        assert index.standings()[0].events <= 50 * (writes - 1)
    with LogReader(store) as log, index_of(log, store) as index:
        after = (answers(index), contents(index)[:2])
        index.rebuild(log)
        assert (answers(index), contents(index)[:2]) == after


def test_two_processes_may_index_at_once(store: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from playhead.log.reader import LogReader;"
        "from playhead_projections.search.index import index_of; p = Path(sys.argv[1])\n"
        "with LogReader(p) as log, index_of(log, p) as index: print(index.standings()[0].events)"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(store)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": "engine:projections"},
        )
        for _ in range(2)
    ]
    said = [each.communicate(timeout=60)[0] for each in both]

    assert [each.returncode for each in both] == [0, 0]
    assert said[0] == said[1]
    with LogReader(store) as log, index_of(log, store) as index:
        kept = contents(index)
        index.rebuild(log)
        assert contents(index)[:3] == kept[:3]


# ------------------------------------------------------------------ real runs


def test_what_a_real_engine_records_is_found(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    ids = recorded.record(
        path, (recorded.audit, [1, 2, 3]), (recorded.mixed,), (recorded.failing,), (recorded.busy,)
    )
    with LogReader(path) as log, index_of(log, path) as index:

        def names(text: str) -> list[int]:
            return [ids.index(run) for run in found(index, text)]

        assert names("persona = audit and args.numbers[*] = 2") == [0]
        assert names("op(tool = fetch and args.n = 2 and attempts = 2 and error ~ 'no such page')") == [0]
        assert names("step = summarise and tool = fetch") == [0]
        assert names("tool = fetch") == [3, 0]
        assert names('status = failed and error = "RuntimeError: no answer" and error ~ "model is away"') == [
            2
        ]
        assert names("model = tiny-1 and result.text = fine") == [1, 0]
        assert names("cost = $0.00121 and tokens = 340") == [1, 0]
        assert names('"LICENCE?"') == [1, 0]
        assert names("not model exists") == [3]
        assert names("step(name = uncounted and status = completed)") == [1]


def test_a_redacted_secret_is_found_by_its_mark_alone(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "runs.db")
    making = Making(writer, "onerun000000", Random(1))
    making.tell("tool.requested", "0/a#1", tool="a", args={"token": PREFIX + "5f2c"}, effect="pure")
    with LogReader(writer.close()) as log, index_of(log, tmp_path / "runs.db") as index:
        assert found(index, 'args.token ~ "playhead:redacted:"')


# ------------------------------------------------------------------ odd ones


def made(path: Path, *told: tuple[str, str, dict[str, Any]]) -> Path:
    writer = SecondWriter(path)
    making = Making(writer, "onerun000000", Random(1))
    for type_, op, words in told:
        making.tell(type_, op, **words)
    return writer.close()


def test_an_empty_log_has_no_runs(tmp_path: Path) -> None:
    path = SecondWriter(tmp_path / "runs.db").close()
    with LogReader(path) as log, index_of(log, path) as index:
        assert answers(index) == [[] for _ in QUESTIONS]
        assert index.facets([], *field_named("tool")) == {}


def test_as_much_as_can_be_asked_is_answered(store: Path) -> None:
    brackets = "(" * (DEPTH_MAX - 1) + "{}" + ")" * (DEPTH_MAX - 1)
    many = ", ".join("a" for _ in range(VALUES_MAX))
    shorter = " or ".join(["not status = b"] * CONDITIONS_MAX)
    with LogReader(store) as log, index_of(log, store) as index:
        for asked in (
            brackets.format(" or ".join([f"status in ({many})", *["name ~ qq"] * (CONDITIONS_MAX - 1)])),
            f"op({' and '.join(['not (args.x ~ qq)'] * CONDITIONS_MAX)})",
            "not " * 1_000 + shorter,
            f"args{'[*]' * 3_000} exists",
            f"args{'.a' * 4_000} exists",
            '"' + "qz" * 4_000 + '"',
            f"name = {'*a' * 4_000}",
        ):
            found(index, asked)


def test_huge_values_and_numbers_no_model_can_have_used_are_taken(tmp_path: Path) -> None:
    asked = {"client": "c", "model": None, "request": {"prompt": "ß" * 3_000_000}}
    answered = {
        "reply": {"text": "x"},
        "usage": {"input_tokens": 2**63},
        "cost_micros": 2**64 - 1,
        "model": None,
    }
    deep: Any = "bottom"
    for _ in range(400):
        deep = {"in": [deep]}
    path = made(
        tmp_path / "runs.db",
        ("model.called", "0/c#1", asked),
        ("model.answered", "0/c#1", answered),
        ("tool.requested", "0/t#1", {"tool": "t", "args": {"deep": deep}, "effect": "pure"}),
    )
    with LogReader(path) as log, index_of(log, path) as index:
        assert index.standings()[0].parked is None
        assert found(index, "text ~ SSSSSSS and not cost exists and not op(tokens exists)")
        assert found(index, "args ~ bottom")
        assert not found(index, "tokens > 0")


def test_a_value_that_nobody_can_read_is_no_text_and_stops_nothing(tmp_path: Path) -> None:
    writer = SecondWriter(tmp_path / "runs.db")
    words = msgspec.msgpack.encode({"type": "tool.requested", "tool": "t", "effect": "pure", "args": "@"})
    writer.event(
        "run/onerun000000", words.replace(b"\xa1@", b"\xa2\xff\xfe"), type_="tool.requested", op="0/t#1"
    )
    with LogReader(writer.close()) as log, index_of(log, tmp_path / "runs.db") as index:
        assert index.standings()[0].parked is None
        assert found(index, "tool = t")
        assert not found(index, "tool = t and args.x = 1")


def test_a_damaged_file_is_made_anew(store: Path) -> None:
    with LogReader(store) as log:
        before = ask(Index, log, store, [SEARCH], answers)
        size = models_path(store).stat().st_size
        with models_path(store).open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(size - 4096))

        assert ask(Index, log, store, [SEARCH], answers) == before


def test_nothing_that_is_asked_becomes_a_part_of_sql(store: Path) -> None:
    with LogReader(store) as log, index_of(log, store) as index:
        before = contents(index)
        for evil in ('"; drop table list_search; --', "x' or 1=1 --", '"" OR NEAR(a b)', "*", "a\0b", "\\"):
            shown = evil.replace("\\", "\\\\").replace('"', '\\"')
            for asks in (
                f'"{shown}"',
                f'name = "{shown}"',
                f'args."{shown}" exists',
                f'tag = "{shown}"',
                f'args.x = "{shown}"',
            ):
                found(index, asks)

        assert contents(index) == before


def test_a_run_is_found_by_what_it_is_called(tmp_path: Path) -> None:
    begun = {"persona": "p", "args": {}, "args_digest": "", "mode": "strict", "seed": bytes(16)}
    called = {"name": "Night shift", "key": "k-2026", "tags": ["Über uns", "release"]}
    path = made(
        tmp_path / "runs.db",
        ("run.started", "", {**begun, **called}),
        ("run.completed", "", {"result": None}),
    )
    with LogReader(path) as log, index_of(log, path) as index:
        for text in ("night", "K-2026", "über", "RELEASE"):
            assert found(index, quoted(text)), text
            assert found(index, f"kind = run and text ~ {quoted(text)}"), text
        assert not found(index, '"strict"')


# ---------------------------------------------------------------------- proof


@pytest.mark.parametrize(
    "sql",
    [
        f"insert into {FULL_TEXT}({FULL_TEXT}) values ('delete-all')",
        f"insert into {FULL_TEXT}(rowid, body) select position, 'zzz' from {PARTS} where indexed = 1 limit 1",
        f"drop table {FULL_TEXT}",
        f"update {FULL_TEXT}_data set block = zeroblob(40) where id = (select max(id) from {FULL_TEXT}_data)",
        f"update {PARTS} set indexed = 0 where indexed = 1",
        f"update {PARTS} set name = 'other' where position = (select min(position) from {PARTS})",
    ],
)
def test_a_full_text_that_would_answer_otherwise_is_named_by_a_proof(store: Path, sql: str) -> None:
    place = models_path(store)
    with LogReader(store) as log:
        with index_of(log, store):
            pass
        assert prove(log, place, [SEARCH]).differences == []
        with closing(sqlite3.connect(place)) as db:
            db.execute(sql)
            db.commit()
        kept = place.read_bytes()

        found = prove(log, place, [SEARCH])

        assert len(found.differences) == 1
        assert place.read_bytes() == kept


def test_a_full_text_of_many_sittings_is_proven(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched, LogReader(store) as log:
        patched.setattr("playhead_projections.projector.PAGE_EVENTS", 4)
        patched.setattr("playhead_projections.projector.CHECKPOINT_EVENTS", 4)
        with index_of(log, store):
            pass
    with LogReader(store) as log:
        assert prove(log, models_path(store), [SEARCH]).differences == []


# ------------------------------------------------------------ without full text


def test_without_full_text_the_answers_are_the_same(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LogReader(store) as log:
        with index_of(log, store) as index:
            assert index.full_text
            before = answers(index)
        monkeypatch.setattr(tables, "has_full_text", lambda db: False)
        with index_of(log, store) as index:
            assert not index.full_text
            assert answers(index) == before
        models_path(store).unlink()
        with index_of(log, store) as index:
            assert answers(index) == before
        monkeypatch.undo()
        with index_of(log, store) as index:  # made without, asked with
            assert answers(index) == before


@pytest.mark.parametrize("library", ["stdlib", "pysqlite3"])
def test_both_libraries_have_full_text(library: str, tmp_path: Path) -> None:
    code = (
        "from playhead.log.driver import sqlite\n"
        "from playhead_projections.search.tables import has_full_text\n"
        "print(has_full_text(sqlite.connect(':memory:')), sqlite.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PLAYHEAD_SQLITE": library, "PYTHONPATH": f"{ROOT}/engine:{ROOT}/projections"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "not installed" in done.stderr:
        pytest.skip("pysqlite3 is not installed")

    assert done.stdout.startswith("True"), done.stderr


# ---------------------------------------------------------------------- facets


def test_facets_count_runs_and_each_run_once_for_each_value(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    recorded.record(path, (recorded.audit, [1, 2, 3]), (recorded.audit, [1]), (recorded.failing,))
    with LogReader(path) as log, index_of(log, path) as index:
        everything = found(index, "run exists")

        def facet(text: str, runs: list[str] = everything) -> dict[str, int]:
            return dict(index.facets(runs, *field_named(text)))

        assert facet("persona") == {"audit": 2, "failing": 1}
        assert facet("tool") == {"fetch": 2, "publish": 2}
        assert facet("args.n") == {"1": 2, "2": 1, "3": 1}
        assert facet("args.numbers[*]") == {"1": 2, "2": 1, "3": 1}
        assert facet("status", found(index, "tool = fetch")) == {"completed": 2}
        assert facet("event")["run.failed"] == 1
        assert facet("error")["RuntimeError: no answer"] == 1
        assert facet("cost") == {"$0.00121": 2}
        for name in ("cost", "duration", "started", "tokens", "events"):
            for value, runs in facet(name).items():
                assert len(found(index, f"{name} = {value}")) == runs, (name, value)


def test_a_text_that_looks_like_a_number_is_another_value_than_the_number(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    for n, value in enumerate((42, "42", True, "true", None, "null", 0.5, "0.5", "x42")):
        said = facts.RunStarted(
            persona="p",
            args=Raw(msgspec.msgpack.encode({"v": value})),
            args_digest="",
            mode="strict",
            seed=b"",
        )
        recorded.write(path, f"run{n}", ("", said))

    with LogReader(path) as log, index_of(log, path) as index:
        counted = index.facets(found(index, "run exists"), *field_named("args.v"))

        assert set(counted) == {"42", '"42"', "true", '"true"', "null", '"null"', "0.5", '"0.5"', "x42"}
        assert all(len(found(index, f"args.v = {value}")) == runs == 1 for value, runs in counted.items())


def test_runs_stand_in_the_order_that_was_asked_for_and_those_without_a_value_last(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    ids = recorded.record(path, (recorded.mixed,), (recorded.busy,), (recorded.audit, [1]))
    with LogReader(path) as log, index_of(log, path) as index:

        def order(field: str, *, descending: bool) -> list[int]:
            named = field_named(field)[0]
            runs = index.find(None, living=lambda worker: True, sort=named, descending=descending)
            return [ids.index(run) for run in runs]

        assert order("cost", descending=False) == [1, 2, 0]
        assert order("name", descending=False) == [2, 1, 0]  # nobody named any: the newest first
        assert order("persona", descending=False) == [2, 1, 0]
        assert order("persona", descending=True) == [0, 1, 2]
        assert order("steps", descending=True) == [2, 0, 1]


def test_a_worker_that_is_gone_makes_its_run_an_interrupted_one(store: Path) -> None:
    with LogReader(store) as log, index_of(log, store) as index:
        running = parse("status = running", now=NOW)
        gone = index.find(parse("status = interrupted", now=NOW), living=lambda worker: False)

        assert index.find(running, living=lambda worker: False) == []
        assert index.find(running, living=lambda worker: True) == gone
        assert gone
