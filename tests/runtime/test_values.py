"""What goes into a run comes out equal, or is refused before anything is written."""

import dataclasses
import enum
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pydantic
import pytest

from playhead import RunFailed, persona, step, tool
from playhead.errors import BadValue
from tests.runtime.conftest import Home


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Page(msgspec.Struct):
    url: str
    links: list[str] = []


@dataclasses.dataclass
class Point:
    x: float
    inside: Page


class Order(pydantic.BaseModel):
    amount: Decimal
    lines: list[str]


class Everything(msgspec.Struct):
    colour: Colour
    level: Level
    page: Page
    point: Point
    order: Order
    when: datetime
    day: date
    length: timedelta
    number: UUID
    money: Decimal
    raw: bytes
    pair: tuple[int, str]
    names: set[str]
    maybe: int | None


ALL = Everything(
    colour=Colour.RED,
    level=Level.HIGH,
    page=Page("u", ["a"]),
    point=Point(0.1, Page("v")),
    order=Order(amount=Decimal("1.10"), lines=["x"]),
    when=datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC),
    day=date(2026, 2, 3),
    length=timedelta(days=1, microseconds=3),
    number=UUID(int=7),
    money=Decimal("0.30"),
    raw=b"\x00\xff",
    pair=(1, "one"),
    names={"a", "b"},
    maybe=None,
)


@tool(effect="pure")
async def echo(value: Everything) -> Everything:
    assert value == ALL
    return value


@step
async def passes(value: Everything) -> Everything:
    return await echo(value)


@persona
async def carries(value: Everything) -> Everything:
    found = await passes(value)
    assert found == value
    assert type(found.order) is Order
    return found


async def test_typed_values_come_back_as_what_they_were(home: Home) -> None:
    async with home.engine(carries) as engine:
        run = await engine.start(carries, ALL)

        assert await run.result() == ALL
        assert (await engine.replay(run.id)).identical

    async with home.engine(carries) as engine:
        assert await engine.handle(run.id).result() == ALL


@tool(effect="pure")
async def take(value: Any) -> Any:
    return value


@tool(effect="pure")
async def give(what: str) -> Any:
    return {"nan": math.nan, "tuple": (1, 2), "huge": 2**70, "surrogate": "\ud800", "object": object()}[what]


@persona
async def asks(what: str, *, into: bool) -> str:
    bad: dict[str, Any] = {"nan": math.nan, "tuple": (1, 2), "huge": 2**70, "surrogate": "\ud800"}
    bad["object"] = object()
    try:
        await (take(bad[what]) if into else give(what))
    except BadValue as error:
        return error.message
    return "taken"


@pytest.mark.parametrize("what", ["nan", "tuple", "huge", "surrogate", "object"])
@pytest.mark.parametrize("into", [True, False])
async def test_what_cannot_be_held_faithfully_is_refused_at_the_door(
    home: Home, what: str, into: bool
) -> None:
    async with home.engine(asks) as engine:
        run = await engine.start(asks, what, into=into)

        told = await run.result()

        assert ("take" if into else "give") in told
        assert (await engine.replay(run.id)).identical
    assert ("tool.requested" in await home.types(run.id)) is not into


@persona
async def returns_nonsense() -> Any:
    return {1: (2, 3)}


async def test_a_result_that_cannot_be_recorded_fails_the_run(home: Home) -> None:
    async with home.engine(returns_nonsense) as engine:
        run = await engine.start(returns_nonsense)

        with pytest.raises(RunFailed, match="BadValue"):
            await run.result()


@persona
async def takes_anything(value: Any) -> Any:
    return value


async def test_a_start_with_a_bad_argument_writes_nothing(home: Home) -> None:
    async with home.engine(takes_anything) as engine:
        with pytest.raises(BadValue, match="argument value of persona takes_anything"):
            await engine.start(takes_anything, (1, 2))

        assert await engine.store.heads("run") == []


@tool(side_effect_level="read_only")
async def count_days(by_day: dict[date, set[str]]) -> dict[date, int]:
    return {day: len(names) for day, names in by_day.items()}


@step
async def gather_tags(names: list[str]) -> set[str]:
    return set(names)


@persona
async def keeps_sets(names: list[str]) -> set[str]:
    counted = await count_days({date(2026, 2, 3): set(names), date(2026, 1, 1): {"new"}})
    assert counted == {date(2026, 2, 3): len(names), date(2026, 1, 1): 1}
    return await gather_tags(names)


async def test_sets_and_mappings_by_date_are_recorded_in_one_order(home: Home) -> None:
    names = [f"tag{n}" for n in range(50)]
    async with home.engine(keeps_sets) as engine:
        run = await engine.start(keeps_sets, names)
        assert await run.result() == set(names)

    completed = [event for event in await home.events(run.id) if event.type.endswith(".completed")]
    told = [msgspec.msgpack.decode(event.payload or b"")["result"] for event in completed]
    assert told[1] == told[2] == sorted(names)


class Unrecordable:
    """Nothing decodes it."""


charged: list[int] = []


@tool
async def charge(cents: int) -> Unrecordable:
    charged.append(cents)
    return Unrecordable()


@persona
async def pays() -> None:
    await charge(5)


async def test_a_result_that_no_log_could_hold_is_refused_before_the_effect(home: Home) -> None:
    charged.clear()
    async with home.engine(pays) as engine:
        run = await engine.start(pays)
        with pytest.raises(RunFailed, match="Unrecordable cannot be recorded"):
            await run.result()

    assert charged == []
    assert "tool.requested" not in await home.types(run.id)


@persona
async def returns_nothing_known() -> Unrecordable:
    return Unrecordable()


async def test_a_persona_whose_result_no_log_could_hold_does_not_start(home: Home) -> None:
    async with home.engine(returns_nothing_known) as engine:
        with pytest.raises(BadValue, match="Unrecordable cannot be recorded"):
            await engine.start(returns_nothing_known)


used: list[str] = []


@tool(side_effect_level="network", secret=["token"])
async def call(token: str, what: str) -> dict[str, str]:
    used.append(token)
    return {"what": what, "token": token[::-1]}


@persona
async def calls() -> str:
    return (await call("s3cr3t-T0KEN", "x"))["what"]


async def test_what_one_tool_declares_secret_is_in_no_event(home: Home) -> None:
    used.clear()
    async with home.engine(calls) as engine:
        run = await engine.start(calls)
        assert await run.result() == "x"
        assert (await engine.replay(run.id)).identical

    assert used == ["s3cr3t-T0KEN"]
    payloads = b"".join(event.payload or b"" for event in await home.events(run.id))
    assert b"s3cr3t" not in payloads
    assert b"T0KEN"[::-1] not in payloads
