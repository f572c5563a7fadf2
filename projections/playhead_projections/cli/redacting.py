"""`playhead redact`: a payload leaves the log, and what is gone, why and by whom stays."""

from __future__ import annotations

import asyncio
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

import click

from playhead_projections.cli.erased import named
from playhead_projections.cli.faults import BUSY, DONE, Usage
from playhead_projections.cli.output import count
from playhead_projections.cli.session import Session, command, json_option
from playhead_projections.cli.telling import by_option

if TYPE_CHECKING:
    from playhead.runtime.needles import Place
    from playhead.runtime.redacting import Redacted

PLACES_SHOWN: Final = 20
HOW: Final = {"inside": " (inside a longer text)", "name": " (a name)"}
COPIES: Final = "Backups and exports made before cannot be reached from here: find them, and make them anew."


@command("redact")
@click.argument("place", metavar="RUN@SEQ|STREAM@SEQ", required=False)
@click.argument("part", metavar="[/PATH]", default="")
@click.option("--reason", metavar="TEXT", help="Why. It stays in the log, for good.")
@by_option
@click.option("--everywhere", is_flag=True, help="Erase the same value wherever it stands in this store.")
@click.option("--dry-run", is_flag=True, help="Say what would go and where else it stands; erase nothing.")
@click.option("--finish", is_flag=True, help="Take away what earlier erasures had to leave to readers.")
@json_option
def redact(
    session: Session,
    *,
    place: str | None,
    part: str,
    reason: str | None,
    sender: str,
    everywhere: bool,
    dry_run: bool,
    finish: bool,
    as_json: bool,
) -> int:
    """Erase the payload of event RUN@SEQ, or the part of it at /PATH. The chain stays whole and says so.

    Exit code 6 where it is erased, and readers keep its bytes in the WAL for now.
    """
    if finish:
        if place is not None:
            raise Usage("--finish names no event.", expected="playhead redact --finish", found=place)
        return _finish(session, as_json=as_json)
    if place is None:
        raise Usage("what is to be erased?", expected="RUN@SEQ, or --finish")
    if part and not part.startswith("/"):
        raise Usage(f"{part!r} is no path.", expected="/args/name, as in `playhead event`", found=part)
    if not (reason or "").strip():
        raise Usage("an erasure has a reason, which stays in the log.", expected="--reason TEXT")
    stream, seq = _event_of(session, place)
    done = asyncio.run(
        _redact(session, stream, seq, part, reason or "", sender, everywhere=everywhere, dry_run=dry_run)
    )
    if as_json:
        session.out.document("playhead.redaction/1", _document(done, dry_run=dry_run))
    else:
        _tell(session, done, dry_run=dry_run, everywhere=everywhere)
    return BUSY if done.left or done.held else DONE


def _event_of(session: Session, place: str) -> tuple[str, int]:
    from playhead_projections.cli.addresses import find_one, split

    with session.reading() as log:
        name, first, last = split(place)
        if "/" in name and first is not None and first == last:
            return name, first
        run, seq = find_one(log, session.store, place)
        return f"run/{run}", seq


async def _redact(
    session: Session,
    stream: str,
    seq: int,
    part: str,
    reason: str,
    by: str,
    *,
    everywhere: bool,
    dry_run: bool,
) -> Redacted:
    from playhead.events.codec import CATALOG
    from playhead.log.sqlite_store import SqliteStore
    from playhead.runtime.redacting import redact as erase

    async with SqliteStore.open(session.store, mode="read" if dry_run else "write") as store:
        return await erase(
            store, CATALOG, stream, seq, part, reason=reason, by=by, everywhere=everywhere, dry_run=dry_run
        )


def _finish(session: Session, *, as_json: bool) -> int:
    async def finish() -> tuple[str, ...]:
        from playhead.log.sqlite_store import SqliteStore

        async with SqliteStore.open(session.store) as store:
            return (await store.scrub()).left

    left = asyncio.run(finish())
    if as_json:
        session.out.document("playhead.redaction/1", {"left": list(left)})
    elif left:
        _tell_left(session, left)
    else:
        session.out.line("nothing is left of what was erased")
    return BUSY if left else DONE


def _document(done: Redacted, *, dry_run: bool) -> dict[str, Any]:
    return {
        "stream": done.stream,
        "event": done.seq,
        "type": done.type,
        "parts": list(done.parts),
        "kept": done.kept,
        "erased": not done.already and not dry_run,
        "already": done.already,
        "reason_then": done.earlier.reason if done.earlier else None,
        "also": [place._asdict() for place in done.also],
        "everywhere": [{"stream": s, "event": n, "parts": list(parts)} for s, n, parts in done.everywhere],
        "held": list(done.held),
        "left": list(done.left),
        "dry_run": dry_run,
    }


def _tell(session: Session, done: Redacted, *, dry_run: bool, everywhere: bool) -> None:
    out = session.out
    name = named(done.stream, done.seq)
    if done.already:
        earlier = done.earlier
        by = f" by {earlier.sender}" if earlier is not None and earlier.sender else ""
        out.line(f"already erased{by}: {earlier.reason if earlier else '?'}  {name}")
    else:
        verb = "would erase" if dry_run else "erased"
        gone = ", ".join(done.parts) or "the whole payload"
        out.line(f"{verb}  {name}  {done.type}  {gone}")
        for stream, seq, parts in done.everywhere:
            out.line(f"{verb}  {named(stream, seq)}  {', '.join(parts) or 'the whole payload'}")
        _tell_also(session, done.also, will_go=dry_run and everywhere)
        for stream in done.held:
            out.line(
                f"not erased, as somebody is running it: {stream}. Wait for its end, or `playhead cancel` it."
            )
    if done.left:
        _tell_left(session, done.left)
    if not done.already and not dry_run:
        out.line(COPIES)


def _tell_also(session: Session, also: tuple[Place, ...], *, will_go: bool) -> None:
    out = session.out
    for place in also[:PLACES_SHOWN]:
        name = named(place.stream, place.seq)
        where = f"{name} {place.part}".rstrip()
        if not place.erasable:
            what = "its name, which stays" if place.how == "envelope" else "what cannot be erased"
            out.line(f"also stands in {where}  {place.type}: in {what}")
        elif will_go:
            out.line(f"would erase  {name}  {place.type}  {place.part}")
        else:
            command_ = " ".join(quote(word) for word in (name, place.part) if word)
            told = f"{where}  {place.type}{HOW.get(place.how, '')}"
            out.line(f"also stands in {told}: playhead redact {command_} --reason TEXT")
    if len(also) > PLACES_SHOWN:
        out.line(f"  … and in {count(len(also) - PLACES_SHOWN, 'place')} more: --json lists them all")
    if any(place.erasable for place in also) and not will_go:
        out.line("or all of them at once: --everywhere")


def _tell_left(session: Session, left: tuple[str, ...]) -> None:
    for sentence in left:
        session.out.line(f"not gone yet: {sentence}")
    session.out.line("Finish it when they are: playhead redact --finish, or whatever opens the store next.")
