"""A host whose tools are those of MCP servers.

    async with McpHost.open([McpServer("files", command="files-server")]) as host:
        manifest = build_manifest(host.surface)
        ...                                   # compose(snippet, manifest, host)

A server is somebody else's program: it may die, hang, flood, talk nonsense, or offer other tools tomorrow.
Each of these fails a call with a category of its own, and nothing else. The host is used on the loop that
it was opened on. It needs the MCP SDK: `pip install 'playhead[mcp]'`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final, Self

from playhead.composition.hosts import Arguments
from playhead.composition.manifest import Entry
from playhead.composition.mcp_servers import McpServer
from playhead.composition.mcp_tools import Definition, McpChanges, changes_between
from playhead.errors import CallFailed, ProgramError

if TYPE_CHECKING:
    from playhead.composition.mcp_link import Link

__all__ = ["McpChanges", "McpHost", "McpServer"]

CONNECT_S_MAX: Final = 30.0
MESSAGE_BYTES_MAX: Final = 2_500_000
"""A structured answer comes twice, as structure and as text: so this is more than two of the answers that a
composition takes."""


class McpHost:
    """Carries calls out at MCP servers. `open` makes one."""

    def __init__(self, links: Sequence[Link]) -> None:
        self._links = {link.server.name: link for link in links}
        self._loop = asyncio.get_running_loop()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        servers: Sequence[McpServer],
        *,
        connect_s: float = CONNECT_S_MAX,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> AsyncGenerator[Self]:
        """Connect to all of `servers`, and list their tools; let go of them at the end.

        `connect_s` is how long a server may take to be ready and to list its tools. `message_bytes_max`
        bounds one message of a server, and so one answer.

        Raises `ProgramError` where the MCP SDK is not installed, `ValueError` for two servers of one name,
        and `CallFailed` where a server cannot be reached. No process and no task is left in any case; where
        this process is killed, programs that it started see the end of their input.
        """
        link_to = _link_type()
        names = [server.name for server in servers]
        if len(set(names)) < len(names):
            raise ValueError(f"two servers have one name: {', '.join(sorted(names))}")
        host = cls([link_to(server, connect_s, message_bytes_max) for server in servers])
        try:
            await host._connect()
            yield host
        finally:
            await host._close()

    @property
    def surface(self) -> list[Definition]:
        """All tools as they were when the host was opened, server by server, for `read_surface`."""
        agreed = [link.agreed[tool] for link in self._links.values() for tool in link.agreed]
        return deepcopy(agreed)

    async def changes(self) -> McpChanges:
        """How what is on offer now differs from `surface`.

        Servers that said that their tools changed are asked; one that is gone is not started for it. Raises
        `CallFailed` where a server does not answer.
        """
        links = self._links.values()
        for link in links:
            await link.list_again()
        found = [changes_between(link.agreed, link.offered) for link in links]
        return McpChanges(
            added=tuple(name for each in found for name in each.added),
            removed=tuple(name for each in found for name in each.removed),
            changed={name: parts for each in found for name, parts in each.changed.items()},
        )

    async def call(self, entry: Entry, arguments: Arguments) -> Any:
        """Have a tool called at its server, which is connected anew where the connection is gone.

        Raises `CallFailed`: `tool_error` where the tool says that it failed, `mcp_server_error` where the
        server is gone, refuses, or answers what is no answer, `output_too_large`, and `permission_denied`
        where the tool is not what it was when the host was opened: nothing was asked of it then. A server
        whose connection ended in the middle of a call may have carried it out all the same.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise CallFailed("the host was opened on another loop", category="host_bridge_error")
        link = self._links.get(entry.server or "")
        tool = entry.tool.metadata.get("_mcp_tool_name")
        if link is None or not isinstance(tool, str):
            said = f"{entry.name} is no tool of the MCP servers {', '.join(self._links)}"
            raise CallFailed(said, category="host_bridge_error", transient=False)
        return await link.call(tool, arguments)

    async def _connect(self) -> None:
        """Wait until all servers are ready. Raises what the first one fails with."""
        found = await asyncio.gather(
            *(link.call(None, {}) for link in self._links.values()), return_exceptions=True
        )
        for link, failed in zip(self._links.values(), found, strict=True):
            if isinstance(failed, CallFailed):
                said = link.complaints()
                raise CallFailed(
                    f"{failed.message}, and wrote: {said}" if said else failed.message,
                    category=failed.category,
                ) from failed
            if isinstance(failed, BaseException):
                raise failed

    async def _close(self) -> None:
        await asyncio.gather(*(link.close() for link in self._links.values()))


def _link_type() -> type[Link]:
    """What needs the SDK, which is not always there. Raises `ProgramError` where it is not."""
    try:
        from playhead.composition.mcp_link import Link  # noqa: PLC0415  only who opens a host needs the SDK
    except ImportError as error:
        raise ProgramError(
            "MCP servers are spoken to with the mcp package, version 2, which is not installed.",
            found=str(error),
            next_step="pip install 'playhead[mcp]'",
        ) from error
    return Link
