"""Verify a playhead log without playhead: python verify_log.py STORE [--expect STREAM@SEQ:DIGEST]...

Standard library only; file_format.md explains every line. Exit code 0: sound; 4: broken, and where.
"""

import json
import sqlite3
import struct
import sys
from hashlib import sha256
from pathlib import Path

SCHEMA = "8fd74e9778639fe8dfff0e5ef6491143fb6b9e3243a3838e4b5917a5f11fa083"  # of what sqlite_master holds
TEXT, BLOB, ZEROS = bytearray, bytes, bytes(32)  # text is read as bytearray, which tells it from a blob
EVENTS = """select e.*, p.salt, coalesce(p.bytes, b.bytes), p.commitment,
  (p.bytes is not null) + (p.blob is not null) + (p.commitment is not null) from events e not indexed
  left join payloads p using (position) left join blobs b on b.address = p.blob order by e.position"""
EVENT = int, int, int, TEXT, int, int, int, TEXT, int | None, BLOB | None, BLOB, BLOB, *[BLOB | None] * 3, int


def verify(path, due):
    """Faults, and the ends of all streams to keep elsewhere. `due` holds such ends from earlier times."""
    faults, names, heads, due, last, running = [], {}, {}, set(due), 0, ZEROS
    want = lambda true, fault: true or faults.append(fault)
    db = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    db.text_factory = TEXT

    def rows(sql, *types):  # where the first column is a number, in rising order of it
        last = -1
        try:
            for row in db.execute(sql):
                if not all(map(isinstance, row, types)) or (types[0] is int and row[0] <= last):
                    return faults.append(f"row {row[0]!r} after {last!r}: wrong type or order in {sql}")
                last = row[0]
                yield row
        except (sqlite3.Error, UnicodeError, MemoryError) as error:
            faults.append(f"{error} in {sql}")

    db.executescript("pragma trusted_schema=0; pragma cell_size_check=1; begin")  # one moment of a live store
    for pragma, value in {"application_id": 0x706C6179, "user_version": 1, "encoding": b"UTF-8"}.items():
        want(list(rows(f"pragma {pragma}", object)) == [(value,)], f"the file's {pragma} differs")
    master = rows("select type, name, tbl_name, sql from sqlite_master order by name", *[TEXT | None] * 4)
    schema = b"\n".join(b"|".join(bytes(column or b"") for column in row) for row in master)
    want(sha256(schema).hexdigest() == SCHEMA, "the schema is not the format's")
    want(list(rows("pragma integrity_check", TEXT)) == [(b"ok",)], "integrity_check finds damage")
    for stream, name, scheme in rows("select * from streams not indexed", int, TEXT, TEXT):
        names[stream], heads[stream] = bytes(name), (0, ZEROS, 0, set())  # next seq, digest, epoch, erased
        want(scheme == b"playhead.event/1", f"{name}: unknown scheme")
    for rowid, address, data in rows("select rowid, * from blobs not indexed", int, BLOB, BLOB):
        want(sha256(data).digest() == address, f"large payload {rowid} is not what its address says")
    told = list(rows("select stream, seq, digest, epoch from heads order by stream", int, int, BLOB, int))
    reached = {(stream, seq - 1): digest for stream, seq, digest, _ in told}  # by each stream at least
    for row in rows(EVENTS, *EVENT):
        position, stream, seq, type_, version, at, epoch, op, cause, append_id, digest, stored, *paid = row
        salt, payload, commitment, parts = paid
        due_seq, previous, last_epoch, erased = heads.get(stream, (-1, ZEROS, 0, set()))
        where = f"{names.get(stream, b'?').decode(errors='replace')}@{seq}"
        shaped = (append_id is None or len(append_id) == 16) and (cause or 0) >= 0
        want(seq == due_seq and epoch >= last_epoch and shaped, f"{where}: misshapen, or {due_seq} was due")
        if salt is not None:
            commitment = sha256(salt + payload).digest() if payload is not None and len(salt) == 16 else None
        want(commitment is not None and parts == 1, f"{where}: the payload is missing or misshapen")
        erased |= {seq} if salt is None else set()
        erased -= {cause} if type_ == b"payload.erased" and (cause or 0) < seq else set()
        texts = names.get(stream, b"?"), type_, op, append_id or b"", b"" if seq else b"playhead.event/1"
        try:
            fixed = seq, version, at, epoch, -1 if cause is None else cause, *map(len, texts)
            header = struct.pack(">QIqQqHHHBB", *fixed) + b"".join(texts)
            linked = previous + struct.pack(">I", len(header)) + header + (commitment or b"")
        except struct.error:
            linked = b""  # a number is out of range, so no digest fits
        fits = linked and sha256(b"playhead.event/1" + linked).digest() == digest
        want(fits and reached.get((stream, seq), digest) == digest, f"{where}: its digest or head differs")
        running = sha256(b"playhead.store/1" + running + struct.pack(">Q", position) + digest).digest()
        want(position == last + 1 and running == stored, f"{where}: its running digest, or a gap before it")
        last, running, heads[stream] = position, stored, (seq + 1, digest, epoch, erased)
        due -= {f"{where}:{digest.hex()}", f"store@{position}:{running.hex()}"}
    want(list(rows("select count(*) from payloads", int)) == [(last,)], "a payload without an event")
    kept = [n for n, seq, _, epoch in told if n in heads and 0 < seq <= heads[n][0] and epoch == heads[n][2]]
    want(len(told) == len(kept) == len(heads), f"heads and streams differ: only {kept} fit")
    want(list(rows("select * from store", int, TEXT)) == [(1, b"playhead.store/1")], "store row differs")
    want(not due, f"cut off, replaced or rolled back: not here are {', '.join(sorted(due))}")
    ends = [f"store@{last}:{running.hex()}"]
    for stream, (seq, digest, _, erased) in heads.items():
        ends.append(f"{names.get(stream, b'?').decode(errors='replace')}@{seq - 1}:{digest.hex()}")
        want(seq and not erased, f"{ends[-1]}: no event, or none says why {erased} have no payload")
    db.close()
    return faults, ends


if __name__ == "__main__":
    kept, anchors = [word for word in sys.argv[2:] if word != "--expect"], Path(f"{sys.argv[1]}-anchors")
    lines = anchors.read_text().splitlines() if anchors.exists() else []
    for line in filter(lambda line: line.endswith("}"), lines):  # a crash can leave a torn one
        one = json.loads(line)
        kept += "store@{position}:{store_digest}".format(**one), "{stream}@{seq}:{digest}".format(**one)
    faults, ends = verify(sys.argv[1], kept)
    print(*(f"FAULT {fault}" for fault in faults), *ends, sep="\n")
    sys.exit(4 if faults else 0)
