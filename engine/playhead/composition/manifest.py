"""What a snippet may call: one binding for each tool of a surface, and what is decided about it.

    manifest = build_manifest(tools, ManifestOptions(gated_tools={"send_mail"}), taken=HELPERS)
    manifest.at("read_file")               # the entry that a call of read_file(...) goes to
    manifest.hash                          # 'sha256:…', what an approval is pinned to

A call goes by its binding, never by the name of a tool: two tools may have one name, and no two
entries have one binding. Entries stand in the order of their bindings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, cast

from playhead.composition.hashing import canonical_json, json_copy, manifest_hash, projection
from playhead.composition.naming import allocate
from playhead.composition.surface import Skipped, SurfaceTool, as_object, read_surface
from playhead.policy.action import UNKNOWN, known_class
from playhead.policy.annotations import Annotations, words
from playhead.policy.level import Level, known_level, rank
from playhead.snippet.check import TAKEN

SCHEMA_VERSION: Final = 1

Disposition = Literal["allowed", "gated", "denied"]
Form = Literal["full", "compact"]

DENIED: Final = "denied by active tool policy"
GATED: Final = "requires host approval before dispatch"
ACTION_CLASS: Final = "action_class"
"""Where the metadata of a tool say which class of effects it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestOptions:
    """What is decided about the tools of a surface. Tools go by their own names, exactly.

    `side_effect_ceiling` is a level that no allowed tool goes beyond. `denied_tools` are denied whatever
    they do, and `gated_tools` need an approval. `vouched_tools` may be called though nobody declared their
    level; they lift no ceiling for a tool that has one. `include_denied` keeps denied tools as entries.
    `form` is how the manifest is shown to a script.

    Raises `ValueError` for a level that is not on the ladder and for a form that there is not.
    """

    side_effect_ceiling: Level = "read_only"
    include_denied: bool = False
    denied_tools: Collection[str] = frozenset()
    gated_tools: Collection[str] = frozenset()
    vouched_tools: Collection[str] = frozenset()
    form: Form = "full"

    def __post_init__(self) -> None:
        known_level(self.side_effect_ceiling)
        for name in ("denied_tools", "gated_tools", "vouched_tools"):
            object.__setattr__(self, name, words(getattr(self, name), name))
        if self.form not in {"full", "compact"}:
            raise ValueError(f"form {self.form!r} is not one of full, compact")

    @property
    def named(self) -> frozenset[str]:
        """All tools that something is said of by name."""
        return frozenset({*self.denied_tools, *self.gated_tools, *self.vouched_tools})

    def decide(self, tool: SurfaceTool) -> EntryPolicy:
        """What holds for `tool`; the first rule that fits decides."""
        level = tool.annotations.side_effect_level
        vouched = level is None and tool.name in self.vouched_tools
        if tool.name in self.denied_tools:
            return EntryPolicy("denied", DENIED)
        if not vouched and rank(level) > rank(self.side_effect_ceiling):
            return EntryPolicy("denied", self._too_high(level))
        if tool.name in self.gated_tools:
            return EntryPolicy("gated", GATED)
        return EntryPolicy()

    def _too_high(self, level: Level | None) -> str:
        ceiling = self.side_effect_ceiling
        if level is None:
            return f"declares no side-effect level, and the ceiling is '{ceiling}'"
        return f"side-effect level '{level}' is above the ceiling '{ceiling}'"


def options_of(said: Mapping[str, Any]) -> ManifestOptions:
    """Options from a dictionary. Raises `ValueError` for a name or a word that it does not know."""
    known = {option.name for option in fields(ManifestOptions)}
    unknown = sorted(set(said) - known)
    if unknown:
        raise ValueError(f"a manifest has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    for names, shape, what in (
        (("denied_tools", "gated_tools", "vouched_tools"), Collection, "a list of texts that are not empty"),
        (("include_denied",), bool, "true or false"),
        (("side_effect_ceiling", "form"), str, "a text"),
    ):
        for name in names:
            if name in said and not isinstance(said[name], shape):
                raise ValueError(f"{name} is {what}, not {said[name]!r}")
    return ManifestOptions(**dict(said))


@dataclass(frozen=True, slots=True)
class EntryPolicy:
    """What is decided about an entry, and why where it is not simply allowed."""

    disposition: Disposition = "allowed"
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A tool under the name that a snippet calls it by.

    `vouched` says that it is let in though nobody declared its level.
    """

    binding: str
    tool: SurfaceTool
    policy: EntryPolicy = EntryPolicy()
    vouched: bool = False

    @property
    def name(self) -> str:
        """The tool's own name. Several entries may have it."""
        return self.tool.name

    @property
    def side_effect_level(self) -> Level | None:
        return self.tool.annotations.side_effect_level

    @property
    def allowed(self) -> bool:
        return self.policy.disposition == "allowed"

    @property
    def server(self) -> str | None:
        """The server that carries calls out, by the tool's metadata; None where it names none."""
        metadata = self.tool.metadata
        within = as_object(metadata.get("server")) or {}
        first = metadata.get("_mcp_server")
        if first is not None and not isinstance(first, str):
            return None
        for name in (first, metadata.get("mcp_server"), within.get("name")):
            if isinstance(name, str) and name:
                return name
        return None

    @property
    def action_class(self) -> str | None:
        """The class of effects that the tool names itself, by its metadata; None where it names none.

        What could be no class is unknown.
        """
        said = self.tool.metadata.get(ACTION_CLASS)
        try:
            return None if said is None else known_class(said)
        except ValueError:
            return UNKNOWN

    def within(self, ceiling: Level) -> bool:
        """Whether a call stays under `ceiling`. Without a level it does where somebody vouches for it."""
        return self.vouched or rank(self.side_effect_level) <= rank(ceiling)

    def document(self) -> dict[str, Any]:
        """The full form, as plain values. A level of null is not declared."""
        said = _annotations(self.tool.annotations)
        return {
            **self.compact(),
            "input_schema": self.tool.input_schema,
            "output_schema": self.tool.output_schema,
            "annotations": {**said, **self.tool.hints.document()},
            "capabilities": said["capabilities"] or {},
            "path_args": said["path_params"] or [],
            "metadata": self.tool.metadata,
            "vouched": self.vouched,
        }

    def compact(self) -> dict[str, Any]:
        """What a reader needs to choose a tool: without schemas, annotations and metadata."""
        return {
            "name": self.name,
            "binding": self.binding,
            "namespace": self.tool.namespace,
            "description": self.tool.description,
            "side_effect_level": self.side_effect_level,
            "policy": {"disposition": self.policy.disposition, "reason": self.policy.reason},
            "source": self.tool.source,
            "deferred": self.tool.deferred,
            "examples": self.tool.examples,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that a snippet may call. `skipped` is what its surface held besides; no hash covers it.

    `denied` says of each tool that is no entry because it is denied why it is.

    `unknown` are names in the options that no tool of the surface has, for whoever must not misspell one: a
    list of names that are denied may be for many surfaces, so it is no error.

    Raises `ValueError` for two entries with one binding.
    """

    entries: tuple[Entry, ...] = ()
    side_effect_ceiling: Level = "read_only"
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    skipped: tuple[Skipped, ...] = field(default=(), compare=False)
    denied: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)
    unknown: tuple[str, ...] = field(default=(), compare=False)
    _by_binding: dict[str, Entry] = field(
        init=False, repr=False, compare=False, default_factory=dict[str, Entry]
    )
    _hash: list[str] = field(init=False, repr=False, compare=False, default_factory=list[str])

    def __post_init__(self) -> None:
        ordered = sorted(self.entries, key=lambda entry: (entry.binding, entry.name))
        object.__setattr__(self, "entries", tuple(ordered))
        for entry in ordered:
            if self._by_binding.setdefault(entry.binding, entry) is not entry:
                raise ValueError(f"two entries have the binding {entry.binding!r}")

    def at(self, binding: str) -> Entry | None:
        """The entry that a call of `binding` goes to. The name of a tool finds nothing here."""
        return self._by_binding.get(binding)

    @property
    def allowed(self) -> tuple[Entry, ...]:
        """The entries that a snippet may call without anybody being asked."""
        return tuple(entry for entry in self.entries if entry.allowed)

    @property
    def hash(self) -> str:
        """What it is known by, worked out once; see `playhead.composition.hashing`."""
        if not self._hash:
            self._hash.append(manifest_hash(self.document()))
        return self._hash[0]

    def projection(self) -> dict[str, Any]:
        """What the hash covers: what to keep beside a pinned hash."""
        return projection(self.document())

    def document(self, form: Form = "full") -> dict[str, Any]:
        """A copy as plain values, in the full or the compact form. The compact form has no metadata."""
        found: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "side_effect_ceiling": self.side_effect_ceiling,
        }
        if form == "compact":
            found["bindings"] = [entry.compact() for entry in self.entries]
        else:
            found["bindings"] = [entry.document() for entry in self.entries]
            found["metadata"] = self.metadata
        copied: dict[str, Any] = json_copy(found, where="the manifest")
        return copied


def build_manifest(
    surface: Any,
    options: ManifestOptions | None = None,
    *,
    taken: frozenset[str] = TAKEN,
    metadata: Mapping[str, Any] | None = None,
) -> Manifest:
    """The manifest of the tools in `surface`, in any shape that `read_surface` takes.

    `taken` are names that no binding has: those of the helpers and errors of snippets. Bindings are given
    out in the order of the surface, and a tool that is denied takes none unless denied tools are included.
    Raises `BadValue` for `metadata` that are not JSON, and for nothing that `surface` holds.
    """
    options = options or ManifestOptions()
    read = read_surface(surface)
    decided = [(tool, options.decide(tool)) for tool in read.tools]
    kept = [pair for pair in decided if options.include_denied or pair[1].disposition != "denied"]
    bindings = allocate([tool.name for tool, _ in kept], taken)
    met = {tool.name for tool in read.tools} | {skipped.tool for skipped in read.skipped}
    return Manifest(
        entries=tuple(
            Entry(
                binding=binding,
                tool=tool,
                policy=policy,
                vouched=tool.annotations.side_effect_level is None and tool.name in options.vouched_tools,
            )
            for binding, (tool, policy) in zip(bindings, kept, strict=True)
        ),
        side_effect_ceiling=options.side_effect_ceiling,
        metadata=json_copy(dict(metadata or {}), where="metadata of the manifest"),
        skipped=read.skipped,
        denied={tool.name: why.reason or "" for tool, why in decided if (tool, why) not in kept},
        unknown=tuple(sorted(options.named - met)),
    )


# ------------------------------------------------------------------- pinning


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """How a manifest differs from the one that was pinned. As a text it is a sentence for a person.

    `changed` holds, for each tool that both have, the members that differ, with a dot inside of
    annotations and policy: `{"read": ("description", "annotations.kind")}`. Tools go by their names;
    of several with one name the second is `name#2`. `manifest` are members of the manifest itself.
    `named` is False where only the pinned hash was kept, and nothing is known but that they differ.
    """

    expected: str
    found: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    manifest: tuple[str, ...] = ()
    named: bool = True

    def __str__(self) -> str:
        parts = [
            *(f"{name!r} was added" for name in self.added),
            *(f"{name!r} was removed" for name in self.removed),
            *(f"{name!r} has another {', '.join(members)}" for name, members in self.changed.items()),
            *(f"the manifest has another {member}" for member in self.manifest),
        ]
        only = f"what changed is not known, as only its hash was kept: {self.expected}, and now {self.found}"
        said = "; ".join(parts) or only
        return f"the manifest is not the one that was pinned: {said}"


def changes_since(pinned: str, found: Manifest, kept: Mapping[str, Any] | None = None) -> Changes | None:
    """How `found` differs from the manifest with hash `pinned`; None where it is that manifest.

    `kept` is the full form or the projection of the pinned manifest, and lets the changes be named.
    Raises `ValueError` where `kept` has not the pinned hash: it would name the wrong changes.
    """
    if kept is not None and manifest_hash(kept) != pinned:
        raise ValueError("what was kept of the pinned manifest has not the pinned hash")
    expected_hash, found_hash = pinned, found.hash
    if expected_hash == found_hash:
        return None
    if kept is None:
        return Changes(expected=expected_hash, found=found_hash, named=False)
    before, after = projection(kept), found.projection()
    old, new = _by_name(before), _by_name(after)
    differing = {name: _differing(old[name], new[name]) for name in sorted(old.keys() & new.keys())}
    return Changes(
        expected=expected_hash,
        found=found_hash,
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed={name: members for name, members in differing.items() if members},
        manifest=_differing(_flat(before, skip="bindings"), _flat(after, skip="bindings")),
    )


def _by_name(projected: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The entries of a projection, flat, by the name of their tool and its count from the second on."""
    found: dict[str, dict[str, Any]] = {}
    count: defaultdict[str, int] = defaultdict(int)
    for entry in cast("list[dict[str, Any]]", projected["bindings"]):
        name: str = entry["name"]
        count[name] += 1
        key = name if count[name] == 1 else f"{name}#{count[name]}"
        while key in found:
            key += "#"
        found[key] = _flat(entry)
    return found


def _flat(members: Mapping[str, Any], skip: str = "") -> dict[str, Any]:
    """`members` with those inside of annotations and policy beside them, under dotted names."""
    found: dict[str, Any] = {}
    for member, value in members.items():
        if member in {"annotations", "policy"}:
            found |= {f"{member}.{inner}": said for inner, said in value.items()}
        elif member != skip:
            found[member] = value
    return found


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        member
        for member in sorted(before.keys() | after.keys())
        if canonical_json(before.get(member)) != canonical_json(after.get(member))  # 1 and 1.0 are two
    )


def _annotations(said: Annotations) -> dict[str, Any]:
    """Annotations as plain values, sets sorted."""
    needed = said.capabilities
    return {
        "kind": said.kind,
        "side_effect_level": said.side_effect_level,
        "capabilities": None if needed is None else {domain: sorted(needed[domain]) for domain in needed},
        "path_params": None if said.path_params is None else sorted(said.path_params),
    }
