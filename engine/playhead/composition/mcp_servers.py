"""Which MCP servers there are to connect to, and how each is reached.

McpServer("files", command="files-server", args=["--root", "data"])
McpServer("search", url="http://localhost:8000/mcp", headers={"authorization": TOKEN})
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

NAME: Final = re.compile(r"[A-Za-z0-9.-]+(?:_[A-Za-z0-9.-]+)*")
JOINT: Final = "__"
"""What stands between the name of a server and that of its tool."""


@dataclass(frozen=True, slots=True)
class McpServer:
    """One MCP server: a program that is started and spoken to over its pipes, or an address.

    A program gets `env` besides the few variables that the SDK passes on, and nothing else of this
    process's environment. `name` begins the name of each of its tools. Raises `ValueError` where not
    exactly one of `command` and `url` is said, where something is said that the other one needs, and for a
    name that is not letters, digits, dots and dashes, with single underscores between them: no two servers
    and tools must come to one name. `env` and `headers` may hold secrets, and are not shown.
    """

    name: str
    command: str | None = None
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cwd: str | Path | None = None
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is no name of a server: it is letters, digits, dots and dashes, with single "
                "underscores between them"
            )
        if (self.command is None) == (self.url is None):
            raise ValueError(f"server {self.name!r} has either a command or a url")
        foreign: dict[str, Any] = {"headers": self.headers}
        if self.command is None:
            foreign = {"args": self.args, "env": self.env, "cwd": self.cwd}
        said = [name for name, value in foreign.items() if value]
        if said:
            kind = "url" if self.command is None else "command"
            raise ValueError(f"server {self.name!r} has a {kind}, and so no {', '.join(said)}")
        if isinstance(self.args, str):
            raise ValueError(f"args of server {self.name!r} are a list of texts, not one text")  # noqa: TRY004
        object.__setattr__(self, "args", tuple(self.args))
        object.__setattr__(self, "env", dict(self.env))
        object.__setattr__(self, "headers", dict(self.headers))

    def tool_name(self, tool: str) -> str:
        """The name of one of its tools among those of all servers."""
        return f"{self.name}{JOINT}{tool}"
