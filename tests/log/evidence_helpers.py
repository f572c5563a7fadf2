"""What the tests of the evidence share: both verifiers, and hands that change stored rows."""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType

from playhead.log.envelope import Anchor
from playhead.log.verify import Expectation, Verification, verify

STANDALONE = Path(__file__).parents[2] / "docs/verify_log.py"
EVIDENCE = {
    "events": "position, stream, seq, type, version, at, epoch, op, cause, append_id, digest, running",
    "payloads": "position, salt, bytes, blob, commitment",
    "blobs": "address, bytes",
    "streams": "stream, name, scheme",
    "heads": "stream, seq, digest, epoch",
    "store": "id, scheme",
}


def _standalone() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_log", STANDALONE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


verify_log = _standalone()


def both(
    path: Path, expect: Sequence[Expectation] = (), anchors: Sequence[Anchor] | None = None
) -> Verification:
    """What playhead says of a store, after making sure that the stand-alone verifier says the same.

    `anchors` instead of those beside the store are for a store beside which there are none.
    """
    said = verify(path, expect=expect, anchors=anchors)
    kept = [str(one) for one in expect]
    for anchor in anchors or ():
        kept.append(str(Expectation("store", anchor.position, anchor.store_digest)))
        kept.append(str(Expectation(anchor.stream, anchor.seq, anchor.digest)))
    faults, ends = verify_log.verify(path, kept)
    assert said.ok == (not faults), (said.faults, faults)
    if said.ok:
        assert sorted(map(str, [*said.ends, said.store])) == sorted(ends)
    return said


def kinds(said: Verification) -> set[str]:
    """The words of all faults."""
    return {fault.kind for fault in said.faults}


@contextmanager
def hand_in(path: Path) -> Generator[sqlite3.Connection]:
    """Change rows as somebody would who knows the format: the triggers are back in place afterwards."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        triggers = db.execute("select name, sql from sqlite_master where type = 'trigger'").fetchall()
        db.execute("begin")
        for name, _ in triggers:
            db.execute(f"drop trigger {name}")
        yield db
        for _, sql in triggers:
            db.execute(sql)
        db.execute("commit")


def copy_of(path: Path, to: Path) -> Path:
    """A copy of a closed store."""
    return Path(shutil.copyfile(path, to))


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]] | str]:
    """Every row of evidence as plain SQL reads it; the error in words where it cannot."""
    found: dict[str, list[tuple[object, ...]] | str] = {}
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        db.text_factory = bytearray
        for table, columns in EVIDENCE.items():
            try:
                rows = db.execute(f"select {columns} from {table} not indexed").fetchall()
                found[table] = sorted(rows, key=repr)
            except (sqlite3.Error, UnicodeError) as error:
                found[table] = str(error)
    return found


def integrity_ok(path: Path) -> bool:
    """Whether SQLite's own check is content with the file."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        try:
            return bool(db.execute("pragma integrity_check").fetchall() == [("ok",)])
        except (sqlite3.Error, UnicodeError):
            return False


def at(db: sqlite3.Connection, stream: str, seq: int) -> int:
    """The position of an event."""
    sql = "select position from events join streams using (stream) where name = ? and seq = ?"
    return int(db.execute(sql, (stream, seq)).fetchone()[0])


def forget(db: sqlite3.Connection, position: int) -> None:
    """Take an event and its payload out."""
    db.execute(f"delete from events where position = {position}")
    db.execute(f"delete from payloads where position = {position}")


def an_anchor(said: Verification, stream: str) -> Anchor:
    """The anchor that names the whole and the end of `stream`."""
    (end,) = [end for end in said.ends if end.stream == stream]
    return Anchor(said.store.seq, said.events, said.store.digest, stream, end.seq, end.digest)


def flipped(data: bytes, bit: int) -> bytes:
    """The same bytes but for one bit."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def cut_tail(db: sqlite3.Connection, events: int) -> None:
    """Take the newest events out, and make the heads agree: a consistent older copy."""
    rows = db.execute("select position, stream, seq from events order by position").fetchall()
    for position, stream, seq in reversed(rows[events:]):
        forget(db, position)
        before = "(select digest from events e where e.stream = heads.stream and e.seq = ?)"
        if seq:
            db.execute(
                f"update heads set seq = ?, digest = {before} where stream = ? and seq > ?",
                (seq, seq - 1, stream, seq),
            )
        else:
            db.execute("delete from heads where stream = ?", (stream,))
            db.execute("delete from streams where stream = ?", (stream,))
