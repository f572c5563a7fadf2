"""`playhead state export` and `import`: a session as plain files, and plain files as a session."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click
import msgspec

from playhead.agent_state.keys import Place
from playhead.agent_state.writers import name_of
from playhead.errors import NotFound, StateConflict
from playhead_projections.cli.addresses import as_of_option, position_of
from playhead_projections.cli.faults import DONE, NO
from playhead_projections.cli.output import count
from playhead_projections.cli.session import Session, command

if TYPE_CHECKING:
    from playhead.agent_state.deciding import Change, Standing
    from playhead.agent_state.directory import Kept
    from playhead.agent_state.keeping import Changed, Keeper
    from playhead.events.words import ConflictWord, ConflictWords, WriterWords
    from playhead.log.reader import LogReader

CONFLICTS_SHOWN: Final = 20


def check_session(log: LogReader, place: Place) -> None:
    """Raise `BadValue` where the session at `place` is kept under another spelling of its names."""
    from playhead.events.state import SessionOpened
    from playhead_projections.cli.wording import decoded

    for first in log.read(place.stream, 0, 1):
        opened = decoded(first)
        if isinstance(opened, SessionOpened):
            place.check_spelling(opened.root, opened.session)


def no_session(place: Place) -> NotFound:
    """What to say of a session that is not there."""
    return NotFound(
        f"session {place.session!r} not found under {place.root!r}.", next_step="See `playhead state show`."
    )


@command("export")
@click.argument("root")
@click.argument("session_", metavar="SESSION")
@click.argument("directory", type=click.Path(path_type=Path))
@as_of_option
@click.option("--force", is_flag=True, help="In the place of one that was exported before.")
def export(
    session: Session, *, root: str, session_: str, directory: Path, as_of: str | None, force: bool
) -> int:
    """Write a session as files, as DIRECTORY/SESSION: whole, or not at all."""
    from playhead.agent_state.directory import Kept, write_directory
    from playhead_projections.state_at import keys_at

    place = Place.of(root, session_)
    with session.reading() as log:
        check_session(log, place)
        position = None if as_of is None else position_of(log, session.store, as_of)
        found = keys_at(log, place, position)
        if not found and not log.head(place.stream).seq:
            raise no_session(place)
    erased = [version.key for version in found.values() if version.erased]
    kept = [
        Kept(version.key, version.content, version.writer, version.at // 1_000_000_000)
        for version in found.values()
        if not version.erased
    ]
    written = write_directory(place, kept, directory, force=force)
    session.out.line(f"{count(len(kept), 'key')} written to {written}")
    for key in erased:
        session.out.line(f"left out, as it was erased or cannot be read: {key}")
    return DONE


@command("import")
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("root")
@click.argument("session_", metavar="[SESSION]", required=False)
@click.option(
    "--conflict-policy",
    "policy",
    default="error",
    show_default=True,
    help="What becomes of a key that has another value: error, warn or ignore.",
)
def import_(session: Session, *, directory: Path, root: str, session_: str | None, policy: str) -> int:
    """Take the files of DIRECTORY in as keys of ROOT SESSION, by those who wrote them.

    SESSION is called as the directory is, where no other name is given. All files are looked at before any
    is taken in. A value that is there already is left alone, so an import that was killed can be done again.
    Where another value stands, or was deleted, it is a conflict with the import itself, whomever the file
    names: without a word nothing is replaced, and with warn each is said. Exit code 1 when a key was refused.
    """
    from playhead.agent_state.directory import read_directory
    from playhead.agent_state.writers import conflict_policy

    place = Place.of(root, session_ or directory.resolve().name)
    wanted = conflict_policy(policy)
    kept = [(one, _content(one)) for one in read_directory(directory)]
    done = asyncio.run(_take_in(session.target, place, kept, wanted))
    for line in done.over[:CONFLICTS_SHOWN] if wanted == "warn" else ():
        session.out.aside(line)
    if wanted == "warn" and len(done.over) > CONFLICTS_SHOWN:
        session.out.aside(f"and {len(done.over) - CONFLICTS_SHOWN} more")
    session.out.line(
        f"{count(done.taken, 'key')} taken in, {len(done.over)} of them over another writer's,"
        f" {done.alike} there already, {len(done.refused)} refused"
    )
    session.out.lines(done.refused)
    return NO if done.refused else DONE


class _Done(NamedTuple):
    """What became of the files of a directory."""

    taken: int
    over: list[str]
    """What was written over another writer's, a line for each."""
    alike: int
    refused: list[str]


class _Written(NamedTuple):
    """A key that was written, and how it stood before."""

    changed: Changed
    before: Standing


def _content(one: Kept) -> msgspec.Raw:
    """What is kept of a file, as it goes into the log. Raises `BadValue` for what no log could hold."""
    from playhead.errors import BadValue
    from playhead.events.values import encode_value

    if one.content is None:
        raise BadValue(f"{one.key}: null is no value of a key.", next_step="Leave the file out.")
    return msgspec.Raw(encode_value(one.content, where=one.key, plain=True))


async def _take_in(
    store: Path, place: Place, kept: list[tuple[Kept, msgspec.Raw]], policy: ConflictWord
) -> _Done:
    """Write what was read, key by key. A crash leaves some of them written, each whole."""
    from playhead.agent_state.deciding import By, Change
    from playhead.agent_state.keeping import Keeper
    from playhead.agent_state.writers import writer
    from playhead.errors import BadValue
    from playhead.events.codec import CATALOG
    from playhead.log.sqlite_store import SqliteStore

    taken = alike = 0
    over: list[str] = []
    refused: list[str] = []
    async with SqliteStore.open(store) as opened:
        keeper, by = Keeper(opened, CATALOG), By(opened.worker)
        itself = writer(session_id=place.session, worker_id=opened.worker)
        await keeper.open(place, itself, by)
        for one, content in kept:
            change = Change("write", one.key, one.writer, policy, by, content)
            try:
                written = await write_key(keeper, place, change, itself)
            except StateConflict as error:
                stands = await keeper.read(place, one.key)
                refused.append(f"{one.key}: {_stands(error.conflict, stands)}")
            except BadValue as error:
                refused.append(f"{one.key}: {error.message}")
            else:
                taken += written is not None
                alike += written is None
                over += [] if written is None else _over(one.key, written)
    return _Done(taken, over, alike, refused)


async def write_key(keeper: Keeper, place: Place, change: Change, itself: WriterWords) -> _Written | None:
    """Write a key; None where its value is there already.

    In the name of the writer of `change` only where nothing was ever there: who is named in a file proves
    nothing, so over anything else the import comes as what it is.
    """
    while True:
        before = await keeper.read(place, change.key)
        if before.kind == "value" and bytes(before.content or b"") == bytes(change.content or b""):
            return None
        named = before.kind == "absent" and bool(change.writer.writer_id)
        made = msgspec.structs.replace(
            change,
            writer=change.writer if named else itself,
            expected_version=0 if named or change.policy == "error" else None,
        )
        try:
            return _Written(await keeper.change(place, made), before)
        except StateConflict:
            if not named or change.policy == "error":
                raise  # else somebody else was faster, and now there is something


def _stands(met: ConflictWords, standing: Standing) -> str:
    if standing.kind == "value":
        return f"version {met.version}, by {name_of(met.previous)}, stands there"
    return f"{name_of(met.previous)} deleted it, as version {met.version}"


def _over(key: str, written: _Written) -> list[str]:
    met = written.changed.conflict
    if met is None:
        return []
    who = name_of(met.previous)
    if written.before.kind == "deleted":
        return [f"{key}: written although {who} deleted it, as version {met.version}"]
    return [f"{key}: written over version {met.version}, by {who}"]
