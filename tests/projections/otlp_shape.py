"""The shape of traces in the JSON of OTLP, held strictly: what is not listed is a fault."""

import re
from collections.abc import Callable
from typing import Any

Check = Callable[[Any, str], None]
INT64 = re.compile(r"-?(0|[1-9][0-9]{0,18})")
SCALARS = {"stringValue": str, "boolValue": bool, "doubleValue": float, "intValue": str}


def text(value: Any, at: str) -> None:
    assert isinstance(value, str), f"{at}: {value!r} is no text"


def name(value: Any, at: str) -> None:
    text(value, at)
    assert value, f"{at} is empty"


def nanoseconds(value: Any, at: str) -> None:
    text(value, at)
    assert re.fullmatch(r"0|[1-9][0-9]{0,19}", value), f"{at}: {value!r} is no fixed64"
    assert int(value) < 2**64, at


def identity(digits: int) -> Check:
    def check(value: Any, at: str) -> None:
        text(value, at)
        assert re.fullmatch(rf"[0-9a-f]{{{digits}}}", value), f"{at}: {value!r}"
        assert int(value, 16), f"{at} is zero"

    return check


def one_of(*allowed: int) -> Check:
    def check(value: Any, at: str) -> None:
        assert type(value) is int, f"{at}: {value!r}"
        assert value in allowed, f"{at}: {value!r}"

    return check


def any_value(value: Any, at: str) -> None:
    assert isinstance(value, dict), f"{at}: {value!r}"
    assert len(value) == 1, f"{at}: {value!r}"
    ((kind, content),) = value.items()
    assert kind in SCALARS, f"{at}: {kind}"
    assert type(content) is SCALARS[kind], f"{at}: {content!r}"
    if kind == "intValue":
        assert isinstance(content, str)
        assert INT64.fullmatch(content), f"{at}: {content!r}"
        assert -(2**63) <= int(content) < 2**63, at


def message(required: dict[str, Check], optional: dict[str, Check] | None = None) -> Check:
    known = required | (optional or {})

    def check(value: Any, at: str) -> None:
        assert isinstance(value, dict), f"{at}: {value!r}"
        assert value.keys() <= known.keys(), f"{at}: {value.keys() - known.keys()}"
        assert required.keys() <= value.keys(), f"{at}: {required.keys() - value.keys()} missing"
        for key, member in value.items():
            known[key](member, f"{at}.{key}")

    return check


def several(each: Check) -> Check:
    def check(value: Any, at: str) -> None:
        assert isinstance(value, list), f"{at}: {value!r}"
        for n, member in enumerate(value):
            each(member, f"{at}[{n}]")

    return check


def attributes(value: Any, at: str) -> None:
    several(message({"key": name, "value": any_value}))(value, at)
    keys = [member["key"] for member in value]
    assert len(set(keys)) == len(keys), f"{at}: a key stands twice in {keys}"


EVENT = message({"timeUnixNano": nanoseconds, "name": name, "attributes": attributes})
LINK = message({"traceId": identity(32), "spanId": identity(16), "attributes": attributes})
SPAN = message(
    {
        "traceId": identity(32),
        "spanId": identity(16),
        "name": name,
        "kind": one_of(1, 3),
        "startTimeUnixNano": nanoseconds,
        "endTimeUnixNano": nanoseconds,
        "attributes": attributes,
        "events": several(EVENT),
        "links": several(LINK),
        "status": message({}, {"code": one_of(1, 2), "message": text}),
    },
    {"parentSpanId": identity(16)},
)
SCOPE_SPANS = message(
    {"scope": message({"name": name}, {"version": name}), "spans": several(SPAN), "schemaUrl": name}
)
RESOURCE_SPANS = message(
    {
        "resource": message({"attributes": attributes}),
        "scopeSpans": several(SCOPE_SPANS),
        "schemaUrl": name,
    }
)
TRACES = message({"resourceSpans": several(RESOURCE_SPANS)})


def spans_of(documents: list[Any]) -> list[dict[str, Any]]:
    """The spans of checked documents: each id once, each parent there, and none over before it began."""
    spans: list[dict[str, Any]] = []
    for n, document in enumerate(documents):
        TRACES(document, f"document {n}")
        spans += document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    ids = {span["spanId"] for span in spans}
    assert len(ids) == len(spans)
    assert {span.get("parentSpanId", spans[0]["spanId"]) for span in spans} <= ids
    assert [span for span in spans if "parentSpanId" not in span] == [spans[0]]
    for span in spans:
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
    return spans


def plain(span: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a span or an event as a dictionary."""
    found: dict[str, Any] = {}
    for attribute in span["attributes"]:
        ((kind, value),) = attribute["value"].items()
        found[attribute["key"]] = int(value) if kind == "intValue" else value
    return found
