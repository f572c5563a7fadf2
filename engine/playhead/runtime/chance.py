"""Time and chance, as the tape has them.

None of these leaves an event: they follow from the run's recorded seed, from where
in the program they are asked, and from the outcomes delivered so far.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

from playhead.runtime.scope import require_scope

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """The time of the newest outcome that this run was handed, UTC, to the microsecond.

    It stands still while program code runs; a clock that must be exact is read in a tool.
    """
    scope = require_scope("now()")
    return _EPOCH + timedelta(microseconds=scope.machine.now_ns // 1000)


def random() -> Random:
    """The generator of the current task or step: `random().choice(names)`, `random().random()`.

    Seeded by the run's seed and the place in the program, so concurrent branches do not disturb each
    other and a replay draws the same numbers. Not for secrets.
    """
    return require_scope("random()").random()


def uuid() -> UUID:
    """A UUID (version 4 in form) that a replay makes again. Not for secrets."""
    scope = require_scope("uuid()")
    scope.uuids += 1
    bits = scope.machine.seed_of(f"uuid:{scope.path}:{scope.uuids}") >> 128
    return UUID(int=bits, version=4)
