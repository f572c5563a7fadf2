"""Places in a JSON value, as RFC 6901 writes them."""

from typing import Any

import pytest

from playhead.agent_state.pointer import pointed
from playhead.errors import BadValue

VALUE: dict[str, Any] = {
    "foo": ["bar", "baz", None],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "m~n": 8,
    "01": {"0": "text"},
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", VALUE),
        ("/foo", ["bar", "baz", None]),
        ("/foo/0", "bar"),
        ("/foo/2", None),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/m~0n", 8),
        ("/01/0", "text"),
    ],
)
def test_a_pointer_leads_from_name_to_name(pointer: str, value: Any) -> None:
    assert pointed(VALUE, pointer, missing="nowhere") == value


@pytest.mark.parametrize(
    "pointer",
    [
        "/bar",
        "/foo/3",
        "/foo/-1",
        "/foo/01",
        "/foo/-",
        "/foo/٣",
        "/foo/0/0",
        "/foo/1000000000000",
        "/foo/",
        "//",
    ],
)
def test_one_that_leads_nowhere_is_no_error_and_told_from_null(pointer: str) -> None:
    assert pointed(VALUE, pointer, missing="nowhere") == "nowhere"
    assert pointed(VALUE, pointer) is None


@pytest.mark.parametrize("pointer", ["/~2", "/~", "/a~/b"])
def test_a_tilde_that_stands_for_nothing_is_refused(pointer: str) -> None:
    with pytest.raises(BadValue, match="~ is written ~0"):
        pointed(VALUE, pointer)


def test_what_begins_with_no_slash_is_no_pointer() -> None:
    with pytest.raises(BadValue, match="begins with /"):
        pointed(VALUE, "foo")
