"""What outsiders say to a run goes into a stream of its own, in the order in which it was said.

Anybody may post, from any process. The owner of the run takes the messages and
records in the run when it took which, so a replay is told the same at the same point.
"""

from __future__ import annotations

from playhead.errors import BadEvent, BadValue, Conflict, NotFound
from playhead.events.codec import Catalog
from playhead.events.fact import WorldFact
from playhead.log.envelope import Told
from playhead.log.store import LogStore


async def post(store: LogStore, catalog: Catalog, run: str, fact: WorldFact) -> int:
    """Put `fact` into the mailbox of `run` and return its seq there; durable on return.

    Raises `NotFound` when there is no such run, and `BadValue` for a message that its owner could not read.
    A crash leaves the message there once or not at all.
    """
    if (await store.head(f"run/{run}")).seq == 0:
        raise NotFound(f"there is no run {run}.", next_step="See `playhead runs`.")
    stream = f"mailbox/{run}"
    event = catalog.new_event(fact, at=store.clock.now())
    try:
        catalog.decode(Told(stream, 0, event.type, event.version, event.at, event.op, event.payload))
    except BadEvent as error:
        raise BadValue(
            f"this is no message to run {run}: {error.__cause__}.",
            expected=event.type,
            next_step="Look at the types of what is said.",
        ) from error
    append_id = store.clock.entropy(16)
    while True:
        seq = (await store.head(stream)).seq
        try:
            await store.append(stream, seq, [event], append_id=append_id)
        except Conflict:
            # Somebody else was faster: nothing of ours was written, so the
            # same append may go one further.
            continue
        return seq
