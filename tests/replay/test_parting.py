"""What reaches a tape is led back to the line where it began, whatever that line asked; the rest is innocent.

Every program is recorded once, and all are played by one process for each set of conditions.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from playhead.replay.doctor import BASE, OTHER, SEEDS, Found, Play, Seen, examined
from playhead.replay.trail import Trail

PROGRAM = """\
import collections, contextvars, dataclasses, datetime, functools, os, random, sys, time, uuid

from playhead import map_bounded, persona, step, tool

NAMES = {"ada", "bob", "cyd", "dan", "eve"}
ORDER = list(NAMES)
LATE = {now} + 100 * 24 * 3600


@tool(side_effect_level="read_only")
async def fetch(text: str) -> str:
    return f"got {len(text)}"


@dataclasses.dataclass
class Data:
    tags: set
    n: int = 1


class Cache:
    counted = 0

    def __init__(self):
        self.seen = []

    def count(self, more):
        type(self).counted += more

    def add(self, value):
        self.seen.append(value)


class Stopwatch:
    def __init__(self):
        self.began = time.time()


class Span:
    def __enter__(self):
        self.since = time.monotonic_ns()
        return self

    def __exit__(self, *error):
        self.took = self.since // 2


class Late(Exception):
    def __init__(self):
        self.at = time.perf_counter_ns()


def nests(found):
    inner = found.setdefault("deep", {})
    inner["at"] = time.time_ns() + 1


def stamps(bells):
    for bell in bells:
        bell.at = time.monotonic()


class Bell:
    def press(self):
        self.pressed = str(uuid.uuid1())


def fills(found):
    found.append(time.time_ns())


class Settings:
    born = time.time()
    words = ",".join({"a", "b", "c", "d"})

    def stamped(self, at=time.monotonic()):
        return str(at)


@dataclasses.dataclass
class Timed:
    at: float = dataclasses.field(default_factory=time.time)


class Item:
    def __init__(self, n):
        self.n = n


def stamp(at=time.time_ns()):
    return str(at)


def teller(at):
    def tells():
        return str(at)

    return tells


tells = teller(time.perf_counter())
moment = contextvars.ContextVar("moment")


def one_by_one(names):
    for one in names:
        yield one


def walks(names):
    found = []
    for name in names:
        found.append(name)
    return found


@step
async def inner(n: int) -> str:
    return ORDER[n]


@persona
async def leads(which: str) -> str:
    match which:
        case "percent":
            value = "%s" % NAMES
        case "format":
            value = "{}".format(NAMES)
        case "str":
            value = str([NAMES])
        case "ties":
            value = max(NAMES, key=len)
        case "reduce":
            value = functools.reduce(lambda one, other: one + other, NAMES)
        case "counter":
            value = collections.Counter(NAMES).most_common(1)[0][0]
        case "repr":
            value = repr(Cache())
        case "argv":
            value = str(sys.argv)
        case "stdin":
            value = sys.stdin.read(5)
        case "called":
            value = walks(NAMES)[0]
        case "module":
            value = await inner(0)
        case "generator":
            value = next(one_by_one(NAMES))
        case "class":
            Cache().count(int(time.time()))
            value = str(Cache.counted)
        case "raised":
            try:
                raise ValueError(",".join(NAMES))
            except ValueError as error:
                value = str(error)
        case "attribute":
            cache, started = Cache(), time.time()
            cache.add(uuid.uuid4().hex)
            value = cache.seen[0]
        case "made":
            watch = Stopwatch()
            value = str(watch.began)
        case "pressed":
            bell = Bell()
            bell.press()
            value = bell.pressed
        case "spanned":
            with Span() as span:
                value = "under way"
            value = str(span.took)
        case "nested":
            found = {}
            nests(found)
            value = str(found["deep"]["at"])
        case "carried":
            try:
                raise Late()
            except Late as late:
                value = str(late.at)
        case "each":
            bells = [Bell(), Bell()]
            stamps(bells)
            value = ",".join(str(bell.at) for bell in bells)
        case "filled":
            found = []
            fills(found)
            value = str(found[0])
        case "dice":
            dice = random.Random()
            rolled = dice.choice([1, 2])
            if rolled == 1:
                other = "one"
            value = str(dice.random())
        case "branch":
            is_late = time.time() > LATE
            if is_late:
                value = "late"
            else:
                value = "early"
        case "before":
            started = time.time()
            value = ",".join({"a", "b", "c", "d"})
        case "constant":
            day = datetime.timedelta(days=1)
            value = "-".join({"a", "b", "c", "d"})
        case "beside":
            value = "+".join({"a", "b", "c", "d"}) + str(datetime.timedelta(days=1))
        case "platform":
            system = sys.platform
            value = list({"a", "b", "c", "d"})[0]
        case "default":
            value = stamp()
        case "method":
            value = Settings().stamped()
        case "member":
            value = str(Settings.born)
        case "instance":
            value = Settings().words
        case "closure":
            value = tells()
        case "context":
            moment.set(time.time())
            value = ""
            value = str(moment.get())
        case "hidden":
            hands = iter([time.time()])
            value = str(next(hands))
        case "ids":
            items = {Item(n) for n in range(500)}
            value = " ".join(str(item.n) for item in items)
        case "inside":
            return await fetch("%s" % NAMES)
        case "tasks":
            value = "".join((await map_bounded([0, 1], inner, concurrency=2)).values)
    return await fetch(value)


@persona
async def innocent(which: str) -> str:
    names = ["ada", "bob", "cyd", "dan", "eve"]
    unordered = set(names)
    data = str(Data({"a"}))
    long = sum(len(name) for name in unordered)
    backwards = sorted(unordered, key=lambda name: name[::-1])
    upper = {name.upper() for name in unordered}
    count = collections.Counter(len(name) for name in unordered)
    first = min(unordered)
    has = any(name.startswith("c") for name in unordered)
    return await fetch(f"{data} {long} {backwards} {sorted(upper)} {sorted(count)} {first} {has}")


@persona(mode="relaxed")
async def relaxed(text: str) -> str:
    first = await fetch(text)
    joined = ",".join(NAMES)
    return await fetch(first + joined)
"""

WALKED = "iteration over a set"
LEADS = (
    ("percent", 'value = "%s" % NAMES', "set order", WALKED),
    ("format", 'value = "{}".format(NAMES)', "set order", WALKED),
    ("str", "value = str([NAMES])", "set order", WALKED),
    ("ties", "value = max(NAMES, key=len)", "set order", WALKED),
    (
        "reduce",
        "value = functools.reduce(lambda one, other: one + other, NAMES)",
        "set order",
        WALKED,
    ),
    (
        "counter",
        "value = collections.Counter(NAMES).most_common(1)[0][0]",
        "set order",
        WALKED,
    ),
    ("repr", "value = repr(Cache())", "ids", "an address in memory"),
    ("argv", "value = str(sys.argv)", "environment", "sys.argv"),
    ("stdin", "value = sys.stdin.read(5)", "unrecorded I/O", "sys.stdin.read"),
    ("called", "for name in names:", "set order", WALKED),
    ("module", "ORDER = list(NAMES)", "set order", WALKED),
    ("attribute", "cache.add(uuid.uuid4().hex)", "chance", "uuid.uuid4"),
    ("made", "self.began = time.time()", "time", "time.time"),
    ("pressed", "self.pressed = str(uuid.uuid1())", "chance", "uuid.uuid1"),
    ("spanned", "self.since = time.monotonic_ns()", "time", "time.monotonic_ns"),
    ("nested", 'inner["at"] = time.time_ns() + 1', "time", "time.time_ns"),
    ("carried", "self.at = time.perf_counter_ns()", "time", "time.perf_counter_ns"),
    ("each", "bell.at = time.monotonic()", "time", "time.monotonic"),
    ("filled", "found.append(time.time_ns())", "time", "time.time_ns"),
    ("dice", "dice = random.Random()", "chance", "random.Random() without a seed"),
    ("branch", "is_late = time.time() > LATE", "time", "time.time"),
    ("generator", "for one in names:", "set order", WALKED),
    ("class", "Cache().count(int(time.time()))", "time", "time.time"),
    ("raised", 'raise ValueError(",".join(NAMES))', "set order", WALKED),
    ("inside", 'return await fetch("%s" % NAMES)', "set order", WALKED),
    ("before", 'value = ",".join({"a", "b", "c", "d"})', "set order", WALKED),
    ("constant", 'value = "-".join({"a", "b", "c", "d"})', "set order", WALKED),
    (
        "beside",
        'value = "+".join({"a", "b", "c", "d"}) + str(datetime.timedelta(days=1))',
        "set order",
        WALKED,
    ),
    ("platform", 'value = list({"a", "b", "c", "d"})[0]', "set order", WALKED),
    ("default", "def stamp(at=time.time_ns()):", "time", "time.time_ns"),
    ("method", "def stamped(self, at=time.monotonic()):", "time", "time.monotonic"),
    ("member", "born = time.time()", "time", "time.time"),
    ("instance", 'words = ",".join({"a", "b", "c", "d"})', "set order", WALKED),
    ("closure", "tells = teller(time.perf_counter())", "time", "time.perf_counter"),
    ("context", "moment.set(time.time())", "time", "time.time"),
    ("ids", 'value = " ".join(str(item.n) for item in items)', "set order", f"{WALKED}, ordered by ids"),
    ("tasks", "ORDER = list(NAMES)", "set order", WALKED),
)
HARMLESS = {
    "ORDER = list(NAMES)",
    "cache, started = Cache(), time.time()",
    "started = time.time()",
    "self.began = time.time()",
    "def stamp(at=time.time_ns()):",
    "def stamped(self, at=time.monotonic()):",
    "born = time.time()",
    'words = ",".join({"a", "b", "c", "d"})',
    "tells = teller(time.perf_counter())",
}
PLAYS = """
import asyncio, sys

import msgspec

from playhead.replay.engine import Engine
from playhead_projections.cli.probing import Request, play
from playhead_projections.cli.programs import load


async def record(place, store, names):
    personas = load([place]).personas
    by_name = {persona.name: persona for persona in personas}
    async with Engine.open(store, personas=personas) as engine:
        runs = {}
        for name in names:
            runs[name] = await engine.start(by_name.get(name, by_name["leads"]), name)
            await runs[name].result()
        return {name: run.id for name, run in runs.items()}


asked = msgspec.json.decode(sys.stdin.buffer.readline())
if asked["runs"] is None:
    said = asyncio.run(record(asked["place"], asked["store"], asked["names"]))
else:
    said = {}
    for name, run in asked["runs"].items():
        sys.modules.pop("unnamed", None)
        program = f"{asked['place']}:{name if name in ('innocent', 'relaxed') else 'leads'}"
        said[name] = play(Request(asked["store"], run, program, asked["directory"], asked["shifted"]))
sys.stdout.buffer.write(msgspec.msgpack.encode(said))
"""


def told(home: Path, conditions: dict[str, str], **asked: object) -> dict[str, object]:
    """What one process answers for all programs."""
    here = {"place": str(home / "unnamed.py"), "store": str(home / "runs.db"), **asked}
    word = "other" if asked.get("shifted") else "first"
    done = subprocess.run(
        [sys.executable, "-c", PLAYS, word],
        input=msgspec.json.encode(here) + f"\n{word * 1000}".encode(),
        env={**os.environ, **conditions, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=home,
        capture_output=True,
        check=True,
    )
    found: dict[str, object] = msgspec.msgpack.decode(done.stdout)
    return found


@pytest.fixture(scope="module")
def plays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    directory = tmp_path_factory.mktemp("parting")
    (directory / "unnamed.py").write_text(PROGRAM.replace("{now}", str(int(time.time()))))
    names = [*(name for name, *_ in LEADS), "hidden", "innocent", "relaxed"]
    runs = told(directory, {"PYTHONHASHSEED": "5"}, runs=None, names=names)
    here, elsewhere = str(directory), str(directory.parent)
    conditions = [(BASE, SEEDS[0], here, False), (OTHER, SEEDS[1], elsewhere, True)]
    conditions += [(BASE, seed, here, False) for seed in SEEDS[1:]]
    answers = [
        told(directory, {**base, "PYTHONHASHSEED": seed}, runs=runs, directory=place, shifted=shifted)
        for base, seed, place, shifted in conditions
    ]
    return {name: examined([_seen(answer[name]) for answer in answers]) for name in names}


def _seen(answer: object) -> Seen:
    return Seen(*msgspec.convert(answer, tuple[Play, Trail]))


def line_of(number: int) -> str:
    return PROGRAM.splitlines()[number - 1].strip()


@pytest.mark.parametrize(("which", "line", "kind", "what"), LEADS)
def test_what_reaches_the_tape_is_led_back_to_the_line_where_it_began(
    plays: dict[str, Found], which: str, line: str, kind: str, what: str
) -> None:
    found = plays[which]

    led = [each for each in found.sources if each.blame == "led to the divergence"]
    assert [(each.kind, each.what, line_of(each.line)) for each in led] == [(kind, what, line)]
    others = {line_of(each.line) for each in found.sources if each.blame == "harmless so far"}
    assert others <= HARMLESS
    assert found.verdict == "diverged"


def test_what_comes_to_the_same_in_whatever_order_is_no_source(plays: dict[str, Found]) -> None:
    found = plays["innocent"]

    assert [each.what for each in found.sources if each.function == "innocent"] == []
    assert {play.divergence for play in found.plays} == {None}
    assert found.verdict == "sources"  # the order that the module begins with


def test_a_relaxed_run_is_led_back_as_well(plays: dict[str, Found]) -> None:
    led = [each for each in plays["relaxed"].sources if each.blame == "led to the divergence"]

    assert [(each.kind, line_of(each.line)) for each in led] == [("set order", 'joined = ",".join(NAMES)')]


def test_a_source_whose_value_went_where_nobody_can_look_may_have_led_there(plays: dict[str, Found]) -> None:
    blames = {line_of(each.line): each.blame for each in plays["hidden"].sources}

    assert blames["value = str(next(hands))"] == "led to the divergence"
    assert blames["hands = iter([time.time()])"] == "may have led to the divergence"
