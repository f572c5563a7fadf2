"""Who writes: a run or a process, in which stage of its work.

writer("reviewer", None, "s1", "4wq2mzkq7xha").writer_id      # 'reviewer'
"""

from __future__ import annotations

from typing import Any, Final

from playhead.errors import BadValue
from playhead.events.words import ConflictWord, WriterWords

NAME_CHARS_MAX: Final = 200

_POLICIES: Final[dict[str, ConflictWord]] = {
    "": "ignore",
    "ignore": "ignore",
    "off": "ignore",
    "warn": "warn",
    "warning": "warn",
    "error": "error",
    "strict": "error",
}


def writer(
    writer_id: Any = None, stage_id: Any = None, session_id: Any = None, worker_id: Any = None
) -> WriterWords:
    """A writer with what is known of it. A blank text is nothing. Raises `BadValue` for what is no text.

    What tells it apart is its own name, else its worker, else its stage, else its session.
    """
    worker = told(worker_id, "worker_id")
    stage = told(stage_id, "stage_id") or worker
    session = told(session_id, "session_id")
    return WriterWords(
        writer_id=told(writer_id, "writer_id") or worker or stage or session,
        stage_id=stage,
        session_id=session,
        worker_id=worker,
    )


def told(text: Any, what: str) -> str | None:
    """A name of a writer, trimmed; None where it is blank. Raises `BadValue` for what is no name."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise BadValue(f"{what} is a text.", expected="a text", found=text)
    said = text.strip()
    if len(said) > NAME_CHARS_MAX or (said and not said.isprintable()):
        raise BadValue(
            f"{what} is no name of a writer.",
            expected=f"at most {NAME_CHARS_MAX} characters that can be printed",
            found=text[:NAME_CHARS_MAX],
        )
    return said or None


def name_of(words: WriterWords) -> str:
    """What a writer is called where people read it."""
    return words.writer_id or words.worker_id or words.stage_id or words.session_id or "unknown"


def document(words: WriterWords) -> dict[str, str | None]:
    """A writer as a plain dict, with all of its members."""
    return {name: getattr(words, name) for name in WriterWords.__struct_fields__}


def conflicts(now: WriterWords, earlier: WriterWords | None) -> bool:
    """Whether `earlier`, who wrote last, is somebody else. Who is not known is nobody."""
    if earlier is None or not earlier.writer_id or not now.writer_id:
        return False
    return earlier.writer_id != now.writer_id


def conflict_policy(said: Any) -> ConflictWord:
    """The policy that a word means; None is `ignore`. Raises `BadValue`."""
    if said is not None and not isinstance(said, str):
        raise BadValue("a conflict policy is a word.", expected="ignore, warn or error", found=said)
    found = _POLICIES.get((said or "").strip().lower())
    if found is None:
        raise BadValue(f"unknown conflict policy {said!r}.", expected="ignore, warn or error", found=said)
    return found
