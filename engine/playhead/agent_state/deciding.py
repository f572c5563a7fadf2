"""May this change be made? Pure: the standing of a key and a change in, facts out.

    standing = Standing().after(0, fact)             # one event of the key's stream forward
    decision = decide(place, standing, Change("write", "plan.md", ...))
    decision.facts        # to append at standing.next_seq, all or none
    decision.error        # raised once they are there

Invariants:

  * every accepted change is one version more, and a version is never given twice
  * a change that meets somebody else's version leaves a conflict, under every policy
  * a refused change leaves the version, the value and its writer as they are
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Raw

from playhead.agent_state.keys import Place
from playhead.agent_state.writers import conflicts, name_of
from playhead.errors import BadValue, PlayheadError, StateConflict
from playhead.events import state as facts
from playhead.events.codec import Erased, Unknown
from playhead.events.fact import WorldFact
from playhead.events.words import ChangeWord, ConflictWord, ConflictWords, WriterWords


class By(NamedTuple):
    """What makes a change: an operation of a run, a tool that it called, or a process by itself."""

    process: str = ""
    run: str | None = None
    op: str | None = None
    once: bool = True
    """Whether the operation makes one change, and one that is made again is the same; a tool makes any."""


class Change(msgspec.Struct, frozen=True):
    """One change that somebody asks for. `handoff` is the artifact, or None in msgpack, of a handoff."""

    action: ChangeWord
    key: str
    writer: WriterWords
    policy: ConflictWord
    by: By
    content: Raw | None = None
    expected_version: int | None = None
    handoff: Raw | None = None


class Standing(NamedTuple):
    """How a key stands after some events of its stream."""

    next_seq: int = 0
    stands: int = -1
    """Seq of the event that made it so; -1 where nothing did."""
    key: str = ""
    version: int = 0
    kind: Literal["absent", "value", "deleted", "folder"] = "absent"
    content: Raw | None = None
    writer: WriterWords | None = None
    sure: bool = True
    """Whether the version is known: not where only erased changes were seen, and not what was before."""
    held_by: WriterWords | None = None
    """Who is known to have written last, where the writer is not known."""

    @property
    def holder(self) -> WriterWords | None:
        """Whom another writer meets here."""
        return self.writer if self.writer is not None and self.writer.writer_id else self.held_by

    def after(self, seq: int, fact: object) -> Standing:
        """One event forward."""
        match fact:
            case facts.StateWritten():
                made = Standing(seq + 1, seq, fact.key, fact.version, "value", fact.content, fact.writer)
                return made._replace(held_by=fact.held_by)
            case facts.StateDeleted():
                made = Standing(seq + 1, seq, fact.key, fact.version, "deleted", None, fact.writer)
                return made._replace(held_by=fact.held_by)
            case facts.StateFolderMade():
                return Standing(seq + 1, seq, fact.key, self.version, "folder", None, self.writer)
            case Erased(type=kind) | Unknown(type=kind) if kind in ("state.written", "state.deleted"):
                # Its value is gone, and it counts.
                return Standing(seq + 1, seq, self.key, self.version + 1, "deleted", sure=self.sure)
            case Erased(type="state.folder_made") | Unknown(type="state.folder_made"):
                return Standing(seq + 1, seq, self.key, self.version, "folder", sure=self.sure)
            case _:
                return self._replace(next_seq=seq + 1)


class Decision(NamedTuple):
    """What is to be appended, and what the change comes to once it is."""

    facts: tuple[WorldFact, ...]
    version: int
    conflict: facts.StateConflictDetected | None = None
    error: PlayheadError | None = None


def decide(place: Place, standing: Standing, change: Change) -> Decision:
    """What becomes of `change` where the key stands so."""
    if standing.kind == "folder":
        if change.action == "delete":
            return Decision((), standing.version)
        return Decision((), 0, error=_is_folder(change.key))
    if standing.kind == "value" and standing.key != change.key:
        return Decision((), 0, error=_spelt(change.key, standing.key))
    if not _as_expected(standing, change.expected_version):
        return _refused(place, standing, change)
    if change.action == "delete" and standing.kind != "value":
        return Decision((), standing.version)
    conflict: facts.StateConflictDetected | None = None
    if conflicts(change.writer, standing.holder):
        if change.policy == "error":
            return _refused(place, standing, change)
        conflict = _conflict(place, standing, change, refused=False)
    version = standing.version + 1
    first = () if conflict is None else (conflict,)
    return Decision((*first, *_made(place, standing, change)), version, conflict)


def _as_expected(standing: Standing, version: int | None) -> bool:
    """Whether that version stands; 0 is no value, because none ever was or because it was deleted."""
    return version in (None, standing.version) or (version == 0 and standing.kind != "value")


def folder_in(place: Place, standing: Standing, folder: str, child: str) -> Decision:
    """What has to be there before `child` is written below the name `folder`."""
    if standing.kind == "folder":
        known = standing.key not in ("", folder)
        spelt = _spelt(folder, standing.key) if known else None
        return Decision((), standing.version, error=spelt)
    if standing.kind == "value":
        return Decision((), 0, error=_is_value(child, standing.key))
    made = facts.StateFolderMade(root=place.root, session=place.session, key=folder)
    return Decision((made,), standing.version)


def words_of(conflict: facts.StateConflictDetected) -> ConflictWords:
    """What of a conflict a run is told."""
    return ConflictWords(
        key=conflict.key,
        change=conflict.change,
        version=conflict.version,
        previous=conflict.previous,
        writer=conflict.writer,
        expected_version=conflict.expected_version,
    )


def error_of(words: ConflictWords) -> StateConflict:
    """What a refused change raises."""
    was, now, key = name_of(words.previous), name_of(words.writer), words.key
    if words.expected_version not in (None, words.version):
        stands = f"version {words.version}, by '{was}'" if words.version else "no version yet"
        message = f"key '{key}' has {stands}, and '{now}' expected {words.expected_version}"
        error = StateConflict(message, conflict=words)
        error.next = "Read the key again and decide again."
        return error
    done = "deleted" if words.change == "delete" else "written"
    message = f"key '{key}' was previously written by '{was}' and is now being {done} by '{now}'"
    return StateConflict(message, conflict=words)


def _refused(place: Place, standing: Standing, change: Change) -> Decision:
    conflict = _conflict(place, standing, change, refused=True)
    return Decision((conflict,), standing.version, conflict, error_of(words_of(conflict)))


def _conflict(
    place: Place, standing: Standing, change: Change, *, refused: bool
) -> facts.StateConflictDetected:
    return facts.StateConflictDetected(
        **_asked(place, change),
        change=change.action,
        policy=change.policy,
        refused=refused,
        version=standing.version,
        stands=standing.stands,
        previous=standing.holder or WriterWords(),
        writer=change.writer,
        expected_version=None if _as_expected(standing, change.expected_version) else change.expected_version,
        process=change.by.process,
    )


def _made(place: Place, standing: Standing, change: Change) -> tuple[WorldFact, ...]:
    """The facts of an accepted change."""
    asked, version = _asked(place, change), standing.version + 1
    held_by = None if change.writer.writer_id else standing.holder
    who: dict[str, Any] = {"writer": change.writer, "process": change.by.process, "held_by": held_by}
    if change.action == "delete":
        return (facts.StateDeleted(**asked, **who, version=version),)
    assert change.content is not None
    written = facts.StateWritten(**asked, **who, version=version, content=change.content)
    if change.handoff is None:
        return (written,)
    return written, facts.HandoffEmitted(**asked, version=version, artifact=change.handoff)


def _asked(place: Place, change: Change) -> dict[str, Any]:
    """Where a change is asked for, and by which operation: what all facts about it say."""
    return {
        "root": place.root,
        "session": place.session,
        "key": change.key,
        "run": change.by.run,
        "op": change.by.op,
    }


def _is_folder(key: str) -> BadValue:
    return BadValue(
        f"key {key!r} holds other keys, so it can hold no value.",
        found=key,
        next_step="Write under another name; a name that once held keys stays so.",
    )


def _is_value(child: str, key: str) -> BadValue:
    return BadValue(
        f"key {child!r} would lie in {key!r}, which holds a value.",
        found=child,
        next_step=f"Write under another name, or delete {key} first.",
    )


def _spelt(key: str, kept: str) -> BadValue:
    return BadValue(
        f"key {key!r} is kept as {kept!r}, which some file systems take for the same.",
        expected=kept,
        found=key,
        next_step=f"Use the spelling {kept}.",
    )
