"""What a receipt says of files is what is there when the run is over, and no more than a log can know."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead import Engine, Workspace, persona
from playhead.events import catalog as facts
from playhead.events.fact import Failure
from playhead.log.reader import LogReader
from playhead_projections.evidence.files_written import files_written
from playhead_projections.evidence.gathered import gather_run
from tests.evidence.making import attested, erase
from tests.projections.recorded import started, write

Does = Callable[[Workspace], Awaitable[Any]]


def hashed(text: str) -> str:
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def recorded(directory: Path, does: Does) -> tuple[Path, str]:
    """A run that does this in a workspace."""
    ws = Workspace(directory / "ws")

    @persona
    async def writes() -> None:
        await does(ws)

    async def go() -> str:
        async with Engine.open(directory / "runs.db", personas=[writes]) as engine:
            run = await engine.start(writes)
            await run.result()
            return run.id

    return directory / "runs.db", asyncio.run(go())


def written_by(directory: Path, does: Does) -> list[tuple[Any, ...]]:
    """What its receipt says, in short: a hash, None of what is gone, "?" of what is not known."""
    path, run = recorded(directory, does)
    return [_short(one) for one in attested(path, run)["side_effects"]["fs_writes"]]


def _short(one: dict[str, Any]) -> tuple[Any, ...]:
    return one["operation"], one["path"], one.get("before_sha256", "?"), one.get("after_sha256", "?")


def test_what_was_moved_takes_its_hash_along_and_is_gone_where_it_was(tmp_path: Path) -> None:
    async def does(ws: Workspace) -> None:
        await ws.write_file("a.md", "one")
        await ws.move_file("a.md", "b.md")
        await ws.write_file("a.md", "two")
        await ws.move_file("b.md", "a.md")
        await ws.delete_file("a.md")

    assert written_by(tmp_path, does) == [
        ("modify", "a.md", "?", hashed("one")),
        ("rename", "a.md", hashed("one"), None),
        ("rename", "b.md", "?", hashed("one")),
        ("create", "a.md", None, hashed("two")),
        ("rename", "b.md", hashed("one"), None),
        ("rename", "a.md", hashed("two"), hashed("one")),
        ("delete", "a.md", hashed("one"), None),
    ]


def test_with_a_folder_all_that_is_in_it_moves_and_goes(tmp_path: Path) -> None:
    async def does(ws: Workspace) -> None:
        await ws.mkdir("d")
        await ws.write_file("d/a.md", "one")
        await ws.move_file("d", "e")
        await ws.write_file("d/a.md", "two")
        await ws.write_file("e/a.md", "three")
        await ws.delete_file("e", recursive=True)
        await ws.mkdir("e")
        await ws.write_file("e/a.md", "four")

    assert written_by(tmp_path, does) == [
        ("modify", "d", "?", "?"),
        ("modify", "d/a.md", "?", hashed("one")),
        ("rename", "d", "?", None),
        ("rename", "e", "?", "?"),
        ("create", "d/a.md", None, hashed("two")),
        ("modify", "e/a.md", hashed("one"), hashed("three")),
        ("delete", "e", "?", None),
        ("create", "e", None, "?"),
        ("modify", "e/a.md", "?", hashed("four")),
    ]


def test_what_is_copied_has_the_hash_of_its_source_and_what_is_appended_to_has_none(tmp_path: Path) -> None:
    async def does(ws: Workspace) -> None:
        await ws.append_file("log.md", "first")
        await ws.write_file("a.md", "one")
        await ws.copy_file("a.md", "b.md")
        await ws.append_file("b.md", "more")
        await ws.copy_file("b.md", "a.md")
        await ws.delete_file("b.md")
        await ws.append_file("b.md", "begun")

    assert written_by(tmp_path, does) == [
        ("modify", "log.md", "?", "?"),
        ("modify", "a.md", "?", hashed("one")),
        ("modify", "b.md", "?", hashed("one")),
        ("modify", "b.md", hashed("one"), "?"),
        ("modify", "a.md", hashed("one"), "?"),
        ("delete", "b.md", "?", None),
        ("create", "b.md", None, hashed("begun")),
    ]


def test_the_last_word_about_each_file_is_what_lies_there(tmp_path: Path) -> None:
    async def does(ws: Workspace) -> None:
        for number in range(60):
            name, other = f"{number % 3}/{number % 7}.md", f"{number % 3}/{number * 5 % 7}.md"
            with contextlib.suppress(Exception):
                match number % 5:
                    case 0 | 1:
                        await ws.write_file(name, f"text {number}")
                    case 2:
                        await ws.copy_file(other, name)
                    case 3:
                        await ws.move_file(other, name)
                    case _:
                        await ws.delete_file(other)

    path, run = recorded(tmp_path, does)
    last = {
        one["path"]: one.get("after_sha256", "?") for one in attested(path, run)["side_effects"]["fs_writes"]
    }

    assert len(last) > 8
    assert None in last.values()
    for name, after in last.items():
        file = tmp_path / "ws" / name
        assert after in ("?", f"sha256:{sha256(file.read_bytes()).hexdigest()}" if file.exists() else None)


def test_after_a_program_ran_or_a_call_failed_nothing_is_known_of_what_was_before(tmp_path: Path) -> None:
    async def does(ws: Workspace) -> None:
        await ws.write_file("a.md", "one")
        await ws.exec(["true"])
        await ws.write_file("a.md", "two")
        with contextlib.suppress(Exception):
            await ws.move_file("nowhere.md", "a.md")
        await ws.write_file("a.md", "three")

    assert written_by(tmp_path, does) == [
        ("modify", "a.md", "?", hashed("one")),
        ("modify", "a.md", "?", hashed("two")),
        ("modify", "a.md", "?", hashed("three")),
    ]


def call(tool: str, **arguments: str) -> facts.ToolRequested:
    args = msgspec.Raw(msgspec.msgpack.encode(arguments))
    return facts.ToolRequested(tool=tool, args=args, effect="effect", side_effect="fs.write")


def test_of_two_writes_at_once_nobody_can_tell_which_was_first(tmp_path: Path) -> None:
    path, done = tmp_path / "runs.db", facts.ToolCompleted(result=msgspec.Raw(b"\xc0"))
    write(
        path, "aaaaaaaaaaaa", started(),
        ("0/w#0", call("write_file", path="a.md", text="one")),
        ("0/w#1", call("write_file", path="a.md", text="two")),
        ("0/w#1", done),
        ("0/w#0", done),
        ("0/w#2", call("write_file", path="a.md", text="three")),
        ("0/w#2", done),
        ("0/w#3", call("write_file", path="a.md", text="four")),
        ("", facts.RunFailed(failure=Failure(type="ValueError", message="so"))),
    )  # fmt: skip

    with LogReader(path) as log:
        found = files_written(gather_run(log, "aaaaaaaaaaaa").of_kind("tool"))
    assert [_short(one) for one in found] == [
        ("modify", "a.md", "?", hashed("two")),
        ("modify", "a.md", "?", hashed("one")),
        ("modify", "a.md", "?", hashed("three")),
    ]


@pytest.mark.parametrize("part", ["", "/args", "/args/path"])
def test_where_a_name_is_erased_it_may_have_been_any_file(tmp_path: Path, part: str) -> None:
    async def does(ws: Workspace) -> None:
        await ws.write_file("a.md", "one")
        await ws.write_file("secret.md", "two")
        await ws.write_file("a.md", "three")

    path, run = recorded(tmp_path, does)
    with LogReader(path) as log:
        asked = [event.seq for event in log.scan(f"run/{run}") if event.type == "tool.requested"]
    erase(path, f"run/{run}", asked[1], "asked for", *([part] if part else []))
    found = [_short(one) for one in attested(path, run)["side_effects"]["fs_writes"]]

    assert (found[0], found[-1]) == (
        ("modify", "a.md", "?", hashed("one")),
        ("modify", "a.md", "?", hashed("three")),
    )
    assert found[1:-1] == (
        [("modify", "playhead:erased", "?", hashed("two"))] if part == "/args/path" else []
    )
