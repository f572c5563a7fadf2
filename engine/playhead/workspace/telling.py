"""What went wrong with a path, in words that name no place of this machine.

    with opened(root, "notes/plan.md") as ground:
        ...                              # FileNotFoundError: [Errno 2] notes/plan.md: there is no such file

An error that a tool raises is recorded with its causes, so none of them may hold an absolute path.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

from playhead.agent_state.tree import Tree
from playhead.errors import BadValue
from playhead.workspace.ground import Ground

_WORDS: Final = {
    errno.ENOENT: "there is no such file or folder",
    errno.EISDIR: "it is a folder",
    errno.ENOTEMPTY: "it is a folder that is not empty",
    errno.EXDEV: "it lies on another file system",
    errno.EINVAL: "a folder cannot lie in itself",
}
LINK: Final = "it is a link, and no link is followed."
_NO_FOLDER: Final = (errno.ENOTDIR, errno.ELOOP, errno.EMLINK)


@contextlib.contextmanager
def opened(root: Path, *paths: str, make: bool = False) -> Generator[Ground]:
    """A workspace that is open, where whatever goes wrong is told as an error about `paths`."""
    with contextlib.ExitStack() as stack:
        with told(None, *paths):
            ground = stack.enter_context(Ground.at(root, make=make))
        stack.enter_context(told(ground, *paths))
        yield ground


@contextlib.contextmanager
def told(tree: Tree | None, *paths: str) -> Generator[None]:
    """Raise what is raised inside as an error about `paths`, without its cause.

    A link is `BadValue`, as all is that a path may not be; what the system says stays the `OSError` it is.
    """
    try:
        yield
    except BadValue as error:
        raise BadValue(f"{_shown(paths)}: {error.message}", next_step=error.next) from None
    except OSError as error:
        raise _in_words(error, tree, paths) from None


def _in_words(error: OSError, tree: Tree | None, paths: tuple[str, ...]) -> Exception:
    number = error.errno or errno.EIO
    if number in _NO_FOLDER and tree is not None:
        for path in paths:
            parts = path.split("/")
            for upper in ("/".join(parts[:n]) for n in range(1, len(parts) + 1)):
                with contextlib.suppress(BadValue):
                    if tree.kind(upper) == "link":
                        return BadValue(f"{_shown(paths)}: {upper} is a link, and no link is followed.")
    if number == errno.ELOOP:
        return BadValue(f"{_shown(paths)}: {LINK}")
    if number == errno.ENXIO:
        return BadValue(f"{_shown(paths)}: it is no file.")
    if number == errno.ENOTDIR:
        return OSError(number, f"{_shown(paths)}: a part of it is no folder")
    said = error.strerror or os.strerror(number)
    return OSError(number, f"{_shown(paths)}: {_WORDS.get(number, said)}")


def _shown(paths: tuple[str, ...]) -> str:
    return " to ".join(path or "the workspace" for path in paths)
