"""A long run is searched as truly as a short one."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from playhead.log.reader import LogReader
from playhead_projections.search.grep import Pattern, Scan
from playhead_projections.search.index import Index, index_of
from playhead_projections.search.language import field_named, parse
from playhead_projections.search.tables import PARTS
from tests.cli.shell import Shell
from tests.long_run import recorded

FEW = 2_000
MANY = 100_000


def plainly(store: Path) -> dict[str, object]:
    """What some questions come to, by SQL on the log itself and a look at each payload."""
    db = sqlite3.connect(store)
    rows = db.execute(
        "select e.type, e.op, p.bytes from events e join streams s on s.stream = e.stream"
        " join payloads p on p.position = e.position where s.name like 'run/%' order by e.position"
    ).fetchall()
    db.close()
    told = [(type_, op, msgspec.msgpack.decode(payload)) for type_, op, payload in rows]
    asked = [said for type_, _, said in told if type_ == "tool.requested" and said["tool"] == "fetch"]
    failed = {op for type_, op, _ in told if type_ == "tool.failed"}
    retried = {op for type_, op, _ in told if type_ == "attempt.started"}
    return {
        "fetches": len(asked),
        "failed": len(failed),
        "retried": len(retried - failed),
        "steps": sum(type_ == "step.started" for type_, _, _ in told),
        "asked": sum(type_ == "model.called" for type_, _, _ in told),
        "saying": sum("nothing at" in json.dumps(said, default=str) for _, _, said in told),
    }


def parts(index: Index, where: str) -> int:
    """How many parts are of that kind, by the rows that answer questions about runs."""
    return int(index._db.execute(f"select count(*) from {PARTS} p where {where}").fetchone()[0])


def check(store: Path, run: str, say: Callable[[str], None] = lambda text: None) -> None:
    expected = plainly(store)
    with LogReader(store) as log, index_of(log, store) as index:
        assert index.standings()[0].parked is None

        def found(text: str) -> bool:
            say(text)
            return index.find(parse(text, now=0), living=lambda worker: True) == [run]

        assert parts(index, "p.tool = 'fetch'") == expected["fetches"]
        assert parts(index, "p.tool = 'fetch' and p.status = 'failed'") == expected["failed"]
        assert parts(index, "p.attempts = 2 and p.status = 'completed'") == expected["retried"]
        assert parts(index, "p.kind = 'step'") == expected["steps"]
        assert index.facets([run], *field_named("args.url")).total() == expected["fetches"]
        assert parts(index, "p.indexed = 0") == 0
        assert found(f"steps = {expected['steps']} and model_calls = {expected['asked']} and name = survey")
        assert found('tool = fetch and args.url = "pages/13" and error = "LookupError: nothing at pages/13"')
        assert not found('tool = fetch and args.url = "pages/14" and error exists')
        assert found('op(tool = fetch and args.url = "pages/7" and attempts = 2 and status = completed)')
        assert found('"WARD 7: " and step(name = ward and status = completed)')
        assert not found('"ward 7:x"')
        assert not found("op(kind = tool and status = open) or not tool = publish")
        assert found("cost > $0 and not status = failed and event = trust.recorded")
    with LogReader(store) as log:
        scan = Scan(Pattern("nothing at"))
        assert sum(1 for _ in scan.over(log.scan(f"run/{run}"))) == expected["saying"]


def test_a_run_of_some_length_is_searched(tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    check(store, recorded(store, FEW))


@pytest.mark.long
def test_a_run_of_a_hundred_thousand_events_is_searched(tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    run = recorded(store, MANY)
    check(store, run)
    shell = Shell(tmp_path)

    done = shell(
        "runs", "--where", 'tool = fetch and args.url ~ "pages/777"', "--facet", "tool", "--json"
    ).document
    assert [line["run"] for line in done["runs"]] == [run]
    assert (
        len(shell("log", "--grep", "pages/777", "--type", "tool.requested", "--json").document["events"])
        == 11
    )
