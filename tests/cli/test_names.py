"""Values whose mappings have names that JSON does not know are shown like any other."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead.events import catalog as facts
from playhead.events.json_text import json_text
from tests.cli.shell import Shell
from tests.projections.recorded import started, write

RUN = "aaaaaaaaaaaa"
VALUE: dict[Any, int] = {b"\xffada": 1, datetime(1987, 6, 5, tzinfo=UTC): 2, (1, "x"): 3, 4: 4, "text": 5}
NAMES = ["b'\\xffada'", "1987-06-05 00:00:00+00:00", "(1, 'x')", "4", "text"]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path)
    value = msgspec.Raw(msgspec.msgpack.encode({"found": [VALUE]}))
    args = msgspec.Raw(msgspec.msgpack.encode({"of": VALUE}))
    asked = facts.ToolRequested(tool="look", args=args, effect="read_only")
    done = facts.ToolCompleted(result=value)
    ends = ("", facts.RunCompleted(result=value))
    write(shell.store, RUN, started(), ("0/look#0", asked), ("0/look#0", done), ends)
    return shell


@pytest.mark.parametrize(
    "words",
    [("show", "@"), ("log", "@"), ("event", "@@2"), ("why", "@@2"), ("report", "@")],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_names_of_any_type_are_shown(shell: Shell, words: tuple[str, ...], as_json: bool) -> None:
    done = shell(*words, *(["--json"] if as_json else []))

    assert (done.code, done.err) == (0, "")
    if as_json and words[0] == "event":
        assert list(done.document["payload"]["result"]["found"][0]) == NAMES


def test_spans_with_what_was_said_hold_names_of_any_type(shell: Shell) -> None:
    done = shell("export", "@", "--to", "otlp", "--content")

    assert done.code == 0
    assert "1987-06-05 00:00:00+00:00" in done.out


def test_names_of_several_types_have_an_order() -> None:
    assert json_text({2: 1, "1": 0}, ordered=True, default=repr) == '{"1": 0, "2": 1}'
