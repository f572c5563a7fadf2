"""Runs snippets in a process of its own, perhaps of another Python: `python -I -S elsewhere.py ENGINE ROOT`.

Reads a list of `[source, limits or None]` as JSON, and writes all that came of each: the problems
that were found, or every step, every call and every outcome.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def all_of(source: str, limits: list[int] | None) -> Any:
    """What comes of one snippet, as plain values."""
    from playhead.snippet.check import Checked, check
    from playhead.snippet.protocol import Limits
    from tests.snippet.host import BINDINGS, run

    found = check(source, BINDINGS)
    if not isinstance(found, Checked):
        # Where Python's own parser gave up is up to each release; that it did is not.
        return [list(each) if each.code != "syntax" else [each.code, each.message] for each in found]
    ended = run(found, None if limits is None else Limits(*limits))
    return [[step.document() for step in ended.steps], [list(call) for call in ended.calls], ended.outcomes]


if __name__ == "__main__":
    sys.path[:0] = sys.argv[1:3]
    sys.stdout.write(json.dumps([all_of(*each) for each in json.load(sys.stdin)]))
