"""What was acknowledged survives a power cut at any moment, whatever the disk made of unsynced writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.powerloss import harness, workload
from tests.powerloss.states import Call, apply, read_trace, states

STATES = 2_000
STATES_LONG = 250_000
STATES_CONTROL = 150
SOURCE = Path(__file__).with_name("recorder.c")


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The recorder, compiled; the tests are skipped where it cannot be."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("recording what reaches the disk takes Linux and a C compiler called cc")
    to = tmp_path_factory.mktemp("recorder") / "recorder.so"
    subprocess.run(
        [compiler, "-O1", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(to), str(SOURCE), "-ldl"],
        check=True,
    )
    return str(to)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: thousands of stores are written."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


def run(recorder: str, place: Path, durability: str, count: int, seed: int) -> dict[str, Any]:
    """Look at `count` states in as many processes as there are cores, and add up what they say."""
    processes = os.cpu_count() or 1

    def one(number: int) -> dict[str, Any]:
        directory = place / str(number)
        directory.mkdir()
        arguments = [recorder, directory, durability, seed + number, -(-count // processes)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.powerloss.harness", *map(str, arguments)],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    with ThreadPoolExecutor(processes) as threads:
        told = list(threads.map(one, range(processes)))
    kinds: Counter[str] = Counter()
    for said in told:
        kinds.update(said["kinds"])
    return {
        "states": sum(said["states"] for said in told),
        "wrong": [line for said in told for line in said["wrong"]],
        "kinds": dict(kinds),
    }


def test_no_power_cut_loses_or_breaks_what_was_acknowledged(recorder: str, place: Path) -> None:
    said = run(recorder, place, "full", STATES, seed=1)

    assert said["states"] >= STATES
    assert not said["wrong"], "\n".join(said["wrong"])


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_no_power_cut_of_a_quarter_million_loses_anything(recorder: str, place: Path) -> None:
    said = run(recorder, place, "full", STATES_LONG, seed=1_000)

    assert said["states"] >= STATES_LONG
    assert not said["wrong"], "\n".join(said["wrong"])


def test_without_a_sync_per_append_a_power_cut_leaves_a_beginning_of_the_log(
    recorder: str, place: Path
) -> None:
    said = run(recorder, place, "os", STATES_CONTROL, seed=2_000)

    assert not said["wrong"], "\n".join(said["wrong"])


def test_the_control_without_any_sync_is_caught_losing_and_breaking(recorder: str, place: Path) -> None:
    said = run(recorder, place, "off", STATES_CONTROL, seed=3_000)

    assert said["kinds"]["acknowledged appends lost"] > STATES_CONTROL // 10, said["kinds"]
    assert set(said["kinds"]) & {"unusable", "not a prefix", "a torn append", "does not verify"}, said


# The recorder and the states themselves.


@pytest.fixture
def calls(recorder: str, place: Path) -> list[Call]:
    return harness.record(recorder, place, "full", seed=5)


def windows(calls: list[Call]) -> list[list[Call]]:
    """What was asked of the disk before each acknowledgement, since the one before."""
    found: list[list[Call]] = [[]]
    for call in calls:
        if call.name == workload.ACKS and call.what == "W":
            found.append([])
        else:
            found[-1].append(call)
    return found[1:-1]


def begins_a_wal(window: list[Call]) -> bool:
    """After a checkpoint the WAL starts anew, and its header is synced before the first frame."""
    return any(call.what == "W" and call.name.endswith("-wal") and call.offset == 0 for call in window)


def test_a_durable_append_takes_one_sync_and_it_is_that_of_the_wal(calls: list[Call]) -> None:
    alone = windows(calls)[: harness.APPENDS // 2 - 1]
    plain = [
        window
        for window in alone
        if not begins_a_wal(window) and not any(call.name == workload.STORE for call in window)
    ]

    # The others made a checkpoint, which syncs the database as well, or came after one.
    assert len(plain) > len(alone) // 2
    for window in plain:
        assert [call.name for call in window if call.what == "S"] == [f"{workload.STORE}-wal"]


def test_appends_at_the_same_time_share_syncs(calls: list[Call]) -> None:
    together = windows(calls)[harness.APPENDS // 2 :]
    syncs = [
        call for window in together for call in window if call.what == "S" and call.name.endswith("-wal")
    ]

    assert len(syncs) * 2 <= len(together)


def test_nothing_is_acknowledged_before_its_frames_are_synced(calls: list[Call]) -> None:
    unsynced = 0
    for call in calls:
        if call.name.endswith("-wal"):
            unsynced = unsynced + 1 if call.what == "W" else 0 if call.what == "S" else unsynced
        if call.name == workload.ACKS and call.what == "W":
            assert not unsynced


def test_the_trace_rebuilds_every_file_as_it_is(recorder: str, place: Path) -> None:
    calls = harness.record(recorder, place, "full", seed=6)
    files: dict[str, bytearray | None] = {}
    for call in calls:
        if call.what != "S":
            files[call.name] = apply(files.get(call.name), call)

    for name, content in files.items():
        path = place / "watched" / name
        if name and not name.endswith("-shm"):
            assert (path.read_bytes() if path.exists() else None) == content, name


def test_a_state_is_the_same_for_the_same_seed(calls: list[Call]) -> None:
    assert list(states(calls, 20, Random(7))) == list(states(calls, 20, Random(7)))


def test_what_was_synced_is_in_every_state(tmp_path: Path) -> None:
    calls = [
        Call("C", "f", 0, b""),
        Call("W", "f", 0, b"a" * 1000),
        Call("S", "f", 0, b""),
        Call("W", "f", 1000, b"b" * 1000),
    ]

    for state in states(calls * 2, 200, Random(1)):
        if state.calls in (3, 4):
            assert state.files["f"][:1000] == b"a" * 1000


def test_a_removed_file_may_come_back_until_its_directory_is_synced(tmp_path: Path) -> None:
    made = [Call("C", "f", 0, b""), Call("W", "f", 0, b"old"), Call("S", "f", 0, b""), Call("U", "f", 0, b"")]
    back = [state for state in states(made, 200, Random(1)) if state.calls == 4 and "f" in state.files]
    synced = [*made, Call("S", "", 0, b"")]

    assert back
    assert not [s for s in states(synced, 200, Random(1)) if s.calls == 5 and "f" in s.files]


def test_an_empty_trace_is_no_calls(tmp_path: Path) -> None:
    (tmp_path / "trace").write_bytes(b"")

    assert read_trace(tmp_path / "trace", tmp_path) == []
