"""Nobody opens the live files of a store by path: held by an audit hook while tests run."""

from __future__ import annotations

import sys

from playhead.log.guards import forbid_live_opens

_installed: list[bool] = []


def guard_live_files() -> None:
    """Refuse, from now on in this process, to open the files of an open store by path.

    Closing any descriptor of such a file drops SQLite's locks, and commits are then acknowledged that
    nobody else ever sees. Call it once, in a `conftest.py`. Raises nothing itself; the offending
    `open()` gets `LiveFileOpened`.
    """
    if not _installed:
        _installed.append(True)
        sys.addaudithook(forbid_live_opens)
