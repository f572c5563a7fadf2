"""Simulations in another process: another interpreter, another hash seed.

python -m tests.simulation.elsewhere simulate 0 60        # prints what went wrong
python -m tests.simulation.elsewhere record 0 60 FILE     # keeps the tapes
python -m tests.simulation.elsewhere replay FILE          # prints which of them diverge
python -m tests.simulation.elsewhere fixtures             # prints which of replay_fixtures/ do
"""

import sys
from pathlib import Path
from typing import Any

import msgspec
import structlog

from playhead.log.envelope import Event
from playhead.replay.player import play
from playhead.runtime.failures import ErrorTypes
from playhead.runtime.tape import Tape
from playhead.testing.recording import NotReplayed, Programs, replay_recording
from tests.record_fixture import FIXTURES
from tests.recorded.all_of_them import PROGRAMS, RECORDINGS
from tests.simulation.harness import failures, simulate
from tests.simulation.programs import simulated


class Kept(msgspec.Struct):
    """One recorded run."""

    seed: int
    run: str
    events: list[Event]


def record(first: int, last: int, file: Path, **options: Any) -> list[str]:
    """Simulate and keep the tapes."""
    stories = [simulate(seed, **options) for seed in range(first, last)]
    tapes = [
        Kept(story.seed, story.run, story.log.streams[f"run/{story.run}"]) for story in stories if story.log
    ]
    file.write_bytes(msgspec.msgpack.encode(tapes))
    return [f"seed {story.seed}: {story.faults}" for story in stories if story.faults]


def replay(file: Path) -> list[str]:
    """Replay kept tapes; what diverged, in words."""
    wrong: list[str] = []
    for kept in msgspec.msgpack.decode(file.read_bytes(), type=list[Kept]):
        outcome = play(Tape(kept.run, kept.events), simulated, errors=ErrorTypes())
        if not outcome.identical:
            wrong.append(f"seed {kept.seed}: {outcome.verdict}: {outcome.divergence}")
    return wrong


def fixtures() -> list[str]:
    """Replay what lies in replay_fixtures/; what does something else than it is said to, in words."""
    wrong: list[str] = []
    for name, recording in RECORDINGS.items():
        programs = Programs.of([PROGRAMS[name]], key=recording.key, model=recording.model)
        found: str = ""
        try:
            found = replay_recording(FIXTURES / f"{name}.jsonl", programs)[0].outcome.verdict
        except NotReplayed as error:
            found = "" if recording.refused and recording.refused in str(error) else str(error)
        if found != ("" if recording.refused else recording.verdict):
            wrong.append(f"{name}: {found}")
    return wrong


def main(words: list[str]) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    options = {word[2:].replace("-", "_"): True for word in words if word.startswith("--")}
    match [word for word in words if not word.startswith("--")]:
        case ["simulate", first, last]:
            wrong = failures(range(int(first), int(last)), **options)
        case ["record", first, last, file]:
            wrong = record(int(first), int(last), Path(file), **options)
        case ["replay", file]:
            wrong = replay(Path(file))
        case ["fixtures"]:
            wrong = fixtures()
        case other:
            raise SystemExit(f"what is {other}?")
    sys.stdout.write("\n".join(wrong))


if __name__ == "__main__":
    main(sys.argv[1:])
