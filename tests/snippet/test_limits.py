"""A limit ends a snippet wherever it is, and nothing in the snippet sees it."""

from __future__ import annotations

import pytest

from playhead.snippet.protocol import Limits
from tests.snippet.host import run


@pytest.mark.parametrize(
    ("source", "limits", "name"),
    [
        ("while True:\n    pass", Limits(max_steps=100), "max_steps"),
        ("x = []\nwhile True:\n    x.append(1)", Limits(max_cells=100), "max_cells"),
        ("x = 'a'\nwhile True:\n    x += x", Limits(), "max_text"),
        ("def f():\n    return f()\nf()", Limits(), "max_depth"),
        ("print('x' * 100)", Limits(max_output_bytes=50), "max_output_bytes"),
        ("return 'x' * 100", Limits(max_output_bytes=50), "max_output_bytes"),
        ("print('x' * 30)\nreturn 'y' * 30", Limits(max_output_bytes=50), "max_output_bytes"),
        ("json_stringify(['x' * 999999] * 2)", Limits(), "max_text"),
        ("hash_value(['x' * 999999] * 2)", Limits(), "max_text"),
        ("p = 'a' * 99999 + '/b'\nreturn len([dirname(p) for i in range(999)])", Limits(), "max_cells"),
        ("x = (str,) * 99999\nfor i in range(99):\n    isinstance(1, x)", Limits(), "max_steps"),
        ("x = (str,)\nfor i in range(99):\n    x = (x, x)\nisinstance(1, x)", Limits(), "max_steps"),
        (
            "e = ''\nfor i in range(99999):\n    e = ValueError(e)\n[str(e) for i in range(99)]",
            Limits(),
            "max_steps",
        ),
    ],
)
def test_each_limit_has_a_name(source: str, limits: Limits, name: str) -> None:
    step = run(source, limits).step

    assert step.status == "limit"
    assert step.error is not None
    assert step.error.type == name


def test_a_limit_is_not_caught_and_finally_is_not_run() -> None:
    source = (
        "try:\n    while True:\n        pass\nexcept:\n    print('except')\nfinally:\n    print('finally')\n"
    )

    step = run(source, Limits(max_steps=100)).step

    assert (step.status, step.stdout) == ("limit", "")


def test_a_limit_says_where_it_was_reached() -> None:
    error = run("x = 1\nwhile True:\n    x = 'a' * 2000000").step.error

    assert error is not None
    assert error.line == 3


def test_a_limit_between_the_items_of_map_bounded_is_told_where_that_is_called() -> None:
    source = "def f(x):\n    r = map_bounded([x, x], f)\n    return r\nreturn f(1)"

    for most in range(20, 300):
        error = run(source, Limits(max_steps=most)).step.error
        assert error is not None
        assert error.type == "max_steps"
        assert error.line in (2, 4)


def test_what_was_printed_before_a_limit_is_kept() -> None:
    step = run("print('one')\nwhile True:\n    pass", Limits(max_steps=50)).step

    assert step.stdout == "one\n"


def test_output_is_counted_in_bytes_to_the_last_one() -> None:
    exact = run("print('äb')\nreturn 'ö'", Limits(max_output_bytes=4 + 4)).step

    assert exact.status == "done"
    assert run("print('äb')\nreturn 'ö'", Limits(max_output_bytes=7)).step.status == "limit"


def test_the_input_of_a_call_has_a_limit_that_is_an_error_of_the_snippet() -> None:
    source = "try:\n    echo(value='x' * 100)\nexcept ValueError:\n    return 'told'"

    ended = run(source, Limits(max_input_bytes=50))

    assert (ended.value, ended.calls) == ("told", [])


def test_running_out_inside_a_call_that_would_be_caught_ends_it_all_the_same() -> None:
    source = (
        "def f(n):\n"
        "    try:\n"
        "        return f(n + 1)\n"
        "    except RecursionError:\n"
        "        return n\n"
        "return f(0)"
    )

    assert run(source).step.status == "limit"


def test_steps_are_used_up_to_their_number_and_not_beyond() -> None:
    used = run("t = 0\nfor i in range(10):\n    t += i\nreturn t").step.steps

    assert (
        run("t = 0\nfor i in range(10):\n    t += i\nreturn t", Limits(max_steps=used)).step.status == "done"
    )
    short = run("t = 0\nfor i in range(10):\n    t += i\nreturn t", Limits(max_steps=used - 1)).step
    assert (short.status, short.steps) == ("limit", used - 1)


@pytest.mark.parametrize(
    "call",
    ["f(n - 1)", "[f(n - 1) for q in [1]][0]", "sorted([1], key=lambda q: f(n - 1))[0]", "f(*[n - 1])"],
)
@pytest.mark.parametrize("nested", [0, 3, 6, 9])
def test_depth_ends_by_a_limit_long_before_the_stack_does(call: str, nested: int) -> None:
    for _ in range(nested):
        call = f"(0 if n < 0 else [{call}][0])"
    body = (
        f"    try:\n        if n:\n            return {call}\n        return 0\n    finally:\n        pass\n"
    )
    source = f"def f(n):\n{body}return f(1000)"

    step = run(source).step

    assert step.error is not None
    assert step.error.type == "max_depth"
