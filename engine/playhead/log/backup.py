"""A whole copy of a store in one file, made while others write.

The copy is one moment of the log: SQLite's backup reads a single snapshot. It is
verified before it gets its name, so a file of that name is always a good one. A
crash leaves no file, or a temporary one whose name ends in `.part`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from playhead.errors import Corrupt, ReadOnly
from playhead.log import guards
from playhead.log.driver import connect_reader, sqlite, translated, uri_of
from playhead.log.verify import verify

if TYPE_CHECKING:
    from pathlib import Path


def copy_to(source: Path, to: Path) -> None:
    """Copy the store at `source` to `to`, atomically, as one file without a WAL.

    Raises `Corrupt` when the copy does not verify, and `ReadOnly` when `to` is a store in use.
    """
    target = to.absolute()
    if guards.is_live(target):
        raise ReadOnly(f"{target} is a store in use.", next_step="Give the backup another name.")
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    try:
        _copy(source, part)
        checked = verify(part)
        if not checked.ok:
            raise Corrupt(f"the copy of {source.name} does not verify: {checked.faults[0]}", found=checked)
        _sync(part)
        os.replace(part, target)  # noqa: PTH105  (the word for what happens)
        _sync(target.parent)
    except sqlite.Error as error:
        raise translated(error, target) from error
    finally:
        part.unlink(missing_ok=True)


def _copy(source: Path, part: Path) -> None:
    origin = connect_reader(source)
    try:
        copy = sqlite.connect(uri_of(part, "mode=rwc"), uri=True, isolation_level=None)
        try:
            origin.backup(copy)
            copy.execute("pragma journal_mode = delete").fetchone()
        finally:
            copy.close()
    finally:
        origin.close()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
