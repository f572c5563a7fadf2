"""What a model and an editor are shown of a manifest: declarations of what it may call.

    typescript_declarations(manifest)      # export declare function read_file(args: {...}): Promise<...>;
    python_stub(manifest)                  # def read_file(path: str, *, limit: int = ...) -> JsonValue: ...
    api_text(manifest)                     # the same for a prompt, with where each tool comes from

Only allowed bindings are declared. The types come from a walk over the tools' JSON schemas, in which
JsonValue stands for whatever a declaration cannot say. Names and descriptions come from strangers:
they are quoted as texts, or put on one line of a comment, and never become code.

The parameters of a tool stand in the order of its `required` list, and after them the optional ones by
name, which are given by keyword only. Both follow from what the hash of a manifest covers. Arguments
whose names are no identifiers are given as in `tool(**{"a-b": 1})`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Final

from playhead.composition.manifest import Entry, Manifest
from playhead.composition.naming import HARD_KEYWORDS
from playhead.composition.schema_types import (
    ANY,
    ListOf,
    MapOf,
    OneOf,
    Record,
    Type,
    Values,
    Word,
    joined,
    type_of,
)
from playhead.composition.surface import OWN_SOURCE

LANGUAGE: Final = "snippet/1"
DESCRIPTION_CHARS_MAX: Final = 400


# -------------------------------------------------------------- TypeScript


_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPESCRIPT_ANY: Final = "null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue }"
_TYPESCRIPT_WORDS: Final[dict[str, str]] = {
    "json": "JsonValue",
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}
_TYPESCRIPT_RESERVED: Final = frozenset(
    {
        *("arguments", "case", "catch", "const", "debugger", "default", "delete", "do", "enum", "eval"),
        *("export", "extends", "false", "function", "implements", "instanceof", "interface", "let", "new"),
        *("null", "package", "private", "protected", "public", "static", "super", "switch", "this"),
        *("throw", "true", "typeof", "undefined", "var", "void"),
    }
)


def typescript_declarations(manifest: Manifest) -> str:
    """One function for each allowed binding, one line each, after two types that they use."""
    lines = [
        f"export type JsonValue = {_TYPESCRIPT_ANY};",
        "export type CompositionToolResult = JsonValue;",
        "",
    ]
    for entry in manifest.allowed:
        args = _typescript(type_of(entry.tool.input_schema))
        output = entry.tool.output_schema
        result = "CompositionToolResult" if output is None else _typescript(type_of(output))
        # A binding may be a word of TypeScript. None ends with `_`, so `delete_` is free.
        name = f"{entry.binding}_" if entry.binding in _TYPESCRIPT_RESERVED else entry.binding
        line = f"declare function {name}(args: {args}): Promise<{result}>;"
        again = f"{line} export {{ {name} as {entry.binding} }};"
        lines.append(f"export {line}" if name == entry.binding else again)
    return "\n".join(lines) + "\n"


def _typescript(found: Type) -> str:
    match found:
        case Word(word):
            return _TYPESCRIPT_WORDS[word]
        case Values(values):
            return " | ".join(_json(json.loads(value)) for value in values)
        case ListOf(item):
            inner = _typescript(item)
            return f"({inner})[]" if isinstance(item, (OneOf, Values)) and " | " in inner else f"{inner}[]"
        case MapOf(value):
            return f"{{ [key: string]: {_typescript(value)} }}"
        case Record(members, required):
            parts = [
                f"{name if _IDENTIFIER.fullmatch(name) else _json(name)}{'' if name in required else '?'}: "
                + _typescript(member)
                for name, member in members
            ]
            return f"{{ {'; '.join(parts)} }}"
        case OneOf(types):
            return " | ".join(dict.fromkeys(_typescript(one) for one in types))


def _json(value: str | int | None) -> str:
    """A JSON literal; what would not show as itself is escaped."""
    return json.dumps(value, ensure_ascii=isinstance(value, str) and not value.isprintable())


# ------------------------------------------------------------------ Python


_PYTHON_WORDS: Final[dict[str, str]] = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}
_TYPING: Final = ("Literal", "NotRequired", "TypeAlias", "TypedDict", "Unpack")
_CAPITAL: Final = re.compile(r"[^A-Za-z0-9]+")


def python_stub(manifest: Manifest) -> str:
    """The text of a `.pyi` file: one function for each allowed binding, and the types that they use."""
    python = _Python(manifest)
    body = [line for entry in manifest.allowed for line in python.declared(entry)]
    imported = ", ".join(
        word if python.words[word] == word else f"{word} as {python.words[word]}" for word in _TYPING
    )
    any_value = python.words["JsonValue"]
    lines = [
        f"from typing import {imported}",
        "",
        f'{any_value}: {python.words["TypeAlias"]} = "{_any_value(any_value)}"',
    ]
    return "\n".join([*lines, *body]) + "\n"


def api_text(manifest: Manifest) -> str:
    """The declarations for a prompt, in words of Python: what there is, and where it comes from."""
    python = _Python(manifest)
    any_value = python.words["JsonValue"]
    lines = [
        f"# {LANGUAGE} is a safe subset of Python. Each tool is a function that is called by keyword,",
        '# as in read_file(path="a"), and gives plain JSON values.',
        f"{any_value} = {_any_value(any_value, quote=True)}",
    ]
    for entry in manifest.allowed:
        declared = python.declared(entry)
        comments = [*_origin(entry), *_described(entry)]
        lines += [declared[0], *(f"# {comment}" for comment in comments), *declared[1:]]
    return "\n".join(lines) + "\n"


def _any_value(name: str, *, quote: bool = False) -> str:
    inner = f'"{name}"' if quote else name
    return f"None | bool | int | float | str | list[{inner}] | dict[str, {inner}]"


def _origin(entry: Entry) -> list[str]:
    """Who carries the tool out, where it is not this program itself."""
    if entry.server is not None:
        its_name = entry.tool.metadata.get("_mcp_tool_name")
        tool = its_name if isinstance(its_name, str) else entry.name
        return [_one_line(f"MCP {entry.server}/{tool} -> {entry.binding}")]
    if entry.tool.source != OWN_SOURCE:
        return [_one_line(f"{entry.tool.source} -> {entry.binding}")]
    return []


def _described(entry: Entry) -> list[str]:
    text = shorten(_one_line(entry.tool.description or ""), DESCRIPTION_CHARS_MAX, placeholder="…")
    return [text] if text else []


def _one_line(text: str) -> str:
    """`text` with every run of white space and of what cannot be seen as one space."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


@dataclass(slots=True)
class _Python:
    """Declarations in Python of one manifest. `words` are the types that it uses, under free names."""

    manifest: Manifest
    words: dict[str, str] = field(default_factory=dict[str, str])
    used: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        bindings = {entry.binding for entry in self.manifest.allowed}
        # No binding ends with `_`, so a word with one more is free.
        for word in ("JsonValue", *_TYPING):
            self.words[word] = f"{word}_" if word in bindings else word
        self.used = bindings | set(self.words.values()) | set(_PYTHON_WORDS.values())

    def declared(self, entry: Entry) -> list[str]:
        """The lines of one binding, after an empty one."""
        classes: list[str] = []
        name = _pascal(entry.binding)
        parameters = self._parameters(type_of(entry.tool.input_schema), name, classes)
        output = entry.tool.output_schema
        result = ANY if output is None else type_of(output)
        returns = self.written(result, f"{name}Result", classes)
        return ["", *classes, f"def {entry.binding}({parameters}) -> {returns}: ..."]

    def _parameters(self, found: Type, name: str, classes: list[str]) -> str:
        found = joined(found)
        if isinstance(found, Record) and all(_is_parameter(member) for member, _ in found.members):
            types = {
                member: self.written(said, f"{name}{_pascal(member)}", classes)
                for member, said in found.members
            }
            optional = [
                f"{member}: {types[member]} = ..." for member in types if member not in found.required
            ]
            needed = [f"{member}: {types[member]}" for member in found.required]
            return ", ".join([*needed, *(["*"] if optional else []), *optional])
        if isinstance(found, Record):
            return f"**args: {self.words['Unpack']}[{self.written(found, f'{name}Args', classes)}]"
        value = found.value if isinstance(found, MapOf) else ANY
        return f"**args: {self.written(value, f'{name}Value', classes)}"

    def written(self, found: Type, name: str, classes: list[str]) -> str:
        """The type as an annotation. Objects with members become classes called like `name`."""
        match found:
            case Word("json"):
                return self.words["JsonValue"]
            case Word(word):
                return _PYTHON_WORDS[word]
            case Values(("null",)):
                return "None"
            case Values(values):
                return f"{self.words['Literal']}[{', '.join(_python(json.loads(value)) for value in values)}]"
            case ListOf(item):
                return f"list[{self.written(item, f'{name}Item', classes)}]"
            case MapOf(value):
                return f"dict[str, {self.written(value, f'{name}Value', classes)}]"
            case Record():
                return self._record(found, name, classes)
            case OneOf(types):
                return " | ".join(dict.fromkeys(self.written(one, name, classes) for one in types))

    def _record(self, record: Record, name: str, classes: list[str]) -> str:
        typed: dict[str, str] = {}
        for member, said in record.members:
            written = self.written(said, f"{name}{_pascal(member)}", classes)
            required = member in record.required
            typed[member] = written if required else f"{self.words['NotRequired']}[{written}]"
        name = self._free(name)
        base = self.words["TypedDict"]
        if all(_is_field(member) for member in typed):
            members = [f"    {member}: {said}" for member, said in typed.items()]
            classes += [f"class {name}({base}):", *members, ""]
        else:
            members = [f"{_python(member)}: {said}" for member, said in typed.items()]
            classes += [f'{name} = {base}("{name}", {{{", ".join(members)}}})', ""]
        return name

    def _free(self, name: str) -> str:
        found, count = name, 1
        while found in self.used:
            count += 1
            found = f"{name}{count}"
        self.used.add(found)
        return found


def _is_parameter(name: str) -> bool:
    return _IDENTIFIER.fullmatch(name) is not None and name not in {*HARD_KEYWORDS, "__debug__"}


def _is_field(name: str) -> bool:
    """Whether a class can hold it under its own name, and without hiding a type from the next field."""
    return (
        _is_parameter(name)
        and not name.startswith("__")
        and not name[0].isupper()
        and name not in {*_PYTHON_WORDS.values(), "list", "dict"}
    )


def _pascal(name: str) -> str:
    found = "".join(part[0].upper() + part[1:] for part in _CAPITAL.split(name) if part)
    return f"Tool{found}" if not found or found[0].isdigit() else found


def _python(value: str | int | None) -> str:
    """A Python literal; what would not show as itself is escaped."""
    return _json(value) if isinstance(value, str) and value.isprintable() else ascii(value)
