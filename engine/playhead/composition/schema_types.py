"""What types a tool's JSON schema describes, as far as a declaration can say it.

    type_of({"type": "array", "items": {"enum": ["a", "b"]}})      # ListOf(Values(('"a"', '"b"')))
    parameters_of(schema)                                          # (("limit", "path"), ("path",))

References into the schema are followed, choices are kept, and what cannot be said is `Word("json")`,
any value at all. A schema that refers to itself is expanded once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote

from playhead.composition.surface import as_list, as_object

DEPTH_MAX: Final = 24
NODES_MAX: Final = 2_000
"""How deep a declaration goes into a schema, and how many parts it looks at. Beyond, it is any value."""


@dataclass(frozen=True, slots=True)
class Word:
    """A type without parts. `json` is any value at all."""

    word: Literal["json", "string", "integer", "number", "boolean", "null"]


@dataclass(frozen=True, slots=True)
class Values:
    """One of these values, each as JSON: texts, integers, booleans and null."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of any length."""

    item: Type


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object with any names."""

    value: Type


@dataclass(frozen=True, slots=True)
class Record:
    """An object with these members, by name. `required` is in the order of the schema."""

    members: tuple[tuple[str, Type], ...]
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of at least two types, none of which is such a choice itself."""

    types: tuple[Type, ...]


Type: TypeAlias = Word | Values | ListOf | MapOf | Record | OneOf

ANY: Final = Word("json")
_WORDS: Final[dict[str, Type]] = {
    "string": Word("string"),
    "int": Word("integer"),
    "integer": Word("integer"),
    "float": Word("number"),
    "number": Word("number"),
    "bool": Word("boolean"),
    "boolean": Word("boolean"),
    "null": Word("null"),
    "list": ListOf(ANY),
    "array": ListOf(ANY),
    "dict": MapOf(ANY),
    "object": MapOf(ANY),
}
_CHOICES: Final = ("anyOf", "oneOf")
_SAYS_NO_TYPE: Final = frozenset({"title", "description", "default", "format", "pattern", "comment"})
_HOLDS_A_SCHEMA: Final = (
    *("additionalProperties", "const", "contains", "else", "if", "items", "not", "patternProperties"),
    *("propertyNames", "then"),
)


def type_of(schema: Any) -> Type:
    """The type that `schema` describes, which is plain JSON. What cannot be said is JsonValue."""
    return _Walk(schema).type_of(schema, 0, frozenset({"#"}))


def parameters_of(schema: Any) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The names of a tool's parameters, and the required ones in their order; None where any will do."""
    found = joined(type_of(schema))
    return (tuple(dict(found.members)), found.required) if isinstance(found, Record) else None


def choice_of(types: Iterable[Type]) -> Type:
    """One of `types`, without repeats. With any value among them it is any value."""
    flat: dict[Type, None] = {}
    for found in types:
        flat |= dict.fromkeys(found.types if isinstance(found, OneOf) else (found,))
    if ANY in flat or not flat:
        return ANY
    return next(iter(flat)) if len(flat) == 1 else OneOf(tuple(flat))


class _Walk:
    """One way through a schema, with what it may still look at.

    `refs` are the references that lead to where the walk is: one that leads there again is JsonValue.
    """

    def __init__(self, root: Any) -> None:
        self.root = root
        self.left = NODES_MAX

    def type_of(self, schema: Any, depth: int, refs: frozenset[str]) -> Type:
        schema, refs = self._flat(schema, depth, refs)
        if isinstance(schema, str):
            return _WORDS.get(schema, ANY)
        if schema is None or depth > DEPTH_MAX:
            return ANY
        for key in _CHOICES:
            branches = as_list(schema.get(key))
            if branches:
                return self._choice(schema, key, branches, depth, refs)
        if schema.get("nullable") is True:
            return choice_of([self.type_of({**schema, "nullable": False}, depth + 1, refs), Word("null")])
        values = _values(schema)
        if values is not None:
            return values
        types = as_list(schema.get("type"))
        if types is not None:
            return choice_of(self.type_of({**schema, "type": one}, depth + 1, refs) for one in types)
        return self._plain(schema, depth, refs)

    def _plain(self, schema: dict[str, Any], depth: int, refs: frozenset[str]) -> Type:
        """The type of a schema without references and choices."""
        word = schema.get("type")
        if word is None:
            if "properties" in schema:
                word = "object"
            elif is_shorthand(schema):
                return self._shorthand(schema, depth, refs)
            elif "additionalProperties" in schema or as_list(schema.get("required")):
                word = "object"
            elif "items" in schema:
                word = "array"
        if not isinstance(word, str):
            return ANY
        if word in {"array", "list"}:
            return ListOf(self.type_of(schema.get("items"), depth + 1, refs))
        if word in {"object", "dict"}:
            return self._object(schema, depth, refs)
        return _WORDS.get(word, ANY)

    def _object(self, schema: dict[str, Any], depth: int, refs: frozenset[str]) -> Type:
        members = {
            name: self.type_of(member, depth + 1, refs)
            for name, member in sorted((as_object(schema.get("properties")) or {}).items())
        }
        required = tuple(dict.fromkeys(_names(schema.get("required"))))
        if not members and not required:
            return MapOf(self.type_of(schema.get("additionalProperties"), depth + 1, refs))
        members = dict.fromkeys(required, ANY) | members
        return Record(tuple(sorted(members.items())), required)

    def _shorthand(self, schema: dict[str, Any], depth: int, refs: frozenset[str]) -> Type:
        """An object written as `{"path": "string", "limit": {"type": "int", "required": false}}`."""
        members = {name: self.type_of(said, depth + 1, refs) for name, said in sorted(schema.items())}
        optional = {name for name, said in schema.items() if (as_object(said) or {}).get("required") is False}
        return Record(tuple(members.items()), tuple(name for name in members if name not in optional))

    def _choice(
        self, schema: dict[str, Any], key: str, branches: list[Any], depth: int, refs: frozenset[str]
    ) -> Type:
        """The choice of `branches`, each of which holds along with the rest of the schema."""
        rest = {name: value for name, value in schema.items() if name != key}
        found: list[Type] = []
        for branch in branches:
            flat, inner = self._flat(branch, depth, refs)
            both = flat if as_object(flat) is None else _both(rest, flat)
            found.append(self.type_of(both, depth + 1, inner))
        return choice_of(found)

    def _flat(self, schema: Any, depth: int, refs: frozenset[str]) -> tuple[Any, frozenset[str]]:
        """`schema` as an object without `$ref` and `allOf`, or a word; None where it says nothing."""
        self.left -= 1
        if self.left < 0 or depth > DEPTH_MAX:
            return None, refs
        found = as_object(schema)
        if found is None:
            return (schema if isinstance(schema, str) else None), refs
        ref = found.get("$ref")
        if isinstance(ref, str):
            if ref in refs:
                return None, refs
            return self._flat(_at(self.root, ref), depth + 1, refs | {ref})
        branches = as_list(found.get("allOf"))
        if branches is None:
            return found, refs
        found = {key: value for key, value in found.items() if key != "allOf"}
        for branch in branches:
            flat, refs = self._flat(branch, depth + 1, refs)
            found = _both(found, as_object(flat) or {})
        return found, refs


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A schema for what fits both, as far as types go; where they differ `other` counts."""
    met = {**one, **other}
    mine, theirs = as_object(one.get("properties")), as_object(other.get("properties"))
    if mine is not None and theirs is not None:
        common = {name: {"allOf": [mine[name], theirs[name]]} for name in mine.keys() & theirs.keys()}
        met["properties"] = {**mine, **theirs, **common}
    required = [*_names(one.get("required")), *_names(other.get("required"))]
    return {**met, "required": required} if required else met


def _at(root: Any, ref: str) -> Any:
    """What a reference leads to inside of `root`; None for everywhere else."""
    if not ref.startswith("#"):
        return None
    found = root
    for step in unquote(ref[1:]).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        listed = as_list(found)
        if listed is not None:
            found = listed[int(key)] if key.isdecimal() and int(key) < len(listed) else None
        else:
            found = (as_object(found) or {}).get(key)
    return found if ref == "#" or ref.startswith("#/") else None


def _values(schema: dict[str, Any]) -> Values | None:
    """The values that the schema lists, where a declaration can write all of them."""
    listed = [schema["const"]] if "const" in schema else as_list(schema.get("enum"))
    if not listed or not all(value is None or isinstance(value, (str, int)) for value in listed):
        return None
    return Values(tuple(dict.fromkeys(json.dumps(value) for value in listed)))


def _names(required: Any) -> list[str]:
    return [name for name in as_list(required) or [] if isinstance(name, str)]


def is_shorthand(schema: dict[str, Any]) -> bool:
    """Whether it maps names to types, and is not a schema that gives no type."""
    return (
        not schema.keys() <= _SAYS_NO_TYPE
        and all(isinstance(said, (str, dict)) for said in schema.values())
        and not any(
            key.startswith("$") or (key in _HOLDS_A_SCHEMA and as_object(schema[key]) is not None)
            for key in schema
        )
    )


def joined(found: Type) -> Type:
    """For a choice of objects one that takes the members of all, and requires what each requires."""
    records = [one for one in found.types if isinstance(one, Record)] if isinstance(found, OneOf) else []
    if not isinstance(found, OneOf) or len(records) < len(found.types):
        return found
    pairs = [pair for record in records for pair in record.members]
    members = {
        name: choice_of(said for other, said in pairs if other == name) for name in sorted(dict(pairs))
    }
    required = [name for name in records[0].required if all(name in record.required for record in records)]
    return Record(tuple(members.items()), tuple(required))
