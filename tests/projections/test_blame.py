"""Where a value comes from: the first and the newest event that held the very same, and no more than that."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from playhead.errors import BadValue, NotFound
from playhead.events import approval as approvals
from playhead.events import catalog as facts
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact, Failure
from playhead.log.envelope import NewEvent
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.runtime.redacting import redact
from playhead_projections.blame import PARTS_MAX, Origin, blame, body_of, is_common
from tests.projections.everything import Desk
from tests.projections.recorded import erase, started, write


def raw(value: Any) -> Raw:
    return Raw(msgspec.msgpack.encode(value))


def call(op: str, **args: Any) -> tuple[str, facts.ToolRequested]:
    return op, facts.ToolRequested(tool="t", args=raw(args), effect="read_only")


def answer(op: str, value: Any) -> tuple[str, facts.ToolCompleted]:
    return op, facts.ToolCompleted(result=raw(value))


def of(path: Path, seq: int, pointer: str | None = None, run: str = "r") -> Origin:
    with LogReader(path) as log:
        return blame(log, run, seq, pointer)


def places(origin: Origin) -> tuple[int | None, int | None, int]:
    """Where it first came from, where last, and how often."""
    first, last = origin.first, origin.last
    return first.seq if first else None, last.seq if last else None, origin.times


def test_a_value_comes_from_the_first_event_that_brought_it_and_last_from_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write(path, "r", started(), call("a#0"), answer("a#0", {"deep": [1, "the word"]}), call("a#1"))
    write(path, "r", answer("a#1", "the word"), call("a#2", said="the word"))

    origin = of(path, 5, "/args/said")

    assert places(origin) == (2, 4, 2)
    assert origin.first is not None
    assert (origin.first.path, origin.first.outside, origin.first.how) == ("/result/deep/1", True, "equal")
    assert origin.made is None


def test_what_nothing_outside_had_was_said_first_by_the_program(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write(path, "r", started(), call("a#0", said="my own"), answer("a#0", None), call("a#1", said="my own"))

    origin = of(path, 3, "/args/said")

    assert (origin.first, origin.made and origin.made.seq) == (None, 1)


def test_what_is_nowhere_is_nowhere(tmp_path: Path) -> None:
    write(tmp_path / "runs.db", "r", started(), call("a#0", said="my own"))

    origin = of(tmp_path / "runs.db", 1, "/args/said")

    assert (origin.first, origin.last, origin.made, origin.texts, origin.parts) == (None, None, None, (), ())


def test_a_whole_that_is_nowhere_is_taken_apart(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write(path, "r", started(), call("a#0"), answer("a#0", ["first word", {"in": 12345}]))
    write(path, "r", call("a#1", one="first word", two={"in": 12345}, three="unheard of"))

    origin = of(path, 3)

    assert origin.path == "/args"
    found = {part.path: places(part)[0] for part in origin.parts}
    assert found == {"/args/one": 2, "/args/two": 2, "/args/three": None}
    whole = next(part for part in origin.parts if part.path == "/args/two")
    assert whole.parts == ()


def test_a_text_that_was_put_together_names_the_texts_in_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write(path, "r", started(), call("a#0"), answer("a#0", "page one speaks"), call("a#1"))
    write(path, "r", answer("a#1", ["page two", "page two is silent", "short"]), call("a#2"))
    write(path, "r", call("b#0", prompt="page one speaks\nand page two is silent, short"))
    write(path, "r", answer("b#0", "x"), call("c#0", part="one speaks"))

    holds = of(path, 6, "/args/prompt").texts
    (inside,) = of(path, 8, "/args/part").texts

    # `page two` lies in `page two is silent`, and `short` is too short to say anything.
    assert [(text.seq, text.path, text.how) for text in holds] == [
        (2, "/result", "holds"),
        (4, "/result/1", "holds"),
    ]
    assert (inside.seq, inside.how) == (2, "inside")


def test_the_same_call_proposed_before_is_no_origin(desk: Desk) -> None:
    with LogReader(desk.path) as log:
        seqs = {event.type: event.seq for event in log.scan(f"run/{desk.run}")}
        origin = blame(log, desk.run, seqs["tool.requested"], "/args/text")

    assert origin.made is None
    assert {text.type for text in origin.texts} == {"child.completed", "value.recorded"}


@pytest.mark.parametrize("ends", ["tool", "step"])
def test_what_a_call_was_handed_is_where_the_same_that_comes_of_it_was_said_before(
    tmp_path: Path, ends: str
) -> None:
    path = tmp_path / "runs.db"
    word = "made by the program"
    begun: dict[str, tuple[str, Fact]] = {
        "tool": call("0/t#0", x=word),
        "step": ("0/t#0", facts.StepStarted(step="t", function="m:t", args=raw({"x": word}))),
    }
    ended: dict[str, tuple[str, Fact]] = {
        "tool": answer("0/t#0", word),
        "step": ("0/t#0", facts.StepCompleted(step="t", result=raw(word))),
    }
    write(path, "r", started(), begun[ends], ended[ends])

    origin = of(path, 2)

    assert origin.made is not None
    assert (origin.made.seq, origin.made.path, origin.here) == (1, "/args/x", ends == "tool")


def test_what_came_in_says_so(tmp_path: Path) -> None:
    write(tmp_path / "runs.db", "r", started(), call("a#0"), answer("a#0", "a word"))

    assert of(tmp_path / "runs.db", 2).here
    assert of(tmp_path / "runs.db", 0, "/args").here
    assert not of(tmp_path / "runs.db", 1, "/args").here


def test_the_message_of_an_error_is_a_value_that_came_in(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    failed = facts.ToolFailed(failure=Failure(type="E", message="no such page"))
    write(path, "r", started(), call("a#0"), ("a#0", failed), call("a#1", why="no such page"))

    origin = of(path, 3, "/args/why")

    assert origin.first is not None
    assert (origin.first.seq, origin.first.path) == (2, "/failure/message")


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [(1, 1.0), (1, True), (0, False), (0.0, -0.0), ("1", 1), ([], {}), ([1], [1.0]), ({"a": 1}, {"a": True})],
)
def test_values_of_two_kinds_are_two(tmp_path: Path, mine: Any, theirs: Any) -> None:
    path = tmp_path / "runs.db"
    write(path, "r", started(), call("a#0"), answer("a#0", theirs), call("b#0", x=mine), answer("b#0", mine))
    write(path, "r", call("c#0", x=mine))

    assert places(of(path, 3, "/args/x"))[0] is None
    assert places(of(path, 5, "/args/x"))[0] == 4


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.text(max_size=5)
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=30 if settings.get_current_profile_name() == "steady" else 300)
@given(plain, plain)
def test_whatever_comes_back_unchanged_is_found(
    tmp_path_factory: pytest.TempPathFactory, value: Any, other: Any
) -> None:
    path = tmp_path_factory.mktemp("blame") / "runs.db"
    write(
        path,
        "r",
        started(),
        call("a#0"),
        answer("a#0", {"other": other, "it": [value]}),
        call("b#0", x=value),
    )

    origin = of(path, 3, "/args/x")

    assert origin.last is not None
    assert origin.last.seq == 2
    with LogReader(path) as log:
        held: Any = body_of(log.read("run/r", 2, 1)[0])
    for part in origin.last.path.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        held = held[int(name)] if isinstance(held, list) else held[name]
    assert msgspec.msgpack.encode(held, order="deterministic") == msgspec.msgpack.encode(
        value, order="deterministic"
    )


@pytest.mark.parametrize(
    ("value", "common"),
    [
        (None, True),
        (True, True),
        (7, True),
        (1.5, True),
        ("ab", True),
        ([], True),
        ({}, True),
        ("abc", False),
    ],
)
def test_what_is_equal_to_many_by_chance_is_marked(value: Any, *, common: bool) -> None:
    assert is_common(value) is common
    assert not is_common(12345)
    assert not is_common([0])


def test_a_huge_value_is_looked_through_as_far_as_it_says(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    many = [f"word number {n}" for n in range(PARTS_MAX + 50)]
    write(path, "r", started(), call("a#0"), answer("a#0", many[:3]), call("b#0", x=many))

    origin = of(path, 3)

    assert origin.left_out == 52  # of args, x and its members, as many as PARTS_MAX were looked for
    assert places(origin.parts[0].parts[0])[0] == 2


def test_a_place_that_is_not_there_and_one_that_is_no_place_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write(path, "r", started(), call("a#0", said="x"), ("", facts.RunClaimed(worker="w", pid=1, host="h")))

    with pytest.raises(NotFound):
        of(path, 1, "/args/nothing")
    with pytest.raises(BadValue):
        of(path, 1, "args")
    with pytest.raises(NotFound):
        of(path, 2)
    with pytest.raises(NotFound):
        of(path, 99)


def test_events_that_nobody_can_read_or_that_are_newer_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write(path, "r", started(), NewEvent("tool.completed", 1, 1, "a#0", None, b"\xc1"))
    write(
        path,
        "r",
        NewEvent("tool.dreamt", 1, 1, "a#0", None, b"\x81\xa1a\xa8the word"),
        call("b#0", x="the word"),
    )

    assert places(of(path, 3, "/args/x")) == (None, None, 0)
    assert of(path, 2, "/a").value == "the word"
    with pytest.raises(NotFound):
        of(path, 1)


def test_every_value_of_a_run_with_everything_can_be_asked_for(desk: Desk) -> None:
    with LogReader(desk.path) as log:
        for event in list(log.scan(f"run/{desk.run}")):
            fact: Any = CATALOG.decode(event)
            for name in fact.__struct_fields__:
                origin = blame(log, desk.run, event.seq, f"/{name}")
                for source in (origin.first, origin.last, origin.made, *origin.texts):
                    assert source is None or source.seq < event.seq


# Names, people, and what was erased.


def test_what_a_member_is_called_is_looked_for_like_a_value(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write(path, "r", started(), call("a#0"), answer("a#0", ["attrs", "idna"]))
    write(path, "r", call("b#0", found={"attrs": "fine by me", "zope": "not heard of"}))

    (found,) = of(path, 3).parts

    (called,) = [part for part in found.parts if part.name]
    assert (called.path, called.value, places(called)) == ("/args/found/attrs", "attrs", (2, 2, 1))


def test_a_text_that_only_names_members_had_before_is_not_made_by_the_program(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write(path, "r", started(), call("a#0"), answer("a#0", {"attrs": {"of": "x"}}), call("b#0", x="attrs"))

    origin = of(path, 3, "/args/x")

    assert (origin.first, [(each.seq, each.path, each.how) for each in origin.texts]) == (
        None,
        [(2, "/result/attrs", "name")],
    )


def test_who_brought_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    said = approvals.ApprovalAnswered(
        request="q",
        word="approve",
        reviewer="ada",
        value=raw({"copies": 2500}),
        message=0,
        said_at=1,
        reason="that is too many",
    )
    write(path, "r", started(), ("", said), call("a#0", copies=2500, by="ada", why="that is too many"))

    copies, by, why = (of(path, 2, f"/args/{name}").first for name in ("copies", "by", "why"))

    assert copies is not None
    assert (copies.seq, copies.path, copies.by) == (1, "/value/copies", "ada")
    assert (by and by.path, why and why.path) == ("/reviewer", "/reason")


def test_what_was_erased_may_have_brought_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write(path, "r", started(), call("a#0"), answer("a#0", "the word"), call("a#1"))
    write(
        path,
        "r",
        answer("a#1", "the word"),
        call("a#2"),
        answer("a#2", "the word"),
        call("b#0", x="the word"),
    )

    def gaps() -> tuple[tuple[int | None, int | None, int], list[int]]:
        origin = of(path, 7, "/args/x")
        return places(origin), [gap.seq for gap in origin.gaps]

    erase(path, "r", 4)
    between = gaps()
    erase(path, "r", 6)
    after = gaps()
    erase(path, "r", 2)
    everything = gaps()

    assert between == ((2, 6, 2), [])
    assert after == ((2, 2, 1), [4, 6])
    assert everything == ((None, None, 0), [2, 4, 6])


def test_what_is_erased_itself_comes_from_nowhere_that_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    write(path, "r", started(), call("a#0"), answer("a#0", "playhead:erased"), call("b#0", x="a secret"))
    asyncio.run(_redacted(path, 3, "/args/x"))

    origin = of(path, 3, "/args/x")

    assert (origin.gone, origin.first) == (True, None)


async def _redacted(path: Path, seq: int, part: str) -> None:
    async with SqliteStore.open(path) as store:
        await redact(store, CATALOG, "run/r", seq, part, reason="asked to")
