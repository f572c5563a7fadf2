"""Snippets and tools for them, as files in the directory of a test."""

from pathlib import Path

TOOLS = '''
"""Tools for snippets, each of which leaves a line where it did something."""

import os
import signal

from playhead import attempt, tool


@tool(side_effect_level="read_only")
def words(text: str) -> list[str]:
    return text.split()


@tool(side_effect_level="read_only")
async def length(word: str) -> int:
    if word == "long":
        raise ValueError("too long")
    return len(word)


@tool(side_effect_level="network")
def send(text: str) -> str:
    with open("sent.txt", "a") as file:
        file.write(f"{text}\\n")
    if text == os.environ.get("DIE"):
        os.kill(os.getpid(), signal.SIGKILL)
    return "sent"


def alone():
    return 1


def plain(binding, arguments):
    return [binding, arguments]


class Both:
    async def call(self, entry, arguments):
        return entry.name


both = Both()
some = [words, length]
odd = 3
'''
SECRETS = """
from playhead import tool


@tool(side_effect_level="read_only")
def login(token: str, user: str) -> dict[str, str]:
    return {"token": "sesame", "user": user}
"""
COUNT = """
found = map_bounded(words(text=line), lambda word: length(word=word), concurrency=2)
print("seen", found["succeeded"])
return [each["value"] for each in found["results"]]
"""
SEND = "sent = [send(text=text) for text in texts]\nreturn len(sent)"


def write_files(place: Path) -> None:
    (place / "tools.py").write_text(TOOLS)
    (place / "count.snippet").write_text(COUNT)
    (place / "send.snippet").write_text(SEND)


def run_of(said: str) -> str:
    return said.split()[1]
