"""What a manifest and a snippet are known by.

    manifest_hash(manifest.document())     # 'sha256:…'
    snippet_hash("snippet/1", source)

A hash is SHA-256 over a domain, a NUL and the content, in lower-case hex. Of a manifest it covers a
projection: whatever stands at its default is left out, and so is what follows from the rest. So a release
that adds a member changes no hash of a surface that does not use it. The four members of the manifest
itself are always there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, cast

from playhead.errors import BadValue
from playhead.events.values import DEPTH_MAX

MANIFEST_DOMAIN: Final = b"harn.composition.binding_manifest.v1"
SNIPPET_DOMAIN: Final = b"harn.composition.snippet.v1"
"""Part of every hash that was ever written down, so the words stay. A new projection is a new version."""

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1

# Version 1 of the projection. A default never changes; a new member comes with its default here.
ENTRY_DEFAULTS: Final[Mapping[str, Any]] = {
    "namespace": None,
    "description": None,
    "input_schema": {"type": "object"},
    "output_schema": None,
    "examples": [],
    "source": "playhead",
    "deferred": False,
    "vouched": False,
    "metadata": {},
}
ANNOTATION_DEFAULTS: Final[Mapping[str, Any]] = {
    "kind": "other",
    "side_effect_level": None,
    "capabilities": None,
    "path_params": None,
}
POLICY_DEFAULTS: Final[Mapping[str, Any]] = {"disposition": "allowed"}

# Copies of what the annotations say, and the sentence that explains a disposition.
ENTRY_FOLLOWS: Final = ("side_effect_level", "capabilities", "path_args")
POLICY_FOLLOWS: Final = ("reason",)


def manifest_hash(document: Mapping[str, Any]) -> str:
    """The hash of a manifest in its full form. Raises `BadValue` for what is not JSON."""
    return _hash(MANIFEST_DOMAIN, canonical_json(projection(document), where="the manifest"))


def snippet_hash(language: str, snippet: str) -> str:
    """The hash of a snippet. Every text has one, also a text that no snippet may be."""
    return _hash(SNIPPET_DOMAIN, _bytes(language), _bytes(snippet))


def projection(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the hash covers of a manifest in its full form, as plain values.

    It is what to keep beside a hash, so that a later difference can be named; see
    `playhead.composition.manifest.changes_since`.
    """
    return {
        "bindings": [_entry(entry) for entry in document["bindings"]],
        "metadata": document["metadata"],
        "schema_version": document["schema_version"],
        "side_effect_ceiling": document["side_effect_ceiling"],
    }


def canonical_json(value: Any, *, where: str = "the value") -> bytes:
    """The one JSON text of `value`: no spaces, keys sorted by their UTF-8 bytes, nothing escaped needlessly.

    A whole float keeps its `.0`, so that 1 and 1.0 differ. Raises `BadValue` for what is not JSON: NaN and
    infinity, integers beyond 64 bits, keys that are not text, lone surrogates, and more than 200 levels.
    """
    parts: list[str] = []
    _write(value, parts, where, 0)
    try:
        return "".join(parts).encode()
    except UnicodeEncodeError as error:
        raise BadValue(
            f"{where}: a text holds a lone surrogate.", next_step="Clean the text first."
        ) from error


def json_copy(value: Any, *, where: str = "the value") -> Any:
    """A copy of `value` that shares nothing with it, keys sorted. Raises `BadValue` as `canonical_json`."""
    return json.loads(canonical_json(value, where=where))


def _write(value: Any, parts: list[str], where: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise BadValue(f"{where}: nested deeper than {DEPTH_MAX}.", expected=DEPTH_MAX)
    kind = cast("type[object]", type(value))
    if value is None or kind is bool:
        parts.append({None: "null", True: "true", False: "false"}[value])
    elif kind is str:
        parts.append(json.dumps(value, ensure_ascii=False))
    elif kind is int:
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise BadValue(f"{where}: an integer does not fit 64 bits.", next_step="Write it as a text.")
        parts.append(str(value))
    elif kind is float:
        parts.append(_float(value, where))
    elif kind is list:
        for index, item in enumerate(value):
            parts.append("," if index else "[")
            _write(item, parts, where, depth + 1)
        parts.append("]" if value else "[]")
    elif kind is dict:
        for key in value:
            if type(key) is not str:
                raise BadValue(f"{where}: the key {key!r} is not a text.", expected="str", found=repr(key))
        for index, key in enumerate(sorted(value)):
            parts.append(("," if index else "{") + json.dumps(key, ensure_ascii=False) + ":")
            _write(value[key], parts, where, depth + 1)
        parts.append("}" if value else "{}")
    else:
        raise BadValue(f"{where}: a {kind.__qualname__} is not JSON.", found=kind.__qualname__)


def _float(value: float, where: str) -> str:
    """Shortest digits; plain from 1e-5 up to below 1e16, else an exponent without plus or leading zero."""
    if not math.isfinite(value):
        raise BadValue(f"{where}: {value} is not a finite number.", next_step="Use null, or a text.")
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa
    if int(exponent) != -5:
        return f"{mantissa}e{int(exponent)}"
    sign, digits = ("-" if value < 0 else ""), mantissa.lstrip("-").replace(".", "")
    return f"{sign}0.0000{digits}"


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    left = _without(entry, ENTRY_DEFAULTS, ENTRY_FOLLOWS)
    for member, defaults, follows in (
        ("annotations", ANNOTATION_DEFAULTS, ()),
        ("policy", POLICY_DEFAULTS, POLICY_FOLLOWS),
    ):
        inner = _without(left.pop(member, {}), defaults, follows)
        if inner:
            left[member] = inner
    return left


def _without(
    members: Mapping[str, Any], defaults: Mapping[str, Any], follows: tuple[str, ...]
) -> dict[str, Any]:
    return {
        member: value
        for member, value in members.items()
        if member not in follows and not (member in defaults and value == defaults[member])
    }


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _hash(*parts: bytes) -> str:
    return "sha256:" + sha256(b"\0".join(parts)).hexdigest()
