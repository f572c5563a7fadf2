"""An erased payload is gone from every byte that is kept, and the chain says so; whatever dies meanwhile."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from playhead.errors import BadValue, Conflict, Held, NotFound
from playhead.log.driver import sqlite
from playhead.log.envelope import NewEvent
from playhead.log.erasing import Erasure
from playhead.log.reader import LogReader
from playhead.log.scrubbing import owed_path, scrub
from playhead.log.sqlite_store import SqliteStore
from playhead.log.transfer import export_lines, import_lines
from tests.log.evidence_helpers import both
from tests.log.store_helpers import RUN, AnyStore, child, event, events

SMALL = "geheim-4711"
LARGE = "geheim-4711." * 12_000
"""More than 64 KiB, so that it stands in `blobs`."""


def erased(cause: int, why: str = "asked to") -> NewEvent:
    return NewEvent("payload.erased", 1, 42, "", cause, why.encode())


def holding(directory: Path, needle: str = SMALL) -> list[str]:
    """Names of the files that hold the text, plain or as it is carried. Of closed stores only."""
    forms = [needle.encode(form) for form in ("utf-8", "utf-16-le", "utf-16-be")]
    forms += [b64encode(b"\0" * n + needle.encode())[4:-4] for n in range(3)]
    return [
        path.name
        for path in sorted(directory.rglob("*"))
        if path.is_file() and any(form in path.read_bytes() for form in forms)
    ]


async def three(store: AnyStore, *, secret: str = SMALL) -> None:
    await store.append(RUN, 0, [event("first"), event(secret), event("last")])


# --- both kinds of store --------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [SMALL, LARGE], ids=["small", "large"])
async def test_a_payload_goes_and_the_chain_still_holds(store: AnyStore, secret: str) -> None:
    await three(store, secret=secret)
    before = await store.read(RUN)

    scrubbed = await store.erase(Erasure(RUN, 3, [erased(1)]))

    after = await store.read(RUN)
    verified = await store.verify()
    assert scrubbed.done
    assert [found.payload for found in after] == [b"first", None, b"last", b"asked to"]
    assert after[1].salt is None
    assert [found.digest for found in after[:3]] == [found.digest for found in before]
    assert (verified.ok, verified.erased, verified.faults) == (True, 1, ())


@pytest.mark.parametrize("secret", [SMALL, LARGE], ids=["small", "large"])
async def test_no_page_that_was_split_since_keeps_a_copy(tmp_path: Path, secret: str) -> None:
    async with SqliteStore.open(tmp_path / "runs.db") as opened:
        await three(opened, secret=secret)
        for n in range(60):
            await opened.append(f"run/{n}", 0, [event(f"{n} " * 200), event(f"{n} " * 40_000)])

        assert (await opened.erase(Erasure(RUN, 3, [erased(1)]))).done

        assert (await opened.verify()).ok
        await opened.backup(tmp_path / "copy.db")
    assert holding(tmp_path) == []


async def test_a_large_payload_stays_for_as_long_as_another_event_has_the_same(store: AnyStore) -> None:
    await three(store, secret=LARGE)
    await store.append("run/b", 0, [event(LARGE)])
    address = sha256(LARGE.encode()).digest()

    await store.erase(Erasure(RUN, 3, [erased(1)]))
    assert (await store.read("run/b"))[0].payload == LARGE.encode()
    assert await store.get_blob(address) == LARGE.encode()

    await store.erase(Erasure("run/b", 1, [erased(0)]))
    with pytest.raises(NotFound):
        await store.get_blob(address)
    assert (await store.verify()).ok


async def test_an_erasure_that_comes_too_late_changes_nothing(store: AnyStore) -> None:
    await three(store)
    await store.append(RUN, 3, [event("more")])

    with pytest.raises(Conflict):
        await store.erase(Erasure(RUN, 3, [erased(1)]))

    assert [found.payload for found in await store.read(RUN)][1] == SMALL.encode()


async def test_nothing_is_erased_of_a_stream_that_somebody_works_on(two: tuple[AnyStore, AnyStore]) -> None:
    owner, other = two
    await owner.append(RUN, 0, events(2), claim=owner.worker)

    with pytest.raises(Held):
        await other.erase(Erasure(RUN, 2, [erased(1)]))
    await owner.append(RUN, 2, [event("end")], epoch=1, release=True)
    await other.erase(Erasure(RUN, 3, [erased(1)]))

    assert [found.epoch for found in await other.read(RUN)] == [1, 1, 1, 1]
    assert (await other.verify()).ok
    await owner.append(RUN, 4, [event("goes on")], epoch=1)


@pytest.mark.parametrize(
    "wrong", [event(cause=1), erased(3), NewEvent("payload.erased", 1, 0, "", None, b"")], ids=str
)
async def test_what_no_chain_could_prove_is_refused(store: AnyStore, wrong: NewEvent) -> None:
    await three(store)

    with pytest.raises(BadValue):
        await store.erase(Erasure(RUN, 3, [wrong]))

    assert len(await store.read(RUN)) == 3


async def test_a_second_erasure_of_the_same_is_one_more_word_and_no_harm(store: AnyStore) -> None:
    await three(store)
    await store.erase(Erasure(RUN, 3, [erased(1)]))

    await store.erase(Erasure(RUN, 4, [erased(1, "again")]))

    verified = await store.verify()
    assert (verified.ok, verified.erased) == (True, 1)


async def test_a_stream_that_is_not_there_is_not_found(store: AnyStore) -> None:
    with pytest.raises(NotFound):
        await store.erase(Erasure("run/nobody", 1, [erased(0)]))


# --- every byte -----------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("others", [0, 400])
async def test_no_file_holds_the_bytes_afterwards(path: Path, secret: str, others: int) -> None:
    async with SqliteStore.open(path) as store:
        await store.append("run/0", 0, events(others + 1, "other" * 40))
        await three(store, secret=secret)
        await store.append("run/1", 0, events(others + 1, "other" * 40))
    assert holding(path.parent) == ["runs.db"]

    async with SqliteStore.open(path) as store:
        assert (await store.erase(Erasure(RUN, 3, [erased(1)]))).done
        await store.append("run/2", 0, events(10))
        await store.backup(path.with_name("backup.db"))

    assert holding(path.parent) == []
    assert both(path).ok
    assert both(path.with_name("backup.db")).ok


async def test_no_file_holds_the_bytes_while_the_store_is_still_open(path: Path, tmp_path: Path) -> None:
    looked = tmp_path / "looked"
    looked.mkdir()
    async with SqliteStore.open(path) as store:
        await three(store)
        await store.erase(Erasure(RUN, 3, [erased(1)]))
        # Another process may open the files by path, this one must not.
        files = [str(found) for found in sorted(path.parent.glob("runs.db*")) if not found.is_dir()]
        subprocess.run(["cp", *files, str(looked)], check=True)  # noqa: ASYNC221  a moment

    assert (looked / "runs.db").exists()
    assert holding(looked) == []


async def test_read_models_and_their_free_pages_hold_nothing_either(path: Path) -> None:
    models = path.with_name("runs.db-readmodels")
    with closing(sqlite.connect(models)) as db:
        db.execute("create table t (a text)")
        db.execute("create virtual table f using fts5 (a)")
        for table in "tf":
            db.executemany(f"insert into {table} values (?)", [(f"{n} {SMALL}",) for n in range(500)])
        db.commit()
        db.execute("delete from t where rowid % 2")
        db.commit()
    async with SqliteStore.open(path) as store:
        await three(store)
        assert (await store.erase(Erasure(RUN, 3, [erased(1)]))).done

    assert holding(path.parent) == []
    with closing(sqlite.connect(models)) as db:
        assert db.execute("select count(*) from t").fetchone() == (0,)


async def test_read_models_that_are_damaged_are_thrown_away(path: Path) -> None:
    path.with_name("runs.db-readmodels").write_bytes(b"no database: " + SMALL.encode() * 100)
    async with SqliteStore.open(path) as store:
        await three(store)
        assert (await store.erase(Erasure(RUN, 3, [erased(1)]))).done

    assert holding(path.parent) == []


async def test_an_export_carries_the_gap(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await three(store)
        await store.erase(Erasure(RUN, 3, [erased(1)]))
    with LogReader(path) as log:
        lines = list(export_lines(log, [RUN]))
    target = path.with_name("other.db")
    async with SqliteStore.open(target) as other:
        await other.graft(import_lines(lines))

    said = both(target)
    assert (said.ok, said.erased) == (True, 1)


# --- readers that keep the old bytes --------------------------------------------------------------


async def test_a_reader_in_the_way_is_told_and_the_next_open_finishes(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await three(store)
        with closing(sqlite.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)) as slow:
            slow.execute("begin")
            slow.execute("select count(*) from payloads").fetchone()
            scrubbed = await store.erase(Erasure(RUN, 3, [erased(1)]), scrub_budget_s=0.1)
            assert scrubbed.left == ("runs.db-wal holds it until its readers are done",)
            assert [found.payload for found in await store.read(RUN)][1] is None
            assert owed_path(path).exists()
            await store.append(RUN, 4, [event("the store goes on")])
        assert (await store.scrub()).done

    assert not owed_path(path).exists()
    assert holding(path.parent) == []


async def test_read_models_in_use_are_told_and_finished_later(path: Path) -> None:
    models = path.with_name("runs.db-readmodels")
    async with SqliteStore.open(path) as store:
        await three(store)
        with closing(sqlite.connect(models, isolation_level=None)) as busy:
            busy.execute("create table t (a text)")
            busy.execute("begin immediate")
            busy.execute("insert into t values (?)", (SMALL,))
            left = (await store.erase(Erasure(RUN, 3, [erased(1)]), scrub_budget_s=0.1)).left
            assert len(left) == 1
            assert left[0].startswith("runs.db-readmodels holds it")
            busy.execute("commit")
    async with SqliteStore.open(path):
        pass

    assert holding(path.parent) == []


def test_a_scrub_that_is_not_owed_touches_nothing(path: Path) -> None:
    assert scrub(path, 0) == ()


# --- death ----------------------------------------------------------------------------------------

DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from playhead.log import erasing, scrubbing, writer
from playhead.log.driver import sqlite
from playhead.log.envelope import NewEvent
from playhead.log.erasing import Erasure
from playhead.log.sqlite_store import SqliteStore

path, where = Path(sys.argv[1]), sys.argv[2]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def before(module, name):
    setattr(module, name, die)

def after(module, name):
    known = getattr(module, name)
    def both(*args, **options):
        known(*args, **options)
        die()
    setattr(module, name, both)

async def main():
    async with SqliteStore.open(path) as store:
        end = (await store.head("run/a")).seq
        when, module, name = where.split()
        {"before": before, "after": after}[when](sys.modules[f"playhead.log.{module}"], name)
        await store.erase(Erasure("run/a", end, [NewEvent("payload.erased", 1, 42, "", 1, b"asked to")]))
    print("lived")

asyncio.run(main())
"""
POINTS = [
    "before erasing owe",
    "after erasing owe",
    "before erasing _blank",
    "after erasing _blank",
    "before erasing scrub",
    "before scrubbing scrub_under_lock",
    "before scrubbing _empty_wal",
    "after scrubbing _empty_wal",
    "before scrubbing _empty",
    "after scrubbing _empty",
    "before scrubbing _sync",
    "after scrubbing scrub_under_lock",
]


@pytest.mark.parametrize(
    "where", [*POINTS[1:5], *(pytest.param(where, marks=pytest.mark.long) for where in POINTS)]
)
async def test_killed_at_any_point_it_is_erased_or_not_and_the_next_try_finishes(
    path: Path, where: str
) -> None:
    with closing(sqlite.connect(path.with_name("runs.db-readmodels"))) as db:
        db.execute("create table t (a text)")
        db.execute("insert into t values (?)", (SMALL,))
        db.commit()
    async with SqliteStore.open(path) as store:
        await three(store, secret=LARGE)

    process = child(DIE, path, where)
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (-9, "")

    verified = both(path)
    assert verified.ok, verified.faults
    with LogReader(path) as log:
        gone = log.read(RUN)[1].payload is None
    assert gone == (verified.erased == 1) == (verified.events == 4)
    async with SqliteStore.open(path) as store:
        if not gone:
            await store.erase(Erasure(RUN, 3, [erased(1)]))
    assert holding(path.parent) == []
    assert both(path).ok


@pytest.mark.long
async def test_killed_at_random_moments_it_is_erased_or_not(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await three(store)
    for round_ in range(6):
        process = child(DIE, path, "before scrubbing nothing")
        try:
            process.communicate(timeout=0.25 + 0.03 * round_)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        assert both(path).ok
    async with SqliteStore.open(path) as store:
        if (await store.read(RUN))[1].payload is not None:
            await store.erase(Erasure(RUN, (await store.head(RUN)).seq, [erased(1)]))
    assert holding(path.parent) == []


async def test_the_search_finds_what_was_not_erased(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await three(store, secret=SMALL)
        await store.put_blob(SMALL.encode("utf-16-le"))
    path.with_name("mail.json").write_bytes(b64encode(b"xx" + SMALL.encode() + b"yyy"))

    assert holding(path.parent) == ["mail.json", "runs.db"]
