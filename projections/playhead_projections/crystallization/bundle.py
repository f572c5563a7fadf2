"""Bundles: a directory with all that was found, what was made of it, and what it can be checked with.

    write_bundle(report, Path("audit.bundle"))

    report.json           every candidate, with the reasons
    candidate.json        the one that was selected
    workflow.py           its persona, and beside it its snippets, `workflow.snippet` first
    manifest.json         the tools that it needs, and the hash of every other file
    playhead.eval.toml    which trace is to give which verdict
    fixtures/             these traces, without secrets

It appears whole or not at all. Without a candidate there is a report and no workflow; what no program can do
by itself is a plan, with a candidate and no workflow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from playhead.composition.surface import as_object
from playhead.errors import BadValue
from playhead.log.whole import write_whole
from playhead_projections.crystallization.deriving import TOOL
from playhead_projections.crystallization.mining import Report, document_of
from playhead_projections.crystallization.plans import Candidate, document
from playhead_projections.crystallization.redaction import RULES
from playhead_projections.crystallization.writing import workflow_of
from playhead_projections.trace import Trace

MANIFEST_SCHEMA: Final = "playhead.crystallization.manifest/1"
FIXTURE_SCHEMA: Final = "playhead.crystallization.fixture/1"
EVAL_SCHEMA: Final = "playhead.crystallization.eval/1"

REPORT: Final = "report.json"
CANDIDATE: Final = "candidate.json"
WORKFLOW: Final = "workflow.py"
MANIFEST: Final = "manifest.json"
EVAL: Final = "playhead.eval.toml"
FIXTURES: Final = "fixtures"
BYTECODE: Final = "__pycache__/workflow.*.pyc"
"""Python leaves it where a workflow is imported."""
NAMES_SHOWN: Final = 8
_SLUG_CHARS_MAX: Final = 30
_OWN: Final = re.compile(
    rf"(?:report|candidate|manifest)\.json|{re.escape(EVAL)}|workflow\.py|workflow(?:\.\d+)?\.snippet"
    rf"|{FIXTURES}/[A-Za-z0-9\-]+\.json"
)
"""The names that files of a bundle have."""


def write_bundle(report: Report, directory: Path, *, force: bool = False) -> list[str]:
    """Write a bundle at `directory`, whole or not at all, and return the names of its files.

    Raises `BadValue` where something stands there already; with `force` another bundle makes way, where
    nothing lies in it that is not its own.
    """
    files = files_of(report)
    target = directory.absolute()
    _check_place(target, force=force)
    write_whole(target, files, replace=force)
    return sorted(files)


def files_of(report: Report) -> dict[str, bytes]:
    """The files of a bundle, by their names."""
    files = {REPORT: _json(document_of(report))}
    candidate = report.selected
    traces = {trace.id: trace for trace in report.traces}
    if candidate is not None:
        files[CANDIDATE] = _json(document(candidate))
        for trace in _shown(candidate):
            files[fixture_name(trace)] = _json(_fixture(traces[trace]))
        if candidate.kind == "candidate":
            files[WORKFLOW] = workflow_of(candidate).encode()
            files |= {segment.file: segment.snippet.encode() for segment in candidate.segments}
    files[EVAL] = evaluation_of(candidate, report.held_out)
    files[MANIFEST] = _json(_manifest(candidate, report, files))
    return files


def names_of(candidate: Candidate | None) -> set[str]:
    """The names of the files of a bundle of this candidate, or of none."""
    names = {MANIFEST, REPORT, EVAL}
    if candidate is not None:
        names |= {CANDIDATE, *map(fixture_name, _shown(candidate))}
        if candidate.kind == "candidate":
            names |= {WORKFLOW, *(segment.file for segment in candidate.segments)}
    return names


def _shown(candidate: Candidate) -> list[str]:
    return [each.trace for each in (*candidate.examples, *candidate.also_in)]


def fixture_name(trace: str) -> str:
    """Where the trace with this id stands: a name that any file system takes, and no other trace has.

    It is short, because what is long and without spaces looks like a secret.
    """
    slug = re.sub(r"[^A-Za-z0-9]+", "-", trace).strip("-")[:_SLUG_CHARS_MAX].rstrip("-")
    return f"{FIXTURES}/{slug or 'trace'}-{sha256(trace.encode()).hexdigest()[:12]}.json"


def _fixture(trace: Trace) -> dict[str, Any]:
    return {
        "schema": FIXTURE_SCHEMA,
        "redacted": True,
        "rules": list(RULES),
        "trace": msgspec.to_builtins(trace),
    }


# ------------------------------------------------------------------ manifest.json


def _manifest(candidate: Candidate | None, report: Report, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "schema": MANIFEST_SCHEMA,
        "kind": candidate.kind if candidate else "rejected",
        "candidate": candidate.id if candidate else None,
        "tools": tools_of(candidate, report.traces) if candidate else [],
        "files": {name: hash_of(files[name]) for name in sorted(files)},
    }


def tools_of(candidate: Candidate, traces: Sequence[Trace] = ()) -> list[dict[str, Any]]:
    """What is known of each tool that the steps call. What the traces tell differently is left out."""
    names = sorted({step.name for step in candidate.steps if step.kind == TOOL})
    return [_tool(name, candidate, traces) for name in names]


def _tool(name: str, candidate: Candidate, traces: Sequence[Trace]) -> dict[str, Any]:
    steps = [step for step in candidate.steps if step.kind == TOOL and step.name == name]
    said = [trace.tools[name] for trace in traces if name in trace.tools]
    schemas: dict[str, Any] = {
        field: said[0][field]
        for field in ("input_schema", "output_schema")
        if said and field in said[0] and all(each.get(field) == said[0][field] for each in said)
    }
    levels, effects = {step.level for step in steps}, {step.effect for step in steps}
    return {
        "name": name,
        "binding": candidate.bindings.get(name),
        "level": levels.pop() if len(levels) == 1 else None,
        "effect": effects.pop() if len(effects) == 1 else None,
        "arguments": sorted({argument for step in steps for argument in step.inputs}),
        "capabilities": sorted({each for step in steps for each in step.capabilities}),
        **schemas,
    }


# ------------------------------------------------------------------ playhead.eval.toml

Plain = str | int | bool | list[str]


def evaluation_of(candidate: Candidate | None, held_out: Sequence[str]) -> bytes:
    """The text of playhead.eval.toml."""
    told: dict[str, Plain] = {
        "schema": EVAL_SCHEMA,
        "kind": candidate.kind if candidate else "rejected",
        "held_out": list(held_out),
    }
    if candidate is not None:
        told |= {"name": candidate.name, "candidate": candidate.id, "rollout": candidate.rollout}
    return toml_of(told, _cases(candidate)).encode()


def _cases(candidate: Candidate | None) -> list[dict[str, Plain]]:
    if candidate is None:
        return []
    mined = {each.trace for each in candidate.examples}
    return [
        {
            "trace": verdict.trace,
            "fixture": fixture_name(verdict.trace),
            "role": "mined" if verdict.trace in mined else "held_out",
            "expected": verdict.verdict,
        }
        for verdict in candidate.shadow
    ]


def toml_of(table: Mapping[str, Plain], cases: list[dict[str, Plain]]) -> str:
    """A table and its `[[case]]` entries as TOML. Keys are ours, and need no quotes; texts are anybody's."""
    lines = [f"{name} = {_toml(value)}" for name, value in table.items()]
    for case in cases:
        lines += ["", "[[case]]", *(f"{name} = {_toml(value)}" for name, value in case.items())]
    return "\n".join([*lines, ""])


def _toml(value: Plain) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{"".join(map(_toml_character, value))}"'
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list) else str(value)


def _toml_character(character: str) -> str:
    if character in '\\"':
        return f"\\{character}"
    code = ord(character)
    if " " <= character <= "~":
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# ------------------------------------------------------------------ on the disk


def hash_of(content: bytes) -> str:
    """What a file of a bundle is known by."""
    return f"sha256:{sha256(content).hexdigest()}"


def foreign_in(directory: Path) -> list[str]:
    """What lies at `directory` and is not of the bundle there. Raises `BadValue` where there is no bundle.

    Of a bundle is what its manifest lists under a name that a bundle has, changed since or not.
    """
    try:
        said = as_object(json.loads((directory / MANIFEST).read_text(encoding="utf-8"))) or {}
    except (OSError, ValueError, RecursionError):
        said = {}
    if said.get("schema") != MANIFEST_SCHEMA:
        raise BadValue(
            f"there is something at {directory.name} already.",
            expected="a place where nothing stands, or a bundle of this version of playhead",
            found=repr(said["schema"]) if "schema" in said else "something else",
            next_step="Name another place.",
        )
    listed = {name for name in as_object(said.get("files")) or {} if _OWN.fullmatch(name)}
    own = listed | {MANIFEST}
    return sorted(
        name
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
        for name in [path.relative_to(directory).as_posix()]
        if path.is_symlink() or not path.is_file() or (name not in own and not fnmatchcase(name, BYTECODE))
    )


def _check_place(target: Path, *, force: bool) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if target.is_symlink() or not target.is_dir():
        raise BadValue(
            f"there is something at {target.name} already.",
            expected="a place where nothing stands",
            found="something else",
            next_step="Name another place.",
        )
    foreign = foreign_in(target)
    if not force:
        raise BadValue(
            f"there is something at {target.name} already.",
            expected="a place where nothing stands",
            found="a bundle",
            next_step="Put another in its place: --force.",
        )
    if foreign:
        more = f" and {len(foreign) - NAMES_SHOWN} more" if len(foreign) > NAMES_SHOWN else ""
        raise BadValue(
            f"the bundle at {target.name} would be replaced with what is not its own in it.",
            expected="nothing in it but its own files",
            found=f"{', '.join(map(repr, foreign[:NAMES_SHOWN]))}{more}",
            next_step="Move these files elsewhere first, or name another place.",
        )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode()
