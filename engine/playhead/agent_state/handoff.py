"""Handoffs: who passes which task to whom, with what, and why.

    artifact_of({"source_persona": "triage", "task": "...", "reason": "...", "target": "legal"})
    merged([artifact, later])

A value is read as a handoff where it says that it is one, or has the members that
make one. What is left out is null or empty, and what is there twice counts once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from playhead.errors import BadValue

TYPE: Final = "handoff_artifact"
ENVELOPE: Final = "agent_state_handoff"
ENVELOPE_VERSION: Final = 1
ID_HEX: Final = 24
NUMBER_MAX: Final = 2**63

_NEXT: Final = "Give source_persona, task, reason, and a target with a label or an id."


def envelope(
    *,
    root: str,
    session: str,
    key: str,
    summary: Mapping[str, Any],
    writer: Mapping[str, Any],
    written_at: int,
    artifact: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What is kept under the key of handoffs. `written_at` is in seconds since 1970."""
    return {
        "_type": ENVELOPE,
        "version": ENVELOPE_VERSION,
        "session_id": session,
        "root": root,
        "key": key,
        "summary": dict(summary),
        "handoff": None if artifact is None else dict(artifact),
        "writer": dict(writer),
        "written_at": written_at,
    }


def recognised(value: Any) -> Mapping[str, Any] | None:
    """The handoff in `value`: itself, what an artifact record holds, or what an envelope holds."""
    if not isinstance(value, Mapping):
        return None
    members = cast("Mapping[str, Any]", value)
    kind = members.get("_type")
    if kind == TYPE:
        return members
    if kind == ENVELOPE:
        inner = members.get("handoff")
        return recognised(members.get("summary") if inner is None else inner)
    if isinstance(members.get("data"), Mapping) and "source_persona" not in members:
        return recognised(members["data"])
    has_target = any(members.get(name) is not None for name in _TARGETS)
    if has_target and members.get("source_persona") is not None and members.get("task") is not None:
        return members
    return None


def artifact_of(value: Any, *, run: str | None = None) -> dict[str, Any] | None:
    """The typed handoff that `value` is, with all its members; None where it is none.

    Raises `BadValue` for one that says by its `_type` that it is one, and lacks what a handoff needs; what
    only looks like one and lacks something is none. Its id follows from what it says, where it has none.
    `run` is its parent where it names none.
    """
    found = recognised(value)
    if found is None:
        return None
    try:
        return _artifact(found, run)
    except BadValue:
        if found.get("_type") == TYPE:
            raise
        return None


def _artifact(found: Mapping[str, Any], run: str | None) -> dict[str, Any]:
    artifact: dict[str, Any] = {
        "_type": TYPE,
        "id": _text(found.get("id")) or "",
        "parent_run_id": _text(found.get("parent_run_id")) or run,
        "source_persona": _needed(found, "source_persona"),
        "target_persona_or_human": _target(found),
        "task": _needed(found, "task"),
        "reason": _needed(found, "reason"),
        "evidence_refs": _each(found, "evidence_refs", _evidence),
        "files_or_entities_touched": _texts(found, "files_or_entities_touched"),
        "open_questions": _texts(found, "open_questions"),
        "blocked_on": _texts(found, "blocked_on"),
        "requested_capabilities": _texts(found, "requested_capabilities"),
        "allowed_side_effects": _texts(found, "allowed_side_effects"),
        "budget_remaining": _budget(found.get("budget_remaining")),
        "deadline_checkback": _members(found.get("deadline_checkback"), ("deadline", "checkback_at")),
        "confidence": _confidence(found.get("confidence")),
        "receipt_links": _each(found, "receipt_links", _receipt),
        "created_at": _text(found.get("created_at")),
        "metadata": _mapping(found.get("metadata")),
    }
    if not artifact["id"]:
        told = msgspec.json.encode(artifact, order="deterministic")
        artifact["id"] = f"handoff_{hashlib.sha256(told).hexdigest()[:ID_HEX]}"
    return artifact


def is_derived_id(value: object) -> bool:
    """Whether it is the id that follows from what a handoff says: a digest, by which a guess can be tried."""
    return isinstance(value, str) and _DERIVED_ID.fullmatch(value) is not None


_DERIVED_ID: Final = re.compile(f"handoff_[0-9a-f]{{{ID_HEX}}}")


def merged(artifacts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One handoff for each id, in the order of the first: the first wins, later ones fill gaps.

    Also those inside of what is left of a budget, of the deadline and of the metadata; a target is one
    thing. Links to receipts are united.
    """
    found: dict[str, dict[str, Any]] = {}
    for artifact in artifacts:
        known = found.setdefault(artifact["id"], dict(artifact))
        for name, value in artifact.items():
            inside = name in ("budget_remaining", "deadline_checkback", "metadata")
            known[name] = _filled(known.get(name), value, inside=inside)
        links = [*known.get("receipt_links", ()), *artifact.get("receipt_links", ())]
        known["receipt_links"] = [link for n, link in enumerate(links) if link not in links[:n]]
    return list(found.values())


def _filled(one: Any, other: Any, *, inside: bool = False) -> Any:
    """The value of one, or of the other where it has none; `inside` of both, member by member."""
    if one in (None, "", [], {}):
        return other
    if not inside:
        return one
    mine, theirs = cast("Mapping[str, Any]", one), cast("Mapping[str, Any]", other or {})
    return {name: _filled(mine.get(name), theirs.get(name)) for name in {**mine, **theirs}}


_TARGETS: Final = ("target_persona_or_human", "target", "target_persona", "target_human")


def _target(found: Mapping[str, Any]) -> dict[str, Any]:
    name = next((name for name in _TARGETS if found.get(name) is not None), _TARGETS[0])
    said = found.get(name)
    if isinstance(said, str):
        said = {"label": said}
    target = _mapping(said)
    if name == "target_human":
        target["kind"] = "human"
    kind = "human" if (_text(target.get("kind")) or "").lower() == "human" else "persona"
    words = {"kind": kind, "id": _text(target.get("id")), "label": _text(target.get("label"))}
    if words["id"] is None and words["label"] is None:
        raise BadValue("a handoff needs a target with a label or an id.", found=said, next_step=_NEXT)
    return words


def _needed(found: Mapping[str, Any], name: str) -> str:
    text = _text(found.get(name))
    if text is None:
        raise BadValue(f"a handoff needs {name}.", found=found.get(name), next_step=_NEXT)
    return text


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _texts(found: Mapping[str, Any], name: str) -> list[str]:
    said = found.get(name)
    each = [said] if isinstance(said, str) else cast("Sequence[Any]", said) if isinstance(said, list) else []
    return list(dict.fromkeys(text for one in each if (text := _text(one)) is not None))


def _mapping(value: Any) -> dict[str, Any]:
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else {}


def _members(value: Any, names: Sequence[str]) -> dict[str, Any] | None:
    said = _mapping(value)
    words = {name: _text(said.get(name)) for name in names}
    return words if any(words.values()) else None


def _each(
    found: Mapping[str, Any], name: str, read: Callable[[Any], dict[str, Any] | None]
) -> list[dict[str, Any]]:
    said = found.get(name)
    each = cast("list[object]", said if isinstance(said, list) else [said])
    return [words for one in each if (words := read(one)) is not None]


def _evidence(value: Any) -> dict[str, Any] | None:
    return _members({"path": value} if isinstance(value, str) else value, _EVIDENCE)


def _receipt(value: Any) -> dict[str, Any] | None:
    words = _members({"href": value} if isinstance(value, str) else value, _RECEIPT)
    return None if words is None else {"kind": _text(_mapping(value).get("kind")) or "run_receipt", **words}


_EVIDENCE: Final = ("artifact_id", "kind", "label", "path", "uri")
_RECEIPT: Final = ("label", "run_id", "artifact_id", "path", "href")


def _budget(value: Any) -> dict[str, Any] | None:
    said = _mapping(value)
    words = {name: _number(said.get(name)) for name in ("tokens", "tool_calls", "dollars")}
    return words if any(number is not None for number in words.values()) else None


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -NUMBER_MAX < value < NUMBER_MAX:
        return None  # NaN is within nothing
    return value


def _confidence(value: Any) -> float | None:
    number = _number(value)
    return None if number is None else float(min(max(number, 0.0), 1.0))
