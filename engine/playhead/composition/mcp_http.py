"""MCP servers that are reached by streamable HTTP, with a bound on what each answer may bring.

The SDK reads a JSON answer of any size into memory; here bytes are counted as they arrive. Answers are asked
for uncompressed, so that the bytes counted are the bytes held.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx2
from mcp.client.streamable_http import streamable_http_client

from playhead.composition.mcp_gate import Gate
from playhead.composition.mcp_servers import McpServer

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

GONE: Final = frozenset({400, 404})
"""What a server says that does not know the session any more, as the protocol has it and as older ones do."""
LEAVE_S_MAX: Final = 1.0
REACH_S_MAX: Final = 30.0
SILENCE_S_MAX: Final = 300.0
"""How long a server may send nothing at all, as the SDK has it."""
EVENT_ENDS: Final = (b"\n\n", b"\r\r", b"\r\n\r\n")


class AnswerTooLarge(httpx2.StreamError):
    """A body of JSON is larger than what is taken."""


class EventTooLarge(httpx2.SSEError):
    """An event of a stream is larger than what is taken."""


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends in an error where it, or one event of it, has more than `most` bytes."""

    def __init__(self, body: httpx2.AsyncByteStream, most: int, on_overflow: Callable[[], Exception]) -> None:
        self._body = body
        self._most = most
        self._on_overflow = on_overflow

    async def __aiter__(self) -> AsyncIterator[bytes]:
        count = 0
        async for chunk in self._body:
            count = self.counted(count, chunk)
            if count > self._most:
                raise self._on_overflow()
            yield chunk

    def counted(self, count: int, chunk: bytes) -> int:
        return count + len(chunk)

    async def aclose(self) -> None:
        await self._body.aclose()


class _BoundedEvents(_Bounded):
    """A stream of events. An event ends with an empty line, which may come in two pieces."""

    _last = b""

    def counted(self, count: int, chunk: bytes) -> int:
        seen = self._last + chunk
        self._last = seen[-3:]
        end = max(seen.rfind(end) + len(end) if end in seen else -1 for end in EVENT_ENDS)
        return count + len(chunk) if end < 0 else len(seen) - end


@asynccontextmanager
async def http_streams(server: McpServer, most: int, gate: Gate) -> AsyncGenerator[TransportStreams]:
    """Reach `server`. An answer of more than `most` bytes is left out, and `gate` is told.

    Raises whatever the SDK's transport raises, where the server cannot be reached any more in a group.
    """
    assert server.url is not None

    async def bound(response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise httpx2.DecodingError("the answer is compressed, which was not asked for")
        if response.request.method == "POST" and response.status_code in GONE:
            gate.stale = True
        body = response.stream
        assert isinstance(body, httpx2.AsyncByteStream)
        events = response.headers.get("content-type", "").lower().startswith("text/event-stream")
        said = f"the answer has more than the {most} bytes that are taken"

        def overflow() -> Exception:
            number = _request_number(response.request)
            if number is not None:
                gate.oversized[number] = most
            return EventTooLarge(said) if events else AnswerTooLarge(said)

        kind = _BoundedEvents if events else _Bounded
        response.stream = kind(body, most, overflow)

    async def hurry(request: httpx2.Request) -> None:
        if request.method == "DELETE":  # a goodbye, which nobody waits for
            request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), LEAVE_S_MAX)

    client = httpx2.AsyncClient(
        headers={**server.headers, "accept-encoding": "identity"},
        timeout=httpx2.Timeout(REACH_S_MAX, read=SILENCE_S_MAX),
        event_hooks={"request": [hurry], "response": [bound]},
    )
    async with (
        client,
        streamable_http_client(server.url, http_client=client, max_sse_event_size=None) as streams,
    ):
        yield streams


def _request_number(request: httpx2.Request) -> int | None:
    """The number of the request that a POST carries."""
    try:
        carried: Any = json.loads(request.content)
        number = carried["id"]
    except (ValueError, KeyError, TypeError, httpx2.RequestNotRead):
        return None
    return number if isinstance(number, int) else None
