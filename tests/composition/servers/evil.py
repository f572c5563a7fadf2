"""A server that does what it is asked to, and that is never any good. It speaks JSON-RPC by hand.

Options: `--pages` lists the tools one by one, `--endless` without an end, `--greets` writes something else
first, `--mute` answers nothing, `--drifts FILE` offers other tools once the file is there, and `--stays`
neither minds the end of its input nor a request to terminate, and has a child that does not either.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

OPTIONS = sys.argv[1:]
READS = {"readOnlyHint": True}

TOOLS = [
    *("asks", "cancelled", "change", "child", "dies", "echo", "endless", "fails", "floods", "giant"),
    *("gibberish", "half", "hangs", "no_number", "old", "pid", "refuses", "stranger", "stuck", "wrong_shape"),
]

tools: dict[str, dict[str, Any]] = {
    name: {"name": name, "inputSchema": {"type": "object"}, "annotations": READS} for name in TOOLS
}
cancelled: list[Any] = []
children: list[int] = []


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def send(**message: Any) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")


def say(number: Any, text: str) -> None:
    send(id=number, result={"content": [{"type": "text", "text": text}]})


def call(number: Any, name: str, given: dict[str, Any]) -> None:
    match name:
        case "asks":
            for each in range(given["count"]):
                send(id=f"q{each}", method="ping")
            say(number, "asked")
        case "cancelled":
            say(number, json.dumps(cancelled))
        case "change":
            change(given["what"])
            say(number, "changed")
        case "child":
            say(number, str(children[0]))
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "echo":
            say(number, given["text"])
        case "endless":
            while True:
                write("x" * 65_536)
        case "fails":
            text = {"type": "text", "text": "it is broken"}
            send(id=number, result={"content": [text], "isError": True})
        case "floods":
            while given.get("for_ever") or given["count"]:
                given["count"] = given.get("count", 0) - 1
                send(method="notifications/message", params={"level": "info", "data": "x" * 100})
            say(number, "done")
        case "giant":
            say(number, "x" * given["bytes"])
        case "gibberish":
            write("Traceback (most recent call last):\n")
        case "half":
            write('{"jsonrpc": "2.0", "id": ')
            sys.exit(3)
        case "hangs":
            pass
        case "no_number":
            send(id=number, result={"content": [], "structuredContent": {"x": float("nan")}})
        case "old":
            send(id=1, result={"content": []})
            say(number, "fresh")
        case "pid":
            say(number, str(os.getpid()))
        case "refuses":
            send(id=number, error={"code": -32000, "message": "not today"})
        case "stranger":
            send(id=4711, result={"content": []})
        case "stuck":
            time.sleep(60)
        case "wrong_shape":
            send(id=number, result={"content": [{"type": "hologram"}]})
        case _:
            send(id=number, error={"code": -32602, "message": f"there is no {name}"})


def change(what: str) -> None:
    match what:
        case "description":
            tools["echo"]["description"] = "Now it does something else."
        case "hints":
            tools["echo"]["annotations"] = {"destructiveHint": True}
        case "gone":
            del tools["echo"]
        case "new":
            tools["fresh"] = {"name": "fresh", "inputSchema": {"type": "object"}}
        case _:
            pass
    send(method="notifications/tools/list_changed")


def listed(given: dict[str, Any]) -> dict[str, Any]:
    if "--drifts" in OPTIONS and Path(OPTIONS[-1]).exists():
        tools["echo"]["inputSchema"] = {"type": "object", "properties": {"text": {"type": "string"}}}
    names = list(tools)
    first = int(given.get("cursor", "0"))
    if "--endless" in OPTIONS:
        return {"tools": [], "nextCursor": str(first + 1)}
    if "--pages" in OPTIONS:
        page: dict[str, Any] = {"tools": [tools[names[first]]]}
        return page | ({"nextCursor": str(first + 1)} if first + 1 < len(names) else {})
    return {"tools": list(tools.values())}


def main() -> None:
    if "--greets" in OPTIONS:
        write("Welcome to the evil server!\n\n")
    if "--stays" in OPTIONS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        children.append(subprocess.Popen(["sleep", "600"]).pid)
    for line in sys.stdin:
        message = json.loads(line)
        given, number = message.get("params", {}), message.get("id")
        match message.get("method"):
            case _ if "--mute" in OPTIONS:
                sys.stderr.write("I say nothing\n")
            case "initialize":
                about = {"name": "evil", "version": "1"}
                capabilities = {"tools": {"listChanged": True}}
                version = given["protocolVersion"]
                send(
                    id=number,
                    result={"protocolVersion": version, "capabilities": capabilities, "serverInfo": about},
                )
            case "tools/list":
                send(id=number, result=listed(given))
            case "tools/call":
                call(number, given["name"], given.get("arguments", {}))
            case "notifications/cancelled":
                cancelled.append(given["requestId"])
            case "ping":
                send(id=number, result={})
            case _:
                pass
    while "--stays" in OPTIONS:
        time.sleep(1)


if __name__ == "__main__":
    main()
