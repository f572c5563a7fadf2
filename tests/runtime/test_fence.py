"""The words of a fence: what they let happen, and what only is called like one of them."""

from __future__ import annotations

import pytest
from msgspec import Raw

from playhead.events.catalog import ToolRequested
from playhead.runtime.fence import withheld_by


def asked(tool: str) -> ToolRequested:
    return ToolRequested(tool=tool, args=Raw(b"\x80"), effect="effect", side_effect="network.call")


@pytest.mark.parametrize("fence", [("send",), ("effect",), ("network.call",), ("all",)])
def test_a_tool_happens_where_its_name_or_a_class_of_it_is_named(fence: tuple[str, ...]) -> None:
    assert withheld_by(fence, "r", asked("send"), None) is None
    assert withheld_by(("model", "state", "idempotent"), "r", asked("send"), None) is not None


@pytest.mark.parametrize("name", ["model", "state", "idempotent"])
def test_a_tool_that_is_called_like_a_word_of_the_fence_is_not_meant_by_it(name: str) -> None:
    withheld = withheld_by((name,), "r", asked(name), None)

    assert withheld is not None
    assert f"tool:{name}" in withheld.allow
    assert withheld_by((f"tool:{name}",), "r", asked(name), None) is None
