"""Kernel locks on sibling files: never on the database itself, whose locks are SQLite's.

`FileLock` is the one lock under which every commit and every checkpoint happens.
It is a `flock`, so it goes with the process that holds it, and waiting in the
kernel makes writers take turns.

`WorkerFiles` tells dead workers from stopped ones: a worker holds a lock on a
file of its own for as long as its process lives. A process that was stopped
(SIGSTOP, a suspended machine) still holds it; one that died does not.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

LOCKS: Final = Path("/proc/locks")
PROBES_MAX: Final = 10_000


def holder_of(path: Path) -> int | None:
    """The pid of the process that holds a `flock` on `path`, where the kernel tells."""
    try:
        found = path.stat()
        text = LOCKS.read_text()
    except OSError:
        return None
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in text.splitlines():
        fields = line.split()
        # `1: FLOCK ADVISORY WRITE 712 fe:00:131 0 EOF`; a line with `->` waits and holds nothing
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5] == wanted:
            pid = int(fields[4])
            return pid if pid > 0 else None
    return None


def _try(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class FileLock:
    """One exclusive lock between processes. Used by one thread at a time.

    Waiting happens in a daemon thread with a descriptor of its own, because a
    blocking `flock` cannot be given a time limit and a polling one is unfair. A
    wait that was given up goes on in the kernel; when it is granted after all,
    the lock is handed to whoever waits then, or released.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._fast = os.open(path, flags, 0o644)
        self._slow = os.open(path, flags, 0o644)
        self._held: int | None = None
        self._turn = threading.Condition()
        self._wanted = False
        self._granted = False
        self._waiting = False
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def held(self) -> bool:
        return self._held is not None

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it. Never waits."""
        assert self._held is None
        if not _try(self._fast):
            return False
        self._held = self._fast
        return True

    def acquire(self, budget_s: float) -> bool:
        """Take the lock, waiting in turn for at most `budget_s`. False when it did not come."""
        if self.try_acquire():
            return True
        with self._turn:
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._wait, name="playhead-lock", daemon=True)
                self._thread.start()
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._granted, budget_s)
            self._wanted = False
            if not self._granted:
                return False
            self._granted = False
            self._held = self._slow
            return True

    def _wait(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: (self._wanted and not self._granted) or self._closed)
                if self._closed:
                    return
                self._waiting = True
            try:
                fcntl.flock(self._slow, fcntl.LOCK_EX)
            except OSError:  # the descriptor was closed under the wait: nothing is held
                return
            with self._turn:
                self._waiting = False
                if self._closed:
                    os.close(self._slow)
                    return
                if self._wanted:
                    self._granted = True
                    self._turn.notify_all()
                else:
                    fcntl.flock(self._slow, fcntl.LOCK_UN)

    def release(self) -> None:
        """Let the next one in."""
        assert self._held is not None
        fcntl.flock(self._held, fcntl.LOCK_UN)
        self._held = None

    def busy_message(self) -> str:
        """Who holds the lock, in words."""
        pid = holder_of(self.path)
        who = "a process that the kernel does not name" if pid is None else f"process {pid}"
        return f"{self.path.name} is held by {who}."

    def close(self) -> None:
        """Close the descriptors. What was held is released."""
        with self._turn:
            if self._closed:
                return
            self._closed = True
            self._turn.notify_all()
            waiting = self._waiting
        os.close(self._fast)
        if not waiting:  # else the waiting thread closes it when the kernel lets it go
            os.close(self._slow)
        self._held = None

    def abandon(self) -> None:
        """In a forked child: close the copies. The parent's locks stay, for they share its descriptors."""
        for descriptor in (self._fast, self._slow):
            with suppress(OSError):
                os.close(descriptor)
        self._closed = True
        self._held = None


class WorkerFiles:
    """One locked file per living worker, in `<db>-workers/`. Names are hashes of worker ids.

    Files are made and removed under the store's lock, so that nobody sees one
    before it is locked. A crash leaves an unlocked file, which says "dead" and
    is swept by the next worker that comes.
    """

    def __init__(self, database: Path) -> None:
        self._directory = database.with_name(database.name + "-workers")
        self._mine: dict[str, int] = {}

    def path(self, worker: str) -> Path:
        return self._directory / sha256(worker.encode()).hexdigest()[:32]

    def enter(self, worker: str) -> None:
        """Say that `worker` lives, for as long as this process does."""
        if worker in self._mine:
            return
        self._directory.mkdir(exist_ok=True)
        descriptor = os.open(self.path(worker), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        for _ in range(PROBES_MAX):
            if _try(descriptor):
                self._mine[worker] = descriptor
                return
            time.sleep(0)  # somebody asks at this moment whether we live
        os.close(descriptor)
        raise AssertionError(f"another process calls itself {worker}")

    def lives(self, worker: str) -> bool:
        """Whether the process of `worker` still exists. A stopped one does."""
        if worker in self._mine:
            return True
        try:
            descriptor = os.open(self.path(worker), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _try(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)  # which also gives up the shared lock

    def sweep(self) -> None:
        """Remove the files of the dead."""
        if not self._directory.exists():
            return
        for path in sorted(self._directory.iterdir()):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                if _try(descriptor, fcntl.LOCK_SH):
                    path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)

    def leave(self) -> None:
        """Say that the workers of this process are gone."""
        for worker, descriptor in self._mine.items():
            self.path(worker).unlink(missing_ok=True)
            os.close(descriptor)
        self._mine.clear()

    def abandon(self) -> None:
        """In a forked child: close the copies, so that the parent's death is still seen."""
        for descriptor in self._mine.values():
            with suppress(OSError):
                os.close(descriptor)
        self._mine.clear()
