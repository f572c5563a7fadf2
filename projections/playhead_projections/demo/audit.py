"""The agent of the demo: it audits the licences of the Python packages on this machine.

    audit                                    persona, at most $0.10, step by step:
    ├── read                                 step; its stage lets it read
    │   └── READING                          composition: a snippet over two tools
    │       ├── list_packages                tool, read_only
    │       └── read_metadata                tool, read_only, one for each package, four at a time
    ├── judge, one for each package          step, four at a time
    │   └── ask, where it is unclear         step with a budget, skipped when that is passed
    │       ├── read_licence                 tool, read_only, retried
    │       ├── licence-rules                model call
    │       └── known_licence                hook: what is no licence goes to a person
    └── publish                              step; its stage lets it write the report and nothing else
        └── write_report                     tool, effect: never done twice by itself, and only with a yes

It may read alone, and asks its owner before it changes anything.

Nothing here knows about crashes. The kill is in `mark`, in world code, and only
where the process was told to die.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Generator
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import msgspec

from playhead import (
    Autonomy,
    Budget,
    CompositionLimits,
    ManifestOptions,
    Moment,
    Policy,
    ReplaceOutput,
    Reply,
    Request,
    Retry,
    Stage,
    attempt,
    build_manifest,
    compose,
    hook,
    map_bounded,
    model_call,
    now,
    persona,
    step,
    tool,
)
from playhead_projections.demo.model import RULES, LicenceModel

PACKAGES_MAX: Final = 60
LICENCE_CHARACTERS_MAX: Final = 4_000
BODIES: Final = "bodies.jsonl"
REPORT: Final = "licences.md"
DIES_AT: Final = "PLAYHEAD_DEMO_DIES_AT"
OWNER: Final = "owner"
"""Who is asked before anything is written."""
AT_ONCE: Final = 4
AUDIT: Final = Budget(max_usd="0.10")
QUESTION: Final = Budget(max_tokens=4_000, max_usd="0.001")
"""What one package may cost: far more than it does, so that a surprise is one."""
KNOWN: Final = frozenset(licence for _, licence in RULES)


class Metadata(msgspec.Struct, frozen=True):
    """What a package says of its licence."""

    name: str
    version: str
    expression: str | None
    declared: str | None
    classifiers: list[str]
    files: list[str]


class Finding(msgspec.Struct, frozen=True):
    """One line of the report. `licence` is None where a person should look."""

    package: str
    version: str
    licence: str | None
    source: str


class Audit(msgspec.Struct, frozen=True):
    """What the run returns."""

    packages: int
    declared: int
    judged: int
    for_a_person: int
    report: str


# ----------------------------------------------------------------- programs


@persona(
    budget=AUDIT,
    policy=Policy(autonomy=Autonomy(tier="act_with_approval", reviewers=[OWNER])),
    stages=[
        Stage("read", allowed_tools=["list_packages", "read_metadata"], side_effect_level="read_only"),
        Stage("ask", allowed_tools=["read_licence"], side_effect_level="read_only"),
        Stage(
            "publish", allowed_tools=["write_report"], side_effect_level="workspace_write", max_iterations=1
        ),
    ],
)
async def audit(packages_max: int = PACKAGES_MAX) -> Audit:
    """Find out which licences are in use here."""
    packages = await read(packages_max)
    findings = (await map_bounded(packages, judge, concurrency=AT_ONCE, key=name_of)).values
    report = await publish(findings)
    sources = [finding.source for finding in findings]
    return Audit(
        packages=len(packages),
        declared=sources.count("declared"),
        judged=sources.count("judged"),
        for_a_person=sum(finding.licence is None for finding in findings),
        report=report,
    )


@step
async def read(packages_max: int) -> list[Metadata]:
    """What all packages say of themselves, by a snippet: a model could have written it."""
    limits = CompositionLimits(max_operations=packages_max + 1, max_output_bytes=2_000_000)
    composed = await compose(
        READING.format(most=packages_max, at_once=AT_ONCE), SHELF, Shelf(), limits=limits
    )
    return msgspec.convert(composed.value(), list[Metadata])


@step
async def judge(found: Metadata) -> Finding:
    """One package: its own word where that is exact, else a question to a model."""
    if found.expression is not None:
        return Finding(found.name, found.version, found.expression, "declared")
    return await ask(found) or Finding(found.name, found.version, None, "too dear to ask")


@step(model=LicenceModel.name, budget=QUESTION, error_boundary="continue")
async def ask(found: Metadata) -> Finding:
    """Let a model say which licence it is, going by the text."""
    text = await read_licence(found.name, found.files[0]) if found.files else ""
    reply = await model_call(
        Request(
            system="Answer with one SPDX identifier, or with 'unclear'.",
            prompt=f"Under which licence is {found.name} {found.version}?",
            context={"declared": found.declared, "classifiers": found.classifiers, "text": text},
            max_output_tokens=20,
            max_cost_micros=1_000,
        )
    )
    return Finding(found.name, found.version, None if reply.text == "unclear" else reply.text, "judged")


@step
async def publish(findings: list[Finding]) -> str:
    """Write it down."""
    lines = [f"# Licences, {now():%Y-%m-%d}", "", "| package | version | licence | |", "|---|---|---|---|"]
    for found in findings:
        licence = found.licence or "a person should look"
        lines.append(f"| {found.package} | {found.version} | {licence} | {found.source} |")
    return await write_report(REPORT, "\n".join(lines) + "\n")


@hook("PostStep", step="ask")
async def known_licence(moment: Moment) -> ReplaceOutput | None:
    """What a model answers is not a licence because it says so."""
    found: Finding = moment.output
    if found.licence is None or found.licence in KNOWN:
        return None
    return ReplaceOutput(Finding(found.package, found.version, None, "not a licence"))


def name_of(found: Metadata) -> str:
    """What a package is called."""
    return found.name


# ------------------------------------------------- what a snippet may call

READING: Final = """
names = list_packages()[:{most}]
found = map_bounded(names, lambda name: read_metadata(package=name), concurrency={at_once})
print("read", found["succeeded"], "of", len(names))
return [each["value"] for each in found["results"] if each["ok"]]
"""

_READS: Final = {"kind": "read", "side_effect_level": "read_only"}
SHELF: Final = build_manifest(
    [
        {"name": "list_packages", "annotations": _READS, "description": "The packages here, by name."},
        {
            "name": "read_metadata",
            "annotations": _READS,
            "description": "What a package declares.",
            "inputSchema": {
                "type": "object",
                "properties": {"package": {"type": "string"}},
                "required": ["package"],
                "additionalProperties": False,
            },
            "outputSchema": {"type": "object", "required": ["name", "version"]},
        },
    ],
    ManifestOptions(side_effect_ceiling="read_only"),
)


class Shelf:
    """The packages on this machine, as a host of compositions."""

    async def call(self, entry: Any, arguments: dict[str, Any]) -> Any:
        """Carry one call out, in a thread."""
        if entry.name == "list_packages":
            return await asyncio.to_thread(list_packages)
        return msgspec.to_builtins(await asyncio.to_thread(read_metadata, arguments["package"]))


def list_packages() -> list[str]:
    """The packages on this machine, by name."""
    with mark("tool", "list_packages"):
        return installed()


def read_metadata(package: str) -> Metadata:
    """What the package declares."""
    with mark("tool", "read_metadata", of=package):
        found = metadata.distribution(package)
        files = [str(file) for file in found.files or [] if _is_licence(file.name)]
        said: dict[str, Any] = found.metadata.json
        return Metadata(
            name=package,
            version=found.version,
            expression=said.get("license_expression"),
            declared=said.get("license", "")[:200] or None,
            classifiers=[text for text in said.get("classifier", []) if text.startswith("License ::")],
            files=sorted(files, key=len)[:4],
        )


# -------------------------------------------------------------------- tools


@tool(side_effect_level="read_only", retry=Retry(max_attempts=3, first_wait_s=0.02))
def read_licence(package: str, file: str) -> str:
    """The beginning of a licence file. For one package in four the first try fails, on purpose."""
    with mark("tool", "read_licence", of=package):
        if attempt().number == 1 and crc32(package.encode()) % 4 == 0:
            raise OSError("the disk was busy (the demo makes this up)")
        place = Path(str(metadata.distribution(package).locate_file(file)))
        return place.read_text("utf-8", "replace")[:LICENCE_CHARACTERS_MAX]


@tool(side_effect_level="workspace_write", kind="edit")
def write_report(name: str, text: str) -> str:
    """Write a file into the workspace: the one thing here that changes the world."""
    with mark("tool", "write_report"):
        workspace = Path("workspace")
        workspace.mkdir(exist_ok=True)
        (workspace / name).write_text(text, "utf-8")
        return f"workspace/{name}"


def installed() -> list[str]:
    """The names of the packages on this machine."""
    return sorted({item.name for item in metadata.distributions() if item.name}, key=str.lower)


def undeclared(packages: list[str]) -> list[str]:
    """Those that do not say exactly which licence they are under, and bring its text."""
    unclear: list[str] = []
    for package in packages:
        found = metadata.distribution(package)
        if not found.metadata.json.get("license_expression") and any(
            _is_licence(file.name) for file in found.files or []
        ):
            unclear.append(package)
    return unclear


def _is_licence(name: str) -> bool:
    return any(word in name.upper() for word in ("LICENSE", "LICENCE", "COPYING")) and not name.endswith(
        ".py"
    )


# ---------------------------------------------------- counted outside the log


@contextlib.contextmanager
def mark(kind: str, name: str, *, of: str = "") -> Generator[None]:
    """Count a body of world code in a file of its own, so that nobody has to believe the log.

    It dies here where it was told to: in this tool, at this package.
    """
    who = attempt()
    said = {
        "run": who.run,
        "op": who.op,
        "attempt": who.number,
        "kind": kind,
        "name": name,
        "pid": os.getpid(),
    }
    _append({**said, "is": "entered"})
    if of and os.environ.get(DIES_AT) == f"{name} {of}":
        os.kill(os.getpid(), signal.SIGKILL)
    yield
    _append({**said, "is": "left"})


def _append(said: dict[str, object]) -> None:
    # One write each: the kernel keeps it when this process is killed.
    descriptor = os.open(BODIES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, json.dumps(said).encode() + b"\n")
    finally:
        os.close(descriptor)


class CountedModel(LicenceModel):
    """The model, with its calls counted like the bodies of tools."""

    async def complete(self, request: Request) -> Reply:
        with mark("model", self.name):
            return await super().complete(request)


PLAYHEAD: Final[dict[str, Any]] = {"model": CountedModel(), "hooks": [known_licence]}
"""How the engine of this program is made; `playhead replay` reads it."""
