"""Facts about state that runs share: who wrote which version of which key, and what was refused.

They stand in streams of their own, one for each key and one for each session, and
anybody may append: whoever writes reads first, and appends where it read to. A run
that writes has the intent and the answer on its own tape as well.
"""

from __future__ import annotations

from msgspec import Raw

from playhead.events.fact import Failure, OutcomeFact, ProgramFact, Site, WorldFact
from playhead.events.words import ChangeWord, ConflictWord, ConflictWords, StateWord, WriterWords

# ------------------------------------------------------------ in the streams of state


class SessionOpened(WorldFact, frozen=True, tag="session.opened"):
    """Somebody opened a session of state that was not there. The first event of its stream."""

    root: str
    session: str
    writer: WriterWords
    run: str | None = None
    op: str | None = None


class StateWritten(WorldFact, frozen=True, tag="state.written"):
    """A key has a new value. Versions of a key count 1, 2, 3 …, with what was deleted.

    `run` and `op` say which operation wrote, where one of a run did. Where nobody knows the writer, it
    does not take the key over: `held_by` is who is known to have written last.
    """

    root: str
    session: str
    key: str
    version: int
    content: Raw
    writer: WriterWords
    run: str | None = None
    op: str | None = None
    process: str = ""
    held_by: WriterWords | None = None


class StateDeleted(WorldFact, frozen=True, tag="state.deleted"):
    """A key has no value any more. What deletes is a version, and who deleted wrote last.

    `held_by` as in `state.written`.
    """

    root: str
    session: str
    key: str
    version: int
    writer: WriterWords
    run: str | None = None
    op: str | None = None
    process: str = ""
    held_by: WriterWords | None = None


class StateConflictDetected(WorldFact, frozen=True, tag="state.conflict_detected"):
    """Somebody was about to change what another wrote last, or another version than it had seen.

    `version` is the one that stood, and `stands` the seq of its event; `expected_version` is the one that
    was asked for, where it did not stand. Where it was not `refused`, the change itself follows in the
    same append.
    """

    root: str
    session: str
    key: str
    change: ChangeWord
    policy: ConflictWord
    refused: bool
    version: int
    stands: int
    previous: WriterWords
    writer: WriterWords
    expected_version: int | None = None
    run: str | None = None
    op: str | None = None
    process: str = ""


class StateFolderMade(WorldFact, frozen=True, tag="state.folder_made"):
    """A key below this name is about to be written for the first time: the name can hold no value now."""

    root: str
    session: str
    key: str


class HandoffEmitted(WorldFact, frozen=True, tag="handoff.emitted"):
    """A handoff was written, in the same append as its version. `artifact` is None where it is untyped."""

    root: str
    session: str
    key: str
    version: int
    artifact: Raw
    run: str | None = None
    op: str | None = None


# ------------------------------------------------------------------- in a run


class StateRequested(ProgramFact, frozen=True, tag="state.requested"):
    """The program asked for state, or is about to change it. Written before anything is read or changed."""

    action: StateWord
    root: str
    session: str
    key: str
    content: Raw
    policy: ConflictWord
    writer: WriterWords
    expected_version: int | None = None
    site: Site | None = None


class StateCompleted(OutcomeFact, frozen=True, tag="state.completed"):
    """What was read, or what a change came to. Durable before the program is told."""

    answer: Raw
    version: int = 0
    conflict: bool = False
    attempt: int = 1


class StateFailed(OutcomeFact, frozen=True, tag="state.failed"):
    """The operation on state was refused, or could not be carried out."""

    failure: Failure
    conflict: ConflictWords | None = None
    attempt: int = 1
