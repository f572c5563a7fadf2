"""Paths inside a workspace: relative, normal, and meaning the same to every reader.

    parts_of("notes/plan.md")           # ["notes", "plan.md"]
    parts_of("../plan.md")              # BadValue

This looks at the text alone. Where a path leads on the disk is found out when it is opened.
"""

from __future__ import annotations

from typing import Final

from playhead.agent_state.alike import unseen
from playhead.agent_state.keys import folded
from playhead.errors import BadValue

RESERVED: Final = ".playhead"
"""How the names begin that a workspace keeps for itself."""
REPOSITORY: Final = ".git"
"""What only git changes: what stands there decides which programs it runs, and where it pushes to."""
PATH_BYTES_MAX: Final = 2_000
PART_BYTES_MAX: Final = 255
DEPTH_MAX: Final = 64

_NEXT: Final = "Use a path relative to the workspace, such as notes/plan.md."


def parts_of(path: str, *, folder: bool = False) -> list[str]:
    """The names that `path` is made of; none for "", the workspace itself, where a `folder` is meant.

    Raises `BadValue` for a path that leads out, is not in its normal form, holds what nobody sees, or names
    what a workspace keeps for itself.
    """
    if not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise BadValue("a path is a text.", expected="a text", found=repr(path)[:100], next_step=_NEXT)
    if not path:
        if folder:
            return []
        raise BadValue("a path is not empty.", found=path, next_step=_NEXT)
    if path.startswith("/"):
        raise _refused(path, "is absolute")
    parts = path.split("/")
    if ".." in parts:
        raise _refused(path, "leads out of its folder with ..")
    if any(part in ("", ".") for part in parts):
        raise _refused(path, "is not normal: it holds a part that is empty or a dot")
    if (hidden := unseen(path)) is not None:
        raise _refused(path, f"holds {hidden!a}, which nobody sees")
    if any(folded(part).startswith(RESERVED) for part in parts):
        raise _refused(path, f"names what the workspace keeps for itself: {RESERVED}")
    if len(parts) > DEPTH_MAX:
        raise _refused(path, f"is more than {DEPTH_MAX} folders deep")
    if len(path.encode()) > PATH_BYTES_MAX or any(len(part.encode()) > PART_BYTES_MAX for part in parts):
        raise _refused(path, f"is longer than {PATH_BYTES_MAX} bytes, or a part is than {PART_BYTES_MAX}")
    return parts


def parts_to_change(path: str) -> list[str]:
    """Like `parts_of`, for a path at which something is written, moved or deleted.

    Raises `BadValue` also for a path into the inside of a git repository.
    """
    parts = parts_of(path)
    if REPOSITORY in map(folded, parts):
        raise _refused(path, f"leads into {REPOSITORY}, which only git changes")
    return parts


def _refused(path: str, why: str) -> BadValue:
    return BadValue(f"{path[:200]!a} {why}.", found=path[:400], next_step=_NEXT)
