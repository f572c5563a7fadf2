"""One MCP server for as long as a host is open: connected, and connected anew when a call needs it.

Everything that has to do with a server happens in one task of its own, which takes calls out of a queue. So
contexts are entered and left in one task, and a caller that gives up takes nothing with it but its own call:
the connection that it waited for is still made, for whoever comes next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import anyio
from anyio.abc import TaskGroup
from mcp import ClientSession, MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    ListToolsRequest,
    ListToolsResult,
    PaginatedRequestParams,
)
from pydantic import ValidationError

from playhead.composition.mcp_gate import TOO_LARGE, Gate
from playhead.composition.mcp_http import http_streams
from playhead.composition.mcp_servers import McpServer
from playhead.composition.mcp_stdio import stdio_streams
from playhead.composition.mcp_tools import (
    MESSAGE_CHARS_MAX,
    Definition,
    answer_of,
    definition_of,
    differences,
)
from playhead.errors import BadValue, CallFailed

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

PING_S_MAX: Final = 2.0
"""How long a server may take to show that it is alive, after a call of it was given up."""
CLOSE_S_MAX: Final = 5.0
PAGES_MAX: Final = 100
TOOLS_MAX: Final = 5_000
CLIENT: Final = Implementation(name="playhead", version="1")
CLOSED: Final = "the host is closed"


@dataclass(eq=False, slots=True)
class Job:
    """One call that somebody waits for. Without a tool it only asks for a connection, and a list of tools.

    `connected` says that a connection was made for it, which happens once.
    """

    tool: str | None
    arguments: dict[str, Any]
    answer: asyncio.Future[Any]
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    connected: bool = False

    def finish(self, value: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(value)

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Link:
    """One server. `agreed` are its tools when the host was opened, `offered` those that are known now."""

    def __init__(self, server: McpServer, connect_s: float, message_bytes_max: int) -> None:
        self.server = server
        self.agreed: Mapping[str, Definition] = {}
        self.offered: Mapping[str, Definition] = {}
        self._connect_s = connect_s
        self._most = message_bytes_max
        self._inbox: asyncio.Queue[Job | Gate | Literal["close"]] = asyncio.Queue()
        self._jobs: set[Job] = set()
        self._opened = False
        self._held: Job | None = None
        self._gate: Gate | None = None
        self._suspect = False
        self._over = False
        self._scope = anyio.CancelScope()
        self._complaints = bytearray()
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"mcp {server.name}")

    # --------------------------------------------------------- for callers

    async def call(self, tool: str | None, arguments: dict[str, Any]) -> Any:
        """Have `tool` called, and wait for its answer. Raises `CallFailed`.

        Whoever stops waiting gives the call up: the server is told, and its answer is dropped.
        """
        if self._over:
            raise CallFailed(CLOSED, category="host_bridge_error", transient=False)
        job = Job(tool, arguments, asyncio.get_running_loop().create_future())
        self._inbox.put_nowait(job)
        try:
            return await job.answer
        finally:
            if job.answer.cancelled():
                self._suspect = self._suspect or job in self._jobs
                job.scope.cancel()

    async def list_again(self) -> None:
        """Bring `offered` up to date where the server said that it changed. What is gone stays gone."""
        if self._gate is not None and self._gate.lost is None:
            await self.call(None, {})

    def complaints(self) -> str:
        """The end of what the server wrote to its standard error."""
        return self._complaints.decode("utf-8", "replace").strip()

    async def close(self) -> None:
        """Let go of the server, within a few seconds. Calls under way fail."""
        self._over = True
        self._inbox.put_nowait("close")
        for give_up in (self._scope.cancel, self._task.cancel):
            await asyncio.wait({self._task}, timeout=CLOSE_S_MAX)
            if self._task.done():
                break
            give_up()
        if self._task.done() and not self._task.cancelled():
            self._task.exception()

    # -------------------------------------------------------- its own task

    async def _run(self) -> None:
        """Connect when a call needs it, and serve calls until the connection ends."""
        try:
            with self._scope:
                while not self._over:
                    item = self._held or await self._inbox.get()
                    self._held = None
                    if isinstance(item, Job) and not item.answer.done():
                        await self._connect(item)
        finally:
            self._over = True
            waiting = [self._inbox.get_nowait() for _ in range(self._inbox.qsize())]
            for each in [*waiting, *self._jobs, self._held]:
                if isinstance(each, Job):
                    each.fail(CallFailed(CLOSED, category="host_bridge_error", transient=False))

    async def _connect(self, first: Job) -> None:
        """One connection, from its beginning to its end. Whatever ends it, its jobs have an end too."""
        first.connected = True
        self._jobs = {first}
        self._suspect = False
        self._complaints.clear()
        self._gate = gate = Gate(self.server.name, self._inbox.put_nowait)
        try:
            async with self._streams(gate) as streams:
                await self._converse(gate, streams, first)
        except Exception as error:  # noqa: BLE001  a transport may raise anything, and it is the server's doing
            gate.end(_why(error, self._connect_s))
        for job in self._jobs:
            job.fail(self._failure(gate))
        self._jobs = set()

    def _streams(self, gate: Gate) -> AbstractAsyncContextManager[TransportStreams]:
        if self.server.url is not None:
            return http_streams(self.server, self._most, gate)
        return stdio_streams(self.server, self._most, gate, self._complaints)

    async def _converse(self, gate: Gate, streams: TransportStreams, first: Job) -> None:
        reader, writer = gate.through(streams)
        async with ClientSession(reader, writer, client_info=CLIENT) as session:
            with anyio.fail_after(self._connect_s):
                await session.initialize()
                await self._list(session, gate)
            if not self._opened:
                self.agreed, self._opened = self.offered, True
            async with anyio.create_task_group() as calls:
                await self._attend(session, gate, calls, first)
                calls.cancel_scope.cancel()

    async def _attend(self, session: ClientSession, gate: Gate, calls: TaskGroup, first: Job) -> None:
        """Begin one call after the other, until the connection ends or the host is closed."""
        item: Job | Gate | Literal["close"] = first
        while True:
            if item == "close" or item is gate:
                return
            if isinstance(item, Job) and not item.answer.done():
                self._jobs.add(item)
                if not await self._in_order(session, gate, item):
                    if not item.connected:
                        self._jobs.discard(item)
                        self._held = item
                    return
                self._begin(session, gate, calls, item)
            item = await self._inbox.get()

    async def _in_order(self, session: ClientSession, gate: Gate, job: Job) -> bool:
        """Whether the server is there and alive, and `offered` is true. Where not, the connection is over.

        A server that a call was given up on may hang, and is asked, unless others wait for it anyway.
        """
        if gate.stale:
            gate.end("does not know this session any more")
        try:
            if self._suspect and gate.lost is None and not self._busy(job):
                with anyio.fail_after(PING_S_MAX):
                    await _alive(session)
                self._suspect = False
            if gate.tools_changed and gate.lost is None:
                with anyio.fail_after(self._connect_s):
                    await self._list(session, gate)
        except (MCPError, BadValue, ValidationError, TimeoutError) as error:
            gate.end(_why(error, PING_S_MAX if self._suspect else self._connect_s))
        return gate.lost is None

    def _busy(self, beside: Job) -> bool:
        return any(job is not beside and not job.answer.done() for job in self._jobs)

    async def _list(self, session: ClientSession, gate: Gate) -> None:
        """Bring `offered` up to date, page by page. Of two tools with one name the first counts."""
        gate.tools_changed = False
        offered: dict[str, Definition] = {}
        capabilities = session.server_capabilities
        cursor: str | None = None
        pages = PAGES_MAX if capabilities and capabilities.tools else 0
        for _ in range(pages):
            params = None if cursor is None else PaginatedRequestParams(cursor=cursor)
            page = await session.send_request(ListToolsRequest(params=params), ListToolsResult)
            for tool in page.tools:
                offered.setdefault(tool.name, definition_of(self.server, tool))
            cursor = page.next_cursor or None
            if cursor is None or len(offered) > TOOLS_MAX:
                break
        if cursor is not None:
            raise BadValue(f"more than {PAGES_MAX} pages or {TOOLS_MAX} tools")
        self.offered = offered

    # ------------------------------------------------------------ one call

    def _begin(self, session: ClientSession, gate: Gate, calls: TaskGroup, job: Job) -> None:
        """Have a job carried out beside the others, where its tool is still what was agreed to."""
        refusal = None if job.tool is None else self._refusal(job.tool)
        if job.tool is not None and refusal is None:
            calls.start_soon(self._carry, session, gate, job, job.tool)
            return
        self._jobs.discard(job)
        if refusal is None:
            job.finish(None)
        else:
            job.fail(CallFailed(refusal, category="permission_denied", transient=False))

    def _refusal(self, tool: str) -> str | None:
        said = f"tool {tool!r} of MCP server {self.server.name!r}"
        agreed, offered = self.agreed.get(tool), self.offered.get(tool)
        if agreed is None:
            return f"{said} was not on offer when the host was opened"
        if offered is None:
            return f"{said} is not on offer any more"
        parts = differences(agreed, offered)
        return f"{said} is not what it was when the host was opened: {', '.join(parts)}" if parts else None

    async def _carry(self, session: ClientSession, gate: Gate, job: Job, tool: str) -> None:
        """One call, from the request to its answer. A job that is given up cancels its scope."""
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=job.arguments))
        try:
            with job.scope:
                result = await session.send_request(request, CallToolResult)
                job.finish(answer_of(result, tool, structured="outputSchema" in self.agreed[tool]))
        except CallFailed as failure:
            job.fail(failure)
        except MCPError as error:
            job.fail(self._said(error, gate))
        except ValidationError as error:
            said = f"MCP server {self.server.name!r} {_why(error, 0)}"
            job.fail(CallFailed(said, category="mcp_server_error", transient=False))
        finally:
            if job.answer.done():
                self._jobs.discard(job)

    def _said(self, error: MCPError, gate: Gate) -> CallFailed:
        """The failure that an error of the protocol is. What will not pass is not worth another attempt."""
        if gate.lost is not None and error.code == CONNECTION_CLOSED:
            return self._failure(gate)
        message = error.message[:MESSAGE_CHARS_MAX]
        if error.error.data is TOO_LARGE:
            return CallFailed(message, category="output_too_large")
        transient = False if error.code in {INVALID_PARAMS, METHOD_NOT_FOUND} else None
        said = f"MCP server {self.server.name!r} refused: {message}"
        return CallFailed(said, category="mcp_server_error", transient=transient)

    def _failure(self, gate: Gate) -> CallFailed:
        """Why this connection is over."""
        if gate.lost is not None:
            return CallFailed(gate.lost.message, category=gate.lost.category)
        return CallFailed(CLOSED, category="host_bridge_error", transient=False)


async def _alive(session: ClientSession) -> None:
    """Wait for a sign of life. A refusal is one. Raises `MCPError` where the connection is over."""
    try:
        await session.send_ping()
    except MCPError as error:
        if error.code == CONNECTION_CLOSED:
            raise


def _why(error: BaseException, within_s: float) -> str:
    """What a server did, for a sentence that begins with it."""
    if isinstance(error, BaseExceptionGroup):
        return _why(cast("BaseExceptionGroup[BaseException]", error).exceptions[0], within_s)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"said what the protocol does not allow: {place}: {first['msg']}"[:MESSAGE_CHARS_MAX]
    if isinstance(error, TimeoutError) and not str(error):
        return f"did not answer within {within_s:g} s"
    if isinstance(error, BadValue):
        return f"said what cannot be kept: {error.message}"
    said = error.message if isinstance(error, MCPError) else str(error)
    return f"cannot be reached: {said or type(error).__name__}"[:MESSAGE_CHARS_MAX]
