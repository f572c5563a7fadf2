"""MCP servers that are programs: one process each, spoken to line by line over its pipes.

The SDK's own transport reads a line of any length into memory, so this one takes its place: it leaves out
what is too long, and stops a process that does not want to stop. The process leads a group of its own, and
the whole group goes with it. Where this process is killed, servers see the end of their input.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from playhead.composition.mcp_gate import Ended, Gate, Oversized
from playhead.composition.mcp_servers import McpServer

CHUNK_BYTES: Final = 65_536
SKIPPED_TIMES_MAX: Final = 16
"""A line that goes on for so many times what is taken of one is not waited for any more."""
EXIT_S_MAX: Final = 1.0
"""How long a process may take after the end of its input, and again after it was asked to terminate."""
LOOK_S: Final = 0.01
CODE_S_MAX: Final = 0.2
COMPLAINTS_BYTES_MAX: Final = 1_000

_ANSWERS: Final = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d{1,18})\s*,')

Incoming = MemoryObjectSendStream[SessionMessage | Exception]
Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


class Lines:
    """Cuts what arrives into lines. Of a line longer than `most` bytes only its beginning is ever held."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = bytearray()
        self._skipped = 0

    def feed(self, chunk: bytes) -> Iterator[bytes | Oversized]:
        """The lines that `chunk` ends. Raises `Oversized` for one that seems to have no end."""
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            yield from self._add(piece)
            if not self._skipped:
                yield bytes(self._held)
            self._held.clear()
            self._skipped = 0
        yield from self._add(rest)

    def _add(self, piece: bytes) -> Iterator[Oversized]:
        if self._skipped:
            self._skipped += len(piece)
            if self._skipped > self._most * SKIPPED_TIMES_MAX:
                raise Oversized(self._most, None)
        elif len(self._held) + len(piece) > self._most:
            found = _ANSWERS.match(bytes(self._held[:CHUNK_BYTES]) + piece[:CHUNK_BYTES])
            self._skipped = len(self._held) + len(piece)
            self._held.clear()
            yield Oversized(self._most, int(found[1]) if found else None)
        else:
            self._held += piece


@asynccontextmanager
async def stdio_streams(
    server: McpServer, most: int, gate: Gate, complaints: bytearray
) -> AsyncGenerator[Streams]:
    """Start `server`, and stop it at the end: patiently where the connection is in order, else at once.

    `complaints` holds the end of what it writes to its standard error. Raises `OSError` where it cannot be
    started. Nothing of it is left afterwards, unless a process has left the group, or cannot be killed.
    """
    assert server.command is not None
    process = await asyncio.create_subprocess_exec(
        server.command,
        *server.args,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=get_default_environment() | dict(server.env),
        cwd=server.cwd,
        start_new_session=True,
        limit=CHUNK_BYTES,
    )
    incoming, reading = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    writing, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    async with anyio.create_task_group() as pumps:
        pumps.start_soon(_read, process, Lines(most), incoming)
        pumps.start_soon(_write, process, outgoing, incoming)
        pumps.start_soon(_listen, process, complaints)
        try:
            yield reading, writing
        finally:
            reading.close()
            writing.close()
            with anyio.CancelScope(shield=True):
                await _stop(process, EXIT_S_MAX if gate.lost is None else 0.0)
            pumps.cancel_scope.cancel()


async def _read(process: Process, lines: Lines, incoming: Incoming) -> None:
    """Pass on what the process writes, and at last how it ended. What nobody takes is read and dropped."""
    assert process.stdout is not None
    async with incoming:
        wanted = True
        while chunk := await process.stdout.read(CHUNK_BYTES):
            if wanted:
                wanted = await _pass_on(chunk, lines, incoming)
        ended = await _exits(process, CODE_S_MAX)
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            said = f"ended with exit code {process.returncode}" if ended else "closed its output"
            await incoming.send(Ended(said))


async def _pass_on(chunk: bytes, lines: Lines, incoming: Incoming) -> bool:
    """Whether anybody takes more."""
    try:
        for line in lines.feed(chunk):
            if isinstance(line, Oversized):
                await incoming.send(line)
            elif line.strip():
                await incoming.send(_message(line))
    except Oversized as endless:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await incoming.send(endless)
        return False
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return False
    return True


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


async def _write(
    process: Process, outgoing: MemoryObjectReceiveStream[SessionMessage], incoming: Incoming
) -> None:
    """Write down what is asked, one message after the other. Where that fails, the connection ends."""
    assert process.stdin is not None
    async with outgoing:
        try:
            async for item in outgoing:
                process.stdin.write(
                    item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
                )
                await process.stdin.drain()
        except OSError:
            await incoming.aclose()


async def _listen(process: Process, complaints: bytearray) -> None:
    assert process.stderr is not None
    while chunk := await process.stderr.read(CHUNK_BYTES):
        complaints += chunk
        del complaints[:-COMPLAINTS_BYTES_MAX]


async def _stop(process: Process, patience_s: float) -> None:
    """End the input, then terminate the group, then kill it. What is left of the group goes in any case."""
    assert process.stdin is not None
    if patience_s:
        process.stdin.close()
        if not await _exits(process, patience_s):
            _signal(process, signal.SIGTERM)
            await _exits(process, patience_s)
    _signal(process, signal.SIGKILL)
    await _exits(process, EXIT_S_MAX)
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001  a pipe that a stranger holds keeps it open


async def _exits(process: Process, within_s: float) -> bool:
    """Whether the process ends in time. Its `wait` also waits for whoever has inherited its pipes."""
    with anyio.move_on_after(within_s):
        while process.returncode is None:  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(LOOK_S)
    return process.returncode is not None


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
