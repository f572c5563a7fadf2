"""The file of the read models, damaged in every way: the answer is the one from before."""

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from playhead_projections.models_file import open_models
from playhead_projections.projector import models_path
from playhead_projections.search.tables import FULL_TEXT
from tests.cli.shell import Done, Shell
from tests.long_run import recorded
from tests.projections.recorded import audit, failing, record

ASKED = (
    ("runs", "--json"),
    ("runs", "--where", '"licence" or tag = x or error ~ "no answer"', "--facet", "error", "--json"),
    ("show", "@failed", "--json"),
    ("approvals", "--json"),
    ("trust", "query", "--limit", "3", "--json"),
)


class Damaged(NamedTuple):
    """A store whose read models can be damaged, and what was answered from sound ones."""

    shell: Shell
    sound: bytes
    answers: list[Done]

    @property
    def place(self) -> Path:
        return models_path(self.shell.store)

    def ask(self) -> list[Done]:
        return [self.shell.here(*words) for words in ASKED]

    def put(self, data: bytes) -> None:
        self.place.with_name(f"{self.place.name}-journal").unlink(missing_ok=True)
        self.place.write_bytes(data)

    def execute(self, sql: str) -> int:
        with closing(sqlite3.connect(self.place)) as db:
            count = db.execute(sql).rowcount
            db.commit()
            return count


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    shell = Shell(tmp_path_factory.mktemp("damaged"))
    recorded(shell.store, 300)
    record(shell.store, (audit, [1, 2]), (failing,))
    assert shell.here("rebuild").code == 0
    made = Damaged(shell, models_path(shell.store).read_bytes(), [])
    made.answers.extend(made.ask())
    assert [done.code for done in made.answers] == [0, 0, 0, 1, 0]  # nobody is asked for anything
    assert made.ask() == made.answers
    return made


TABLES = ("projection", "state", "parked", "trail", "snapshot", "list_search", "list_search_part",
          "list_trust_graph", FULL_TEXT, f"{FULL_TEXT}_data")  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_missing_is_made_again(home: Damaged, table: str) -> None:
    home.put(home.sound)
    home.execute(f"drop table {table}")

    assert home.ask() == home.answers


@pytest.mark.parametrize(
    "sql",
    [
        "update state set body = x'80'",
        "update state set body = x'81'",
        "update state set body = substr(body, 1, length(body) / 2)",
        "update state set body = cast(replace(cast(body as text), 'audit', 'eudit') as blob)",
        "update state set since = -since, label = 'other'",
        "update state set key = key || 'x'",
        "update projection set position = position - 1",
        "update projection set events = 0, skipped = 7",
        "update projection set digest = zeroblob(32)",
        "update projection set sound = 9999",
        "update projection set version = version + 1",
        "delete from projection",
        "insert into parked values ('other', 1, 'run/a', 0, 3, 'e', 't', 0)",
        "insert into parked values ('runs', 1, 'run/a', 0, 3, 'boo', 't', 0)",
        "delete from state where rowid = (select min(rowid) from state where projection = 'runs')",
        "delete from list_trust_graph where n = (select max(n) from list_trust_graph)",
        "update list_trust_graph set body = cast(replace(cast(body as text), '@', '#') as blob)",
        "update list_trust_graph set action = 'nothing.at.all' where n > 5",
        "pragma user_version = 2",
        "pragma application_id = 7",
    ],
)
def test_what_is_damaged_in_it_is_made_again(home: Damaged, sql: str) -> None:
    home.put(home.sound)
    home.execute(sql)

    assert home.ask() == home.answers


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 40))])
def test_a_damaged_page_or_a_lost_end_changes_no_answer_and_no_exit_code(home: Damaged, seed: int) -> None:
    random, size = Random(seed), len(home.sound)
    for turn in range(6):
        data = bytearray(home.sound)
        at = random.randrange(size // 4096) * 4096
        match turn % 3:
            case 0:
                data[at : at + 4096] = bytes(4096)
            case 1:
                data[at : at + 4096] = random.randbytes(4096)
            case _:
                del data[random.randrange(size) :]
        home.put(bytes(data))

        assert home.ask() == home.answers, (turn, at)


@pytest.mark.parametrize("lost", [1, 100, 4_000])
def test_half_a_page_is_no_page_of_zeros(home: Damaged, lost: int) -> None:
    home.put(home.sound[:-lost])

    with closing(open_models(home.place)[0]) as db:
        assert db.execute("select count(*) from projection").fetchone() == (
            0,
        )  # thrown away, whatever it held
    assert home.ask() == home.answers


def test_it_is_made_anew_by_a_rebuild_whatever_it_was(home: Damaged) -> None:
    for damaged in (b"", b"no database at all, and rather long" * 9, home.sound[:9_000], bytes(9_000)):
        home.put(damaged)
        assert home.shell.here("rebuild", "--verify").code == 4
        assert home.shell.here("rebuild").code == 0
        assert home.shell.here("rebuild", "--verify").code == 0


def test_what_is_no_file_of_read_models_is_left_alone(home: Damaged) -> None:
    home.place.unlink()
    with closing(sqlite3.connect(home.place)) as db:
        db.execute("create table mine (a)")
        db.commit()
    for words in (ASKED[0], ("rebuild",)):
        done = home.shell(*words)
        assert (done.code, "Traceback" in done.err) == (3, False)
        assert "Move it away" in done.err + done.out
    assert home.execute("insert into mine values (1)") == 1
