"""An anchor that cannot be written takes nothing back: the commit stands, and the anchor is owed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from playhead.errors import StoreError
from playhead.log.anchors import anchors_path, read_anchors
from playhead.log.envelope import Append, Appended
from playhead.log.sqlite_store import SqliteStore
from playhead.log.verify import verify
from tests.log.store_helpers import RUN, append_id, events, run_child


def blocked_by_a_directory(anchors: Path) -> None:
    anchors.mkdir()


def blocked_by_a_full_disk(anchors: Path) -> None:
    anchors.symlink_to("/dev/full")


def unblocked(anchors: Path) -> None:
    if anchors.is_symlink():
        anchors.unlink()
    else:
        anchors.rmdir()


BLOCKS = pytest.mark.parametrize("block", [blocked_by_a_directory, blocked_by_a_full_disk])


@BLOCKS
@pytest.mark.parametrize("away", [False, True])
async def test_an_anchor_that_cannot_be_written_is_owed_and_said_once(
    path: Path, block: Callable[[Path], None], away: bool
) -> None:
    anchors = anchors_path(path)
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(1))
        store._committer.sync_ns = 1e12 if away else 1.0  # type: ignore[union-attr]
        block(anchors)
        with capture_logs() as said:
            for seq in range(1, 5):
                assert (await store.append(RUN, seq, events(1), anchor=True)).next_seq == seq + 1
        assert [(one["event"], one["log_level"]) for one in said] == [("anchor.not_written", "warning")]
        assert said[0]["store"] == str(path)

        unblocked(anchors)
        await store.append(RUN, 5, events(1))
        assert not anchors.exists()
        await store.append(RUN, 6, events(1), anchor=True)
        assert [anchor.seq for anchor in read_anchors(path)] == [1, 2, 3, 4, 6]
        assert (await store.verify()).ok

        anchors.unlink()
        block(anchors)
        with capture_logs() as said:
            await store.append(RUN, 7, events(1), anchor=True)
        assert [one["event"] for one in said] == ["anchor.not_written"]


@BLOCKS
async def test_submit_does_not_raise_for_an_anchor(path: Path, block: Callable[[Path], None]) -> None:
    block(anchors_path(path))
    settled: list[Append] = []
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(1))
        store._committer.sync_ns = 1.0  # type: ignore[union-attr]
        for seq in range(1, 4):
            store.submit(
                Append(
                    RUN,
                    seq,
                    events(1),
                    append_id=append_id(seq),
                    anchor=True,
                    urgent=True,
                    done=settled.append,
                )
            )
        await store.drained()
        assert store.statistics().inline_groups

    assert [type(append.outcome) for append in settled] == [Appended] * 3


async def test_an_owed_anchor_is_written_when_the_store_is_closed(path: Path) -> None:
    blocked_by_a_directory(anchors_path(path))
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(3), anchor=True)
        unblocked(anchors_path(path))

    assert [anchor.seq for anchor in read_anchors(path)] == [2]
    assert verify(path).ok


# The file may grow no further in the middle of a line; then it may again. The database stays far below.
SHORT = """
import asyncio, resource, sys
from pathlib import Path
from structlog.testing import capture_logs
from playhead.log.anchors import read_anchors
from playhead.log.sqlite_store import SqliteStore
from tests.log.store_helpers import RUN, events

MOST = 8 << 20

async def main(path):
    anchors = Path(f"{path}-anchors")
    with anchors.open("wb") as file:
        file.seek(MOST - 51)
        file.write(b"\\n")
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MOST, -1))
        with capture_logs() as said:
            await store.append(RUN, 1, events(1), anchor=True)
            await store.append(RUN, 2, events(1), anchor=True)
        print([one["event"] for one in said], anchors.stat().st_size - MOST)
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        await store.append(RUN, 3, events(1), anchor=True)
        print([anchor.seq for anchor in read_anchors(path)], (await store.verify()).ok)

asyncio.run(main(Path(sys.argv[1])))
"""


def test_an_anchor_of_which_only_a_part_was_written_is_written_again(path: Path) -> None:
    said = run_child(SHORT, path)

    assert said.splitlines() == ["['anchor.not_written'] 0", "[1, 2, 3] True"]


async def test_worker_files_that_cannot_be_made_refuse_the_claim_and_nothing_else(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(1))
        store._committer.sync_ns = 1.0  # type: ignore[union-attr]
        workers = path.with_name("runs.db-workers")
        workers.write_text("no directory")

        with pytest.raises(StoreError, match="Nothing was written"):
            await store.append(RUN, 1, events(1), claim=store.worker)

        workers.unlink()
        assert (await store.append(RUN, 1, events(1), claim=store.worker)).epoch == 1
