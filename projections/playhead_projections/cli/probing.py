"""One play of a tape under the doctor's eyes, in a process of its own.

The request is the first line of standard input, and what was seen goes to standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import msgspec

from playhead.errors import PlayheadError


class Request(msgspec.Struct):
    """What to play, and where to be meanwhile."""

    store: str
    run: str
    program: str
    directory: str
    shifted: bool


def main() -> None:
    """Answer one request. What goes wrong is an answer too."""
    request = msgspec.json.decode(sys.stdin.buffer.readline(), type=Request)
    answer: Any
    with contextlib.redirect_stdout(sys.stderr):
        try:
            answer = {"seen": play(request)}
        except PlayheadError as error:
            answer = {"error": error.message, "found": None if error.found is None else str(error.found)}
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))


def play(request: Request) -> Any:
    """The play and its trail. This process is never the same afterwards."""
    from playhead.replay.doctor import probe
    from playhead.replay.observed import Observer
    from playhead_projections.cli.debugging import observer_of, tape_of
    from playhead_projections.cli.session import Session

    session = Session(store=request.store, color="never", verbose=False)

    def load() -> Observer:
        _, tape = tape_of(session, request.run)
        return observer_of(session, request.run, tape, (request.program,))

    return asyncio.run(probe(load, request.directory, shifted=request.shifted))
