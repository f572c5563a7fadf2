"""Before anything is handed over: whether the events are still those that were written.

    expect_unbroken(log, ["run/4wq2mzkq7xha"])      # raises Corrupt, which names the first event that is not

Every digest is computed again from the stored bytes, as `playhead verify` does, so that nobody signs or
hands over what was edited behind the back of the log.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from playhead.errors import Corrupt
from playhead.log.checkpoints import check, kept_beside
from playhead.log.evidence import Expectation, Walk
from playhead.log.graft import commitments_of
from playhead.log.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from playhead.log.evidence import Fault
    from playhead.log.reader import LogReader


def expect_unbroken(log: LogReader, streams: Sequence[str]) -> None:
    """Raise `Corrupt` unless the chain of each of these streams holds up to its head."""
    for stream in streams:
        head = log.head(stream)
        walk = Walk(expect=[Expectation(stream, head.seq - 1, head.digest)], whole=False)
        for event in islice(log.scan(stream), head.seq):
            walk.event(event, commitments_of(log, [event]).get(event.position))
        _expect(walk.finish().faults)


def expect_whole(log: LogReader) -> None:
    """Raise `Corrupt` unless the whole store holds, with its anchors."""
    _expect(verify(log.path).faults)


def expect_met(log: LogReader) -> None:
    """Raise `Corrupt` unless the log begins with all that it held at each checkpoint beside it."""
    _expect(check(log, kept_beside(log.path)))


def _expect(faults: Iterable[Fault]) -> None:
    for fault in faults:
        raise Corrupt(
            f"the log was changed, so nothing is made of it: {fault}",
            expected=fault.expected,
            found=fault.found,
        )
