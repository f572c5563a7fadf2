"""Whatever is erased, of an event of any type: every verb goes on, and says what is missing."""

import asyncio
import contextlib
import shutil
from functools import cache
from pathlib import Path

import pytest

from playhead.errors import BadValue
from playhead.events.codec import CATALOG
from playhead.events.erasing import leaves, pointer_of
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.transfer import import_lines
from playhead.log.verify import verify
from playhead.runtime.needles import BOUNDS
from playhead.runtime.redacting import redact
from playhead.testing.recording import NotReplayed, Programs, replay_recording
from tests.checkout import ROOT, name_of
from tests.cli.shell import Shell
from tests.recorded.all_of_them import PROGRAMS, RECORDINGS

FIXTURES = sorted((ROOT / "replay_fixtures").glob("*.jsonl"))
MANY = [fixture for fixture in FIXTURES if fixture.name[:4] in {"0001", "0035", "0043"}]
REFUSED = BOUNDS | {"payload.erased"}
# A program of 0035 makes a call before it awaits it, and a replay that ends before that never does.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine 'State.write':RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*State.write:pytest.PytestUnraisableExceptionWarning"),
]
OVER = {"run.completed", "run.failed", "run.cancelled"}


def imported(fixture: Path, directory: Path) -> Path:
    directory.mkdir()
    copies = import_lines(fixture.read_bytes().splitlines(keepends=True))

    async def graft() -> None:
        async with SqliteStore.open(directory / "runs.db") as store:
            await store.graft(copies)

    asyncio.run(graft())
    return directory / "runs.db"


def one_of_each_type(store: Path) -> list[Event]:
    """The first event of each type, in the order of the store."""
    with LogReader(store) as log:
        found: dict[str, Event] = {}
        for stream in log.streams():
            for event in log.scan(stream):
                found.setdefault(event.type, event)
    return sorted(found.values())


def erase(path: Path, *places: tuple[str, int, str]) -> None:
    async def go() -> None:
        async with SqliteStore.open(path) as store:
            for stream, seq, part in places:
                await redact(store, CATALOG, stream, seq, part, reason="request 12")

    asyncio.run(go())


def expect_every_verb(path: Path, fixture: Path, erased: list[Event]) -> None:
    """Nothing breaks, and what can be made of the rest is whole."""
    shell, found = Shell(path.parent), verify(path)
    assert (found.ok, found.erased) == (True, found.erased)
    assert found.erased >= len(erased)
    with LogReader(path) as log:
        runs = {
            name.partition("/")[2]: {event.type for event in log.scan(name)} for name in log.streams("run")
        }
        state = [name.split("/", 3)[1:] for name in log.streams("state")]
    verbs: list[tuple[list[str], set[int]]] = [
        (["verify"], {0}),
        (["runs"], {0}),
        (["trust", "query"], {0, 1}),
        (["trust", "verify"], {0}),
        (["persona", "list"], {0}),
        (["approvals"], {0, 1}),
        (["rebuild"], {0}),
        (["rebuild", "--verify"], {0}),
        *((["log", event.stream], {0}) for event in erased),
        *((["event", f"{event.stream}@{event.seq}"], {0}) for event in erased),
        *(
            (["state", verb, *each], {0, 1})
            for each in state
            for verb in ("show", "history")[: len(each) - 1]
        ),
    ]
    for run, types in runs.items():
        over = {0} if types & OVER else {1}
        verbs += [
            (["show", run], {0}),
            (["report", run], {0}),
            (["timeline", run], {0}),
            (["why", f"{run}@1"], {0}),
            (["state", "handoffs", run], {0, 1}),
            (["export", run, "-o", f"{run}.jsonl"], {0}),
            (["export", run, "--to", "otlp", "-o", f"{run}.spans"], {0}),
            (["attest", run, "-o", f"{run}.receipt"], over),
            (["attest", run, "--format", "harn.receipt.v1", "-o", f"{run}.flat"], over),
            (["bundle", run, "-o", f"{run}.zip"], over),
            *((["verify", f"{run}.{end}"], {0}) for end in ("receipt", "flat", "zip") if over == {0}),
        ]
    for words, codes in verbs:
        done = shell.here(*words)
        if done.code == 1 and words[0] == "bundle" and "which is not in this log" in done.err:
            continue  # of a child run, or of a mailbox, that the fixture does not hold
        if done.code == 3 and words[0] == "verify" and not (path.parent / words[1]).exists():
            continue
        assert done.code in codes, (words, done)
    expect_a_replay(path.parent, fixture, list(runs))


def expect_a_replay(directory: Path, fixture: Path, runs: list[str]) -> None:
    """A replay agrees as far as it can be compared, or says in words why it does not."""
    recording = RECORDINGS[fixture.stem]
    programs = Programs.of([PROGRAMS[fixture.stem]], key=recording.key, model=recording.model)
    for run in runs:
        with contextlib.suppress(NotReplayed):
            replay_recording(directory / f"{run}.jsonl", programs)


@pytest.mark.parametrize("fixture", MANY, ids=name_of)
def test_every_verb_goes_on_where_an_event_of_each_type_is_gone(fixture: Path, tmp_path: Path) -> None:
    path = imported(fixture, tmp_path / "store")
    erased = [event for event in one_of_each_type(path) if event.type not in REFUSED]

    erase(path, *((event.stream, event.seq, "") for event in erased))

    expect_every_verb(path, fixture, erased)


@pytest.mark.parametrize(
    ("number", "type_", "part"),
    [
        ("0042", "trust.tier_changed", "/reason"),
        ("0037", "trust.recorded", "/agent"),
        ("0037", "autonomy.decided", ""),
        ("0001", "child.requested", "/run"),
    ],
)
def test_what_is_made_of_an_event_goes_on_from_what_was_kept_of_it(
    number: str, type_: str, part: str, tmp_path: Path
) -> None:
    (fixture,) = (each for each in FIXTURES if each.name.startswith(number))
    path = imported(fixture, tmp_path / "store")
    (event,) = (each for each in one_of_each_type(path) if each.type == type_)

    erase(path, (event.stream, event.seq, part))

    expect_every_verb(path, fixture, [event])


@cache
def firsts() -> dict[str, Path]:
    """The first fixture that has each type."""
    found: dict[str, Path] = {}
    for fixture in FIXTURES:
        for copy in import_lines(fixture.read_bytes().splitlines(keepends=True)):
            for event in copy.events:
                found.setdefault(event.type, fixture)
    return found


def parts_of(event: Event) -> list[str]:
    """All of it, and every part that has a name."""
    if event.payload is None:
        return []
    ways = (path[:n] for path, _ in leaves(event.payload) for n in range(len(path) + 1))
    return list(dict.fromkeys(map(pointer_of, ways)))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fixture", FIXTURES, ids=name_of)
def test_every_verb_goes_on_whatever_is_erased_of_an_event(fixture: Path, tmp_path: Path) -> None:
    base, tried = imported(fixture, tmp_path / "base"), 0
    for event in one_of_each_type(base):
        for part in parts_of(event) if firsts()[event.type] == fixture else ():
            directory = tmp_path / f"{tried}"
            shutil.copytree(base.parent, directory)
            tried += 1
            try:
                erase(directory / "runs.db", (event.stream, event.seq, part))
            except BadValue:
                assert part or event.type in REFUSED  # what says which run it is, and what bounds it
                continue
            expect_every_verb(directory / "runs.db", fixture, [event])
            shutil.rmtree(directory)
