"""Records replay_fixtures/: `python -m tests.record_fixture FILE`, once for each released format.

The parent starts the run in a process that dies in a tool, takes it up in one that dies in
an effect, answers for the effect, and lets a third process finish. Then it exports what is
on the log. Files are added, never edited, so it refuses to write one that is there.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from playhead import Engine
from playhead.log.reader import LogReader
from playhead.log.transfer import export_lines
from tests.recorded_programs import DIES_IN, Oracle, annex, survey

PLACES = ["north", "south", "east", "west"]
UNKNOWN = "operation.outcome_unknown"
KEY = "the first run of this format"


async def live(store: Path) -> None:
    """One life: start the run, or take it up, and go as far as it goes."""
    async with Engine.open(store, personas=[survey, annex], model=Oracle(), suspend_after_s=0.05) as engine:
        run = await engine.start(survey, PLACES, key=KEY, name="survey")
        if not (await engine.store.head(f"mailbox/{run.id}")).seq:
            await run.signal("go", "ahead", sender="the recorder")
        if os.environ.get(DIES_IN) == "":
            while not (doubt := await engine.store.read(f"run/{run.id}", types=[UNKNOWN])):  # noqa: ASYNC110  only the log says it
                await asyncio.sleep(0.01)
            await engine.resolve(run.id, doubt[0].op, "retry", sender="the recorder")
        await run.result()


def record(target: Path) -> None:
    """Live three times, and export. Raises `FileExistsError` for a fixture that is there."""
    with tempfile.TemporaryDirectory() as directory, target.open("xb") as file:
        store = Path(directory) / "runs.db"
        for dies_in, code in (("measure", -9), ("publish", -9), ("", 0)):
            command = [sys.executable, "-m", "tests.record_fixture", "--live", str(store)]
            done = subprocess.run(command, check=False, env={**os.environ, DIES_IN: dies_in})
            assert done.returncode == code, (dies_in, done.returncode)
        with LogReader(store) as log:
            file.writelines(export_lines(log, log.streams()))


if __name__ == "__main__":
    if sys.argv[1] == "--live":
        # A tape says on which machine it was owned; nobody needs to know which one this was.
        with mock.patch("socket.gethostname", return_value="recorder"):
            asyncio.run(live(Path(sys.argv[2])))
    else:
        record(Path(sys.argv[1]))
