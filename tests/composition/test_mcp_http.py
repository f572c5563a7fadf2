"""Tools of MCP servers that are reached by streamable HTTP: real servers on this machine."""

import asyncio
import os
import signal

import pytest

pytest.importorskip("mcp")

from playhead.composition.mcp import McpServer
from tests.composition.mcp_desks import alive, memory_kb, opened, over_http
from tests.runtime.conftest import until


@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_a_server_is_reached_by_http(options: tuple[str, ...]) -> None:
    async with over_http(*options) as address, opened(McpServer("honest", url=address.url)) as tools:
        assert await tools("honest__add", a=1, b=2) == {"total": 3}
        assert (await tools.failure("honest__fails")).category == "tool_error"
        assert (await tools.failure("honest__large", length=3_000_000)).category == "output_too_large"
        await tools.given_up("honest__slow", ms=60_000)
        assert await tools("honest__pid") == str(address.pid)


async def test_a_server_that_is_gone_from_its_address_fails_calls_until_it_is_back() -> None:
    async with over_http() as address, opened(McpServer("honest", url=address.url)) as tools:
        os.kill(address.pid, signal.SIGKILL)
        for _ in range(2):
            assert (await tools.failure("honest__pid")).category == "mcp_server_error"
        port = int(address.url.split(":")[2].split("/")[0])
        async with over_http(port=port) as back:
            assert await tools("honest__pid") == str(back.pid)


async def test_a_server_that_has_forgotten_the_session_fails_one_call() -> None:
    async with over_http() as address, opened(McpServer("honest", url=address.url)) as tools:
        os.kill(address.pid, signal.SIGKILL)
        await until(lambda: not alive(address.pid))
        port = int(address.url.split(":")[2].split("/")[0])
        async with over_http(port=port) as back:
            assert (await tools.failure("honest__pid")).category == "mcp_server_error"
            assert await tools("honest__pid") == str(back.pid)


@pytest.mark.parametrize(
    ("tool", "category"),
    [
        ("bomb", "mcp_server_error"),
        ("breaks", "mcp_server_error"),
        ("endless", "output_too_large"),
        ("event", "output_too_large"),
        ("forbids", "mcp_server_error"),
        ("nonsense", "mcp_server_error"),
        ("other_type", "mcp_server_error"),
        ("stranger", "mcp_server_error"),
    ],
)
async def test_a_bad_answer_by_http_fails_the_call_and_not_the_next_one(tool: str, category: str) -> None:
    async with over_http(name="evil_http") as address, opened(McpServer("evil", url=address.url)) as tools:
        before = memory_kb()
        failure = await tools.failure(f"evil__{tool}")
        assert await tools("evil__echo") == "echo"
        assert memory_kb() - before < 30_000

    assert failure.category == category


async def test_a_call_by_http_that_is_given_up_leaves_the_server_to_others() -> None:
    async with over_http(name="evil_http") as address, opened(McpServer("evil", url=address.url)) as tools:
        await tools.given_up("evil__hangs")
        assert await tools("evil__echo") == "echo"


async def test_an_address_that_does_not_answer_is_not_waited_for_at_the_end() -> None:
    async with over_http() as address, opened(McpServer("honest", url=address.url)) as tools:
        assert await tools("honest__number") == "7"
        os.kill(address.pid, signal.SIGSTOP)
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 8
