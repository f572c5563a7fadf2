"""Chains of trust records as files, in the form opentrustgraph-chain/v0.

    data = export_chain(records, topic="trust_graph", producer=Producer("playhead", "1.0"), generated_at=now)
    found = import_chain(data)              # raises BadValue, and tells everything that is wrong
    found.records, found.report.root_hash

Nothing of a record is made anew. A record that was imported and is exported again has the same members with
the same values, those of its metadata in the same order, and the time as it was written. Where it stood in
its file with the members in the order of `TrustRecord`, an indent of two, and numbers and texts as short as
they can be, it is the same byte for byte. Elsewhere no more can differ than spaces, the order of the record's
own members, escapes and the spelling of numbers, the cost is the nearest float, and an optional member that
was left out is null. The hash is always the same.

A record of another version is kept as it came, and is exported again as it came, spaces aside. It is told as
a warning, and the chain is then not verified, because nothing vouches for that record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from playhead.errors import BadValue
from playhead.trust.chain import ChainReport, Walk, verify_chain
from playhead.trust.contract import check_envelope, check_record
from playhead.trust.plain import RECORD_LEVEL, Odd, is_plain, plain_problems
from playhead.trust.problem import Problem, Problems, cut
from playhead.trust.record import RECORD_SCHEMA, TrustRecord, UnreadRecord
from playhead.trust.strict import read_json

CHAIN_SCHEMA: Final = "opentrustgraph-chain/v0"
BYTES_MAX: Final = 64 * 1024 * 1024
WARNINGS_MAX: Final = 100

_is_version: Final = re.compile(r"opentrustgraph/v\d+(?:\.\d+)*", re.ASCII).fullmatch


class Producer(msgspec.Struct, frozen=True):
    """Who made a file."""

    name: str
    version: str


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a file, and what it came to.

    `entries` are all records in their order, `records` those of the version known here. `problems` is empty
    unless the file was only examined.
    """

    topic: str
    producer: Producer
    generated_at: str
    entries: tuple[TrustRecord | UnreadRecord, ...]
    report: ChainReport
    warnings: tuple[str, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def records(self) -> tuple[TrustRecord, ...]:
        """The records of the version known here."""
        return tuple(entry for entry in self.entries if isinstance(entry, TrustRecord))


class _Chain(msgspec.Struct):
    topic: str
    total: int
    root_hash: str | None
    verified: bool
    generated_at: str
    producer: Producer


class _Document(msgspec.Struct):
    schema: str
    chain: _Chain
    records: list[TrustRecord | msgspec.Raw]


class _Raws(msgspec.Struct):
    records: list[msgspec.Raw]


_encode: Final = msgspec.json.Encoder().encode
_NOTHING: Final = msgspec.Raw(b"null")
"""What is kept of a record in a file that is refused."""


# ---------------------------------------------------------------- writing


def export_chain(
    records: Iterable[TrustRecord | UnreadRecord], *, topic: str, producer: Producer, generated_at: str
) -> bytes:
    """The records as a file. `verified` says whether all of them are whole and known.

    Raises `BadValue` for records and names that such a file cannot hold, for example a record that stands
    in no chain. A chain that is broken can be written, and the file says that it is.
    """
    entries = list(records)
    problems = Problems()
    for index, entry in enumerate(entries):
        if isinstance(entry, TrustRecord):
            members = msgspec.structs.asdict(entry)
            if not problems.take(plain_problems(members, f"/records/{index}", RECORD_LEVEL)):
                check_record(members, f"/records/{index}", problems)
    report = verify_chain(entries, topic=topic)
    chain = _Chain(topic, report.total, report.root_hash, report.verified, generated_at, producer)
    envelope: dict[str, Any] = {"schema": CHAIN_SCHEMA, "chain": msgspec.to_builtins(chain), "records": []}
    if not problems.take(plain_problems(envelope)):
        check_envelope(envelope, problems)
    _raise_for(problems.listed(), "these records cannot be written as a chain")
    written = [entry if isinstance(entry, TrustRecord) else entry.raw for entry in entries]
    return msgspec.json.format(_encode(_Document(CHAIN_SCHEMA, chain, written)), indent=2) + b"\n"


# ---------------------------------------------------------------- reading


def import_chain(data: bytes, *, bytes_max: int = BYTES_MAX) -> Imported:
    """The records in a file, all of which holds together.

    Raises `BadValue` for any other file: its `found` are the problems, each with its place, and its message
    begins with the first of them.
    """
    found = examine_chain(data, bytes_max=bytes_max)
    _raise_for(found.problems, "this is no chain to import")
    return found


def examine_chain(data: bytes, *, bytes_max: int = BYTES_MAX) -> Imported:
    """What stands in a file, and all that is wrong with it. Raises `BadValue` where that cannot be told."""
    return _Reading(data, read_json(data, bytes_max=bytes_max)).imported()


class _Reading:
    """Goes through a file and keeps what is found."""

    def __init__(self, data: bytes, document: Any) -> None:
        self._data = data
        # Halves of surrogate pairs stand in UTF-8 as escapes, if at all.
        self._has_escapes = b"\\u" in data
        self._raws: list[msgspec.Raw] | None = None
        self._walk = Walk()
        self._problems = Problems()
        self._warnings: list[str] = []
        self._chain: Mapping[str, Any] = {}
        self._entries = [self._entry(*each) for each in enumerate(self._records(document))]
        self._end()

    def imported(self) -> Imported:
        said = self._chain
        producer = _object(said.get("producer"))
        topic = _text(said.get("topic"))
        return Imported(
            topic=topic,
            producer=Producer(_text(producer.get("name")), _text(producer.get("version"))),
            generated_at=_text(said.get("generated_at")),
            entries=tuple(self._entries),
            report=self._walk.report(topic),
            warnings=tuple(self._warnings),
            problems=self._problems.listed(),
        )

    def _records(self, document: Any) -> list[Any]:
        """The records, and beside it what stands around them. Raises `BadValue` for another kind of file."""
        envelope = dict(_object(document))
        if envelope.get("schema") != CHAIN_SCHEMA:
            found = document.about if isinstance(document, Odd) else repr(envelope.get("schema"))
            raise BadValue(f"the file is not {CHAIN_SCHEMA}: {cut(found)}.", expected=CHAIN_SCHEMA)
        records = envelope.get("records")
        if "records" in envelope and isinstance(records, list):
            envelope["records"] = []
        if not self._problems.take(plain_problems(envelope)):
            check_envelope(envelope, self._problems)
            self._chain = _object(envelope.get("chain"))
        return list(cast("Sequence[Any]", records)) if isinstance(records, list) else []

    def _entry(self, index: int, value: Any) -> TrustRecord | UnreadRecord:
        """The next record, looked at from all sides."""
        where, before = f"/records/{index}", self._problems.count
        members = _object(value)
        version = members.get("schema")
        if not is_plain(value, RECORD_LEVEL) or self._has_escapes:
            self._problems.take(plain_problems(value, where, RECORD_LEVEL))
        if self._problems.count == before:
            if isinstance(version, str) and version != RECORD_SCHEMA and _is_version(version):
                self._warn(f"record {index + 1} is {cut(version)}, which is not known here: it was skipped")
                return self._skipped(members, self._raw(index))
            check_record(value, where, self._problems)
        record = self._converted(members, where) if self._problems.count == before else None
        if record is None:
            broken = self._skipped(members, _NOTHING)
            self._walk.say(index + 1, "it is not what a record has to be")
            return broken
        for text in self._walk.take(record):
            self._problems.add(where, text)
        return record

    def _converted(self, members: Mapping[str, Any], where: str) -> TrustRecord | None:
        try:
            return msgspec.convert(members, TrustRecord)
        except msgspec.ValidationError as error:
            # An index that is written as 1.0 is one by the schema, and not by those who hash it.
            self._problems.add(where, str(error))
            return None

    def _skipped(self, members: Mapping[str, Any], raw: msgspec.Raw) -> UnreadRecord:
        stated = members.get("entry_hash")
        entry_hash = stated if isinstance(stated, str) else None
        self._walk.skip(entry_hash)
        return UnreadRecord(schema=_text(members.get("schema")), entry_hash=entry_hash, raw=raw)

    def _raw(self, index: int) -> msgspec.Raw:
        """A record as it stands in the file."""
        if self._raws is None:
            try:
                self._raws = msgspec.json.decode(self._data, type=_Raws).records
            except (msgspec.MsgspecError, RecursionError) as error:
                # Whatever it is, it stands somewhere in the file: it is told once, and nothing is kept.
                self._problems.add("", f"records of other versions cannot be kept as they came: {error}")
                self._raws = []
        return self._raws[index] if self._raws else _NOTHING

    def _warn(self, text: str) -> None:
        if len(self._warnings) < WARNINGS_MAX:
            self._warnings.append(text)
        elif len(self._warnings) == WARNINGS_MAX:
            self._warnings.append("and more")

    def _end(self) -> None:
        """Whether these are all the records, and the last one is the right one."""
        walk, said = self._walk, self._chain
        total = said.get("total")
        if isinstance(total, int | float) and total != walk.total:
            text = f"chain.total mismatch; stated {total}, found {walk.total} records"
            walk.say(min(max(int(total), 0), walk.total) + 1, text)
            self._problems.add("/chain/total", text)
        if "root_hash" in said and said["root_hash"] != walk.root and walk.is_root_known:
            text = f"chain.root_hash mismatch; stated {said['root_hash']}, found {walk.root}"
            walk.say(walk.total, text)
            self._problems.add("/chain/root_hash", text)
        if said.get("verified") is False:
            self._warn("its producer did not verify it")


def _object(value: Any) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _raise_for(problems: Sequence[Problem], what: str) -> None:
    if problems:
        first, *others = problems
        more = f" And {len(others)} more." if others else ""
        raise BadValue(f"{what}: {first}.{more}", found=problems)
