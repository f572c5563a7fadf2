"""Functions marked with `@tool` as tools of compositions, one test for each rule."""

from datetime import date
from typing import Any, Literal

import msgspec
import pytest

from playhead import Autonomy, Policy, ToolHost, attempt, build_manifest, tool
from playhead.composition.manifest import ManifestOptions
from playhead.errors import ProgramError
from playhead.events.autonomy import AutonomyDecided
from playhead.events.catalog import ToolRequested
from playhead.snippet.check import TAKEN
from tests.runtime.compositions import lived, only
from tests.runtime.conftest import Home

keys: list[str] = []


class Page(msgspec.Struct):
    path: str
    day: date | None = None


@tool(side_effect_level="read_only", kind="read", path_params=["path"], capabilities={"fs": ["read"]})
async def read_page(path: str, *, how: Literal["quick", "slow"] = "quick") -> Page:
    """Read one page."""
    keys.append(attempt().idempotency_key)
    return Page(path, date(2026, 1, 2) if how == "slow" else None)


@tool(side_effect_level="read_only", kind="search")
def count(pages: list[Page], day: date | None = None) -> int:
    return len([page for page in pages if page.day == day])


@tool(effect="idempotent", side_effect_level="network")
async def push(what: dict[str, int]) -> None: ...


@tool(effect="effect", side_effect_level="read_only", kind="read")
async def once() -> tuple[int, dict[int, str]]:
    return 1, {2: "two"}


HOST = ToolHost([read_page, count, push, once])
MANIFEST = build_manifest(HOST.surface, ManifestOptions(side_effect_ceiling="network"), taken=TAKEN)


def test_schemas_come_from_type_hints_and_the_rest_from_what_a_tool_declares() -> None:
    read, *_ = HOST.surface
    assert (read["name"], read["description"]) == ("read_page", "Read one page.")
    assert read["inputSchema"] == {
        "type": "object",
        "properties": {"path": {"type": "string"}, "how": {"enum": ["quick", "slow"]}},
        "required": ["path"],
        "additionalProperties": False,
    }
    assert read["annotations"] == {
        "kind": "read",
        "side_effect_level": "read_only",
        "capabilities": {"fs": ["read"]},
        "path_params": ["path"],
    }
    levels = {entry.binding: entry.side_effect_level for entry in MANIFEST.entries}
    assert levels == dict.fromkeys(("count", "once", "read_page"), "read_only") | {"push": "network"}


async def test_values_cross_as_json_and_arrive_as_what_a_tool_declares(home: Home) -> None:
    keys.clear()
    snippet = """
pages = [read_page("a"), read_page("b", how="slow"), read_page(path="c", how="slow")]
return [pages[1], count(pages, day="2026-01-02"), count(pages=pages)]
"""
    async with lived(home, snippet, HOST, manifest=MANIFEST) as life:
        assert life.composed.value() == [{"path": "b", "day": "2026-01-02"}, 2, 1]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("read_page(path=1)", "inputSchema"),
        ('read_page("a", how="other")', "inputSchema"),
        ('count([{"nope": 1}])', "inputSchema"),
        ('count([], day="someday")', "count: "),
        ('read_page("a", "quick")', "takes 1 by position"),
    ],
)
async def test_arguments_that_do_not_fit_fail_the_call(home: Home, call: str, said: str) -> None:
    async with lived(home, f"return {call}", HOST, manifest=MANIFEST) as life:
        assert life.composed.cause in ("tool_failed", "error")
        assert said in life.composed.message


async def test_what_a_tool_declares_of_its_effect_holds(home: Home) -> None:
    snippet = 'push({"a": 1})\nreturn once()'
    async with lived(home, snippet, HOST, manifest=MANIFEST, ceiling="network") as life:
        assert life.composed.value() == [1, {"2": "two"}]
        requests = [fact for _, fact in life.facts if isinstance(fact, ToolRequested)]
        assert [fact.effect for fact in requests] == ["idempotent", "effect"]


async def test_the_class_that_a_tool_names_itself_is_ruled_in_a_composition_too(home: Home) -> None:
    sent: list[str] = []

    @tool(side_effect_level="network", action="mail.send")
    async def mail(to: str) -> None:
        sent.append(to)

    @tool(side_effect_level="read_only", kind="read", action="diary.read")
    async def diary(day: str) -> str:
        sent.append(day)
        return day

    host = ToolHost([mail, diary])
    manifest = build_manifest(host.surface, ManifestOptions(side_effect_ceiling="network"), taken=TAKEN)
    scope = Autonomy(tier="act_auto", actions={"mail.send": "shadow", "diary.read": "shadow"})
    how: dict[str, Any] = {"policy": Policy(autonomy=scope), "ceiling": "network"}
    snippet = 'return [mail("ada")["proposed"], diary("monday")["proposed"]]'
    async with lived(home, snippet, host, manifest=manifest, **how) as life:
        assert life.composed.value() == [True, True]
        decided = only(life.facts, AutonomyDecided)
    assert [(each.action, each.verdict) for each in decided] == [
        ("mail.send", "shadow"),
        ("diary.read", "shadow"),
    ]
    assert sent == []


def test_what_a_snippet_could_not_call_is_refused() -> None:
    @tool(secret=["key"])
    async def secret(key: str) -> str:
        return key

    @tool
    async def many(*values: int) -> int:
        return len(values)

    @tool(name="count")
    async def other() -> None: ...

    nonsense: list[Any] = [[secret], [count, other], [count.function]]
    for tools in nonsense:
        with pytest.raises(ProgramError):
            ToolHost(tools)
    with pytest.raises(ProgramError, match="takes \\*values"):
        _ = ToolHost([many]).surface
