"""`map_bounded` does many things at once, keeps their order, and lets no item fail the others."""

from __future__ import annotations

import pytest

from playhead.snippet.machine import Machine
from playhead.snippet.protocol import Err, Limits, Ok
from tests.snippet.host import checked, run


def test_results_are_in_the_order_of_the_items_whatever_finishes_first() -> None:
    ended = run(
        "r = map_bounded([30, 10, 20], lambda ms: slow(ms=ms)['ms'])\n"
        "return [x['value'] for x in r['results']]"
    )

    assert ended.value == [30, 10, 20]
    assert [op for op, _ in ended.outcomes] == [1, 2, 0]


def test_so_many_items_are_under_way_at_once_and_no_more() -> None:
    for concurrency, limit, expected in ((3, 16, 3), (0, 16, 1), (-5, 16, 1), (100, 4, 4), (None, 5, 5)):
        source = (
            f"return map_bounded(range(10), lambda i: slow(ms=1), concurrency={concurrency})['succeeded']"
        )
        step = Machine(checked(source), Limits(max_concurrent=limit)).start()

        assert len(step.calls) == expected


def test_the_next_item_begins_when_one_has_ended() -> None:
    machine = Machine(checked("map_bounded('a b c'.split(), lambda p: read_file(path=p), concurrency=2)"))
    first = machine.start()

    second = machine.resume(1, Ok("1"))

    assert [call.path for call in first.calls] == [(0,), (1,)]
    assert [(call.op, call.path) for call in second.calls] == [(2, (2,))]


def test_an_item_that_fails_is_told_and_the_others_go_on() -> None:
    source = (
        "def f(i):\n"
        "    if i == 1:\n"
        "        raise ValueError('one')\n"
        "    return fail(message='tool') if i == 2 else i\n"
        "return map_bounded([0, 1, 2], f)"
    )

    assert run(source).value == {
        "results": [
            {"ok": True, "value": 0},
            {"ok": False, "error": "ValueError: one"},
            {"ok": False, "error": "tool"},
        ],
        "succeeded": 1,
        "failed": 2,
    }


def test_maps_in_maps_have_a_path_through_all_of_them() -> None:
    ended = run(
        "return map_bounded([1, 2], lambda i: map_bounded([1, 2], "
        "lambda j: echo(value=i * j), concurrency=1), concurrency=1)['succeeded']"
    )

    assert ended.value == 2
    assert [call.path for call in ended.calls] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_tool_can_be_the_function_and_its_call_has_the_place_of_the_map() -> None:
    ended = run("x = 1\nreturn map_bounded(['a', 'b'], read_file)['succeeded']")

    assert ended.value == 2
    assert {(call.line, call.col) for call in ended.calls} == {(2, 8)}


def test_the_items_are_copied_before_the_first_begins() -> None:
    assert run(
        "x = [1, 2]\ndef f(i):\n    x.append(i)\n    return i\nreturn [map_bounded(x, f)['succeeded'], x]"
    ).value == [2, [1, 2, 1, 2]]


def test_nothing_to_do_gives_nothing() -> None:
    assert run("return map_bounded([], len)").value == {"results": [], "succeeded": 0, "failed": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("5, len", "map_bounded: first argument must be a list, got int"),
        ("'ab', len", "map_bounded: first argument must be a list, got str"),
        ("[1], 'len'", "map_bounded: second argument must be a function, got str"),
        ("[1], len, concurrency='x'", "map_bounded: concurrency is a whole number, not a str"),
        ("[1], len, wrong=1", "map_bounded() takes no wrong"),
        ("[1], len, items=[1]", "map_bounded() got items twice"),
        ("[1]", "map_bounded() needs function"),
    ],
)
def test_wrong_arguments_are_an_error_of_the_snippet(arguments: str, message: str) -> None:
    assert run(f"map_bounded({arguments})").error == f"TypeError: {message}"


def test_nesting_has_a_depth() -> None:
    ended = run(
        "def f(n):\n"
        "    r = map_bounded([n + 1], f)['results'][0]\n"
        "    return r['value'] if r['ok'] else r['error']\n"
        "return f(0)"
    )

    assert ended.value == "RecursionError: map_bounded is nested deeper than 8"


def test_a_limit_in_an_item_ends_everything() -> None:
    step = run(
        "def f(i):\n    while i:\n        pass\n    return slow(ms=1)\nreturn map_bounded([0, 0, 1], f)",
        Limits(max_steps=200),
    ).step

    assert step.status == "limit"


def test_an_error_of_the_whole_leaves_no_call_waiting() -> None:
    machine = Machine(checked("def f(i):\n    return slow(ms=i)\nmap_bounded([1, 2], f)\nreturn 1"))
    machine.start()
    machine.resume(0, Err("x", "y"))

    assert machine.resume(1, Ok("2")).status == "done"


def test_a_tool_in_a_sort_key_in_an_item_waits_for_its_own_answer() -> None:
    source = (
        "def f(i):\n"
        "    return sorted([3, 1, 2], key=lambda v: echo(value=v * i))\n"
        "return [x['value'] for x in map_bounded([1, -1], f)['results']]"
    )

    assert run(source).value == [[1, 2, 3], [3, 2, 1]]
