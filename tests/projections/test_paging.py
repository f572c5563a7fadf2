"""A state in pages is changed like any other, and what changed is told exactly."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from playhead.events.fact import Fact
from playhead.log.envelope import Event
from playhead_projections.paging import Entries, Form, Items
from playhead_projections.projection import Projection

encode = msgspec.msgpack.encode


class Box(msgspec.Struct):
    """Something that can be changed in place."""

    label: str
    marks: list[int] = []


class Shelf(msgspec.Struct):
    """A dictionary and a list that grow, and what is small."""

    boxes: dict[str, Box] = {}
    row: list[Box] = []
    places: dict[str, int] = {}
    moves: int = 0


class Shelves(Projection[Shelf]):
    name, version, state = "shelves", 1, Shelf
    paged = ("boxes", "row", "places")

    def initial(self, key: str) -> Shelf:
        return Shelf(boxes={"first": Box("first")}, row=[Box("r")])

    def apply(self, state: Shelf, event: Event, fact: Fact) -> Shelf:
        return state


def key_of(state: Shelf, rng: random.Random) -> str | None:
    return rng.choice(list(state.boxes)) if state.boxes else None


def mark(box: Box, rng: random.Random) -> None:
    box.marks.append(rng.randrange(9))


# Each changes the state in one of Python's ways. `n` makes a name that was not there yet.
def _add(state: Shelf, rng: random.Random, n: int) -> None:
    state.boxes[f"b{n}"] = Box(f"b{n}")
    state.row.append(Box(f"r{n}"))
    state.places[f"p{n % 7}"] = n


def _change_one(state: Shelf, rng: random.Random, n: int) -> None:
    if (key := key_of(state, rng)) is not None:
        mark(state.boxes[key], rng)
        mark(state.boxes.setdefault(key, Box("not used")), rng)
        mark(state.boxes.setdefault(f"s{n}", Box("new")), rng)
    if (box := state.boxes.get("first")) is not None:
        mark(box, rng)


def _change_all(state: Shelf, rng: random.Random, n: int) -> None:
    for box in state.boxes.values():
        mark(box, rng)
    for key, box in state.boxes.items():
        box.label = key
    for box in state.row:
        mark(box, rng)


def _take_away(state: Shelf, rng: random.Random, n: int) -> None:
    if (key := key_of(state, rng)) is not None:
        box = state.boxes.pop(key)
        mark(box, rng)
        if n % 2:
            state.boxes[key] = box
    state.boxes.pop("nobody", None)
    if state.row:
        mark(state.row.pop(), rng)
    if len(state.row) > 2:
        del state.row[rng.randrange(len(state.row))]


def _move_about(state: Shelf, rng: random.Random, n: int) -> None:
    state.row.insert(rng.randrange(len(state.row) + 1), Box(f"i{n}"))
    mark(state.row[rng.randrange(len(state.row))], rng)
    mark(state.row[-1], rng)
    match n % 5:
        case 0:
            state.row.sort(key=lambda box: (len(box.marks), box.label))
        case 1:
            state.row.reverse()
        case 2:
            state.row[1:3] = [Box("sliced")]
        case 3:
            state.row += [Box(box.label, [*box.marks]) for box in state.row[:1]]
        case _:
            state.row[0] = Box("put")


def _replace_whole(state: Shelf, rng: random.Random, n: int) -> None:
    state.boxes = {key: box for key, box in state.boxes.items() if rng.random() < 0.7}
    state.row = [box for box in reversed(state.row) if rng.random() < 0.7]


def _rarely(state: Shelf, rng: random.Random, n: int) -> None:
    match n % 6:
        case 0:
            state.boxes.clear()
        case 1:
            state.row.clear()
        case 2 if state.boxes:
            mark(state.boxes.popitem()[1], rng)
        case 3:
            state.boxes |= {"merged": Box("merged")}
        case 4:
            state.boxes.update(state.boxes | {"first": Box("again")})
        case _:
            copied = dict(state.boxes)
            for box in copied.values():
                mark(box, rng)


WAYS: list[Callable[[Shelf, random.Random, int], None]] = [
    *([_add] * 4),
    *([_change_one] * 3),
    _change_all,
    _take_away,
    _move_about,
    _replace_whole,
    _rarely,
]


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_done_to_it_a_state_in_pages_stays_equal_and_tells_what_changed(seed: int) -> None:
    rng, form = random.Random(seed), Form(Shelves())
    plain, paged, parts = Shelves().initial(""), form.opened(Shelves().initial("")), form.empty()
    rest = b""
    for n in range(120):
        way, moment = rng.choice(WAYS), rng.random()
        for state in (plain, paged):
            way(state, random.Random(moment), n)
            state.moves += 1
        if rng.random() < 0.3:
            taken = form.read(form.taken(paged))
            form.moved(parts, taken)
            rest = taken.rest
            shared = encode(parts)
            if rng.random() < 0.5:
                paged = form.together(rest, parts)  # go on from the snapshot: what it shares must not change
            assert encode(form.plain(form.together(rest, parts))) == encode(plain)
            assert encode(parts) == shared

    assert encode(form.plain(paged)) == encode(plain)
    assert type(paged.boxes) is dict
    assert type(paged.row) is list


def test_what_is_shared_is_not_changed_by_who_goes_on_from_it() -> None:
    form, parts = Form(Shelves()), Form(Shelves()).empty()
    taken = form.read(form.taken(form.opened(Shelves().initial(""))))
    form.moved(parts, taken)
    before = encode(parts)

    for way in (_change_one, _change_all, _take_away, _move_about, _rarely):
        for n in range(6):
            way(form.together(taken.rest, parts), random.Random(n), n)

    assert encode(parts) == before


def test_only_what_was_reached_is_told() -> None:
    form = Form(Shelves())
    state = form.opened(Shelf(boxes={str(n): Box(str(n)) for n in range(100)}, row=[Box("r")] * 50))
    form.taken(state)

    state.boxes["7"].marks.append(1)
    state.row[3].marks.append(2)
    state.row.append(Box("new"))
    boxes, row, places = form.read(form.taken(state)).changes

    assert list(boxes.put) == ["7"]
    assert list(row.put) == [3]
    assert (row.kept, len(row.more)) == (50, 1)
    assert (places.put, places.gone) == ({}, [])


def test_constants_are_not_copied_and_a_missing_place_is_told_as_ever() -> None:
    def never(value: Any) -> Any:
        raise AssertionError(value)

    entries, items = Entries({"a": 1}, never), Items([1, "b"], never)

    assert (entries["a"], entries.get("z", 5), items[-1], items[:1]) == (1, 5, "b", [1])
    with pytest.raises(KeyError):
        entries["z"]
    with pytest.raises(IndexError):
        items[2]
    with pytest.raises(KeyError):
        entries.pop("z")
