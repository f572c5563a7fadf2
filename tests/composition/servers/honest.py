"""A server in good order, made with the SDK: over its pipes, or by streamable HTTP where a port is said.

With `--http PORT` it prints the port that it listens on; 0 is any free one. `--json` answers without streams.
"""

import asyncio
import os
import socket
import sys
from typing import TypedDict

import uvicorn
from mcp.server.mcpserver import Image, MCPServer
from mcp_types import ToolAnnotations

OPTIONS = sys.argv[1:]
PIXEL = b"\x89PNG"
server = MCPServer("honest", log_level="ERROR")
reads = server.tool(annotations=ToolAnnotations(read_only_hint=True))
unstructured = server.tool(structured_output=False, annotations=ToolAnnotations(read_only_hint=True))


class Sum(TypedDict):
    total: int


@reads
def add(a: int, b: int) -> Sum:
    """The sum of two numbers."""
    return {"total": a + b}


@unstructured
def lines(count: int) -> list[str]:
    """Some lines."""
    return [f"line {number}" for number in range(count)]


@unstructured
def number() -> int:
    """A number, as text."""
    return 7


@unstructured
def nothing() -> None:
    """Nothing at all."""


@unstructured
def picture() -> list[str | Image]:
    """A picture, and what it shows."""
    return ["a pixel", Image(data=PIXEL, format="png")]


@unstructured
def large(length: int) -> str:
    """A text."""
    return "x" * length


@unstructured
def pid() -> str:
    """Which process this is."""
    return str(os.getpid())


@unstructured
async def slow(ms: int) -> str:
    """Something that takes a while."""
    await asyncio.sleep(ms / 1000)
    return "done"


@unstructured
def fails() -> str:
    """Nothing good."""
    raise ValueError("it is broken")


@server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=True))
def destroy() -> str:
    """Everything goes."""
    return "gone"


@server.tool()
def unsaid() -> str:
    """Nobody knows what it does."""
    return "?"


def main() -> None:
    if "--http" not in OPTIONS:
        server.run()
        return
    listening = socket.create_server(("127.0.0.1", int(OPTIONS[OPTIONS.index("--http") + 1])))
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    app = server.streamable_http_app(json_response="--json" in OPTIONS)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    main()
