"""Examples of snippets, for whoever looks for how something is done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from playhead.composition.declarations import LANGUAGE
from playhead.composition.hashing import canonical_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A snippet that shows how something is done, and the tools that it calls."""

    id: str
    title: str
    snippet: str
    required_side_effect_level: str
    tools: tuple[str, ...]
    language: str = LANGUAGE

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "tools": list(self.tools)}


EXAMPLES: Final = (
    Example(
        id="read-summarize",
        title="Read one file and return a short account of it",
        snippet=(
            'page = read_file(path="README.md")\n'
            'lines = split(page["text"], "\\n")\n'
            'return {"path": page["path"], "lines": len(lines), "begins": lines[:3]}\n'
        ),
        required_side_effect_level="read_only",
        tools=("read_file",),
    ),
    Example(
        id="search-then-read",
        title="Search, then read what was found, a few files at a time",
        snippet=(
            'hits = search(query="deadline", limit=5)\n'
            'read = map_bounded(hits, lambda hit: read_file(path=hit["path"]), concurrency=3)\n'
            'return [each["value"]["text"] for each in read["results"] if each["ok"]]\n'
        ),
        required_side_effect_level="read_only",
        tools=("search", "read_file"),
    ),
)


def search_examples(query: str = "", limit: int = 10) -> tuple[Example, ...]:
    """The examples whose JSON text holds `query`, in whatever case; all of them for a blank one.

    At most `limit`, and at least one where any is found.
    """
    wanted = query.strip().lower()
    found = [example for example in EXAMPLES if wanted in canonical_json(example.document()).decode().lower()]
    return tuple(found[: max(limit, 1)])
