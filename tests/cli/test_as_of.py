"""One way to say as of when, in every command that reads what is made of the log."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from playhead.agent_state.deciding import By, Change
from playhead.agent_state.keeping import Keeper
from playhead.agent_state.keys import Place
from playhead.agent_state.writers import writer
from playhead.events import catalog as facts
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.trust.timestamp import written
from playhead_projections.projector import models_path, state_at
from playhead_projections.run_report import RunReport, document
from playhead_projections.runs import Runs
from tests.cli.shell import Shell
from tests.projections.recorded import write

SECOND = 1_000_000_000
NOON = 1_777_636_800 * SECOND  # 2026-05-01T12:00:00Z
FIRST, SECOND_RUN = "4wq2mzkq7xha", "7drmpxapcq4o"
STARTED = facts.RunStarted(
    persona="p", args=Raw(b"\x80"), args_digest="", mode="strict", seed=bytes(16), name="nightly"
)
ASKED = facts.ToolRequested(tool="t", args=Raw(b"\x80"), effect="read_only")
DONE = facts.ToolCompleted(result=Raw(b"\xc0"), attempt=1)
ENDED = facts.RunCompleted(result=Raw(b"\xc0"))

# Run, fact, operation, seconds after noon. The clock goes back by a minute before position 4.
TOLD: tuple[tuple[str, Fact, str, int], ...] = (
    (FIRST, STARTED, "", 0),
    (FIRST, ASKED, "0/t#0", 10),
    (SECOND_RUN, STARTED, "", 70),
    (FIRST, DONE, "0/t#0", 20),
    (SECOND_RUN, ASKED, "0/t#0", 30),
    (FIRST, ENDED, "", 80),
    (SECOND_RUN, ENDED, "", 90),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(tmp_path_factory.mktemp("as-of"))

    async def go() -> None:
        async with SqliteStore.open(shell.directory / "runs.db") as store:
            for run, fact, op, second in TOLD:
                seq = (await store.head(f"run/{run}")).seq
                event = CATALOG.new_event(fact, at=NOON + second * SECOND, op=op)
                await store.append(f"run/{run}", seq, [event])

    asyncio.run(go())
    return shell


def at(second: int) -> str:
    return written(NOON + second * SECOND)


# As of when, and how many events the log and the first run had then.
MOMENTS = [
    (f"{FIRST[:4]}@1", 2, 2),
    (f"{SECOND_RUN}@1", 5, 3),
    ("1", 1, 1),
    ("4", 4, 3),
    ("7", 7, 4),
    (at(0), 1, 1),
    (at(15), 2, 2),  # two events behind the next one say an earlier time, and came later all the same
    (at(69), 2, 2),
    (at(70), 5, 3),
    (at(85), 6, 4),
    ("2027-01-01T00:00+01:00", 7, 4),
    ("9999-12-31T23:59:59Z", 7, 4),
    ("2027-01-01", 7, 4),
    ("2027-01-01T00:00", 7, 4),
    ("now", 7, 4),
    ("+999999999w", 7, 4),
]


@pytest.mark.parametrize(("as_of", "position", "events"), MOMENTS)
def test_every_command_takes_the_same_words_and_answers_as_of_then(
    home: Shell, as_of: str, position: int, events: int
) -> None:
    with LogReader(home.directory / "runs.db") as log:
        wanted = document(state_at(log, RunReport(), f"run/{FIRST}", events - 1).state, at=events - 1)
        there = {event.stream[4:]: event.seq for event in log.feed(0, position)}
        lines = {run: state_at(log, Runs(), f"run/{run}", seq).state for run, seq in there.items()}

    shown = home.here("show", FIRST, "--as-of", as_of, "--json").document
    assert {name: shown[name] for name in wanted if name != "schema"} == {
        name: value for name, value in wanted.items() if name != "schema"
    }
    assert shown == home.here("show", f"{FIRST}@{events - 1}", "--json").document
    for command in ("timeline", "receipts", ("trust", "grants"), ("compose", "report")):
        words = (command,) if isinstance(command, str) else command
        told = home.here(*words, FIRST, "--as-of", as_of, "--json").document
        assert told == home.here(*words, f"{FIRST}@{events - 1}", "--json").document

    listed = {each["run"]: each for each in home.here("runs", "--as-of", as_of, "--json").document["runs"]}
    assert list(listed) == [run for run in (SECOND_RUN, FIRST) if run in there]
    for run, line in lines.items():
        assert (listed[run]["status"], listed[run]["operations"]) == (line.life.status, line.operations)
        assert listed[run]["ended"] == line.life.ended


@pytest.mark.parametrize(("as_of", "position", "events"), MOMENTS)
def test_runs_are_searched_as_they_stood(home: Shell, as_of: str, position: int, events: int) -> None:
    listed = home.here("runs", "--as-of", as_of, "--json").document["runs"]
    running = [run for run in listed if run["status"] == "running"]

    def found(where: str, *more: str) -> list[Any]:
        done = home.here("runs", "--where", where, "--as-of", as_of, *more, "--json")
        assert done.code == 0, done.err
        return list(done.document["runs"])

    assert found("run exists") == listed
    assert found("status = running") == running
    assert found(f"run = {FIRST} and events = {events}") == [run for run in listed if run["run"] == FIRST]
    assert [run["run"] for run in found("run exists", "--sort", "run")] == sorted(
        run["run"] for run in listed
    )
    facets = home.here("runs", "--facet", "status", "--as-of", as_of, "--json").document["facets"]["status"]
    assert sum(each["runs"] for each in facets) == len(listed)
    assert {each["value"]: each["runs"] for each in facets}.get("running", 0) == len(running)


def test_a_length_of_time_is_counted_back_from_then(home: Shell) -> None:
    for where, count in (("started > -1m", 1), ("started > -5s", 0), ("started <= now", 1)):
        found = home.here("runs", "--where", where, "--as-of", at(15), "--json").document["runs"]
        assert len(found) == count, where


def test_people_are_shown_how_things_stood(home: Shell) -> None:
    told = home.here("runs", "--as-of", at(15))
    assert told.code == 0
    assert SECOND_RUN not in told.out
    assert "running" in told.out
    assert "15 s" in told.out  # its age then, and not now
    assert "as of event 1" in home.here("show", FIRST, "--as-of", "2").out


def test_approvals_and_trust_take_them_too(home: Shell) -> None:
    for as_of, _, _ in MOMENTS:
        assert home.here("approvals", "--as-of", as_of, "--json").document["approvals"] == []
        assert home.here("trust", "query", "--as-of", as_of, "--json").document["total"] == 0


@pytest.mark.parametrize(
    ("as_of", "code", "said"),
    [
        ("yesterday", 2, "is no moment"),
        ("1e3", 2, "is no moment"),
        (f"+{'9' * 5_000}w", 2, "is no moment"),
        ("2026-05-32", 2, "is no moment"),
        ("nightly@1", 2, "fits"),
        (f"{FIRST}@1..2", 2, "one event is meant here"),
        (f"{FIRST}@", 2, "is no address"),
        ("", 2, "is no moment"),
        ("-1", 2, "is no moment"),
        ("\uff11", 2, "is no moment"),
        ("0", 3, "no event at position 0"),
        ("8", 3, "no event at position 8"),
        ("9" * 40, 3, "no log has that many"),
        ("9" * 5_000, 3, "no log has that many"),
        (f"{FIRST}@{'9' * 30}", 3, "no log has that many"),
        (f"{FIRST}@99", 3, "has no event 99"),
        ("nobody@1", 3, "no run is called"),
        ("1960-01-01T00:00:00Z", 3, "had not begun then"),
        ("0001-01-01T00:00:00Z", 3, "had not begun then"),
        ("0001-01-01", 3, "had not begun then"),
        (f"-{'9' * 300}w", 3, "had not begun then"),
        ("\x1b[31mred", 2, "is no moment"),
    ],
)
def test_what_is_no_moment_is_refused_with_what_is(home: Shell, as_of: str, code: int, said: str) -> None:
    told = home.here("show", FIRST, "--as-of", as_of)

    assert (told.code, said in told.err) == (code, True), told.err
    assert "\x1b" not in told.err
    assert "Traceback" not in told.err


def test_a_run_and_a_moment_are_said_once(home: Shell) -> None:
    told = home.here("show", f"{FIRST}@1", "--as-of", "3")
    assert told.code == 2
    assert "one of them" in told.err


def test_before_the_first_event_there_was_nothing(home: Shell) -> None:
    early = "1970-01-01T00:00:00Z"
    assert home.here("runs", "--as-of", early, "--json").document["runs"] == []
    assert home.here("approvals", "--as-of", early, "--json").document["approvals"] == []
    assert home.here("trust", "query", "--as-of", early, "--json").document["total"] == 0


def test_a_run_begun_later_was_not_there(home: Shell) -> None:
    told = home.here("show", SECOND_RUN, "--as-of", "2")
    assert (told.code, "had not begun then" in told.err) == (3, True)


def test_a_log_knows_where_it_stood_at_a_time(home: Shell) -> None:
    times = [NOON + second * SECOND for _, _, _, second in TOLD]
    with LogReader(home.directory / "runs.db") as log:
        for time in (*times, *(time - 1 for time in times), -(2**80), 2**80, 0):
            later = next((n for n, each in enumerate(times) if each > time), len(times))
            assert log.position_at(time) == later


def test_a_store_of_events_that_all_say_one_time(tmp_path: Path) -> None:
    shell = Shell(tmp_path)

    async def go() -> None:
        async with SqliteStore.open(tmp_path / "runs.db") as store:
            events: list[Any] = [CATALOG.new_event(fact, at=NOON) for fact in (STARTED, ENDED)]
            await store.append(f"run/{FIRST}", 0, events)

    asyncio.run(go())
    assert shell.here("show", "@", "--as-of", at(0), "--json").document["at"] == 1
    assert shell.here("show", "@", "--as-of", at(-1), "--json").code == 3


def test_state_is_shown_as_of_the_same_words(tmp_path: Path) -> None:
    shell = Shell(tmp_path)

    async def go() -> None:
        async with SqliteStore.open(tmp_path / "runs.db") as store:
            keeper = Keeper(store, CATALOG)
            for n in range(3):
                change = Change("write", "k", writer("a"), "ignore", By("p"), Raw(bytes([n])))
                await keeper.change(Place.of("notes", "s1"), change)
            change = Change("write", "k", writer("a"), "ignore", By("p"), Raw(b"\x03"))
            await keeper.change(Place.of("later", "s2"), change)

    asyncio.run(go())
    with LogReader(tmp_path / "runs.db") as log:
        written_at = [event for event in log.feed(0) if event.type == "state.written"]
    for n, event in enumerate(written_at[:3]):
        for as_of in (str(event.position), written(event.at)):
            assert shell.here("state", "at", as_of, "notes", "s1", "k").out == f"{n}\n"
            there = shell.here("state", "at", as_of, "--json").document["sessions"]
            assert [one["root"] for one in there] == ["notes"]
            assert shell.here("state", "at", as_of, "later").code == 3
            blamed = shell.here("state", "blame", "notes", "s1", "k", "--as-of", as_of, "--json").document
            assert blamed["version"] == n + 1
    assert shell.here("state", "at", "2020-01-01", "--json").document["sessions"] == []
    assert shell.here("state", "at", "now", "later", "s2", "k").code == 0
    assert shell.here("state", "at", "99").code == 3


# What is kept is held against the log.


def test_a_rebuild_is_verified_and_what_differs_is_named(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    write(shell.store, FIRST, ("", STARTED), ("0/t#0", ASKED), ("0/t#0", DONE), ("", ENDED))

    nothing = shell.here("rebuild", "--verify")
    assert (nothing.code, "nothing is kept" in nothing.err) == (3, True)
    assert shell.here("rebuild").code == 0
    kept = models_path(shell.store).read_bytes()
    told = shell.here("rebuild", "--verify", "--json").document
    assert (told["schema"], told["equal"]) == ("playhead.rebuild_verify/1", True)
    assert [each["states"] for each in told["read_models"]][:5] == [1, 1, 1, 1, 0]
    assert shell.here("rebuild", "--verify", "--processes", "2").code == 0
    assert models_path(shell.store).read_bytes() == kept

    with sqlite3.connect(models_path(shell.store)) as db:
        (body,) = db.execute("select body from state where projection = 'runs'").fetchone()
        db.execute(
            "update state set body = ? where projection = 'runs'", (body.replace(b"nightly", b"weekly!"),)
        )
    db.close()
    differs = shell("rebuild", "--verify")
    assert differs.code == 4
    assert FIRST in differs.err
    assert "differs" in differs.out
    document = shell.here("rebuild", "--verify", "--json")
    assert (document.code, document.document["equal"]) == (4, False)
    assert document.document["differences"][0]["key"] == FIRST

    models_path(shell.store).write_bytes(b"no database at all, and rather long")
    broken = shell.here("rebuild", "--verify")
    assert (broken.code, "Traceback" in broken.err) == (4, False)
    assert shell.here("rebuild").code == 0
    assert shell.here("rebuild", "--verify").code == 0
