"""Verify a playhead log without playhead: python verify_log.py STORE [--expect STREAM@SEQ:DIGEST]...
Standard library only; file_format.md explains every line. Exit code 0: sound; 4: broken, and where."""

import json
import re
import sqlite3
import struct
from argparse import ArgumentParser
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

SCHEMA = "8fd74e9778639fe8dfff0e5ef6491143fb6b9e3243a3838e4b5917a5f11fa083"  # of what sqlite_master holds
TEXT, BLOB, ZEROS, N, HEX = bytearray, bytes, bytes(32), "(0|[1-9][0-9]{0,18})", '"([0-9a-f]{64})"'
ANCHOR = rf'{{"position":{N},"events":\1,"store_digest":{HEX},"stream":(".*"),"seq":{N},"digest":{HEX}}}'
PRAGMAS = {"application_id": 0x706C6179, "user_version": 1, "encoding": b"UTF-8", "integrity_check": b"ok"}
SQL = """select e.*, ifnull(cause, -1), salt, coalesce(p.bytes, b.bytes), commitment, (p.bytes is null)
  + (blob is null) + (commitment is null) = 2 and ifnull(length(append_id), 16) = 16 from events e not indexed
  left join payloads p using (position) left join blobs b on b.address = p.blob order by e.position"""
EVENTS = SQL, *[int] * 3, TEXT, *[int] * 3, TEXT, int | None, BLOB | None, BLOB, BLOB, int, *[BLOB | None] * 3, int

def verify(path, due):  # faults, and the ends of all streams to keep; `due` holds such ends from earlier times
    faults, names, heads, last, running, due = [], {}, {}, 0, ZEROS, {d[:-64] + d[-64:].lower() for d in due}
    want = lambda true, fault: true or faults.append(fault)

    def rows(sql, *types, last=-1):  # where the first column is a number, in rising order of it
        try:
            for row in db.execute(sql):
                if not all(map(isinstance, row, types)) or (types[0] is int and row[0] <= last):
                    return faults.append(f"row {row[0]!r} after {last!r}: wrong type or order in {sql}")
                last = row[0]
                yield row
        except (sqlite3.Error, UnicodeError, MemoryError) as error:
            faults.append(f"{error} in {sql}")

    try:
        db = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        db.text_factory = TEXT  # as bytearray, which tells it from a blob
        db.executescript("pragma trusted_schema=0; pragma cell_size_check=1; begin")  # one moment of a live store
        beside = Path(f"{Path(path).resolve()}-anchors")
        for line in map(bytes.strip, beside.read_bytes().split(b"\n") if beside.exists() else ()):
            if line.endswith(b"}"):  # else a crash tore it
                position, store_digest, stream, seq, digest = re.fullmatch(ANCHOR, line.decode()).groups()
                due |= {f"store@{position}:{store_digest}", f"{json.loads(stream)}@{seq}:{digest}"}
    except sqlite3.Error as error:
        return [f"{path} cannot be read as a store: {error}"], []
    except (OSError, ValueError, AttributeError) as error:
        faults.append(f"the anchor file cannot be read, or a line of it is no anchor: {error!r}")
    for pragma, value in PRAGMAS.items():
        want(list(rows(f"pragma {pragma}", object)) == [(value,)], f"the file's {pragma} differs")
    master = rows("select type, name, tbl_name, sql from sqlite_master order by name", *[TEXT | None] * 4)
    schema = b"\n".join(b"|".join(bytes(column or b"") for column in row) for row in master)
    want(sha256(schema).hexdigest() == SCHEMA, "the schema is not the format's")
    for stream, name, scheme in rows("select * from streams not indexed", int, TEXT, TEXT):
        names[stream], heads[stream] = bytes(name), (0, ZEROS, 0, set())  # next seq, digest, epoch, erased
        want(scheme == b"playhead.event/1", f"{name}: unknown scheme")
    for rowid, address, data in rows("select rowid, * from blobs not indexed", int, BLOB, BLOB):
        want(sha256(data).digest() == address, f"large payload {rowid} is not what its address says")
    told = list(rows("select stream, seq, digest, epoch from heads order by stream", int, int, BLOB, int))
    reached = {(stream, seq - 1): digest for stream, seq, digest, _ in told}  # by each stream at least
    for position, stream, seq, kind, version, at, epoch, op, cause, key, digest, stored, *paid in rows(*EVENTS):
        link, salt, body, left, shaped, due_seq, before, least, gone = *paid, *heads.get(stream, (-1, ZEROS, 0, set()))
        where = f"{names.get(stream, b'?').decode(errors='replace')}@{seq}"
        want(seq == due_seq and epoch >= least and (cause or 0) >= 0, f"{where}: wrong place or shape")
        if salt is not None:
            left = sha256(salt + body).digest() if body is not None and len(salt) == 16 else None
        want(len(left or b"") == 32 and shaped, f"{where}: misshapen, or the payload is missing")
        gone |= {seq} if salt is None else set()
        gone -= {cause} if kind == b"payload.erased" and (cause or 0) < seq else set()
        texts = names.get(stream, b"?"), kind, op, key or b"", b"" if seq else b"playhead.event/1"
        linked = b""  # where a number is out of range no digest fits
        with suppress(struct.error):
            header = struct.pack(">QIqQqHHHBB", seq, version, at, epoch, link, *map(len, texts)) + b"".join(texts)
            linked = before + struct.pack(">I", len(header)) + header + (left or b"")
        fits = linked and sha256(b"playhead.event/1" + linked).digest() == digest
        want(fits and reached.get((stream, seq), digest) == digest, f"{where}: its digest or head differs")
        running = sha256(b"playhead.store/1" + running + struct.pack(">Q", position) + digest).digest()
        want(position == last + 1 and running == stored, f"{where}: its running digest, or a gap before it")
        last, running, heads[stream] = position, stored, (seq + 1, digest, epoch, gone)
        due -= {f"{where}:{digest.hex()}", f"store@{position}:{running.hex()}"}
    want(list(rows("select count(*) from payloads", int)) == [(last,)], "a payload without an event")
    kept = [n for n, seq, _, epoch in told if n in heads and 0 < seq <= heads[n][0] and epoch == heads[n][2]]
    want(len(told) == len(kept) == len(heads), f"heads and streams differ: only {kept} fit")
    want(list(rows("select * from store", int, TEXT)) == [(1, b"playhead.store/1")], "store row differs")
    want(not due, f"cut off, replaced or rolled back: not here are {ascii(sorted(due))}")
    ends = [f"store@{last}:{running.hex()}"]
    for stream, (seq, digest, _, erased) in heads.items():
        ends.append(f"{names.get(stream, b'?').decode(errors='replace')}@{seq - 1}:{digest.hex()}")
        want(seq and not erased, f"{ends[-1]}: no event, or none says why {erased} have no payload")
    db.close()
    return faults, ends

if __name__ == "__main__":
    words = ArgumentParser(usage=__doc__)
    words.add_argument("path", metavar="STORE")
    words.add_argument("--expect", dest="due", nargs="+", action="extend", default=[])
    faults, ends = verify(**vars(words.parse_args()))
    print(*(x if x.isprintable() else ascii(x) for x in (*(f"FAULT {y}" for y in faults), *ends)), sep="\n")
    raise SystemExit(4 if faults else 0)
