"""An HTTP server that is asked for tools and answers them badly. It prints the port that it listens on."""

import gzip
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAMES = [
    "bomb",
    "breaks",
    "echo",
    "endless",
    "event",
    "forbids",
    "hangs",
    "nonsense",
    "other_type",
    "stranger",
]
TOOLS = [
    {"name": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}} for name in NAMES
]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        number, given = message.get("id"), message.get("params", {})
        match message["method"]:
            case "initialize":
                about = {"name": "evil", "version": "1"}
                version = given["protocolVersion"]
                self.answer(
                    number, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about}
                )
            case "tools/list":
                self.answer(number, {"tools": TOOLS})
            case "tools/call":
                self.call(number, given["name"])
            case "ping":
                self.answer(number, {})
            case _:
                self.send(b"", status=202)

    def call(self, number: Any, name: str) -> None:
        match name:
            case "bomb":
                self.send(gzip.compress(b" " * 50_000_000), "application/json", coding="gzip")
            case "breaks":
                self.close_connection = True
            case "endless":
                self.pour("application/json", b" " * 65_536)
            case "event":
                self.pour("text/event-stream", b"data: " + b"x" * 65_536)
            case "forbids":
                self.send(b"no", "text/plain", status=500)
            case "hangs":
                time.sleep(60)
            case "nonsense":
                self.send(b"<html>", "application/json")
            case "other_type":
                self.send(b"<html>", "text/html")
            case "stranger":
                self.answer(4711, {"content": []})
            case _:
                self.answer(number, {"content": [{"type": "text", "text": name}]})

    def answer(self, number: Any, result: Any) -> None:
        self.send(json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode(), "application/json")

    def send(self, body: bytes, kind: str = "", status: int = 200, coding: str = "") -> None:
        self.send_response(status)
        for header, value in (("content-type", kind), ("content-encoding", coding)):
            if value:
                self.send_header(header, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def pour(self, kind: str, piece: bytes) -> None:
        """A body that has no end."""
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(piece)
        except OSError:
            return


def main() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        sys.stdout.write(f"{listening.server_port}\n")
        sys.stdout.flush()
        listening.serve_forever()


if __name__ == "__main__":
    main()
