"""Verify what playhead hands over, without playhead: python verify_receipt.py FILE... [--key ed25519:BASE64]...

A FILE is a receipt, a receipt in an envelope, a checkpoint, or a proof of consistency between two checkpoints.
Standard library only; receipts.md and file_format.md explain every line. Exit code 0: all hold; 4: one does not.
With --key, all has to be signed by one of the keys; without, a receipt proves no more than the digests it lists."""

import json
import re
from argparse import ArgumentParser
from base64 import b64decode, b64encode
from decimal import Decimal
from hashlib import sha256, sha512
from pathlib import Path

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493  # of Ed25519, RFC 8032
D, ROOT = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P)
NOTE = r"((playhead\.log/[0-9a-f]{32})\n([1-9][0-9]{0,18})\n(\S{44})\n)(\n(?:\u2014 \S+ \S{92}\n)+)?"  # a checkpoint
KINDS = "application/vnd.in-toto+json", "https://in-toto.io/Statement/v1", "urn:playhead:receipt:1"

def want(true, fault):
    if not true:
        raise ValueError(fault)

def point(raw):  # a point of the curve from its 32 bytes, as X, Y, Z, T
    y, sign = int.from_bytes(raw, "little") & (2**255 - 1), raw[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    x = next((x for x in (root, root * ROOT % P) if x * x % P == square), None)
    want(x is not None and y < P and (x or not sign), "a key is no point of the curve")
    x = x if x & 1 == sign else P - x
    return x, y, 1, x * y % P

def add(p, q):
    a, b, c, d = (p[1] - p[0]) * (q[1] - q[0]), (p[1] + p[0]) * (q[1] + q[0]), 2 * p[3] * q[3] * D, 2 * p[2] * q[2]
    return (b - a) * (d - c) % P, (d + c) * (b + a) % P, (d - c) * (d + c) % P, (b - a) * (b + a) % P
times = lambda n, p: add(times(n - 1, p), p) if n % 2 else times(n // 2, add(p, p)) if n else (0, 1, 1, 0)

def is_signature(key, signature, message):
    a, r, s = point(key), point(signature[:32]), int.from_bytes(signature[32:], "little")
    h = int.from_bytes(sha512(signature[:32] + key + message).digest(), "little") % L
    base, minus = point(bytes([0x58]) + bytes([0x66]) * 31), (P - a[0], a[1], 1, P - a[3])
    x, y, z, _ = add(times(s, base), times(h, minus))
    return (x - r[0] * z) % P == (y - r[1] * z) % P == 0 and s < L and times(8, a)[0] % P != 0  # no weak key

def canonical(value):  # RFC 8785
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return f"{{{','.join(f'{canonical(name)}:{canonical(value[name])}' for name in names)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(canonical, value))}]"
    if not isinstance(value, float) or value == 0:
        return json.dumps(0 if isinstance(value, float) else value, ensure_ascii=False)
    want(abs(value) < float("inf"), "a number is infinite")
    plain = 1e-6 <= abs(value) < 1e21
    return format(Decimal(repr(value)).normalize(), "f") if plain else re.sub("e([+-])0*", r"e\1", repr(value))

def read(data):  # a JSON object whose one canonical text this is
    document = json.loads(data.decode(), parse_int=lambda n: int(n) if abs(int(n)) < 2**53 else float(n))
    want(data.removesuffix(b"\n") == canonical(document).encode(), "this is not canonical")
    return document

def raw(text, size=None):  # of base64 that is written in its one way
    data = b64decode(text, validate=True)
    want(b64encode(data).decode() == text and size in (None, len(data)), "this base64 was changed")
    return data
unhex = lambda text, digits="{64}": bytes.fromhex(re.fullmatch(f"[0-9a-f]{digits}", text)[0])

def climb(place, last, first, path):  # the two roots that a proof of RFC 9162 leads to
    node, before, after = lambda left, right: sha256(b"\1" + left + right).digest(), first, first
    for step in map(unhex, path):
        if place % 2 or place == last:
            before, after = node(step, before), node(step, after)
            while place and not place % 2:
                place, last = place // 2, last // 2
        else:
            after = node(after, step)
        place, last = place // 2, last // 2
    want(last == 0, "a proof is too short")
    return before, after

def checkpoint(text, keys, needed=True):  # the log, its size, and its root
    want(match := re.fullmatch(NOTE, text), "this is no checkpoint")
    body, origin, size, root, lines = match.groups()
    hints = {sha256(f"{origin}\n\1".encode() + key).digest()[:4]: key for key in keys}
    signed = [(name, raw(line, 68)) for name, line in re.findall(r"\u2014 (\S+) (\S+)\n", lines or "")]
    by_us = any(x[:4] in hints and is_signature(hints[x[:4]], x[4:], body.encode()) for n, x in signed if n == origin)
    want(by_us or not keys or not (needed or lines), f"the checkpoint at {size} is signed with none of the keys")
    return origin, int(size), raw(root, 32)

def consistency(document, keys):
    (log, old, old_root), (other, new, new_root) = (checkpoint(document[n], keys) for n in ("older", "newer"))
    want(log == other and old <= new and len(document) == 4, "these are no two checkpoints of one log")
    steps = document["path"] if old & (old - 1) and old < new else [old_root.hex(), *document["path"]]
    level = new.bit_length() if old == new else (old & -old).bit_length() - 1  # they share nodes up to there
    old_way = climb((old - 1) >> level, (new - 1) >> level, unhex(steps[0]), steps[1:])
    want(old_way == (old_root, new_root), "the newer checkpoint does not begin with the older one")
    return f"{log} only grew from {old} to {new} events"

def receipt(document, keys, sealed=False):
    about = document["metadata"]["playhead"]
    home = {"receipt-2026-04-25": document.get("chain"), "harn.receipt.v1": about}[document["schema"]]
    kept, name = home.pop("receipt_hash"), document.get("receipt_id", document.get("id"))
    stream = name.replace("receipt_", "run/", 1)
    ids = document.get("subject", {}).get("id"), document.get("identifiers", {}).get("task_id")
    want(stream[:4] == "run/" and {*ids} <= {stream[4:], None}, "it names two runs")
    want(sealed or not keys, "the receipt is unsigned")
    want(document.pop("signatures", []) == [], "there are signatures in it that nobody can verify")
    want(kept == "sha256:" + sha256(canonical(document).encode()).hexdigest(), "the hash is another")
    origin, size, root = checkpoint(about["checkpoint"], keys, not sealed)
    same = document.get("issuer", {"id": origin})["id"] == origin and home["merkle_root"] == about["merkle_root"]
    want(same and about["merkle_root"] == f"sha256:{root.hex()}", "the checkpoint is another")
    for one in (about["inclusion"], *about["evidence"]):
        event, names, header = one["event"], (stream.encode(), one["type"].encode()), unhex(one["header"], "+")
        told, ids = b"".join([*(len(n).to_bytes(2) for n in names), *names]), f"{stream}@{int.from_bytes(header[:8])}"
        want(told == header[36:40] + header[44 : 40 + len(told)] and event == ids, "a proof is of another run")
        made = unhex(one["previous"]) + len(header).to_bytes(4) + header + unhex(one["commitment"])
        digest, index = sha256(b"playhead.event/1" + made).digest(), one["index"]
        want(digest.hex() == one["digest"] and 0 <= index < size, f"{event} has another digest, or place")
        want(climb(index, size - 1, sha256(b"\0" + digest).digest(), one["path"])[1] == root, f"{event} is not in it")
    proves = "its end" if sealed else "it is unsigned, and no more than that these events of its run are in the log"
    return f"{name} of {origin}, {kept}, {proves} is proven under the checkpoint at {size}"

def envelope(document, keys):
    statement, (signed,) = read(body := raw(document["payload"])), document["signatures"]
    want((len(document), len(signed), len(statement), body[-1:]) == (3, 2, 4, b"}"), "it has other members")
    want((document["payloadType"], statement["_type"], statement["predicateType"]) == KINDS, "this is no receipt")
    said = receipt(statement["predicate"], keys, sealed=True)
    message = b"DSSEv1 %d %s %d %s" % (len(KINDS[0]), KINDS[0].encode(), len(body), body)
    key = {f"key_{sha256(b'playhead.key/1' + key).hexdigest()[:24]}": key for key in keys}.get(signed["keyid"])
    want(not keys or (key and is_signature(key, raw(signed["sig"], 64), message)), "it is not signed by these keys")
    want(f"sha256:{statement['subject'][0]['digest']['sha256']}," in said, "the statement is about something else")
    return f"{said}, signed{'' if keys else ', but nobody was asked by whom'}"

def verify(data, keys):
    if data.startswith(b"playhead.log/"):
        return "the checkpoint at {1} of {0}".format(*checkpoint(data.decode(), keys))
    document = read(data)
    return {"playhead.consistency/1": consistency, None: envelope}.get(document.get("schema"), receipt)(document, keys)

if __name__ == "__main__":
    words, faults = ArgumentParser(usage=__doc__), []
    words.add_argument("file", nargs="+", type=Path)
    words.add_argument("--key", action="append", default=[], type=lambda key: raw(key.removeprefix("ed25519:"), 32))
    for file in (given := words.parse_intermixed_args()).file:
        try:
            print("ok", ascii(f"{file} {verify(file.read_bytes(), given.key)}")[1:-1])
        except Exception as error:  # whatever it is: playhead did not write this file, or not this way
            faults.append(print("FAULT", ascii(f"{file} {error}")[1:-1]))
    raise SystemExit(4 if faults else 0)
