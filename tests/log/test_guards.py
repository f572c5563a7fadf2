"""What would make SQLite lose commits is noticed: forks, network file systems, live files, lost WALs."""

# ruff: noqa: ASYNC240  (a test may look at files)

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from playhead.errors import LiveFileOpened, OutcomeUnknown, ReadOnly, UnsafeFilesystem
from playhead.log import guards
from playhead.log.sqlite_store import SqliteStore
from tests.log.store_helpers import ID, RUN, event, events, run_child

MOUNTS = r"""
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
22 21 0:5 / /dev rw - devtmpfs udev rw
30 21 0:30 / /net rw - nfs4 server:/all rw,vers=4.2
31 30 0:31 / /net/here/local rw - xfs /dev/vdb rw
32 21 0:32 / /mnt/with\040space rw - cifs //server/share rw
33 21 0:33 / /mnt/ssh rw - fuse.sshfs me@server:/ rw
34 21 0:34 / /mnt/twice rw - ext4 /dev/vdc rw
35 34 0:35 / /mnt/twice rw - 9p share rw
36 21 0:36 / /tmp rw master:2 - tmpfs tmpfs rw
this line is no mount
"""


@pytest.mark.parametrize(
    ("path", "filesystem", "unsafe"),
    [
        ("/srv/runs", "ext4", False),
        ("/net", "nfs4", True),
        ("/net/there/x", "nfs4", True),
        ("/network", "ext4", False),
        ("/net/here/local/x", "xfs", False),
        ("/mnt/with space/x", "cifs", True),
        ("/mnt/ssh", "fuse.sshfs", True),
        ("/mnt/twice/x", "9p", True),
        ("/tmp", "tmpfs", False),
    ],
)
def test_the_file_system_of_a_path_is_known(path: str, filesystem: str, unsafe: bool) -> None:
    assert guards.filesystem_of(MOUNTS, path) == filesystem
    assert guards.is_unsafe(filesystem) is unsafe


@pytest.mark.parametrize(
    "name", ["nfs", "NFS3", "smb3", "smbfs", "cifs", "fuse", "fuse.s3fs", "virtiofs", "ceph"]
)
def test_network_file_systems_are_unsafe(name: str) -> None:
    assert guards.is_unsafe(name)


def test_an_unsafe_place_is_refused_by_name(tmp_path: Path) -> None:
    mounts = f"40 1 0:40 / {tmp_path.resolve()} rw - nfs4 server:/ rw"

    with pytest.raises(UnsafeFilesystem, match="nfs4") as told:
        guards.refuse_unsafe_filesystem(tmp_path, mounts)

    assert told.value.found == "nfs4"
    guards.refuse_unsafe_filesystem(tmp_path, "")
    guards.refuse_unsafe_filesystem(tmp_path)


async def test_no_store_is_made_on_an_unsafe_file_system(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nfs(_: str, __: str) -> str:
        return "nfs"

    monkeypatch.setattr(guards, "filesystem_of", nfs)

    with pytest.raises(UnsafeFilesystem):
        await SqliteStore.opened(path)
    assert not path.exists()


async def test_nobody_opens_the_live_files_by_path(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(1))

        for name in (path, f"{path}-wal", f"{path}-shm", link, bytes(path)):
            with pytest.raises(LiveFileOpened):
                os.open(name, os.O_RDONLY)
        with pytest.raises(LiveFileOpened):
            path.read_bytes()
        with pytest.raises(LiveFileOpened):
            shutil.copy(path, tmp_path / "copy.db")
        (tmp_path / "other").write_text("anything else may be opened")
        with pytest.raises(ReadOnly):
            await store.backup(path)

    assert path.read_bytes()[:6] == b"SQLite"


# The whole accident, in a process without the audit hook: the writer's own process reads its live file,
# which drops SQLite's locks; another process comes, takes itself for the last one, and deletes the WAL.
ACCIDENT = """
import asyncio, os, subprocess, sys
from playhead.errors import OutcomeUnknown
from playhead.log.envelope import NewEvent
from playhead.log.sqlite_store import SqliteStore

path = sys.argv[1]
E = NewEvent("t", 1, 0, "", None, b"x")

async def main():
    async with SqliteStore.open(path) as store:
        for seq in range(5):
            await store.append("run/a", seq, [E])
        open(path, "rb").read()
        subprocess.run([sys.executable, "-c",
            "import sqlite3,sys; db=sqlite3.connect(sys.argv[1]);"
            "db.execute('pragma journal_mode=wal'); db.execute('select * from events').fetchall();"
            "db.close()", path], check=True)
        assert not os.path.exists(path + "-wal"), "the accident did not happen"
        id = bytes(16)
        try:
            await store.append("run/a", 5, [E], append_id=id)
        except OutcomeUnknown:
            print("unknown")
        landed = await store.append("run/a", 5, [E], append_id=id)
        print(landed.first_seq, (await store.head("run/a")).seq)
        await store.append("run/a", 6, [E])
        print((await store.verify()).ok)
    print(subprocess.run([sys.executable, "-c",
        "import sqlite3,sys; db=sqlite3.connect(sys.argv[1]);"
        "print(db.execute('select count(*) from events').fetchone()[0])",
        path], check=True, capture_output=True, text=True).stdout.strip())

asyncio.run(main())
"""


def test_a_deleted_wal_is_noticed_and_nothing_acknowledged_is_lost(path: Path) -> None:
    assert run_child(ACCIDENT, path).split() == ["unknown", "5", "6", "True", "7"]


async def test_a_replaced_wal_is_noticed(path: Path) -> None:
    async with SqliteStore.open(path) as store:
        await store.append(RUN, 0, events(3))
        wal = Path(f"{path}-wal")
        wal.rename(f"{path}-elsewhere")
        Path(f"{path}-elsewhere").replace(wal)  # the same file again: nothing happened
        await store.append(RUN, 3, events(1))

        wal.unlink()
        with pytest.raises(OutcomeUnknown):
            await store.append(RUN, 4, events(1), append_id=ID)


def test_an_inode_is_asked_for_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")

    assert guards.Inode(file).number() == file.stat().st_ino
    assert guards.Inode(tmp_path / "none").number() is None


FORK = """
import asyncio, multiprocessing, os, sys
from playhead.errors import ForkedStore
from playhead.log.envelope import Append, NewEvent
from playhead.log.sqlite_store import SqliteStore

E = NewEvent("t", 1, 0, "", None, b"x")

async def refused(call):
    try:
        await call
    except ForkedStore:
        return True
    return False

async def main():
    async with SqliteStore.open(sys.argv[1]) as store:
        await store.append("run/a", 0, [E], claim=store.worker)
        child = os.fork()
        if child == 0:
            all_refused = (await refused(store.append("run/a", 1, [E])) and await refused(store.read("run/a"))
                and await refused(store.renew()) and await refused(store.put_blob(b"")))
            try:
                store.submit(Append("run/a", 1, [E], append_id=bytes(16)))
            except ForkedStore:
                os._exit(0 if all_refused else 1)
            os._exit(2)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status))
        # A child that only leaves must not harm the parent either.
        process = multiprocessing.get_context("fork").Process(target=int)
        process.start()
        process.join()
        for seq in range(1, 50):
            await store.append("run/a", seq, [E], epoch=1)
        print(await store.alive(store.worker), (await store.verify()).ok)

asyncio.run(main())
"""


def test_a_fork_cannot_use_the_store_and_does_not_harm_it(path: Path) -> None:
    assert run_child(FORK, path).split() == ["0", "True", "True"]


CHILD_OUTLIVES = """
import asyncio, os, sys, time
from playhead.log.envelope import NewEvent
from playhead.log.sqlite_store import SqliteStore

async def main():
    store = await SqliteStore.opened(sys.argv[1])
    await store.append("run/a", 0, [NewEvent("t", 1, 0, "", None, b"x")], claim=store.worker)
    if os.fork() == 0:
        os.close(0); os.close(1)
        time.sleep(5)
        os._exit(0)
    print(store.worker, flush=True)
    os._exit(0)

asyncio.run(main())
"""


async def test_a_forked_child_does_not_keep_its_dead_parent_alive(path: Path) -> None:
    worker = run_child(CHILD_OUTLIVES, path).strip()

    async with SqliteStore.open(path) as store:
        assert not await store.alive(worker)
        assert (await store.append(RUN, 1, [event()], claim=store.worker)).epoch == 2


SPAWN = """
import asyncio, multiprocessing, sys
from playhead.log.envelope import NewEvent
from playhead.log.sqlite_store import SqliteStore
from tests.log.store_helpers import event

def work(path, name):
    async def main():
        async with SqliteStore.open(path) as store:
            await store.append(f"run/{name}", 0, [event(name)])
    asyncio.run(main())

async def main(path, method):
    async with SqliteStore.open(path) as store:
        await store.append("run/parent", 0, [event("parent")])
        process = multiprocessing.get_context(method).Process(target=work, args=(path, method))
        await asyncio.to_thread(process.start)
        await asyncio.to_thread(process.join)
        assert process.exitcode == 0
        await store.append("run/parent", 1, [event("parent")])
        print(len(await store.feed(0)), (await store.verify()).ok)

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_children_that_open_the_store_themselves_may_use_it(path: Path, tmp_path: Path, method: str) -> None:
    script = tmp_path / "spawning.py"
    script.write_text(SPAWN)

    said = run_child(
        "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')",
        script,
        path,
        method,
    )

    assert said.split() == ["3", "True"]


def test_the_registry_counts_those_who_have_it_open(path: Path) -> None:
    guards.register_live(path)
    guards.register_live(path)
    guards.unregister_live(path)
    assert guards.is_live(path)
    assert guards.is_live(f"{path}-wal")

    guards.unregister_live(path)
    assert not guards.is_live(path)
