"""`playhead blame`: where a value of an event, or of a key of state, comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from playhead_projections.cli.addresses import as_of_option
from playhead_projections.cli.faults import DONE, NO, Usage
from playhead_projections.cli.output import brief, count, cut
from playhead_projections.cli.session import Session, command, json_option

if TYPE_CHECKING:
    from playhead.log.reader import LogReader
    from playhead_projections.blame import Origin, Source

LINES: Final = 100
VALUE_WIDTH: Final = 60
PATH_WIDTH: Final = 200
PLACE_WIDTH: Final = 46
GAPS: Final = 3


@command("blame")
@click.argument("what", nargs=-1, metavar="RUN@N [PATH] | ROOT SESSION KEY[/PATH]")
@as_of_option
@click.option("--all", "everything", is_flag=True, help="Every line.")
@json_option
def blame(
    session: Session, *, what: tuple[str, ...], as_of: str | None, everything: bool, as_json: bool
) -> int:
    """Say where a value comes from: one of event N at the JSON pointer PATH, or one that is kept in state.

    Of an event it says which earlier events held an equal value; equal is no proof. Exit code 1 when none
    did.
    """
    if len(what) == 3:
        return _of_state(session, *what, as_of=as_of, as_json=as_json)
    if not 1 <= len(what) <= 2:
        raise Usage("one value is meant here.", expected="RUN@N [PATH], or ROOT SESSION KEY[/PATH]")
    if as_of is not None:
        raise Usage("--as-of is a moment of state.", expected="ROOT SESSION KEY[/PATH] --as-of RUN@N")
    from playhead_projections.blame import blame as origin_of
    from playhead_projections.cli.addresses import find_one

    with session.reading() as log:
        run, seq = find_one(log, session.store, what[0])
        origin = origin_of(log, run, seq, what[1] if len(what) > 1 else None)
    if as_json:
        session.out.document("playhead.blame/1", {"run": run, "seq": seq, **_document(origin)})
    else:
        lines = list(_lines(run, seq, origin))
        kept = lines if everything else lines[:LINES]
        session.out.lines(kept)
        if len(kept) < len(lines):
            session.out.line(f"  … {len(lines) - len(kept):,} more lines: --all")
    return DONE if _is_known(origin) else NO


# ------------------------------------------------------------------ state


def _of_state(session: Session, root: str, named: str, key: str, *, as_of: str | None, as_json: bool) -> int:
    from playhead.agent_state.keys import Place
    from playhead_projections.cli.stating import blame_key

    place = Place.of(root, named)
    with session.reading() as log:
        name, pointer = _split(log, place, key)
    return blame_key(session, place, name, pointer, as_of, as_json=as_json)


def _split(log: LogReader, place: Any, text: str) -> tuple[str, str]:
    """The longest beginning that is a key, and what follows as a pointer. A key may hold slashes."""
    from playhead.agent_state.keys import Place
    from playhead.errors import BadValue

    parts = text.split("/")
    for n in range(len(parts), 0, -1):
        try:
            name = Place.key("/".join(parts[:n]))
        except BadValue:
            continue
        if log.head(place.stream_of(name)).seq:
            return name, "".join(f"/{part}" for part in parts[n:])
    return Place.key(text), ""


# ----------------------------------------------------------------- events


def _is_known(origin: Origin) -> bool:
    known = origin.here or origin.first or origin.made or origin.texts
    return bool(known) or any(_is_known(part) for part in origin.parts)


def _document(origin: Origin) -> dict[str, Any]:
    said = origin._asdict()
    for name in ("first", "last", "made"):
        said[name] = _source(said[name])
    said["texts"] = [_source(source) for source in origin.texts]
    said["parts"] = [_document(part) for part in origin.parts]
    said["gaps"] = [gap._asdict() for gap in origin.gaps]
    return said


def _source(source: Source | None) -> dict[str, Any] | None:
    return None if source is None else source._asdict()


def _lines(run: str, seq: int, origin: Origin) -> Iterator[str]:
    yield f"{run}@{seq}{cut(origin.path, PATH_WIDTH)}  {brief(origin.value, VALUE_WIDTH)}"
    if origin.gone:
        yield "  it was erased: where it came from cannot be told"
        return
    if origin.here:
        yield "  came in with this event"
    yield from _found(origin, "  ")
    for part in origin.parts:
        yield from _part(part, whole=origin)
    if origin.left_out:
        yield f"  … {count(origin.left_out, 'value')} in it not looked for: name one by its path"


def _part(origin: Origin, *, whole: Origin) -> Iterator[str]:
    """One value inside of another: nothing is said of what was said of the whole already."""
    nothing_new = not origin.first and not origin.texts and (origin.here or whole.made is not None)
    if not origin.parts and not nothing_new:
        what = "what it is called" if origin.name else brief(origin.value, VALUE_WIDTH)
        yield f"  {cut(origin.path, PATH_WIDTH)}  {'it was erased' if origin.gone else what}"
        yield from () if origin.gone else _found(origin, "    ")
    for part in origin.parts:
        yield from _part(part, whole=whole)


def _found(origin: Origin, by: str) -> Iterator[str]:
    chance = "  (so short that it may be chance)" if origin.common else ""
    if origin.first is not None and origin.last is not None:
        yield f"{by}equal to         {_place(origin.first)}{chance}"
        if origin.last.seq != origin.first.seq:
            times = f"  ({origin.times - 2:,} more in between)" if origin.times > 2 else ""
            yield f"{by}and last to      {_place(origin.last)}{times}"
    elif origin.made is not None:
        words = "said before by" if origin.here else "first said by"
        yield f"{by}{words:<16} {_place(origin.made)}{chance}"
    elif not origin.texts and not origin.parts and not origin.here and not origin.gaps:
        yield f"{by}nowhere before: the program made it"
    for text in origin.texts:
        yield f"{by}{_HOW[text.how]:<16} {_place(text)}"
    yield from _gaps(origin, by)


_HOW: Final = {"inside": "a part of", "holds": "holds", "name": "the name of"}


def _gaps(origin: Origin, by: str) -> Iterator[str]:
    """What was erased, and what therefore cannot be told."""
    if not origin.gaps:
        return
    listed = ", ".join(f"{gap.seq} ({gap.type})" for gap in origin.gaps[:GAPS])
    more = f" and {len(origin.gaps) - GAPS:,} more" if len(origin.gaps) > GAPS else ""
    if origin.first is None or origin.last is None:
        what = "where it came from"
    else:
        parts = [gap.seq < origin.first.seq for gap in origin.gaps]
        what = "who brought it " + ("first" if all(parts) else "last" if not any(parts) else "first and last")
    yield f"{by}erased at        {listed}{more}: {what} cannot be told"


def _place(source: Source) -> str:
    from playhead_projections.accounts import tail_of

    name = tail_of(source.op)
    left = cut(f"{source.seq:>4}  {source.type}  {name}".rstrip(), PLACE_WIDTH)
    by = f"  by {source.by}" if source.by else ""
    return f"{left:<{PLACE_WIDTH}}  {cut(source.path, PATH_WIDTH)}{by}"
