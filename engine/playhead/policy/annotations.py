"""What a tool says of itself, and what a policy knows of it besides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from playhead.policy.level import Level, known_level, rank

Kind = Literal["read", "edit", "delete", "move", "search", "execute", "think", "fetch", "other"]
MutationClass = Literal["read_only", "workspace_write", "destructive", "ambient_side_effect", "other"]

_MUTATION: Final[dict[str, MutationClass]] = {
    "read": "read_only",
    "search": "read_only",
    "think": "read_only",
    "fetch": "read_only",
    "edit": "workspace_write",
    "execute": "ambient_side_effect",
    "delete": "destructive",
    "move": "destructive",
    "other": "other",
}
_BY_DANGER: Final = ("read_only", "workspace_write", "ambient_side_effect", "destructive", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """What a tool does to the world. None is not declared, and is taken for the worst.

    `capabilities` are the operations that a call needs, by domain: `{"fs": ["read"]}`. `path_params`
    are the parameters that hold paths. `kind` says what sort of tool it is.
    """

    kind: Kind = "other"
    side_effect_level: Level | None = None
    capabilities: Mapping[str, Collection[str]] | None = None
    path_params: Collection[str] | None = None

    def __post_init__(self) -> None:
        if self.kind not in _MUTATION:
            raise ValueError(f"kind {self.kind!r} is not one of {', '.join(_MUTATION)}")
        if self.side_effect_level is not None:
            known_level(self.side_effect_level)
        put = object.__setattr__
        if self.capabilities is not None:
            put(self, "capabilities", {d: words(ops, f"capabilities of {d}") for d, ops in _items(self)})
        if self.path_params is not None:
            put(self, "path_params", words(self.path_params, "path_params"))

    @property
    def mutation_class(self) -> MutationClass:
        return _MUTATION[self.kind]

    @property
    def reads_only(self) -> bool:
        return self.mutation_class == "read_only"

    def and_also(self, other: Annotations) -> Annotations:
        """What holds when both are said of a tool: the more dangerous word wins in every field."""
        ops: dict[str, Collection[str]] | None = None
        if self.capabilities is not None and other.capabilities is not None:
            ops = {domain: frozenset(needed) for domain, needed in self.capabilities.items()}
            for domain, needed in other.capabilities.items():
                ops[domain] = frozenset(needed) | frozenset(ops.get(domain, ()))
        paths = None
        if self.path_params is not None and other.path_params is not None:
            paths = frozenset(self.path_params) | frozenset(other.path_params)
        level = None
        if self.side_effect_level is not None and other.side_effect_level is not None:
            level = max(self.side_effect_level, other.side_effect_level, key=rank)
        kinds: list[Kind] = [self.kind, other.kind]
        kind = max(kinds, key=lambda kind: (_BY_DANGER.index(_MUTATION[kind]), kind))
        return Annotations(kind=kind, side_effect_level=level, capabilities=ops, path_params=paths)


def annotations_of(said: Mapping[str, Any]) -> Annotations:
    """Annotations from a dictionary. Raises `ValueError` for a word it does not know."""
    known = {field.name for field in fields(Annotations)}
    unknown = sorted(set(said) - known)
    if unknown:
        raise ValueError(f"annotations have no {', '.join(unknown)}; they have {', '.join(sorted(known))}")
    return Annotations(**dict(said))


def words(given: Collection[Any], what: str) -> frozenset[str]:
    """A set of names. Raises `ValueError` for one text, which would be a set of letters."""
    if isinstance(given, str) or not all(isinstance(word, str) and word for word in given):
        raise ValueError(f"{what} is a list of texts that are not empty, not {given!r}")
    return frozenset(given)


def _items(said: Annotations) -> Collection[tuple[str, Collection[str]]]:
    assert said.capabilities is not None
    return said.capabilities.items()
