"""Errors of a snippet are typed, told where they happened, and short; they carry nothing of the host."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.snippet.machine import ENGINE_ERROR, Machine
from playhead.snippet.meter import Meter
from playhead.snippet.protocol import Err, Ok
from tests.snippet.host import checked, run


def test_an_error_says_where_it_was_raised_and_through_which_calls() -> None:
    source = "def f(x):\n    return g(x)\ndef g(x):\n    y = 1\n    return x[5]\nr = f([1])\n"

    error = run(source).step.error

    assert error is not None
    assert (error.type, error.line, error.col) == ("IndexError", 5, 5)
    assert error.trace == (("f", 6), ("g", 2))


def test_a_call_is_told_more_exactly_than_its_statement() -> None:
    error = run("x = [1,\n     int('a')]").step.error

    assert error is not None
    assert (error.line, error.col) == (2, 6)


def test_a_function_called_by_a_helper_is_told_with_the_line_of_the_helper() -> None:
    error = run("x = 1\nreturn sorted([1], key=lambda q: q['a'])").step.error

    assert error is not None
    assert error.trace == (("<lambda>", 2),)


def test_a_result_that_json_cannot_hold_is_told_at_its_return() -> None:
    error = run("x = 1\nreturn {1: 2}").step.error

    assert error is not None
    assert (error.type, error.line) == ("TypeError", 2)


def test_a_failed_tool_raises_what_it_said_and_no_word_of_it_is_interpreted() -> None:
    source = (
        "try:\n"
        "    fail(message='approval denied: max_operations timeout')\n"
        "except ToolError as e:\n"
        "    return str(e)"
    )

    assert run(source).value == "approval denied: max_operations timeout"


@pytest.mark.parametrize(
    ("source", "caught"),
    [
        ("1 // 0", "ZeroDivisionError"),
        ("2 ** 63", "OverflowError"),
        ("[][0]", "IndexError"),
        ("{}['a']", "KeyError"),
        ("'a' + 1", "TypeError"),
        ("int('a')", "ValueError"),
        ("''.expandtabs(-4294967296)", "OverflowError"),
        ("''.expandtabs(2147483648)", "OverflowError"),
        ("(1).upper()", "AttributeError"),
        ("x = f\nf = 1", "NameError"),
        ("assert False", "AssertionError"),
        ("raise RuntimeError", "RuntimeError"),
    ],
)
def test_an_error_has_the_type_that_it_has_in_python(source: str, caught: str) -> None:
    body = source.replace("\n", "\n    ")

    assert run(f"try:\n    {body}\nexcept {caught}:\n    return 'caught'").value == "caught"


def test_a_message_is_cut_and_half_characters_are_replaced() -> None:
    error = run("raise ValueError('\\ud800' + 'x' * 5000)").step.error

    assert error is not None
    assert len(error.message.encode()) <= 2_048
    assert error.message.startswith("?")


def test_what_a_tool_gave_that_is_no_value_is_an_error_of_the_tool() -> None:
    for text in ("nonsense", "[" * 100 + "]" * 100, str(2**70), "NaN"):
        machine = Machine(checked("try:\n    echo(value=1)\nexcept ToolError as e:\n    return str(e)"))
        machine.start()

        step = machine.resume(0, Ok(text))

        assert step.status == "done"
        assert "cannot hold" in str(step.result_json)


def test_a_fault_of_the_machine_is_neither_a_limit_nor_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Meter, elements: int) -> None:
        raise RecursionError("a secret of the host")

    monkeypatch.setattr(Meter, "grow", broken)

    step = Machine(checked("try:\n    x = [1, 2]\nexcept Exception:\n    pass\nfinally:\n    x = 1")).start()

    assert step.status == "failed"
    assert step.error is not None
    assert step.error.type == ENGINE_ERROR
    assert "secret" not in step.error.message


def test_the_machine_takes_each_outcome_once_and_only_while_it_runs() -> None:
    machine = Machine(checked("echo(value=1)\nreturn 2"))
    machine.start()

    with pytest.raises(ValueError, match="started"):
        machine.start()
    with pytest.raises(ValueError, match="not waited for"):
        machine.resume(5, Ok("1"))
    assert machine.resume(0, Err("x", "y")).status == "failed"
    with pytest.raises(ValueError, match="not waited for"):
        machine.resume(0, Ok("1"))


@pytest.mark.parametrize("op", [True, 1.0, [1], {}, None, "1"])
def test_the_number_of_a_call_is_a_whole_number(op: Any) -> None:
    machine = Machine(checked("map_bounded([1, 2], lambda x: echo(value=x))"))
    machine.start()

    with pytest.raises(ValueError, match="not waited for"):
        machine.resume(op, Ok("1"))
    assert machine.resume(1, Ok("1")).status == "waiting"


@pytest.mark.parametrize("outcome", [None, "1", ("1",), Ok, Ok(None), Ok(b"1"), Err(None, "m"), Err("c", 5)])  # type: ignore[arg-type]
def test_an_outcome_that_is_none_is_refused_and_the_call_still_waited_for(outcome: Any) -> None:
    machine = Machine(checked("return echo(value=1)"))
    machine.start()

    with pytest.raises(ValueError, match="Ok or Err"):
        machine.resume(0, outcome)
    assert machine.resume(0, Ok("5")).result_json == "5"


def test_a_machine_that_is_closed_does_not_start() -> None:
    machine = Machine(checked("print(1)"))
    machine.close()

    with pytest.raises(ValueError, match="closed"):
        machine.start()


@pytest.mark.parametrize("end", ["return str(e)", "print(e)\nreturn 'x'", "raise e"])
def test_an_error_in_an_error_in_an_error_says_what_the_innermost_says(end: str) -> None:
    step = run(f"e = ValueError('x')\nfor i in range(20000):\n    e = ValueError(e)\n{end}").step

    assert "x" in (step.result_json or (step.error and step.error.message) or "")


def test_what_cannot_be_said_of_an_error_is_a_limit_where_it_was_raised() -> None:
    error = run("x = []\nx.append(x)\nraise ValueError(x)").step.error

    assert error is not None
    assert (error.type, error.line) == ("max_depth", 3)


def test_a_machine_that_is_closed_leaves_nothing_behind() -> None:
    machine = Machine(
        checked("try:\n    map_bounded([1, 2, 3], lambda x: echo(value=x))\nfinally:\n    print(1)")
    )
    machine.start()

    machine.close()

    with pytest.raises(ValueError, match="not waited for"):
        machine.resume(0, Ok("1"))
    assert machine.stdout == []
