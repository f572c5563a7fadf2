"""What a model is asked belongs to whoever asks it, and a copy to whoever answers."""

from collections.abc import Callable
from typing import Any

import pytest

from playhead import Request
from playhead.runtime.model import own_request


@pytest.mark.parametrize(
    ("request_", "change"),
    [
        (Request(messages=[{"role": "user"}]), lambda one: one.messages[0].update(role="tool")),
        (Request(prompt="?"), lambda one: one.messages.append(1)),
        (Request(prompt="?"), lambda one: one.tools.append(1)),
        (Request(prompt="?"), lambda one: one.options.update(top_p=1)),
        (Request(tools=[["a"]]), lambda one: one.tools[0].append("b")),
        (Request(options={"stop": []}), lambda one: one.options["stop"].append("x")),
        (Request(context={"deep": []}), lambda one: one.context["deep"].append("x")),
        (Request(context=[]), lambda one: one.context.append("x")),
        ({"prompt": []}, lambda one: one["prompt"].append("x")),
    ],
)
def test_nothing_that_is_done_to_a_copy_of_a_request_is_done_to_it(
    request_: Any, change: Callable[[Any], None]
) -> None:
    before = repr(request_)
    copied = own_request(request_)
    assert copied == request_

    change(copied)

    assert repr(request_) == before
    assert copied != request_
