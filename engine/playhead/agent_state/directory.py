"""A session of state as a plain directory: a file for each key, and beside them who wrote what.

    write_directory(place, kept, Path("out"))         # out/s1/plan.md, out/s1/.agent_state_meta/plan.md.json
    read_directory(Path("out/s1"))

A text is the bytes of its file. Any other value is written as JSON, and the note beside it, which
says who wrote it, says so, so that it comes back as what it was. A note has the digest of its file:
who edits the file is not taken for who wrote it before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec

from playhead.agent_state.keys import KEY_BYTES_MAX, META, TEMPORARY, Place, folded, folders
from playhead.agent_state.tree import Tree
from playhead.agent_state.writers import document, writer
from playhead.errors import BadValue
from playhead.events.words import WriterWords
from playhead.log.whole import write_whole

README: Final = f"README{TEMPORARY}"
"""A name that no key has."""
LITTER: Final = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""Files that a desktop leaves where somebody looked. They are a key only where a note says who wrote it."""
FILE_BYTES_MAX: Final = 1024 * 1024 * 1024
NOTE_BYTES_MAX: Final = 64 * 1024
"""What is longer is no note: who wrote a key is said in a few lines."""
FILES_MAX: Final = 100_000
PROBLEMS_SHOWN: Final = 5


class Kept(NamedTuple):
    """A value under its key, with who wrote it and when, in seconds since 1970."""

    key: str
    content: Any
    writer: WriterWords = WriterWords()
    updated_at: int = 0


def write_directory(place: Place, kept: Iterable[Kept], root: Path, *, force: bool = False) -> Path:
    """Write a session as a directory of its own under `root`, whole or not at all, and return where.

    Raises `BadValue` for what is no key, and where something stands there already; with `force` an earlier
    export makes way, unless somebody put other files into it. A crash leaves what stood there, or nothing, or
    the whole session.
    """
    every = list(kept)
    taken = {folded(one.key): one.key for one in every}
    for one in every:
        _check_key(one.key)
        if above := [taken[folded(name)] for name in folders(one.key) if folded(name) in taken]:
            raise BadValue(f"{one.key!r} would lie in {above[0]!r}, which holds a value.", found=one.key)
    target = root.absolute() / place.session
    replace = force and target.is_dir() and not target.is_symlink()
    if replace:
        strange = _strangers(target)
        if strange:
            raise BadValue(
                f"{target.name} holds what no export wrote: {', '.join(strange[:PROBLEMS_SHOWN])}.",
                expected="a session that was exported",
                found=f"{len(strange)} other files",
                next_step="Put them elsewhere, or name another directory.",
            )
    try:
        write_whole(target, dict(_files(every)), replace=replace)
    except BadValue as error:
        if target.is_dir() and not target.is_symlink() and not _strangers(target):
            error.next = "Put this one in its place: --force."
        raise
    return target


def _check_key(key: str) -> None:
    """Raise `BadValue` where `key`, which a log may have from anybody, is no key as keys are kept."""
    if Place.key(key) != key:
        raise BadValue(f"{key[:100]!r} is no key as keys are kept.", expected=Place.key(key), found=key[:400])


def _strangers(directory: Path) -> list[str]:
    """Files in a directory that stand there beside what an export of a session wrote."""
    try:
        with Tree.open(directory) as tree:
            if tree.kind(f"{META}/{README}") != "file":
                return [directory.name]
            problems: list[str] = []
            names = [name for name in _walked(tree, problems) if not _has_note(tree, name)]
            return [*problems, *names]
    except BadValue as error:
        return [_problem(directory.name, error)]


def read_directory(directory: Path) -> list[Kept]:
    """The keys and values in a directory that holds a session, sorted by their bytes.

    Raises one `BadValue` for what is no directory, and for all files that cannot be keys or values: links,
    names that no key has, what is no UTF-8, and what cannot be read.
    """
    problems: list[str] = []
    found: dict[str, Kept] = {}
    called = directory.absolute().name
    try:
        with Tree.open(directory) as tree:
            called = directory.resolve().name or "/"
            for name in _walked(tree, problems):
                try:
                    kept = _read(tree, name)
                except BadValue as error:
                    problems.append(_problem(name, error))
                    continue
                if found.setdefault(folded(kept.key), kept) is not kept:
                    other = found[folded(kept.key)].key
                    problems.append(f"{name!r}: some file systems take it for {other!r}")
    except BadValue as error:
        raise BadValue(f"{called}: {error.message}", expected="a session that was exported") from error
    for kept in found.values():
        problems += [
            f"{kept.key!r}: {folder!r} is a file too"
            for folder in folders(kept.key)
            if folded(folder) in found
        ]
    if problems:
        shown = "; ".join(problems[:PROBLEMS_SHOWN])
        more = f"; and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
        raise BadValue(f"{called} cannot be taken in: {shown}{more}.", found=len(problems))
    return sorted(found.values(), key=lambda kept: kept.key.encode())


def _files(every: list[Kept]) -> Iterator[tuple[str, bytes]]:
    yield f"{META}/{README}", b"Who wrote which key of this session, and when: one file for each.\n"
    taken = {folded(folder) for one in every for folder in folders(one.key)}
    for one in every:
        is_text = isinstance(one.content, str)
        content = one.content.encode() if is_text else _json(one.content)
        yield one.key, content
        said: dict[str, Any] = {
            "sha256": sha256(content).hexdigest(),
            "writer": document(one.writer),
            "updated_at": one.updated_at,
        }
        beside = f"{one.key}.json"
        if folded(beside) in taken:  # where another key has a folder of that name
            beside = f"{one.key}{TEMPORARY}.json"
        yield f"{META}/{beside}", _json(said if is_text else {**said, "content": "json"})


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode()


def _walked(tree: Tree, problems: list[str]) -> Iterator[str]:
    """The files that hold values. What is neither a file nor a directory is a problem."""
    count = 0
    todo = [""]
    while todo:
        folder = todo.pop()
        try:
            entries = tree.entries(folder)
        except BadValue as error:
            problems.append(_problem(folder or ".", error))
            continue
        if folder and any(kind == "folder" and folded(name) == META for name, kind in entries):
            problems.append(f"{folder!r}: it is a session of its own: import it by itself")
            continue
        below: list[str] = []
        for last, kind in entries:
            name = f"{folder}/{last}" if folder else last
            if kind == "folder" and len(os.fsencode(name)) > KEY_BYTES_MAX:
                problems.append(f"{name[:100]!r}: it is deeper than a key can be")
            elif kind == "folder":
                below += [name] if name != META else []
            elif TEMPORARY in last or (last in LITTER and not _has_note(tree, name)):
                continue
            elif kind != "file":
                problems.append(f"{name[:100]!r}: it is {'a link' if kind == 'link' else 'no file'}")
            else:
                count += 1
                if count > FILES_MAX:
                    raise BadValue(f"it has more than {FILES_MAX} files.", expected=FILES_MAX)
                yield name
        todo += reversed(below)


def _problem(name: str, error: BadValue) -> str:
    return f"{name[:100]!r}: {error.message.rstrip('.')}"


def _read(tree: Tree, name: str) -> Kept:
    key = Place.key(name)
    if key != name:
        raise BadValue(f"as a key it would be {key!r}.")
    data = tree.read(name, FILE_BYTES_MAX)
    if data is None:
        raise BadValue(f"it has more than {FILE_BYTES_MAX} bytes.")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BadValue(f"it is no UTF-8: {error.reason} at {error.start}.") from error
    said = _said(tree, key)
    who = _writer(said) if said.get("sha256") in (None, sha256(data).hexdigest()) else None
    content = _json_in(text, sure=who is not None) if said.get("content") == "json" else text
    if who is None:  # somebody else wrote the file since, or nobody that there could be
        return Kept(key, content)
    at = said.get("updated_at")
    return Kept(key, content, who, at if type(at) is int and at >= 0 else 0)


def _writer(said: dict[str, Any]) -> WriterWords | None:
    """The writer that a note names; None where a name is one that no writer has."""
    words = said.get("writer")
    who = cast("dict[str, Any]", words) if isinstance(words, dict) else {}
    try:
        return writer(*(_text(who.get(field)) for field in WriterWords.__struct_fields__))
    except BadValue:
        return None


def _json_in(text: str, *, sure: bool) -> Any:
    """The value in `text`, or `text` where it is none and need not be one. Raises `BadValue`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if not sure and isinstance(error, json.JSONDecodeError):
            return text
        raise BadValue(f"it is no JSON: {error}.") from error


def _has_note(tree: Tree, key: str) -> bool:
    """Whether there is something that should say who wrote a key."""
    try:
        return _note(tree, key) is not None
    except BadValue:
        return True


def _note(tree: Tree, key: str) -> str | None:
    """The name of the file that says who wrote a key; None where there is none."""
    for ending in (".json", f"{TEMPORARY}.json"):
        name = f"{META}/{key}{ending}"
        if tree.kind(name) not in (None, "folder"):
            return name
    return None


def _said(tree: Tree, key: str) -> dict[str, Any]:
    """What stands beside a key; nothing where nothing does, or what is no JSON object: a key needs none."""
    try:
        name = _note(tree, key)
        data = None if name is None else tree.read(name, NOTE_BYTES_MAX)
    except BadValue as error:
        raise BadValue(f"its note in {META}: {error.message}") from error
    try:
        said = msgspec.json.decode(data or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
