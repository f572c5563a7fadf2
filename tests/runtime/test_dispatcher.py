"""Personas on duty, one test for each rule: what sets them off, what waits, and what they are told."""

from datetime import UTC, date, datetime
from typing import Any, cast

import pytest

from playhead import persona
from playhead.errors import BadValue, NotFound, ProgramError
from playhead.policy.duty import Schedule
from playhead.runtime.binding import Binding, Trigger
from playhead.runtime.work import id_of_work
from playhead.testing import TurnedClock
from tests.runtime.conftest import Home
from tests.runtime.desks import desk, done, of, statuses, triage


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    done.clear()


@persona
async def breaks(n: int) -> None:
    raise ValueError(f"no {n}")


# Triggers.


async def test_a_trigger_is_run_once_in_the_order_of_arrival_and_a_known_work_key_is_a_duplicate(
    home: Home,
) -> None:
    async with desk(home, Binding(triage)) as duty:
        assert [await duty.trigger("triage", of(n)) for n in (1, 2, 1)] == ["queued", "queued", "duplicate"]
        receipts = await duty.tick("triage")
        assert await duty.trigger("triage", of(2)) == "duplicate"
        assert await duty.tick("triage") == []

        assert statuses(receipts) == ["completed", "completed"]
        assert [receipt.queued for receipt in receipts] == [1, 0]
        assert receipts[0].run == id_of_work("triage", receipts[0].work_key)
        stands = await duty.duty("triage")
        assert (stands.duplicates, stands.state) == (2, "idle")
    assert done == [1, 2]


@pytest.mark.parametrize(
    "fields",
    [
        {"provider": 7, "source_event_id": "1"},
        {"source_event_id": 4711},
        {"subject_key": 1},
        {"work_key": 1},
        {"kind": None, "source_event_id": "1"},
        {"work_key": "\udcff"},
        {"metadata": [1], "source_event_id": "1"},
        {"args": [1], "source_event_id": "1"},
    ],
)
def test_a_trigger_whose_fields_could_not_be_read_again_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadValue, match="of a trigger"):
        Trigger(**cast("dict[str, Any]", {"provider": "test"} | fields))


@pytest.mark.parametrize("about", [{"x": object()}, {"x": 2**70}, {"x": float("nan")}])
async def test_metadata_that_cannot_be_recorded_is_refused_and_nothing_is_written(
    home: Home, about: dict[str, Any]
) -> None:
    async with desk(home, Binding(triage)) as duty:
        with pytest.raises(BadValue):
            await duty.trigger("triage", Trigger("test", {"n": 1}, source_event_id="1", metadata=about))
        with pytest.raises(BadValue):
            await duty.pause("triage", cast("str", 5))
        assert (await duty.duty("triage")).state == "inactive"


async def test_work_keys_are_the_same_only_where_all_their_parts_are(home: Home) -> None:
    parts = [("a:b", "c"), ("a", "b:c"), ("a\\", "b:c"), ("a\\:b", "c")]
    triggers = [Trigger("t", subject_key=subject, source_event_id=event) for subject, event in parts]
    async with desk(home, Binding(triage)) as duty:
        assert [await duty.trigger("triage", each) for each in triggers] == ["queued"] * 4
    assert id_of_work("a", "b:c") != id_of_work("a:b", "c")


@persona
async def dated(day: date, /, *marks: str, tags: frozenset[str] = frozenset()) -> str:
    return f"{day.isoformat()} {sorted(tags)} {list(marks)}"


async def test_a_trigger_takes_every_argument_that_its_persona_declares_by_name(home: Home) -> None:
    async with desk(home, Binding(dated)) as duty:
        args = {"day": date(2026, 1, 2), "tags": frozenset({"b", "a"})}
        await duty.trigger("dated", Trigger("test", args, source_event_id="1"))
        with pytest.raises(BadValue, match=r"arguments of persona dated do not fit: .*date"):
            await duty.trigger("dated", Trigger("test", {"day": "today"}, source_event_id="2"))
        (receipt,) = await duty.tick("dated")
        assert await duty._engine.result(receipt.run) == "2026-01-02 ['a', 'b'] []"


async def test_a_trigger_needs_a_work_key_and_arguments_that_the_persona_takes(home: Home) -> None:
    async with desk(home, Binding(triage)) as duty:
        with pytest.raises(ProgramError, match="nothing that tells it from others"):
            await duty.trigger("triage", Trigger("test", {"n": 1}))
        with pytest.raises(BadValue):
            await duty.trigger("triage", Trigger("test", {"n": "many"}, work_key="k"))
        with pytest.raises(TypeError, match="unexpected keyword argument 'm'"):
            await duty.trigger("triage", Trigger("test", {"m": 1}, work_key="k"))
        with pytest.raises(NotFound, match="'nobody' is on duty"):
            await duty.trigger("nobody", of(1))
        assert (await duty.duty("triage")).state == "inactive"


# What people say.


@persona
async def opens(door: str, key: dict[str, str]) -> str:
    return f"{door} with {key['secret']}"


async def test_secrets_in_a_trigger_and_what_is_said_about_it_stand_nowhere_in_the_log(home: Home) -> None:
    noon = Schedule("0 12 * * *", {"door": "back", "key": {"secret": "hunter2"}})
    clock = TurnedClock(datetime(2026, 1, 1, 11, tzinfo=UTC))
    async with desk(home, Binding(opens, [noon]), secrets=["secret"], clock=clock) as duty:
        args = {"door": "front", "key": {"secret": "hunter2"}}
        about = {"signed": {"secret": "hunter2"}}
        await duty.trigger("opens", Trigger("test", args, source_event_id="1", metadata=about))
        receipts = await duty.tick("opens")
        clock.turn(hours=2)
        receipts += await duty.tick("opens")
        assert statuses(receipts) == ["completed", "fired", "completed"]
        for receipt in (receipts[0], receipts[2]):  # as with any run: what is not recorded is not given
            assert " with playhead:redacted:" in await duty._engine.result(receipt.run)
        events = await duty._engine.store.feed(0, 1_000)

    assert not [event for event in events if b"hunter2" in (event.payload or b"")]
    assert sum(b"playhead:redacted:" in (event.payload or b"") for event in events) >= 4


async def test_while_a_persona_is_paused_triggers_wait_and_resuming_runs_each_exactly_once(
    home: Home,
) -> None:
    async with desk(home, Binding(triage)) as duty:
        await duty.pause("triage", "deploying", sender="ada")
        for n in (1, 2, 3):
            assert await duty.trigger("triage", of(n)) == "queued"
        assert await duty.tick("triage") == []
        stands = await duty.duty("triage")
        assert (stands.state, stands.reason, len(stands.waiting)) == ("paused", "deploying", 3)
        assert done == []

        await duty.resume("triage")
        assert statuses(await duty.tick("triage")) == ["completed"] * 3
        assert await duty.tick("triage") == []
    assert done == [1, 2, 3]


async def test_a_disabled_persona_puts_aside_what_waits_and_what_comes(home: Home) -> None:
    async with desk(home, Binding(triage)) as duty:
        await duty.trigger("triage", of(1))
        await duty.disable("triage", "broken")
        assert await duty.trigger("triage", of(2)) == "dead_lettered"
        assert await duty.tick("triage") == []
        stands = await duty.duty("triage")
        assert (stands.state, stands.dead_letters, len(stands.waiting)) == ("disabled", 2, 0)

        await duty.resume("triage")
        assert await duty.trigger("triage", of(3)) == "queued"
        assert statuses(await duty.tick("triage")) == ["completed"]
    assert done == [3]


async def test_a_draining_persona_works_off_what_waits_and_takes_nothing_more(home: Home) -> None:
    async with desk(home, Binding(triage)) as duty:
        await duty.trigger("triage", of(1))
        await duty.drain("triage")
        assert await duty.trigger("triage", of(2)) == "dead_lettered"
        assert statuses(await duty.tick("triage")) == ["completed"]
        assert (await duty.duty("triage")).state == "draining"
    assert done == [1]


async def test_what_comes_again_while_draining_or_disabled_leaves_what_waits_and_what_ended_alone(
    home: Home,
) -> None:
    async with desk(home, Binding(triage)) as duty:
        await duty.trigger("triage", of(1))
        await duty.drain("triage")
        assert await duty.trigger("triage", of(1)) == "duplicate"
        assert statuses(await duty.tick("triage")) == ["completed"]
        await duty.disable("triage")
        assert await duty.trigger("triage", of(1)) == "duplicate"
        assert list((await duty.duty("triage")).seen.values()) == ["completed"]
    assert done == [1]


async def test_what_was_put_aside_runs_when_it_is_triggered_again_after_the_persona_was_resumed(
    home: Home,
) -> None:
    async with desk(home, Binding(triage)) as duty:
        await duty.trigger("triage", of(1))
        await duty.disable("triage")
        await duty.resume("triage")
        assert await duty.tick("triage") == []
        assert await duty.trigger("triage", of(1)) == "queued"
        assert statuses(await duty.tick("triage")) == ["completed"]
    assert done == [1]
