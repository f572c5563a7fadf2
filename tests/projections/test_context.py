"""What a model call was shown is what the client got, and what differs is every place that does."""

import asyncio
import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from playhead import Budget, Engine, Reply, Request, Usage, model_call, persona, step
from playhead.errors import NotFound
from playhead.events import catalog as facts
from playhead.log.reader import LogReader
from playhead_projections.context import Difference, calls, differences, same, shown_at
from tests.cli.shell import Shell
from tests.projections.everything import Desk
from tests.projections.recorded import started, write


class Listening:
    """A client that remembers what it was handed."""

    name = "listening"

    def __init__(self) -> None:
        self.heard: list[Any] = []

    async def complete(self, request: Any) -> Reply:
        self.heard.append(msgspec.to_builtins(request))
        return Reply(text="yes", usage=Usage(input_tokens=5, output_tokens=7), cost_micros=9)


@step(budget=Budget(max_tokens=5_000))
async def bounded(prompt: str) -> str:
    return (await model_call(Request(prompt=prompt, max_output_tokens=100_000))).text


@persona
async def talks() -> None:
    messages = [{"role": "user", "content": "häl\nlo"}, {"role": "tool", "content": [{"type": "text"}]}]
    await model_call(
        Request(prompt="first", system="be", messages=messages, tools=[{"name": "t"}], temperature=0.5)
    )
    await bounded("second")
    await model_call(Request())


def recorded(path: Path) -> tuple[str, Listening]:
    client = Listening()

    async def go() -> str:
        async with Engine.open(path, personas=[talks], model=client) as engine:
            run = await engine.start(talks)
            await run.result()
            return run.id

    return asyncio.run(go()), client


def test_every_call_is_listed_with_exactly_what_its_client_was_handed(tmp_path: Path) -> None:
    run, client = recorded(tmp_path / "runs.db")

    with LogReader(tmp_path / "runs.db") as log:
        found = calls(log, run)

    assert [call.parts for call in found] == client.heard
    assert [call.step for call in found] == [None, "bounded", None]
    assert [call.status for call in found] == ["completed"] * 3
    assert [call.usage.output_tokens for call in found] == [7] * 3


def test_what_a_budget_left_is_what_is_shown(tmp_path: Path) -> None:
    run, client = recorded(tmp_path / "runs.db")

    with LogReader(tmp_path / "runs.db") as log:
        call = calls(log, run)[1]

    assert call.parts is not None
    assert call.reserved_tokens == 5_000
    assert call.parts["max_output_tokens"] == client.heard[1]["max_output_tokens"] < 5_000


def test_any_event_of_a_call_names_it_and_no_other_does(desk: Desk) -> None:
    with LogReader(desk.path) as log:
        events = list(log.scan(f"run/{desk.run}"))
        ops = {event.op: event.seq for event in events if event.type == "model.called"}
        for event in events:
            if event.op in ops:
                assert shown_at(log, desk.run, event.seq).seq == ops[event.op]
            else:
                with pytest.raises(NotFound):
                    shown_at(log, desk.run, event.seq)
        with pytest.raises(NotFound):
            shown_at(log, desk.run, len(events))


def test_a_redacted_secret_is_named_and_its_digest_is_not_taken_for_it(desk: Desk) -> None:
    with LogReader(desk.path) as log:
        call = calls(log, desk.run)[0]

    assert call.redacted == ["/options/api_key"]
    assert call.parts is not None
    assert "open sesame" not in str(call.parts)


def test_a_list_that_ends_early_knows_nothing_of_later_answers(desk: Desk) -> None:
    with LogReader(desk.path) as log:
        (one, two) = calls(log, desk.run)
        assert [call.seq for call in calls(log, desk.run, two.seq)] == [two.seq]
        (early,) = calls(log, desk.run, 0, one.seq)

    assert (early.status, early.ended_seq, early.cost_micros) == ("open", None, None)


def test_a_request_that_is_no_mapping_or_that_is_gone_is_told_as_far_as_it_is_known(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    odd = facts.ModelCalled(client="c", model=None, request=Raw(msgspec.msgpack.encode("just a text")))
    write(path, "r", started(), ("0/c#0", odd), ("0/c#0", facts.OperationCancelled()))

    with LogReader(path) as log:
        (call,) = calls(log, "r")

    assert (call.parts, call.status, call.step) == ({"request": "just a text"}, "cancelled", None)


# Differences.

plain = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b/c", "~"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b/c", "~", ""]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(plain)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    assert differences(value, copy.deepcopy(value)) == []


@given(plain, plain)
def test_two_values_differ_somewhere_or_are_the_same(was: Any, now: Any) -> None:
    found = differences(was, now)

    assert bool(found) is not same(was, now)
    assert all(each.change != "changed" or not same(each.was, each.now) for each in found)


@given(plain, plain)
def test_what_is_added_one_way_is_removed_the_other(was: Any, now: Any) -> None:
    there, back = differences(was, now), differences(now, was)

    assert sum(each.change == "added" for each in there) == sum(each.change == "removed" for each in back)


def test_a_message_that_was_put_in_moves_the_others_and_changes_none() -> None:
    was = [{"role": "user", "content": str(n)} for n in range(50)]
    now = [*was[:20], {"role": "system", "content": "new"}, *was[20:]]

    assert differences({"messages": was}, {"messages": now}) == [
        Difference("/messages/20", "added", None, now[20])
    ]


def test_a_message_that_was_edited_differs_in_the_field_that_was() -> None:
    was = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    now = [{"role": "user", "content": "one"}, {"role": "user", "content": "three"}]

    assert differences(was, now) == [Difference("/1/content", "changed", "two", "three")]


def test_what_was_edited_behind_what_was_put_in_is_compared_with_what_it_was() -> None:
    assert differences(["a", "b"], ["new", "a", "c"]) == [
        Difference("/0", "added", None, "new"),
        Difference("/1", "changed", "b", "c"),
    ]


def test_a_message_that_stands_twice_is_one_more_than_one_that_stands_once() -> None:
    assert differences([1, 1], [1]) == [Difference("/1", "removed", 1, None)]
    assert differences([1], [1, 1]) == [Difference("/1", "added", None, 1)]


def test_long_lists_of_nothing_alike_are_compared_in_time_that_grows_with_them() -> None:
    was, now = list(range(20_000)), [n + 0.5 for n in range(20_000)]

    assert len(differences(was, now)) == 20_000


SAME = "word " * 60
TEXTS: tuple[tuple[str, str, list[str]], ...] = (
    ("a\nb", "a\nb\n", ["@@ -1,2 +1,3 @@", " a", " b", "+"]),
    ("a\nb", "a\r\nb", ["@@ -1,2 +1,2 @@", "-a", "+a\\r", " b"]),
    ("a\nb", "a\nb\t", ["@@ -1,2 +1,2 @@", " a", "-b", "+b\\t"]),
    ("a\nb", "a\x0bb", ["@@ -1,2 +1 @@", "-a", "-b", "+a\\x0bb"]),
    (
        f"a\n{SAME}old",
        f"a\n{SAME}new",
        ["@@ -1,2 +1,2 @@", " a", f"-…{'word ' * 8}old", f"+…{'word ' * 8}new"],
    ),
    (f"{SAME}old", f"{SAME}new", [f'…{"word " * 8}old" -> …{"word " * 8}new"']),
    ("old", f"new {SAME}", [f'"old" -> "new {SAME[:195]}…']),
)


@pytest.mark.parametrize(("was", "now", "lines"), TEXTS)
def test_where_two_texts_part_can_be_seen_however_long_they_are(
    tmp_path: Path, was: str, now: str, lines: list[str]
) -> None:
    shell = Shell(tmp_path)
    calls = [
        (
            f"0/m#{n}",
            facts.ModelCalled(
                client="m", model=None, request=Raw(msgspec.msgpack.encode({"prompt": prompt}))
            ),
        )
        for n, prompt in enumerate((was, now))
    ]
    write(shell.store, "4wq2mzkq7xha", started(), *calls)

    done = shell.here("context", "@1", "--diff", "@2")

    told = done.out.partition("~ /prompt")[2].removeprefix("\n").splitlines()
    assert [line.removeprefix("    " if len(lines) > 1 else "  ") for line in told] == lines
