"""Two runs side by side: what is the same says nothing, and what differs is told by its place and path."""

import re
import time
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from playhead import Engine
from playhead.events.codec import CATALOG
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead.replay.diff import ABSENT, VOLATILE, Comparison, compare, told
from playhead.replay.edits import Edits
from tests.long_run import recorded as long_run
from tests.replay.forked import events, play, recorded
from tests.replay.programs import PROGRAM, load, record
from tests.simulation.harness import Simulation


def compared(a: list[Event], b: list[Event], **options: Any) -> Comparison:
    return compare(told("a", a), told("b", b), **options)


async def stream(place: Path, source: str, *args: Any) -> list[Event]:
    log, run = await record(load(place, source), *args)
    return log.streams[f"run/{run}"]


async def test_two_runs_of_one_program_are_the_same_whatever_their_ids_times_and_seeds(
    tmp_path: Path,
) -> None:
    one, other = [await stream(tmp_path, PROGRAM, ["a", "b"]) for _ in range(2)]

    assert compared(one, other).same
    found = compared(one, other, volatile=True)
    assert {field.path for each in found.differences for field in each.fields} >= {"seed", "due"}


HANDS_OVER = """
from playhead import persona, state

@persona
async def audit(task: str) -> str:
    notes = await state("notes")
    await notes.handoff({"source_persona": "me", "target": "legal", "task": task, "reason": "x"})
    return "done"
"""


async def test_what_a_handoff_says_of_its_run_is_other_in_every_run(tmp_path: Path) -> None:
    one, other, third = [await stream(tmp_path, HANDS_OVER, task) for task in ("read", "read", "write")]
    at = re.compile(rb"(written_at\xce).{4}", re.DOTALL)
    later = [event._replace(payload=at.sub(rb"\1then", event.payload or b"")) for event in other]

    assert compared(one, other).same
    assert [event.payload for event in later] != [event.payload for event in other]
    assert compared(one, later).same
    (_, difference) = compared(one, third).differences
    assert [field.path for field in difference.fields] == ["content.summary.task", "content.handoff.task"]


async def test_the_first_difference_comes_first_with_its_path(tmp_path: Path) -> None:
    one = await stream(tmp_path, PROGRAM, ["a", "b"])
    other = await stream(tmp_path, PROGRAM, ["a", "c"])

    found = compared(one, other)

    whole, *rest = found.differences
    assert (whole.op, whole.fields[0].path, whole.fields[0].a, whole.fields[0].b) == (
        "",
        "args.urls.1",
        "b",
        "c",
    )
    assert [each.op for each in rest] == ["0/gather_up#0", "0/gather_up#0/fetch#1", "0/count#0"]
    assert [each.event_a for each in rest] == sorted(each.event_a or 0 for each in rest)


async def test_an_operation_that_moved_is_found_again(tmp_path: Path) -> None:
    one = await stream(tmp_path, PROGRAM, ["a", "b"])
    moved = PROGRAM.replace('note = await fetch("many")', 'note = await asyncio.create_task(fetch("many"))')
    other = await stream(tmp_path, moved, ["a", "b"])

    found = compared(one, other)

    (difference,) = [each for each in found.differences if each.kind == "moved"]
    assert (difference.op, difference.op_b, difference.fields) == ("0/fetch#0", "0.1/fetch#0", ())


async def test_an_operation_of_one_run_alone_stands_where_it_was_asked(tmp_path: Path) -> None:
    one = await stream(tmp_path, PROGRAM, ["a", "b"])
    longer = PROGRAM.replace(
        "    await sleep(0.001)\n", '    await publish("early")\n    await sleep(0.001)\n'
    )
    other = await stream(tmp_path, longer, ["a", "b"])

    here, there = compared(one, other), compared(other, one)

    assert [(each.kind, each.op) for each in here.differences if each.kind.startswith("only")] == [
        ("only_b", "0/publish#1")
    ]
    assert [(each.kind, each.op) for each in there.differences if each.kind.startswith("only")] == [
        ("only_a", "0/publish#1")
    ]


async def test_fields_are_ignored_by_name_by_path_and_by_pattern(tmp_path: Path) -> None:
    one = await stream(tmp_path, PROGRAM, ["a", "b"])
    other = await stream(tmp_path, PROGRAM, ["a", "c"])

    for ignore in (["args", "result"], ["args.*", "result*"], ["args.urls", "args.url", "result"]):
        assert compared(one, other, ignore=ignore).same, ignore
    assert not compared(one, other, ignore=["args"]).same
    assert not compared(one, other, ignore=["url"]).same


def test_what_was_erased_and_what_nobody_knows_is_counted() -> None:
    log, run, _ = recorded()
    one = events(log, run)
    other = list(one)
    other[3] = other[3]._replace(payload=None)
    other[6] = other[6]._replace(type="tool.dreamt", payload=msgspec.msgpack.encode({}))

    found = compared(one, other)

    assert (found.b.erased, found.b.unknown) == (1, 1)
    assert {each.op for each in found.differences} == {one[3].op, one[6].op}


def test_what_was_erased_in_both_is_not_called_the_same() -> None:
    log, run, _ = recorded()
    one = events(log, run)
    erased = [*one[:3], one[3]._replace(payload=None), *one[4:]]

    found = compared(erased, erased)

    assert found.differences == ()
    assert not found.same
    assert compared(one, one).same


def test_a_type_that_changed_is_no_equal_value() -> None:
    log, run, _ = recorded()
    one = events(log, run)
    at = next(n for n, event in enumerate(one) if event.type == "tool.completed")

    def saying(value: Any) -> list[Event]:
        fact = msgspec.structs.replace(
            CATALOG.decode(one[at]),
            result=msgspec.Raw(msgspec.msgpack.encode(value)),
        )
        changed = list(one)
        changed[at] = one[at]._replace(payload=CATALOG.new_event(fact, at=0).payload)  # type: ignore[arg-type]
        return changed

    for a, b, path in (
        (1, True, "result"),
        ({"x": [1, 2]}, {"x": [1, 2, 3]}, "result.x.2"),
        ({"é🦊": {"y": 1}}, {"é🦊": {"z": 1}}, "result.é🦊.y"),
        (None, {}, "result"),
        ({"x": [1]}, {"x": [True]}, "result.x.0"),
        ({"x": {"y": 1}}, {"x": {"y": 1.0}}, "result.x.y"),
        ([[0.0]], [[-0.0]], "result.0.0"),
        ({"y": ABSENT}, {}, "result.y"),
    ):
        (difference,) = compared(saying(a), saying(b)).differences
        assert difference.fields[0].path == path
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    assert compared(saying(deep), saying([deep])).differences[0].fields
    (difference,) = compared(saying({"y": 1}), saying({})).differences
    assert difference.fields[0].b == ABSENT
    (difference,) = compared(saying([*range(1_500)]), saying([*range(1, 1_501)])).differences
    assert (len(difference.fields), difference.fields_left_out) == (1_000, 500)


@pytest.mark.parametrize("seed", range(8))
def test_random_runs_are_like_themselves_and_unlike_both_ways(seed: int) -> None:
    streams = []
    for each in (seed, seed + 100):
        simulation = Simulation(each)
        story = simulation.lead()
        streams.append(simulation.log.streams[f"run/{story.run}"])
    one, other = streams

    assert compared(one, one).same
    there, back = compared(one, other), compared(other, one)
    assert there.same == back.same
    turned = {"only_a": "only_b", "only_b": "only_a"}
    kinds = sorted(turned.get(each.kind, each.kind) for each in back.differences)
    assert len(kinds) == len(there.differences) or {"moved"} & set(kinds)


def test_a_fork_differs_from_its_source_in_what_was_edited_and_what_follows() -> None:
    log, run, _ = recorded()

    async def work(engine: Engine) -> str:
        fork = await engine.fork(run, edits=Edits(outcomes={"look#0": "EDITED"}), allow=["all"], key="k")
        await fork.result()
        return fork.id

    fork = play(log, work)

    found = compared(events(log, run), events(log, fork))
    assert found.differences[0].op == "0/look#0"
    assert {"0/think#0", "0/pay#0", "0/look#0"} <= {each.op for each in found.differences}
    assert "0/sleep#0" not in {each.op for each in found.differences}


def test_what_is_volatile_is_known_by_its_field() -> None:
    for rule in VOLATILE:
        kind, _, field = rule.rpartition(".")
        known = [fact for name, fact in CATALOG.facts.items() if kind in ("*", name) or kind[:-2] in name]
        assert any(field in fact.__struct_fields__ for fact in known), rule


@pytest.mark.long
def test_runs_of_a_hundred_thousand_events_are_compared_in_seconds(tmp_path: Path) -> None:
    store = tmp_path / "runs.db"
    run = long_run(store, 100_000)
    with LogReader(store) as log:
        stream_ = f"run/{run}"
        one = list(log.scan(stream_))
    chance = Random(0)
    other = list(one)
    changed = chance.sample([n for n, e in enumerate(one) if e.type == "tool.completed"], 100)
    for n in changed:
        said = msgspec.msgpack.decode(one[n].payload or b"")
        said["result"] = "another"
        other[n] = one[n]._replace(payload=msgspec.msgpack.encode(said))
    began = time.perf_counter()

    found = compared(one, other)

    assert len(found.differences) == 100
    assert {each.op for each in found.differences} == {one[n].op for n in changed}
    print(f"compared two runs of {len(one):,} events in {time.perf_counter() - began:.1f} s")  # noqa: T201
