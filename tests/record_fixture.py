"""Records replay_fixtures/: `python -m tests.record_fixture NAME...`, each once and for ever.

What a name stands for is said in tests/recorded/, beside its program. Each life of a run is a process of its
own, so that it can be killed; then all that is on the log is exported. Files are added, never edited, so it
refuses to write one that is there.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from playhead.log.reader import LogReader
from playhead.log.transfer import export_lines
from tests.checkout import ROOT
from tests.recorded.all_of_them import RECORDINGS
from tests.recorded.recording import DIES_IN

FIXTURES = ROOT / "replay_fixtures"
BYTES_MAX = 100_000
LIFE_S_MAX = 60


def record(target: Path) -> None:
    """Live as often as it takes, and export. Raises `FileExistsError` for a fixture that is there."""
    if target.exists():
        raise FileExistsError(target)
    recording = RECORDINGS[target.stem]
    with tempfile.TemporaryDirectory() as directory:
        store = Path(directory) / "runs.db"
        if recording.key is not None:
            store.with_name(f"{store.name}-redaction-key").write_bytes(recording.key)
        for dies_in, code in recording.lives:
            command = [sys.executable, "-m", "tests.record_fixture", "--live", recording.name, str(store)]
            done = subprocess.run(
                command, check=False, env={**os.environ, DIES_IN: dies_in}, timeout=LIFE_S_MAX
            )
            assert done.returncode == code, (dies_in, done.returncode)
        with LogReader(store) as log:
            kinds = recording.streams
            streams = [name for name in log.streams() if not kinds or name.partition("/")[0] in kinds]
            lines = list(export_lines(log, streams))
    assert sum(map(len, lines)) <= BYTES_MAX
    with target.open("xb") as file:
        file.writelines(lines)


if __name__ == "__main__":
    if sys.argv[1] == "--live":
        # A tape says on which machine it was owned; nobody needs to know which one this was.
        with mock.patch("socket.gethostname", return_value="recorder"):
            asyncio.run(RECORDINGS[sys.argv[2]].live(Path(sys.argv[3])))  # type: ignore[arg-type]
    else:
        for name in sys.argv[1:]:
            record(FIXTURES / f"{name}.jsonl")
