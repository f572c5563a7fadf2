"""What a test hands to the plugin and is no recording: it fails in words, and with no traceback."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from playhead import Engine, tool
from playhead.errors import BadValue
from playhead.testing import playhead_fixtures
from playhead.testing.plugin import PlayheadReplay
from tests.checkout import ROOT
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


EXPORTED = ROOT / "replay_fixtures" / "0029-secrets-that-were-redacted.jsonl"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"errors": ValueError}, "errors are a list of types of exceptions, not <class 'ValueError'>"),
        ({"errors": [KeyboardInterrupt]}, "errors are a list of types of exceptions"),
        ({"errors": None}, "errors are a list of types of exceptions, not None"),
        ({"secrets": "password"}, "secrets are a list of names, each a text, not 'password'"),
        ({"secrets": [1]}, "secrets are a list of names"),
        ({"redaction_key": 7}, "redaction_key= is the key in bytes, or the file that holds it, and no int"),
        ({"redaction_key": "a\0b"}, "cannot be read: embedded null byte"),
    ],
)
def test_what_an_engine_could_not_be_told_fails_in_words(words: dict[str, Any], said: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=said) as failed:
        PlayheadReplay(ROOT, ROOT)(EXPORTED, agents, **words)

    assert failed.value.pytrace is False


@pytest.mark.parametrize("options", [None, [], {"errors": ValueError}, {"secrets": "password"}])
def test_options_of_a_module_that_make_no_sense_fail_in_words(options: Any) -> None:
    module = ModuleType("told")
    module.__dict__.update(vars(agents), PLAYHEAD=options)

    with pytest.raises(pytest.fail.Exception, match=r"PLAYHEAD of|secrets are a list"):
        PlayheadReplay(ROOT, ROOT)(EXPORTED, module)


@pytest.mark.parametrize("secrets", ["password", b"password", [b"password"], None])
async def test_one_text_is_no_list_of_secrets_for_an_engine(tmp_path: Path, secrets: Any) -> None:
    with pytest.raises(BadValue, match="secrets are a list of names"):
        async with Engine.open(tmp_path / "runs.db", secrets=secrets):
            pass


def test_what_a_tool_raises_are_types_of_exceptions() -> None:
    with pytest.raises(BadValue, match="the raises of look are a list of types"):
        tool(name="look", raises=ValueError)(len)  # type: ignore[call-overload]
