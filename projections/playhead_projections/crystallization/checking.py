"""The check of a bundle: everything that is wrong with it, and what is in it where nothing is.

    for problem in problems_of(Path("audit.bundle")):
        print(problem.file, problem.message)
    bundle = load(Path("audit.bundle"))       # raises BadValue where there are problems

A bundle may come from anybody, so nothing of it is run or imported here, and nothing in it is believed: every
file has the hash that the manifest says, the candidate is the one of the report, its workflow, its snippets,
tools and cases are those that follow from it, there is nothing else, and nothing looks like a secret.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from playhead.composition.surface import as_list, as_object
from playhead.errors import BadValue, NotFound
from playhead_projections.crystallization.bundle import (
    BYTECODE,
    CANDIDATE,
    EVAL,
    EVAL_SCHEMA,
    FIXTURE_SCHEMA,
    FIXTURES,
    MANIFEST,
    MANIFEST_SCHEMA,
    REPORT,
    WORKFLOW,
    evaluation_of,
    fixture_name,
    hash_of,
    names_of,
    tools_of,
)
from playhead_projections.crystallization.flaws import flaws_of
from playhead_projections.crystallization.mining import SCHEMA as REPORT_SCHEMA
from playhead_projections.crystallization.plans import SCHEMA as CANDIDATE_SCHEMA
from playhead_projections.crystallization.plans import Candidate, Constant, Elements, Members, Source
from playhead_projections.crystallization.reading import FILE_BYTES_MAX
from playhead_projections.crystallization.secrecy import holds_secret, is_mark, suspicious
from playhead_projections.crystallization.values import Path as Place
from playhead_projections.crystallization.values import in_line, strict_json
from playhead_projections.crystallization.writing import Unwritable, workflow_of
from playhead_projections.trace import Trace

DEPTH_MAX: Final = 250
SAID_OF_TOOLS: Final = frozenset({"input_schema", "output_schema"})
"""What traces said of a tool, which no candidate tells."""
BYTECODE_SAID: Final = "is bytecode, which Python may run in place of workflow.py: delete it"
"""Nobody can see whether it is that of the source."""
_SCHEMAS: Final = {
    REPORT: REPORT_SCHEMA,
    CANDIDATE: CANDIDATE_SCHEMA,
    MANIFEST: MANIFEST_SCHEMA,
    EVAL: EVAL_SCHEMA,
}


class Problem(NamedTuple):
    """What is wrong, and with which file of the bundle."""

    file: str
    message: str


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A trace that the workflow is held against, and what is to come of that."""

    trace: str
    fixture: str
    role: str
    expected: str


class Bundle(NamedTuple):
    """What is in a bundle without problems. Without a candidate there is only a report."""

    candidate: Candidate | None
    cases: tuple[Case, ...]
    traces: dict[str, Trace]
    """By the names of their fixtures."""


def load(directory: Path) -> Bundle:
    """What is in a bundle. Raises `NotFound` where there is none, and `BadValue` where it has problems.

    Bytecode of its workflow is none here: nothing that is given has to do with it.
    """
    check = _Check(directory)
    check.all()
    problems = [each for each in check.problems if each.message != BYTECODE_SAID]
    if problems:
        first = problems[0]
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise BadValue(
            f"{directory.name} is no bundle to rely on: {first.file}: {first.message}{more}.",
            expected="a bundle without problems",
            found="1 problem" if len(problems) == 1 else f"{len(problems)} problems",
            next_step=f"See all of them: playhead crystallize validate {directory}",
        )
    return Bundle(check.candidate, check.cases, check.traces)


def problems_of(directory: Path) -> list[Problem]:
    """Everything that is wrong with a bundle. Raises `NotFound` where there is no directory."""
    check = _Check(directory)
    check.all()
    return check.problems


class _Check:
    """One bundle while it is checked."""

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise NotFound(f"there is no directory at {directory}.", expected="a bundle")
        self._directory = directory
        self._files: dict[str, bytes] = {}
        self._documents: dict[str, dict[str, Any]] = {}
        self.problems: list[Problem] = []
        self.candidate: Candidate | None = None
        self._flawed = True
        """Whether it is not known what the bundle is of: one candidate, or none."""
        self.cases: tuple[Case, ...] = ()
        self.traces: dict[str, Trace] = {}

    def all(self) -> None:
        """Look at everything. Problems stand in the order in which they are found, each once."""
        self._read()
        self._schemas()
        self._listed()
        self._candidate()
        self._workflow()
        self._made()
        self._evaluation()
        self._fixtures()
        self._secrets()
        self.problems = list(dict.fromkeys(self.problems))

    def _wrong(self, file: str, message: str) -> None:
        self.problems.append(Problem(in_line(file), in_line(message)))

    # -------------------------------------------------------------- files

    def _read(self) -> None:
        for path in sorted(self._directory.rglob("*")):
            name = path.relative_to(self._directory).as_posix()
            if path.is_dir() and not path.is_symlink():
                continue
            if path.is_symlink() or not path.is_file():
                self._wrong(name, "is no plain file")
            elif fnmatchcase(name, BYTECODE):
                self._wrong(name, BYTECODE_SAID)
            elif path.stat().st_size > FILE_BYTES_MAX:
                self._wrong(name, f"is larger than {FILE_BYTES_MAX} bytes")
            else:
                self._files[name] = path.read_bytes()
        for name in (MANIFEST, REPORT, EVAL):
            if name not in self._files:
                self._wrong(name, "is missing")
        for name, content in self._files.items():
            if name.endswith((".json", ".toml")):
                self._document(name, content)

    def _document(self, name: str, content: bytes) -> None:
        try:
            found = tomllib.loads(content.decode()) if name.endswith(".toml") else strict_json(content)
        except (ValueError, RecursionError) as error:
            self._wrong(name, f"cannot be read: {error or type(error).__name__}")
            return
        members = as_object(found)
        if members is None:
            self._wrong(name, "is no object")
        elif _is_deep(members):
            self._wrong(name, "is nested too deeply")
        else:
            self._documents[name] = members

    def _schemas(self) -> None:
        for name, document in self._documents.items():
            wanted = FIXTURE_SCHEMA if name.startswith(f"{FIXTURES}/") else _SCHEMAS.get(name)
            found = document.get("schema")
            if wanted is None or found == wanted:
                continue
            thing, _, version = str(found).rpartition("/")
            newer = thing == wanted.rpartition("/")[0] and version.isdigit() and int(version) > 1
            self._wrong(name, f"is from a newer playhead: {found}" if newer else f"has schema {found!r}")

    def _listed(self) -> None:
        """The files that the manifest lists are there, as they were written, and no others."""
        listed = as_object(self._documents.get(MANIFEST, {}).get("files"))
        if listed is None:
            if MANIFEST in self._documents:
                self._wrong(MANIFEST, "lists no files")
            return
        for name, digest in listed.items():
            if name not in self._files:
                self._wrong(name, "is missing")
            elif digest != hash_of(self._files[name]):
                self._wrong(name, "is not as it was written: its hash differs")
        for name in sorted(self._files.keys() - listed.keys() - {MANIFEST}):
            self._wrong(name, "is not listed in the manifest")

    # ---------------------------------------------------------- candidate

    def _candidate(self) -> None:
        manifest, report = self._documents.get(MANIFEST, {}), self._documents.get(REPORT, {})
        if manifest and report:
            said = (manifest.get("candidate"), manifest.get("kind"))
            if (report.get("selected"), report.get("kind")) != said:
                self._wrong(REPORT, "selected another candidate than the manifest says")
        if CANDIDATE not in self._documents:
            self._flawed = CANDIDATE in self._files or not report or report.get("selected") is not None
            if self._flawed and CANDIDATE not in self._files and report:
                self._wrong(CANDIDATE, "is missing")
            return
        document = self._documents[CANDIDATE]
        if report and document not in (as_list(report.get("candidates")) or ()):
            self._wrong(CANDIDATE, "is not in the report")
        if report and (document.get("id"), document.get("kind")) != (
            report.get("selected"),
            report.get("kind"),
        ):
            self._wrong(CANDIDATE, "is not the one that was selected")
        try:
            candidate = msgspec.convert(document, Candidate)
        except msgspec.ValidationError as error:
            self._wrong(CANDIDATE, f"cannot be read: {error}")
            return
        flaws = list(flaws_of(candidate))
        for flaw in flaws:
            self._wrong(CANDIDATE, flaw)
        if flaws:
            return
        self._flawed = False
        self.candidate = candidate
        if report:
            self._told(candidate, report)

    def _told(self, candidate: Candidate, report: dict[str, Any]) -> None:
        """The report says the same of the candidate as the candidate itself."""
        traces = as_list(report.get("traces")) or []
        if (report.get("risk"), report.get("rollout"), len(traces)) != (
            candidate.risk,
            candidate.rollout,
            candidate.traces,
        ):
            self._wrong(REPORT, "says something else of its traces or its risk than the candidate")

    def _workflow(self) -> None:
        candidate = self.candidate
        if candidate is None:
            return
        if candidate.kind != "candidate":
            if WORKFLOW in self._files:
                self._wrong(WORKFLOW, f"stands beside what is {candidate.kind}")
            return
        written = {segment.file: segment.snippet.encode() for segment in candidate.segments}
        for name, content in written.items():
            if name not in self._files:
                self._wrong(name, "is missing")
            elif self._files[name] != content:
                self._wrong(name, "is not the snippet of the candidate")
        if WORKFLOW not in self._files:
            self._wrong(WORKFLOW, "is missing")
            return
        try:
            if self._files[WORKFLOW] != workflow_of(candidate).encode():
                self._wrong(WORKFLOW, "is not what this version of playhead makes of the candidate")
        except Unwritable as refused:
            self._wrong(CANDIDATE, f"{refused}")

    def _made(self) -> None:
        """What follows from the candidate stands there, and nothing else."""
        if self._flawed or MANIFEST not in self._documents:
            return
        names = names_of(self.candidate)
        for name in sorted(names - self._files.keys()):
            self._wrong(name, "is missing")
        for name in sorted(as_object(self._documents[MANIFEST].get("files")) or {}):
            if name not in names:
                self._wrong(name, "is no file of this bundle")
        said = as_list(self._documents[MANIFEST].get("tools")) or []
        plain = [
            {name: each for name, each in (as_object(tool) or {}).items() if name not in SAID_OF_TOOLS}
            for tool in said
        ]
        if plain != (tools_of(self.candidate) if self.candidate else []):
            self._wrong(MANIFEST, "tells other tools than those that the candidate calls")

    # ---------------------------------------------------- what to check with

    def _evaluation(self) -> None:
        document = self._documents.get(EVAL, {})
        if not document:
            return
        try:
            self.cases = msgspec.convert(document.get("case", []), tuple[Case, ...])
        except msgspec.ValidationError as error:
            self._wrong(EVAL, f"cannot be read: {error}")
        for case in self.cases:
            if case.fixture not in self._documents:
                self._wrong(case.fixture, "is missing")
        report = self._documents.get(REPORT, {})
        if report and not self._flawed:
            held_out = [each for each in as_list(report.get("held_out")) or () if isinstance(each, str)]
            if self._files[EVAL] != evaluation_of(self.candidate, held_out):
                self._wrong(EVAL, "is not what the report and the candidate say")

    def _fixtures(self) -> None:
        ids = {case.fixture: case.trace for case in self.cases}
        for name, document in self._documents.items():
            if not name.startswith(f"{FIXTURES}/"):
                continue
            if document.get("redacted") is not True:
                self._wrong(name, "is not marked as redacted")
            try:
                trace = msgspec.convert(document.get("trace"), Trace)
            except msgspec.ValidationError as error:
                self._wrong(name, f"holds no trace: {error}")
                continue
            if ids.get(name, trace.id) != trace.id:
                self._wrong(name, f"is not the trace {ids[name]!r}")
            elif name != fixture_name(trace.id):
                self._wrong(name, f"is not the place of the trace {trace.id!r}")
            self.traces[name] = trace

    # ------------------------------------------------------------- secrets

    def _secrets(self) -> None:
        for name, content in self._files.items():
            if name in self._documents:
                texts = _texts(self._documents[name])
            else:
                texts = iter([(content.decode(errors="replace"), name.endswith((".py", ".snippet")))])
            if any(suspicious(text, code=code) for text, code in texts):
                self._wrong(name, "holds what looks like a secret")
        for name, trace in self.traces.items():
            for action in trace.actions:
                self._marked(name, [action.inputs, action.output, action.parameters, action.metadata])
        for document in as_list(self._documents.get(REPORT, {}).get("candidates")) or ():
            try:
                candidate = msgspec.convert(document, Candidate)
            except msgspec.ValidationError as error:
                self._wrong(REPORT, f"holds a candidate that cannot be read: {error}")
                continue
            self._marked(REPORT, [values_in(candidate)])

    def _marked(self, file: str, values: Sequence[Any]) -> None:
        for name in sorted({name for value in values for name in _unmarked(value)}):
            self._wrong(file, f"holds a value under {name!r} that was not redacted")


# ------------------------------------------------------------------ values


def values_in(candidate: Candidate) -> list[Any]:
    """The values of somebody that stand in a candidate, under their own names."""
    found: list[Any] = []
    for step in candidate.steps:
        found.append({name: _plain(source) for name, source in step.inputs.items()})
        found.append(step.expected_output.value if step.expected_output else None)
        found += [_named(list(answer.accepted), answer.path) for answer in step.answers]
    for parameter in candidate.parameters:
        found += [_named(example, parameter.path) for example in parameter.examples]
    return found


def _named(value: Any, path: Place) -> Any:
    for name in reversed(path):
        value = {name: value} if isinstance(name, str) else [value]
    return value


def _plain(source: Source) -> Any:
    """The values that stand in `source`; what is given or flows is none."""
    match source:
        case Constant(value=value):
            return value
        case Members(members=members):
            return {name: _plain(each) for name, each in members.items()}
        case Elements(elements=elements):
            return [_plain(each) for each in elements]
        case _:
            return None


def _unmarked(value: Any, name: str = "") -> Iterator[str]:
    """The sensitive names in `value` under which something stands that is neither nothing nor a mark."""
    members, elements = as_object(value), as_list(value)
    for member, each in (members or {}).items():
        yield from _unmarked(each, member if holds_secret(member, each) else name)
    for each in elements or ():
        yield from _unmarked(each, name)
    if members is None and elements is None and name and value is not None and not is_mark(value):
        yield name


def _texts(value: Any, *, code: bool = False) -> Iterator[tuple[str, bool]]:
    """Every text in `value`, names of members too, and whether it is a snippet."""
    if isinstance(value, str):
        yield value, code
    for name, each in (as_object(value) or {}).items():
        yield name, False
        yield from _texts(each, code=name == "snippet")
    for each in as_list(value) or ():
        yield from _texts(each)


def _is_deep(value: Any) -> bool:
    """Whether `value` is nested deeper than DEPTH_MAX."""
    level: list[Any] = [value]
    for _ in range(DEPTH_MAX):
        level = [
            each for found in level for each in ((as_object(found) or {}).values() or as_list(found) or ())
        ]
    return bool(level)
