"""The pytest plugin: any recorded run is a test.

    def test_an_audit_reads_the_licence(playhead_replay):
        run = playhead_replay("recorded/nightly.jsonl", audit)
        run.assert_calls("read_licence", [{"package": "attrs"}])

    test_recorded_runs = playhead_fixtures("recorded", agents)

pytest finds it by its entry point. What runs programs is loaded when a test uses it, and not before.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playhead.testing.replayed import Replayed


@pytest.fixture
def playhead_replay(request: pytest.FixtureRequest) -> PlayheadReplay:
    """Replays recorded runs offline: `playhead_replay("file.jsonl", persona)`, next to the test file."""
    return PlayheadReplay(request.path.parent, request.config.rootpath)


@dataclass(frozen=True)
class PlayheadReplay:
    """What the fixture `playhead_replay` is. Relative paths begin at `directory`."""

    directory: Path
    root: Path

    def __repr__(self) -> str:
        return f"<playhead_replay of {self._shown(self.directory)}>"

    def __call__(
        self,
        file: str | PathLike[str],
        *programs: Any,
        run: str | None = None,
        model: Any = None,
        errors: Sequence[type[Exception]] = (),
        secrets: Sequence[str] = (),
        redaction_key: bytes | str | Path | None = None,
    ) -> Replayed:
        """Replay every run in the export `file`, and return one of them: the first that no other started.

        `programs` are personas, or modules with personas. `run` names another run of the file. `errors`,
        `secrets` and `model` are those of `Engine.open`; a module may say them in its `PLAYHEAD`.
        `redaction_key` is the key, or the file with the key, that the secrets in it were redacted with.

        Fails the test, with the whole report and no traceback, where a run does something else than it did
        then, and where the file is none that can be replayed.
        """
        from playhead.testing import recording  # noqa: PLC0415  a test that replays nothing needs none of it

        said: Any = file
        if not isinstance(said, (str, PathLike)) or not str(file):
            pytest.fail(f"{file!r} names no recording: hand over the path of an export.", pytrace=False)
        path = self.directory / file
        failed = None
        try:
            key = self._key(redaction_key)
            named = str(redaction_key) if isinstance(redaction_key, (str, Path)) else "redaction_key="
            given = recording.Programs.of(
                programs, model=model, errors=errors, secrets=secrets, key=key, key_named=named
            )
            runs = recording.replay_recording(path, given, shown=self._shown(path))
            return recording.chosen(runs, run)
        except recording.NotReplayed as error:
            failed = str(error)
        pytest.fail(failed, pytrace=False)

    def _key(self, given: bytes | str | Path | None) -> bytes | None:
        from playhead.testing import recording  # noqa: PLC0415

        return recording.read_key(self.directory / given) if isinstance(given, (str, Path)) else given

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def playhead_fixtures(
    directory: str | PathLike[str], *programs: Any, pattern: str = "**/*.jsonl", **options: Any
) -> Callable[..., None]:
    """A test for each recording in a directory, which replays it.

    Write `test_recorded_runs = playhead_fixtures("recorded", audit)`.

    A relative directory lies next to the file that calls this. `options` are those of `playhead_replay`.
    Raises `pytest.Collector.CollectError` where there is no recording, because such a test cannot fail.
    """
    caller = inspect.currentframe()
    caller = caller.f_back if caller is not None else None
    beside = Path(caller.f_globals.get("__file__", "")).parent if caller is not None else Path()
    said: Any = directory
    if not isinstance(said, (str, PathLike)):
        raise pytest.Collector.CollectError(f"{directory!r} names no directory with recordings.")
    place = beside / directory
    files = sorted(file for file in place.glob(pattern) if file.is_file())
    if not files:
        raise pytest.Collector.CollectError(
            f"there is no recording {pattern} in {place}. Write one: playhead export RUN -o FILE.jsonl"
        )
    named = [pytest.param(file, id=file.relative_to(place).as_posix()) for file in files]

    @pytest.mark.parametrize("recording", named)
    def test_it_replays(recording: Path, playhead_replay: PlayheadReplay) -> None:
        playhead_replay(recording, *programs, **options)

    return test_it_replays
