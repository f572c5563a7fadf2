"""A process of its own for the hash seed: records a program, or replays it and prints the report.

PYTHONHASHSEED=0 python -m tests.replay.hashed record PROGRAM TAPE
PYTHONHASHSEED=1 python -m tests.replay.hashed replay PROGRAM TAPE
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from playhead.log.envelope import Event
from playhead.replay.player import play
from playhead.runtime.tape import Tape
from tests.replay.programs import load, record


def main(verb: str, program: str, tape: str) -> None:
    source = Path(program).read_text()
    module = load(Path(tape).parent, source)
    if verb == "record":
        log, run = asyncio.run(record(module, ["a", "b"]))
        Path(tape).write_bytes(msgspec.msgpack.encode((run, log.streams[f"run/{run}"])))
    else:
        run, events = msgspec.msgpack.decode(Path(tape).read_bytes(), type=tuple[str, list[Event]])
        outcome = play(Tape(run, events), module.audit)
        report = outcome.divergence
        found = (
            [outcome.verdict]
            if report is None
            else [report.kind, report.field, *report.causes, f"cause {report.cause}"]
        )
        sys.stdout.write("\n".join(map(str, found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
