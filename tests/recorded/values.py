"""Values of many types, and an event of a type that this version does not know."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pydantic

from playhead import Engine, persona, step, tool
from playhead.events.codec import Catalog
from playhead.events.fact import WorldFact
from playhead.events.registry import FACTS
from tests.recorded.recording import Recording, simply


class Colour(enum.Enum):
    """By name."""

    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    """By number."""

    LOW = 1
    HIGH = 9


@dataclass(frozen=True)
class Point:
    """A dataclass inside others."""

    x: int
    y: float = 0.5
    tags: frozenset[str] = frozenset()


class Pair(NamedTuple):
    """A named tuple."""

    left: str
    right: Point


class Row(TypedDict, total=False):
    """A typed dictionary, some of it."""

    id: int
    note: str


class Shape(msgspec.Struct, frozen=True, tag="shape"):
    """One of a union."""

    points: list[Point]


class Circle(msgspec.Struct, frozen=True, tag="circle"):
    """The other one."""

    radius: Decimal


class Form(pydantic.BaseModel):
    """A pydantic model."""

    name: str
    age: int | None = None
    colours: list[Colour] = pydantic.Field(default_factory=list)


@dataclass(frozen=True)
class Everything:
    """All of it at once."""

    point: Point
    pair: Pair
    row: Row
    forms: list[Form]
    shape: Shape | Circle
    colour: Colour
    level: Level
    when: datetime
    day: date
    hour: time
    took: timedelta
    id: UUID
    price: Decimal
    data: bytes
    numbers: set[int]
    fixed: tuple[int, str, bool]
    many: tuple[float, ...]
    nested: Mapping[str, list[dict[str, int | None]]]
    text: str
    big: int = 2**63
    small: int = -(2**63)
    nothing: None = None
    plain: Any = field(default_factory=dict)


TEXT = "plain, „äöü“, 漢字, 🦆, e\u0301, \u202eback, tab\t, null\0, escape\x1b[31m, line\u2028end"


def everything() -> Everything:
    """One of each."""
    return Everything(
        point=Point(1, -0.0, frozenset({"b", "a"})),
        pair=Pair("left", Point(2)),
        row={"id": 1, "note": "n"},
        forms=[Form(name="Ada", age=36, colours=[Colour.RED]), Form(name="Bob")],
        shape=Circle(Decimal("1.50")),
        colour=Colour.GREEN,
        level=Level.HIGH,
        when=datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC),
        day=date(2024, 2, 29),
        hour=time(6, 30),
        took=timedelta(days=-1, microseconds=1),
        id=UUID(int=7),
        price=Decimal("0.1") + Decimal("0.2"),
        data=bytes(range(8)),
        numbers={3, 1, 2},
        fixed=(1, "two", True),
        many=(1e300, 5e-324, 0.1),
        nested={"z": [{"a": None}], "a": [{}, {"b": 2}]},
        text=TEXT,
        plain={"list": [1, 1.0, True, None, ""], "deep": {"er": {"est": []}}},
    )


@tool(side_effect_level="none")
def same(value: Everything) -> Everything:
    return value


@tool(side_effect_level="none")
def either(shapes: list[Shape | Circle]) -> list[Shape | Circle]:
    return shapes[::-1]


@step
async def back_and_forth(value: Everything) -> Everything:
    return await same(await same(value))


@persona
async def keeps_values(value: Everything) -> bool:
    found = await back_and_forth(value)
    shapes = await either([Shape([Point(1)]), Circle(Decimal(2))])
    return found == value == everything() and shapes[0] == Circle(Decimal(2))


# ------------------------------------------------------ from the future


class WeatherNoted(WorldFact, frozen=True, tag="weather.noted"):
    """A fact that no playhead has had so far."""

    wind: int


@persona
async def ends_before_the_weather(text: str) -> int:
    return len(text)


async def live_future(store: Path) -> None:
    catalog = Catalog([*FACTS, WeatherNoted])
    async with Engine.open(store, personas=[ends_before_the_weather]) as engine:
        run = await engine.start(ends_before_the_weather, "calm")
        await run.result()
        head = await engine.store.head(f"run/{run.id}")
        noted = catalog.new_event(WeatherNoted(wind=12), at=engine.clock.now())
        await engine.store.append(head.stream, head.seq, [noted], epoch=head.epoch)


RECORDINGS = (
    Recording("0030-values-of-many-types", simply(keeps_values, everything()), frozenset({"tool.completed"})),
    Recording(
        "0045-an-event-of-the-future",
        live_future,
        frozenset({"weather.noted"}),
        refused="only a newer playhead knows weather.noted/1",
    ),
)
