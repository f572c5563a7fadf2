"""Tools of MCP servers, well behaved and not: real programs, one test for each rule."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

from playhead.composition.manifest import build_manifest
from playhead.composition.mcp import McpHost, McpServer
from playhead.composition.mcp_gate import Oversized
from playhead.composition.mcp_stdio import Lines
from playhead.composition.surface import read_surface
from playhead.errors import CallFailed, ProgramError
from tests.composition.mcp_desks import SERVERS, alive, memory_kb, opened, program
from tests.runtime.conftest import until

# Servers and their surface.


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({}, "either a command or a url"),
        ({"command": "a", "url": "b"}, "either a command or a url"),
        ({"command": "a", "headers": {"x": "y"}}, "a command, and so no headers"),
        ({"url": "b", "args": ["x"], "cwd": "d"}, "a url, and so no args, cwd"),
        ({"command": "a", "args": "-v"}, "a list of texts"),
    ],
)
def test_a_server_is_a_program_or_an_address(said: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        McpServer("one", **said)


@pytest.mark.parametrize("name", ["", "a__b", "a_", "_a", "a b", "a/b", "ä"])
def test_no_name_of_a_server_can_run_into_that_of_a_tool(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a server"):
        McpServer(name, command="a")


def test_what_may_be_secret_is_not_shown() -> None:
    assert "hush" not in repr(McpServer("a", command="b", env={"KEY": "hush"}))
    assert "hush" not in repr(McpServer("a", url="b", headers={"authorization": "hush"}))


async def test_two_servers_have_two_names() -> None:
    with pytest.raises(ValueError, match="two servers have one name"):
        async with McpHost.open([program("evil"), program("evil")]):
            pass


async def test_without_the_sdk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "playhead.composition.mcp_link", raising=False)
    monkeypatch.setitem(sys.modules, "mcp", None)

    with pytest.raises(ProgramError, match=r"pip install 'playhead\[mcp\]'"):
        async with McpHost.open([]):
            pass


async def test_tools_of_all_servers_are_one_surface_with_levels_from_hints_alone() -> None:
    async with opened(program("evil"), program("honest")) as tools:
        surface = read_surface(tools.host.surface)

    assert surface.skipped == ()
    found = {tool.name: tool for tool in surface.tools}
    assert found["evil__pid"].metadata == {"_mcp_server": "evil", "_mcp_tool_name": "pid"}
    assert found["honest__pid"].source == "mcp_server"
    assert found["honest__add"].annotations.side_effect_level == "read_only"
    assert found["honest__destroy"].annotations.side_effect_level == "network"
    assert found["honest__unsaid"].annotations.side_effect_level is None
    assert isinstance(found["honest__add"].output_schema, dict)
    allowed = {entry.name for entry in build_manifest(tools.host.surface).entries}
    assert "honest__add" in allowed
    assert not allowed & {"honest__destroy", "honest__unsaid"}


async def test_a_list_of_many_pages_is_read_to_its_end() -> None:
    async with opened(program("evil"), McpServer("paged", **vars_of(program("evil", "--pages")))) as tools:
        names = [tool["_mcp_tool_name"] for tool in tools.host.surface]

    assert len(names) == 2 * len(set(names)) > 20


def vars_of(server: McpServer) -> dict[str, Any]:
    return {"command": server.command, "args": server.args}


async def test_a_list_of_pages_without_end_is_not() -> None:
    with pytest.raises(CallFailed, match="more than 100 pages") as failed:
        async with opened(program("evil", "--endless")):
            pass

    assert failed.value.category == "mcp_server_error"


async def test_what_a_server_writes_before_anybody_asked_is_passed_over() -> None:
    async with opened(program("evil", "--greets")) as tools:
        assert await tools("evil__echo", text="a") == "a"


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (McpServer("none", command="no-such-program-anywhere"), "no-such-program-anywhere"),
        (McpServer("none", url="http://127.0.0.1:9/mcp"), "cannot be reached"),
        (McpServer("none", command=sys.executable, args=["-c", "raise SystemExit('I cannot')"]), "I cannot"),
        (program("evil", "--mute"), "did not answer within 0.5 s, and wrote: I say nothing"),
    ],
)
async def test_a_server_that_cannot_be_reached_is_named_with_what_it_said(
    server: McpServer, said: str
) -> None:
    with pytest.raises(CallFailed) as failed:
        async with opened(server, connect_s=0.5):
            pass

    assert server.name in failed.value.message
    assert said in failed.value.message
    assert failed.value.category == "mcp_server_error"


async def test_of_several_servers_none_is_left_where_one_cannot_be_reached(tmp_path: Path) -> None:
    tasks = asyncio.all_tasks()
    with pytest.raises(CallFailed):
        async with McpHost.open([program("honest"), McpServer("none", command="no-such-program-anywhere")]):
            pass

    assert asyncio.all_tasks() == tasks


# Answers.


async def test_an_answer_is_its_structure_or_its_text_or_a_list_of_what_it_holds() -> None:
    async with opened(program("honest")) as tools:
        assert await tools("honest__add", a=1, b=2) == {"total": 3}
        assert await tools("honest__lines", count=2) == "line 0\nline 1"
        assert await tools("honest__number") == "7"
        assert await tools("honest__nothing") is None
        assert await tools("honest__picture") == [
            {"type": "text", "text": "a pixel"},
            {"type": "image", "data": "iVBORw==", "mimeType": "image/png"},
        ]


async def test_a_tool_that_fails_is_a_tool_error_with_what_it_said() -> None:
    async with opened(program("evil")) as tools:
        failure = await tools.failure("evil__fails")

    assert (failure.category, failure.message) == ("tool_error", "it is broken")


async def test_a_request_that_is_refused_is_an_error_of_the_server() -> None:
    async with opened(program("evil")) as tools:
        failure = await tools.failure("evil__refuses")
        assert await tools("evil__echo", text="a") == "a"

    assert failure.category == "mcp_server_error"
    assert "not today" in failure.message


@pytest.mark.parametrize("tool", ["gibberish", "half", "stranger", "wrong_shape", "no_number"])
async def test_nonsense_fails_the_call_and_not_the_next_one(tool: str) -> None:
    async with opened(program("evil")) as tools:
        failure = await tools.failure(f"evil__{tool}")
        assert await tools("evil__echo", text="a") == "a"

    assert failure.category == "mcp_server_error"


async def test_an_answer_to_an_old_question_is_passed_over() -> None:
    async with opened(program("evil")) as tools:
        assert await tools("evil__old") == "fresh"


# Death.


async def test_a_server_that_dies_fails_its_calls_and_is_started_again_by_the_next() -> None:
    async with opened(program("evil")) as tools:
        first = await tools("evil__pid")
        waiting = asyncio.create_task(tools.failure("evil__hangs"))
        await asyncio.sleep(0.1)
        failure = await tools.failure("evil__dies")
        assert (await waiting).category == failure.category == "mcp_server_error"
        assert "exit code -9" in failure.message
        again = [await tools("evil__pid") for _ in range(2)]

    assert again[0] == again[1] != first


async def test_a_server_that_died_while_nobody_called_is_started_again_before_the_call() -> None:
    async with opened(program("honest")) as tools:
        first = int(await tools("honest__pid"))
        os.kill(first, signal.SIGKILL)
        await until(lambda: not alive(first))
        await asyncio.sleep(0.1)

        assert int(await tools("honest__pid")) != first


async def test_a_server_that_cannot_be_started_again_fails_each_call_once(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    script = tmp_path / "server.py"
    script.write_text(
        f"import pathlib, runpy, sys\nstarts = pathlib.Path({str(starts)!r})\n"
        "count = len(starts.read_text()) if starts.exists() else 0\nstarts.write_text('x' * (count + 1))\n"
        f"count and sys.exit(4)\nrunpy.run_path({str(SERVERS / 'evil.py')!r}, run_name='__main__')\n"
    )
    async with opened(McpServer("evil", command=sys.executable, args=[str(script)])) as tools:
        await tools.failure("evil__dies")
        for count in (2, 3):
            failure = await tools.failure("evil__echo", text="a")
            assert "exit code 4" in failure.message
            assert len(starts.read_text()) == count


# Hanging.


async def test_a_call_that_is_given_up_is_cancelled_at_the_server_which_goes_on() -> None:
    async with opened(program("evil")) as tools:
        first = await tools("evil__pid")
        await tools.given_up("evil__hangs")
        assert await tools("evil__pid") == first
        assert len(json.loads(await tools("evil__cancelled"))) == 1


async def test_a_server_that_hangs_as_a_whole_is_started_again() -> None:
    async with opened(program("evil")) as tools:
        first = int(await tools("evil__pid"))
        await tools.given_up("evil__stuck")
        assert int(await tools("evil__pid")) != first
        assert not alive(first)


async def test_who_gives_up_while_a_server_is_started_leaves_it_to_the_next() -> None:
    async with opened(program("honest")) as tools:
        os.kill(int(await tools("honest__pid")), signal.SIGKILL)
        await asyncio.sleep(0.1)
        await tools.given_up("honest__number", after_s=0.05)
        assert await tools("honest__number") == "7"


async def test_calls_of_one_server_do_not_wait_for_each_other() -> None:
    async with opened(program("honest")) as tools:
        slow = asyncio.create_task(tools("honest__slow", ms=400))
        assert await tools("honest__number") == "7"
        assert not slow.done()
        assert await slow == "done"


async def test_a_server_that_does_not_want_to_stop_is_killed_with_its_children() -> None:
    async with opened(program("evil", "--stays")) as tools:
        pids = [int(await tools(f"evil__{which}")) for which in ("pid", "child")]
        assert all(map(alive, pids))
        began = asyncio.get_running_loop().time()

    assert asyncio.get_running_loop().time() - began < 8
    assert not any(map(alive, pids))


async def test_a_host_that_is_closed_fails_who_still_waits_and_who_comes_later() -> None:
    async with opened(program("evil")) as tools:
        waiting = asyncio.create_task(tools.failure("evil__hangs"))
        await asyncio.sleep(0.1)
    assert (await waiting).category == "host_bridge_error"
    assert (await tools.failure("evil__pid")).category == "host_bridge_error"


# Floods.


async def test_messages_that_nobody_asked_for_are_dropped() -> None:
    async with opened(program("evil")) as tools:
        assert await tools("evil__floods", count=2_000) == "done"
        assert await tools("evil__asks", count=200) == "asked"


async def test_a_server_that_asks_and_does_not_listen_is_let_go() -> None:
    async with opened(program("evil")) as tools:
        failure = await tools.failure("evil__asks", count=100_000)
        assert await tools("evil__echo", text="a") == "a"

    assert failure.category == "mcp_server_error"
    assert "without waiting for an answer" in failure.message


async def test_a_flood_without_end_stops_with_the_call() -> None:
    async with opened(program("evil")) as tools:
        before = memory_kb()
        await tools.given_up("evil__floods", after_s=1.5, for_ever=True)
        assert await tools("evil__echo", text="a") == "a"
        assert memory_kb() - before < 50_000


async def test_an_answer_that_is_too_large_fails_its_call_alone() -> None:
    async with opened(program("evil"), message_bytes_max=100_000) as tools:
        first = await tools("evil__pid")
        waiting = asyncio.create_task(tools("evil__giant", bytes=90_000))
        failure = await tools.failure("evil__giant", bytes=1_000_000)
        assert len(await waiting) == 90_000
        assert await tools("evil__pid") == first

    assert failure.category == "output_too_large"
    assert "100000 bytes" in failure.message


async def test_a_line_without_end_ends_the_connection() -> None:
    async with opened(program("evil")) as tools:
        first = await tools("evil__pid")
        failure = await tools.failure("evil__endless")
        assert await tools("evil__pid") != first

    assert failure.category == "output_too_large"


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_lines_are_cut_alike_however_they_arrive(size: int) -> None:
    whole = b'one\n{"id": 7, "result": "' + b"x" * 40 + b'"}\n\ntwo\nthr'
    lines = Lines(30)
    found = [
        found for start in range(0, len(whole), size) for found in lines.feed(whole[start : start + size])
    ]

    assert [each for each in found if isinstance(each, bytes)] == [b"one", b"", b"two"]
    assert [each.answers for each in found if isinstance(each, Oversized)] == [7]


def test_a_line_is_not_waited_for_for_ever_and_is_never_held() -> None:
    lines = Lines(100)
    for _ in range(32):
        list(lines.feed(b"x" * 50))
        assert len(lines._held) <= 100
    with pytest.raises(Oversized):
        list(lines.feed(b"x" * 50))


# Drift.


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("description", "is not what it was when the host was opened: description"),
        ("hints", "is not what it was when the host was opened: annotations"),
        ("gone", "is not on offer any more"),
    ],
)
async def test_a_tool_that_is_another_now_is_refused_and_says_what_changed(what: str, said: str) -> None:
    async with opened(program("evil")) as tools:
        assert await tools("evil__echo", text="a") == "a"
        await tools("evil__change", what=what)
        failure = await tools.failure("evil__echo", text="a")
        assert failure.category == "permission_denied"
        assert said in failure.message
        assert await tools("evil__pid")


async def test_a_tool_that_was_not_there_is_refused() -> None:
    async with opened(program("evil")) as tools:
        await tools("evil__change", what="new")
        new = {**tools.host.surface[0], "name": "evil__fresh", "_mcp_tool_name": "fresh"}
        entry = build_manifest([new]).entries[0]
        with pytest.raises(CallFailed, match="was not on offer when the host was opened"):
            await tools.host.call(entry, {})


async def test_a_tool_of_no_server_is_refused() -> None:
    async with opened(program("evil")) as tools:
        strange = {**tools.host.surface[0], "_mcp_server": "other"}
        with pytest.raises(CallFailed, match="no tool of the MCP servers evil"):
            await tools.host.call(build_manifest([strange]).entries[0], {})


async def test_changes_say_what_is_another_now_and_the_surface_stays() -> None:
    async with opened(program("evil")) as tools:
        before = tools.host.surface
        assert not await tools.host.changes()
        await tools("evil__change", what="nothing")
        assert not await tools.host.changes()
        await tools("evil__change", what="description")
        await tools("evil__change", what="new")
        changes = await tools.host.changes()
        assert (changes.added, changes.removed) == (("evil__fresh",), ())
        assert changes.changed == {"evil__echo": ("description",)}
        await tools("evil__change", what="gone")
        assert (await tools.host.changes()).removed == ("evil__echo",)
        assert tools.host.surface == before


async def test_a_server_that_comes_back_with_other_tools_is_found_out(tmp_path: Path) -> None:
    flag = tmp_path / "drift"
    async with opened(program("evil", "--drifts", str(flag))) as tools:
        flag.touch()
        assert await tools("evil__echo", text="a") == "a"
        await tools.failure("evil__dies")
        failure = await tools.failure("evil__echo", text="a")

    assert failure.category == "permission_denied"
    assert "inputSchema" in failure.message


# A published server.


async def test_a_published_server_is_called_like_any_other() -> None:
    pytest.importorskip("mcp_server_time")
    time = McpServer(
        "time", command=sys.executable, args=["-m", "mcp_server_time", "--local-timezone", "UTC"]
    )
    async with opened(time) as tools:
        answer = await tools("time__get_current_time", timezone="UTC")
        failure = await tools.failure("time__get_current_time", timezone="Nowhere/Land")

    assert "UTC" in str(answer)
    assert failure.category == "tool_error"
