"""Servers of the tests of the MCP host, and their tools, called as a composition would call them."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from playhead.composition.manifest import ManifestOptions, build_manifest
from playhead.composition.mcp import McpHost, McpServer
from playhead.errors import CallFailed

SERVERS = Path(__file__).parent / "servers"


def program(name: str, *options: str) -> McpServer:
    return McpServer(name, command=sys.executable, args=[str(SERVERS / f"{name}.py"), *options])


class Tools:
    """The tools of an open host, called by the names of the surface."""

    def __init__(self, host: McpHost) -> None:
        self.host = host
        self.manifest = build_manifest(host.surface, ManifestOptions(include_denied=True))
        self._entries = {entry.name: entry for entry in self.manifest.entries}

    async def __call__(self, tool: str, /, **arguments: Any) -> Any:
        async with asyncio.timeout(20):
            return await self.host.call(self._entries[tool], arguments)

    async def failure(self, tool: str, /, **arguments: Any) -> CallFailed:
        with pytest.raises(CallFailed) as failed:
            await self(tool, **arguments)
        return failed.value

    async def given_up(self, tool: str, /, after_s: float = 0.2, **arguments: Any) -> None:
        """Wait for a call that does not end, and stop waiting."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(after_s):
                await self(tool, **arguments)


@asynccontextmanager
async def opened(*servers: McpServer, **how: Any) -> AsyncGenerator[Tools]:
    tasks = asyncio.all_tasks()
    async with McpHost.open(servers, **how) as host:
        yield Tools(host)
    assert asyncio.all_tasks() == tasks


class Address(NamedTuple):
    url: str
    pid: int


@asynccontextmanager
async def over_http(*options: str, port: int = 0, name: str = "honest") -> AsyncGenerator[Address]:
    """A server that listens on a port of this machine."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SERVERS / f"{name}.py"), "--http", str(port), *options),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        yield Address(f"http://127.0.0.1:{port}/mcp", process.pid)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is not only waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def memory_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4
