"""A session of state as a plain directory: a file for each key, and beside them who wrote what.

    write_directory(place, kept, Path("out"))         # out/s1/plan.md, out/s1/.agent_state_meta/plan.md.json
    read_directory(Path("out/s1"))

A text is the bytes of its file. Any other value is written as JSON, and the file that says
who wrote it says so, so that it comes back as what it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec

from playhead.agent_state.keys import META, TEMPORARY, Place, folded, folders
from playhead.agent_state.writers import document, writer
from playhead.errors import BadValue
from playhead.events.words import WriterWords
from playhead.log.whole import write_whole

README: Final = f"README{TEMPORARY}"
"""A name that no key has."""
LITTER: Final = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""Files that a desktop leaves where somebody looked. They are a key only where a note says who wrote it."""
FILE_BYTES_MAX: Final = 1024 * 1024 * 1024
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
    for one in every:
        _check_key(one.key)
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
    if not (directory / META / README).is_file():
        return [directory.name]
    problems: list[str] = []
    names = [path.relative_to(directory).as_posix() for path in _walked(directory, problems)]
    return [*problems, *(name for name in names if _beside(directory, name) is None)]


def _beside(directory: Path, key: str) -> Path | None:
    """The file that says who wrote a key; None where there is none."""
    for ending in (".json", f"{TEMPORARY}.json"):
        path = directory / META / f"{key}{ending}"
        if path.is_file() and not path.is_symlink():
            return path
    return None


def read_directory(directory: Path) -> list[Kept]:
    """The keys and values in a directory that holds a session, sorted by their bytes.

    Raises one `BadValue` for what is no directory, and for all files that cannot be keys or values: links,
    names that no key has, and what is no UTF-8.
    """
    if directory.is_symlink() or not directory.is_dir():
        raise BadValue(f"{directory.name} is no directory.", expected="a session that was exported")
    problems: list[str] = []
    found: dict[str, Kept] = {}
    for path in _walked(directory, problems):
        name = path.relative_to(directory).as_posix()
        try:
            kept = _read(directory, path, name)
        except BadValue as error:
            problems.append(f"{name[:100]!r}: {error.message}")
            continue
        if found.setdefault(folded(kept.key), kept) is not kept:
            problems.append(f"{name!r}: some file systems take it for {found[folded(kept.key)].key!r}")
    for kept in found.values():
        problems += [
            f"{kept.key!r}: {folder!r} is a file too"
            for folder in folders(kept.key)
            if folded(folder) in found
        ]
    if problems:
        shown = "; ".join(problems[:PROBLEMS_SHOWN])
        more = f"; and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
        raise BadValue(f"{directory.name} cannot be taken in: {shown}{more}.", found=len(problems))
    return sorted(found.values(), key=lambda kept: kept.key.encode())


def _files(every: list[Kept]) -> Iterator[tuple[str, bytes]]:
    yield f"{META}/{README}", b"Who wrote which key of this session, and when: one file for each.\n"
    taken = {folded(folder) for one in every for folder in folders(one.key)}
    for one in every:
        is_text = isinstance(one.content, str)
        yield one.key, one.content.encode() if is_text else _json(one.content)
        said: dict[str, Any] = {
            "writer": document(one.writer),
            "updated_at": one.updated_at,
        }
        beside = f"{one.key}.json"
        if folded(beside) in taken:  # where another key has a folder of that name
            beside = f"{one.key}{TEMPORARY}.json"
        yield f"{META}/{beside}", _json(said if is_text else {**said, "content": "json"})


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode()


def _walked(directory: Path, problems: list[str]) -> Iterator[Path]:
    """The files that hold values. What is neither a file nor a directory is a problem."""
    count = 0
    for place, names, files in os.walk(directory):
        here = Path(place)
        links = [here / name for name in sorted(names) if (here / name).is_symlink()]
        problems += [f"{link.relative_to(directory).as_posix()!r}: it is a link" for link in links]
        names[:] = [name for name in sorted(names) if name != META and here / name not in links]
        for name in sorted(files):
            path = here / name
            key = path.relative_to(directory).as_posix()
            if TEMPORARY in name or (name in LITTER and _beside(directory, key) is None):
                continue
            if path.is_symlink() or not path.is_file():
                problems.append(f"{key!r}: it is no file")
                continue
            count += 1
            if count > FILES_MAX:
                raise BadValue(f"{directory.name} has more than {FILES_MAX} files.", expected=FILES_MAX)
            yield path


def _read(directory: Path, path: Path, name: str) -> Kept:
    key = Place.key(name)
    if key != name:
        raise BadValue(f"as a key it would be {key!r}.")
    if (size := path.stat().st_size) > FILE_BYTES_MAX:
        raise BadValue(f"it has {size} bytes, and at most {FILE_BYTES_MAX} are taken")
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise BadValue(f"it is no UTF-8: {error.reason} at {error.start}.") from error
    said = _said(_beside(directory, key))
    content: Any = text
    if said.get("content") == "json":
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadValue(f"it is no JSON: {error}.") from error
    words = said.get("writer")
    who = cast("dict[str, Any]", words) if isinstance(words, dict) else {}
    at = said.get("updated_at")
    return Kept(
        key,
        content,
        writer(*(_text(who.get(field)) for field in WriterWords.__struct_fields__)),
        at if type(at) is int and at >= 0 else 0,
    )


def _said(path: Path | None) -> dict[str, Any]:
    """What stands beside a key; nothing where it is not there or cannot be read: a key needs none."""
    if path is None:
        return {}
    try:
        said = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
