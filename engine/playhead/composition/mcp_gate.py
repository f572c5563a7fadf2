"""What passes between one MCP server and the SDK's session: a gate that bounds what a server can do to us.

Answers and a few requests of the server go through. Notifications do not: one says that the list of tools
has changed, which is remembered here, and all others are dropped, so that a flood of them costs some time
and no memory. What can be no message of a server that is in order ends the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
)

from playhead.errors import CallFailed

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream, TransportStreams, WriteStream

LIST_CHANGED: Final = "notifications/tools/list_changed"
CANCELLED: Final = "notifications/cancelled"
CALL: Final = "tools/call"
UNANSWERED_MAX: Final = 16
"""How many requests of the server may wait for our answers, which it has to read."""
DROPPED_IN_A_ROW: Final = 256
PAUSE_S: Final = 0.01
"""How long nothing is read after so many messages that nobody needs: others have work to do."""
TOO_LARGE: Final[Any] = object()
"""Marks an error that this gate put in place of an answer. No server can send it."""


class Oversized(Exception):
    """A message that is too large was left out. `answers` is the request it answers, where that shows."""

    def __init__(self, most: int, answers: int | None) -> None:
        super().__init__(f"a message has more than the {most} bytes that are taken")
        self.most = most
        self.answers = answers


class Ended(Exception):
    """The server is gone, and this is what is known of it."""


class Gate:
    """One connection, from its first message to its end. `on_end` is called once, when it has ended.

    `lost` says why it ended. `tools_changed` says that the list of tools is to be asked for, and `stale` that
    the server does not know this connection any more. `oversized` holds the requests whose answer was left
    out because it has more than so many bytes.
    """

    def __init__(self, server: str, on_end: Callable[[Gate], None]) -> None:
        self.server = server
        self.tools_changed = True
        self.stale = False
        self.oversized: dict[int, int] = {}
        self.lost: CallFailed | None = None
        self._on_end = on_end
        self._asked: dict[int, str] = {}
        self._last_asked = 0
        self._unanswered = 0

    def through(self, streams: TransportStreams) -> tuple[GateReader, GateWriter]:
        """The same streams, with this gate in them."""
        return GateReader(self, streams[0]), GateWriter(self, streams[1])

    def end(self, said: str, *, category: str = "mcp_server_error") -> None:
        """The connection is over. The first reason stands."""
        if self.lost is None:
            self.lost = CallFailed(f"MCP server {self.server!r} {said}", category=category)
            self._on_end(self)

    def leave(self, item: SessionMessage) -> None:
        """Remember what is about to be asked of the server, and what is not asked any more."""
        message = item.message
        if isinstance(message, JSONRPCRequest):
            number = _number(message.id) or 0
            self._asked[number] = message.method
            self._last_asked = max(self._last_asked, number)
        elif isinstance(message, JSONRPCNotification) and message.method == CANCELLED and message.params:
            self._asked.pop(_number(message.params.get("requestId")) or 0, None)

    def has_left(self, item: SessionMessage) -> None:
        """An answer counts when the server has taken it, or at least its pipe has."""
        if isinstance(item.message, JSONRPCResponse | JSONRPCError):
            self._unanswered -= 1

    def admit(self, item: SessionMessage | Exception) -> SessionMessage | None:
        """What the session gets to see of `item`."""
        if isinstance(item, Exception):
            return self._fault(item)
        message = item.message
        if isinstance(message, JSONRPCNotification):
            self.tools_changed = self.tools_changed or message.method == LIST_CHANGED
            return None
        if isinstance(message, JSONRPCRequest):
            self._unanswered += 1
            if self._unanswered > UNANSWERED_MAX:
                self.end(f"asked more than {UNANSWERED_MAX} things without waiting for an answer")
                return None
            return item
        return self._answer(item, message)

    def _answer(self, item: SessionMessage, message: JSONRPCResponse | JSONRPCError) -> SessionMessage | None:
        number = _number(message.id)
        if number is None or not 0 < number <= self._last_asked:
            said = message.error.message if isinstance(message, JSONRPCError) else ""
            self.end(f"answered what it was never asked {said[:200]}".rstrip())
            return None
        self._asked.pop(number, None)
        most = self.oversized.pop(number, None)
        return item if most is None else _too_large(number, most)

    def _fault(self, fault: Exception) -> SessionMessage | None:
        """What cannot be read breaks calls that wait. Where none does it may be a greeting, and is left."""
        if isinstance(fault, Ended):
            self.end(str(fault))
        elif isinstance(fault, Oversized):
            if fault.answers in self._asked:
                self._asked.pop(fault.answers)
                return _too_large(fault.answers, fault.most)
            self.end(f"wrote too much: {fault}", category="output_too_large")
        elif CALL in self._asked.values():
            self.end("wrote what is no message")
        return None


class GateReader:
    """The way in, as the SDK reads it."""

    def __init__(self, gate: Gate, stream: ReadStream[SessionMessage | Exception]) -> None:
        self._gate = gate
        self._stream = stream
        self._dropped = 0

    async def receive(self) -> SessionMessage | Exception:
        while self._gate.lost is None:
            try:
                item = await self._stream.receive()
            except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
                self._gate.end("closed the connection")
                break
            admitted = self._gate.admit(item)
            if admitted is not None:
                self._dropped = 0
                return admitted
            self._dropped += 1
            if self._dropped % DROPPED_IN_A_ROW == 0:
                await anyio.sleep(PAUSE_S)
        raise anyio.EndOfStream

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()


class GateWriter:
    """The way out, as the SDK writes it."""

    def __init__(self, gate: Gate, stream: WriteStream[SessionMessage]) -> None:
        self._gate = gate
        self._stream = stream

    async def send(self, item: SessionMessage, /) -> None:
        self._gate.leave(item)
        await self._stream.send(item)
        self._gate.has_left(item)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.aclose()


def _number(given: Any) -> int | None:
    """The number of a request, which the SDK counts; a server may send it back as a text."""
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 20:
        return int(given)
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def _too_large(number: int, most: int) -> SessionMessage:
    said = f"the answer has more than the {most} bytes that are taken of one message"
    error = ErrorData(code=INTERNAL_ERROR, message=said, data=TOO_LARGE)
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=number, error=error))
