"""What a test hands to the plugin and is no recording: it fails in words, and with no traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from playhead.testing import playhead_fixtures
from playhead.testing.plugin import PlayheadReplay
from tests.testing import agents


@pytest.mark.parametrize("file", [None, "", 7, b"one.jsonl"])
def test_what_names_no_recording_fails_in_words(tmp_path: Path, file: Any) -> None:
    with pytest.raises(pytest.fail.Exception, match="names no recording: hand over the path") as failed:
        PlayheadReplay(tmp_path, tmp_path)(file, agents)

    assert failed.value.pytrace is False


@pytest.mark.parametrize("directory", [None, 7, b"recorded"])
def test_what_names_no_directory_is_no_test(directory: Any) -> None:
    with pytest.raises(pytest.Collector.CollectError, match="names no directory with recordings"):
        playhead_fixtures(directory, agents)
