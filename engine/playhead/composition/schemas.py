"""Whether a value is what a tool's schema asks for, by JSON Schema 2020-12.

    schema = SchemaCheck({"type": "object", "properties": {"n": {"type": "integer"}}})
    schema.problems({"n": "bad"})          # ['at /n: "bad" is not of type "integer"']

Schemas come from strangers: nothing is fetched, patterns are given up after a number of steps, and what is
said of a value is cut. The shorthands that surfaces use are schemas too: a word for a type, and an object of
names and types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import jsonschema_rs
import msgspec

from playhead.composition.schema_cost import Cost
from playhead.composition.schema_types import is_shorthand
from playhead.composition.surface import as_list, as_object

PROBLEMS_MAX: Final = 5
PROBLEM_CHARS_MAX: Final = 300
BACKTRACKS_MAX: Final = 100_000
DEPTH_MAX: Final = 100
LOOKS_MAX: Final = 3_000_000
"""How often something of a value is looked at, at most: what takes longer than a second or two is refused."""
LOOKS_TOLD: Final = 50_000
"""Up to so many it can be told what is wrong; to find that out takes a hundred times as long."""

_WORDS: Final[Mapping[str, str]] = {
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}
_TYPES: Final = frozenset({"string", "integer", "number", "boolean", "array", "object", "null"})
_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_INNER: Final = (
    *("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties"),
)


class SchemaCheck:
    """A schema, ready to look at values. Raises `ValueError` for one that is none, or leads elsewhere.

    With `hidden` what is said of a value does not show it.
    """

    def __init__(self, schema: Any, *, hidden: bool = False) -> None:
        patterns = jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS_MAX)
        whole = full(schema)
        try:
            self._cost = Cost(whole)
            self._validator = jsonschema_rs.Draft202012Validator(
                whole, offline=True, pattern_options=patterns, mask="the value" if hidden else None
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise ValueError(f"this is no schema of JSON Schema 2020-12: {_cut(str(error))}") from error

    def problems(self, value: Any) -> list[str]:
        """What is wrong with a JSON value, at most a few things; nothing where it fits."""
        looks = self._looks(value)
        if looks > LOOKS_MAX:
            return ["at the top: there is too much to look at for this schema"]
        if self._validator.is_valid(value):
            return []
        if looks > LOOKS_TOLD:
            return [self._first(value)]
        found: list[str] = []
        for error in self._validator.iter_errors(value):
            if len(found) == PROBLEMS_MAX:
                found.append("and more")
                break
            found.append(_told(error))
        return found

    def _looks(self, value: Any) -> int:
        """How much there is to look at, or at most."""
        if not self._cost.refers:
            most = self._cost.nodes * (1 + len(msgspec.json.encode(value)))
            if most <= LOOKS_TOLD:
                return most
        return self._cost.of(value, LOOKS_MAX)

    def _first(self, value: Any) -> str:
        """The first thing that is wrong with a value that is large."""
        if self._cost.branches:
            return "at some place: it does not fit, and is too large to say where"
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return _told(error)
        raise AssertionError("it did not fit a moment ago")


def _told(error: jsonschema_rs.ValidationError) -> str:
    place = "".join(f"/{step}" for step in error.instance_path) or "the top"
    return _cut(f"at {place}: {error.message}")


def full(schema: Any, depth: int = 0) -> Any:
    """`schema` without shorthands, as JSON Schema 2020-12 writes it."""
    if depth > DEPTH_MAX:
        raise ValueError(f"the schema is nested deeper than {DEPTH_MAX}")
    if isinstance(schema, str):
        word = _WORDS.get(schema, schema)
        return {"type": word} if word in _TYPES else True
    found = as_object(schema)
    if found is None:
        return schema
    if is_shorthand(found) and "type" not in found and "properties" not in found:
        return _of_shorthand(found, depth)
    whole = dict(found)
    if "type" in whole:
        whole["type"] = _type(whole["type"])
    for key in _MAPS:
        members = as_object(whole.get(key))
        if members is not None:
            whole[key] = {name: full(member, depth + 1) for name, member in members.items()}
    for key in _LISTS:
        listed = as_list(whole.get(key))
        if listed is not None:
            whole[key] = [full(each, depth + 1) for each in listed]
    for key in _INNER:
        if key in whole:
            whole[key] = full(whole[key], depth + 1)
    if whole.pop("nullable", None) is True:
        return {"anyOf": [whole, {"type": "null"}]}
    return whole


def _type(said: Any) -> Any:
    several = as_list(said)
    if several is not None:
        return [_type(each) for each in several]
    return _WORDS.get(said, said) if isinstance(said, str) else said


def _of_shorthand(members: Mapping[str, Any], depth: int) -> dict[str, Any]:
    optional = {name for name, said in members.items() if (as_object(said) or {}).get("required") is False}
    properties: dict[str, Any] = {}
    for name, said in members.items():
        inner = as_object(said)
        plain = {key: value for key, value in inner.items() if key != "required"} if inner else said
        properties[name] = full(plain, depth + 1)
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= PROBLEM_CHARS_MAX else f"{line[: PROBLEM_CHARS_MAX - 1]}…"
