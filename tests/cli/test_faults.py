"""Every error of the tree has an exit code of the closed list, and says itself in one way."""

import inspect
import json
import sqlite3

import click
import pytest

from playhead import errors
from playhead_projections.cli.faults import exit_code_of, guarded
from playhead_projections.cli.output import age, count, cut, money, span, table
from tests.cli.shell import Shell
from tests.projections.recorded import started, unknown, write

CODES = {
    1: "RunFailed RunCancelled RunParked ToolFailed ToolTimedOut ModelFailed ChildFailed TimedOut OutsideRun",
    2: "PersonaMissing KeyReuse BadValue",
    3: "NotFound NotAStore",
    4: "Corrupt BadEvent LiveFileOpened",
    5: "Diverged",
    6: "Busy Held NewerFormat Conflict Fenced IdReuse OutcomeUnknown StorageFull ReadOnly UnsafeFilesystem",
    8: "ImportRefused",
}
KNOWN = {name: code for code, names in CODES.items() for name in names.split()}


@pytest.mark.parametrize(("name", "code"), KNOWN.items())
def test_an_error_has_its_exit_code(name: str, code: int) -> None:
    kind = getattr(errors, name)

    assert exit_code_of(kind.__new__(kind)) == code


def test_no_error_of_the_tree_counts_as_internal() -> None:
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]

    internal = [kind.__name__ for kind in kinds if exit_code_of(kind.__new__(kind)) == 70]

    assert internal == ["PlayheadError"]


def failing_with(error: BaseException) -> click.Command:
    def fail() -> None:
        raise error

    return click.Command(
        "fail", callback=fail, params=[click.Option(["--json"], is_flag=True, expose_value=False)]
    )


def test_an_error_says_what_was_expected_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    code = guarded(
        failing_with(errors.BadValue("a sentence.", expected=1, found=[2, 3], next_step="Do that.")), []
    )

    assert code == 2
    assert capsys.readouterr().err == "value.bad: a sentence.\n  expected  1\n  found     2, 3\nDo that.\n"


def test_an_internal_error_says_so_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(failing_with(KeyError("x")), ["--json"]) == 70
    told = json.loads(capsys.readouterr().out)

    assert (told["code"], told["exit"]) == ("internal", 70)
    assert guarded(failing_with(KeyboardInterrupt()), []) == 130


def test_a_list_that_stopped_says_so_and_the_doctor_too(shell: Shell) -> None:
    write(shell.store, "aaaaaaaaaaaa", started(), unknown("run.completed"))

    listed = shell("runs")

    assert listed.code == 0
    assert "the list of runs stops at run/aaaaaaaaaaaa@1, position 2" in listed.err
    assert "aaaaaaaaaaaa" in listed.out
    assert shell("rebuild").code == 1
    assert (
        "no   are the read models up to date: they stop at run/aaaaaaaaaaaa@1: BadEvent"
        in shell("doctor").out
    )


def test_a_damaged_page_is_integrity_and_not_a_crash(shell: Shell) -> None:
    write(shell.store, "aaaaaaaaaaaa", started())
    db = sqlite3.connect(shell.store)
    db.execute("drop table payloads")
    db.close()

    assert shell("verify").code == 4
    assert shell("doctor").code == 4
    assert shell("show").code in {4, 6}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (span(None), "?"),
        (span(0), "0 ms"),
        (span(812_400_000), "812 ms"),
        (span(4_210_000_000), "4.2 s"),
        (span(423_000_000_000), "7 m 3 s"),
        (age(240_000_000_000), "4 m"),
        (age(-1), "now"),
        (money(None), "?"),
        (money(10_100), "$0.0101"),
        (money(1_210, 2), "$0.001210+?"),
        (count(1204, "token"), "1,204 tokens"),
        (count(None), "?"),
        (cut("a\nb\x1b[31m", 80), "a b\N{REPLACEMENT CHARACTER}[31m"),
        (cut("abcdef", 4), "abc…"),
    ],
)
def test_numbers_are_said_as_people_read_them(found: str, expected: str) -> None:
    assert found == expected


def test_columns_are_aligned_by_what_is_seen() -> None:
    assert table([["\x1b[31mab\x1b[0m", "1"], ["a", "22"]], right=(1,)) == ["\x1b[31mab\x1b[0m   1", "a   22"]
