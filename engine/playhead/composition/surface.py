"""Tools as their owners describe them, read in every shape that is around.

    surface = read_surface({"tools": [{"name": "read", "inputSchema": {...}}]})
    surface.tools, surface.skipped

A surface is a list of tools, an object with such a list as `tools`, or one tool. A tool is an object with
a `name`, or with a `function` that has one. Reading never raises: a tool that cannot be read is left out,
a part of a tool that cannot be read is taken for not said, and `skipped` tells both with the reason.

What nobody said of a tool is not guessed. A tool without a level has none, and whoever decides about it
takes that for the worst.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias, cast

import msgspec

from playhead.composition.hashing import ENTRY_DEFAULTS, json_copy
from playhead.errors import BadValue
from playhead.policy.annotations import Annotations, annotations_of
from playhead.policy.level import Level, rank

Schema: TypeAlias = dict[str, Any] | bool | str
"""A JSON schema, or the name of a type as a shorthand for one."""

OWN_SOURCE: Final[str] = ENTRY_DEFAULTS["source"]
_INPUT_KEYS: Final = ("inputSchema", "input_schema", "parameters")
_OUTPUT_KEYS: Final = ("outputSchema", "output_schema", "returns")
_CARRIED: Final = ("_mcp_server", "mcp_server", "_mcp_tool_name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What a tool hints of itself; None is not said. Where hints differ, the one that warns is believed."""

    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None

    def document(self) -> dict[str, bool]:
        """The hints that were given, under the names that they travel by."""
        said = {
            "readOnlyHint": self.read_only,
            "destructiveHint": self.destructive,
            "idempotentHint": self.idempotent,
            "openWorldHint": self.open_world,
        }
        return {name: value for name, value in said.items() if value is not None}

    @property
    def writes(self) -> bool:
        """Whether a hint says that the tool changes something, whatever another says."""
        return self.destructive is True or self.read_only is False

    def level(self, declared: Level | None) -> Level | None:
        """The level of a tool that declared `declared`; None where neither says one.

        A declared level stands, but is at least workspace_write where a hint says that the tool writes.
        Without one, a tool that hints to read is read_only, and one that hints to write is network, or
        workspace_write where it hints to stay in a closed world.
        """
        if declared is not None:
            return max(declared, "workspace_write", key=rank) if self.writes else declared
        if self.writes:
            return "workspace_write" if self.open_world is False else "network"
        return "read_only" if self.read_only else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceTool:
    """One tool, as a surface describes it. Everything is a copy, in plain JSON values.

    `annotations` hold the level that `hints` agree with. `source` says who carries a call out, and
    `deferred` that the tool is loaded on first use.
    """

    name: str
    namespace: str | None = None
    description: str | None = None
    input_schema: Schema = field(default_factory=lambda: {"type": "object"})
    output_schema: Schema | None = None
    annotations: Annotations = field(default_factory=Annotations)
    hints: Hints = field(default_factory=Hints)
    examples: list[Any] = field(default_factory=list[Any])
    source: str = OWN_SOURCE
    deferred: bool = False
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was left out of a surface, and why.

    `place` is a JSON pointer into the surface: to an element, which is then no tool, or to a part of one.
    """

    place: str
    tool: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Surface:
    """The tools of a surface, in its order, and what was left out."""

    tools: tuple[SurfaceTool, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def read_surface(given: Any) -> Surface:
    """The tools in `given`. Never raises, whatever `given` is."""
    tools: list[SurfaceTool] = []
    skipped: list[Skipped] = []
    elements = _elements(given)
    if elements is None:
        reason = f"{_shown(given)} is not a surface: a list of tools, an object with tools, or one tool"
        return Surface((), (Skipped("", None, reason),))
    for place, element in elements:
        tool = _Element(place, element, skipped).read()
        if tool is not None:
            tools.append(tool)
    return Surface(tuple(tools), tuple(skipped))


def as_object(value: Any) -> dict[str, Any] | None:
    """`value` where it is a JSON object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_list(value: Any) -> list[Any] | None:
    """`value` where it is a JSON array."""
    return cast("Any", value) if isinstance(value, list) else None


def _elements(given: Any) -> Iterator[tuple[str, Any]] | None:
    """What is meant to be tools, each with its place; None where `given` has no shape of a surface."""
    whole = as_object(given)
    place, listed = "", as_list(given)
    if whole is not None:
        place, listed = "/tools", as_list(whole.get("tools"))
    if listed is not None:
        return ((f"{place}/{index}", element) for index, element in enumerate(listed))
    if whole is not None and _name(whole) is not None:
        return iter([("", given)])
    return None


class _Element:
    """One element of a surface while it is read."""

    def __init__(self, place: str, element: Any, skipped: list[Skipped]) -> None:
        self.place = place
        self.element = element
        self.skipped = skipped
        self.tool: dict[str, Any] = {}
        self.function: dict[str, Any] = {}
        self.name: str | None = None

    def read(self) -> SurfaceTool | None:
        """The tool; None where there is none, and `skipped` says why."""
        try:
            return self._tool()
        except BadValue as error:
            self._skip("", error.message)
            return None

    def _tool(self) -> SurfaceTool:
        """Raises `BadValue` for what is no tool."""
        tool = as_object(self.element)
        if tool is None:
            raise BadValue(f"{_shown(self.element)} is not a tool: a tool is an object")
        self.name = name = _name(tool)
        if name is None:
            raise BadValue("it has no name, and no function with a name")
        self.tool = json_copy(tool, where="the tool")
        self.function = as_object(self.tool.get("function")) or {}
        source = self._source()
        annotations, hints = self._annotations()
        return SurfaceTool(
            name=name,
            namespace=self._text("namespace"),
            description=self._text("description") or _text(self.function.get("description")),
            input_schema=self._schema(_INPUT_KEYS, "parameters", {"type": "object"}),
            output_schema=self._schema(_OUTPUT_KEYS, self._vendor_key(), None),
            annotations=annotations,
            hints=hints,
            examples=self._examples(),
            source=source,
            deferred=self._deferred(source),
            metadata=self._metadata(),
        )

    def _skip(self, part: str, reason: str) -> None:
        # A name that was never checked may hold what no log could.
        name = None if self.name is None else self.name.encode("utf-8", "replace").decode()
        self.skipped.append(Skipped(self.place + part, name, reason))

    # ------------------------------------------------------------- its parts

    def _text(self, key: str) -> str | None:
        value = self.tool.get(key)
        if value is not None and not isinstance(value, str):
            self._skip(f"/{key}", f"{_shown(value)} is not a text")
        return _text(value)

    def _examples(self) -> list[Any]:
        examples = self.tool.get("examples")
        if examples is not None and as_list(examples) is None:
            self._skip("/examples", f"{_shown(examples)} is not a list")
        return as_list(examples) or []

    def _schema(self, keys: tuple[str, ...], inner: str | None, otherwise: Any) -> Any:
        """The first schema that is there; null counts as not there."""
        candidates = [(f"/{key}", self.tool.get(key)) for key in keys]
        if inner is not None:
            place = inner.replace("~", "~0").replace("/", "~1")
            candidates.append((f"/function/{place}", self.function.get(inner)))
        for part, found in candidates:
            if isinstance(found, (dict, bool, str)):
                return cast("Any", found)
            if found is not None:
                self._skip(part, f"{_shown(found)} is not a schema")
        return otherwise

    def _vendor_key(self) -> str | None:
        """The extension of a function that holds its output schema, as in `x-acme-output-schema`."""
        keys = [key for key in self.function if key.startswith("x-") and key.endswith("-output-schema")]
        return "x-output-schema" if "x-output-schema" in self.function else min(keys, default=None)

    def _source(self) -> str:
        executor = _text(self.tool.get("executor"))
        if executor is not None:
            return executor
        if any(self.tool.get(key) is not None for key in ("_mcp_server", "mcp_server")):
            return "mcp_server"
        if self.tool.get("function") is not None:
            return "provider_native"
        return "deferred" if self.tool.get("defer_loading") is True else OWN_SOURCE

    def _deferred(self, source: str) -> bool:
        for said in (self.tool.get("defer_loading"), self.function.get("defer_loading")):
            if isinstance(said, bool):
                return said
        return source == "deferred"

    def _metadata(self) -> dict[str, Any]:
        found = as_object(self.tool.get("metadata"))
        if found is None:
            found = as_object(self.tool.get("_meta")) or {}
        carried = {key: self.tool[key] for key in _CARRIED if self.tool.get(key) is not None}
        return carried | found

    # ------------------------------------------------------ its annotations

    def _annotations(self) -> tuple[Annotations, Hints]:
        """Word by word what the tool's `annotations` say, else its `policy`, else nothing.

        A value with a word that nobody knows says nothing as a whole, except that a hint in it that the tool
        writes is believed all the same.
        """
        said = _Said()
        for key in ("annotations", "policy"):
            value = self.tool.get(key)
            if value is None:
                continue
            try:
                said = said.completed_by(_said(value))
            except ValueError as error:
                self._skip(f"/{key}", str(error))
                said = said.completed_by(_warnings(value))
        hints, found = said.hints(), said.annotations()
        return replace(found, side_effect_level=hints.level(found.side_effect_level)), hints


class _ArgSchema(msgspec.Struct, frozen=True):
    path_params: list[str] | None = None


class _Said(msgspec.Struct, frozen=True, rename={"loose_paths": "path_params"}):
    """The words of annotations that mean something here. All others are not looked at; null is not said."""

    kind: str | None = None
    side_effect_level: str | None = None
    capabilities: dict[str, list[str]] | None = None
    arg_schema: _ArgSchema | None = None
    loose_paths: list[str] | None = None
    readOnlyHint: bool | None = None  # noqa: N815  the name that it travels by
    destructiveHint: bool | None = None  # noqa: N815
    idempotentHint: bool | None = None  # noqa: N815
    openWorldHint: bool | None = None  # noqa: N815

    def completed_by(self, other: _Said) -> _Said:
        """What `self` says, and `other` where `self` is silent."""
        own = msgspec.structs.asdict(self)
        return msgspec.structs.replace(
            other, **{word: said for word, said in own.items() if said is not None}
        )

    def annotations(self) -> Annotations:
        """Raises `ValueError` for a word that nobody knows."""
        paths = self.arg_schema.path_params if self.arg_schema else None
        said = {
            "kind": self.kind,
            "side_effect_level": self.side_effect_level,
            "capabilities": self.capabilities,
            "path_params": self.loose_paths if paths is None else paths,
        }
        return annotations_of({word: value for word, value in said.items() if value is not None})

    def hints(self) -> Hints:
        return Hints(
            read_only=self.readOnlyHint,
            destructive=self.destructiveHint,
            idempotent=self.idempotentHint,
            open_world=self.openWorldHint,
        )


def _said(value: Any) -> _Said:
    """Annotations as they travel. Raises `ValueError` for a shape or a word that nobody knows."""
    said = msgspec.convert(value, _Said)
    said.annotations()
    return said


def _warnings(value: Any) -> _Said:
    """The hints that speak against a tool, in annotations that cannot be read otherwise."""
    hints = as_object(value) or {}
    return _Said(
        readOnlyHint=False if hints.get("readOnlyHint") is False else None,
        destructiveHint=True if hints.get("destructiveHint") is True else None,
    )


def _name(tool: Mapping[str, Any]) -> str | None:
    function = as_object(tool.get("function")) or {}
    return _text(tool.get("name")) or _text(function.get("name"))


def _text(value: Any) -> str | None:
    """`value` where it is a text that is not blank."""
    return value if isinstance(value, str) and value.strip() else None


def _shown(value: Any) -> str:
    """What kind of JSON value it is, for a sentence."""
    kind = cast("type[object]", type(value))
    return _KINDS.get(kind, f"a {kind.__qualname__}")


_KINDS: Final[Mapping[type[object], str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}
