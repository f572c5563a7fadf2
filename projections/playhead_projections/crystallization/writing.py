"""Programs out of steps: snippets over tools, and the Python module that composes them.

    written = segments_of(steps, parameters, bindings)
    workflow_of(candidate)                    # the text of workflow.py

A program is built from the steps, never from texts that were put together: every literal is written by
`literal`, every other name is one that was made here, and each snippet passes the check before it is handed
on. What cannot be written raises `Unwritable`, which says why.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from playhead.composition.hashing import INTEGER_MIN
from playhead.composition.naming import HARD_KEYWORDS, identifier
from playhead.composition.surface import as_list, as_object
from playhead.policy.level import LEVELS
from playhead.snippet.check import TAKEN, Checked, check
from playhead.snippet.protocol import ToolBinding
from playhead_projections.crystallization.deriving import (
    NAME_CHARS_MAX,
    SNIPPET_INTEGER_MAX,
    TOOL,
)
from playhead_projections.crystallization.plans import (
    MODEL,
    SIGNAL,
    Answer,
    Candidate,
    Constant,
    Elements,
    Flow,
    Given,
    Members,
    Parameter,
    Segment,
    Source,
    Step,
    Type,
    flows,
)
from playhead_projections.crystallization.redaction import holds_mark

REQUEST_FIELDS: Final = frozenset(
    {
        *("prompt", "model", "system", "messages", "context", "tools"),
        *("max_output_tokens", "max_cost_micros", "temperature", "options"),
    }
)
"""What a `playhead.Request` holds, which is not imported here: reading traces runs no engine."""
SNIPPET: Final = "workflow.snippet"
ANSWERS_CHARS_MAX: Final = 10_000
_PLAIN_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:\-]{0,99}")
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_TYPES: Final[Mapping[Type, str]] = {
    "text": "str",
    "integer": "int",
    "float": "float",
    "number": "int | float",
    "boolean": "bool",
    "list": "list[_Any]",
    "object": "dict[str, _Any]",
    "any": "_Any",
}


class Unwritable(Exception):
    """A step that no program can perform as it was recorded. Says why."""


def literal(value: Any) -> str:
    """`value` as it is written in a program: the only place where a value of somebody becomes source."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, str):
        return f'"{"".join(map(_character, value))}"'
    if isinstance(value, int):
        if not INTEGER_MIN <= value <= SNIPPET_INTEGER_MAX:
            raise Unwritable("a number does not fit in 64 bits")
        return f"({INTEGER_MIN + 1} - 1)" if value == INTEGER_MIN else str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    elements, members = as_list(value), as_object(value)
    if elements is not None:
        return f"[{', '.join(map(literal, elements))}]"
    if members is not None:
        return f"{{{', '.join(f'{literal(name)}: {literal(each)}' for name, each in members.items())}}}"
    raise Unwritable(f"a {type(value).__qualname__} is no JSON value")


def _character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if " " <= character <= "~":
        return character
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        raise Unwritable("a text holds half of a character")
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def expression(source: Source) -> str:
    """`source` as an expression, in which `step_1` is the outcome of step 1: in snippets and in Python."""
    match source:
        case Constant(value=value):
            return literal(value)
        case Given(name=name):
            return name
        case Flow(step=step, path=path):
            return f"step_{step}" + "".join(f"[{literal(_told(each))}]" for each in path)
        case Members(members=members):
            inside = [f"{literal(_told(name))}: {expression(each)}" for name, each in members.items()]
            return f"{{{', '.join(inside)}}}"
        case Elements(elements=elements):
            return f"[{', '.join(map(expression, elements))}]"


def _told(name: str | int) -> str | int:
    """A name that is known. One that was redacted is not."""
    if isinstance(name, str) and holds_mark(name):
        raise Unwritable("a name was redacted")
    return name


# ------------------------------------------------------------------ snippets


def bindings_of(steps: Sequence[Step], parameters: Sequence[Parameter]) -> dict[str, str]:
    """What each tool is called in snippets: a name of its own, beside those of parameters and steps."""
    taken = TAKEN | {parameter.name for parameter in parameters} | {f"step_{step.index}" for step in steps}
    found: dict[str, str] = {}
    for tool in sorted({step.name for step in steps if step.kind == TOOL}):
        base = identifier(identifier(tool)[:NAME_CHARS_MAX], taken)
        name, count = base, 1
        while name in taken or name in found.values():
            count += 1
            name = f"{base}_{count}"
        found[tool] = name
    return found


def tools_of(steps: Sequence[Step], bindings: Mapping[str, str]) -> dict[str, ToolBinding]:
    """The tools as the machine is told of them: every argument that a step gives, and any other."""
    given: dict[str, set[str]] = {bindings[step.name]: set() for step in steps if step.kind == TOOL}
    for step in steps:
        if step.kind == TOOL:
            given[bindings[step.name]].update(step.inputs)
    return {name: ToolBinding(tuple(sorted(names)), (), open=True) for name, names in sorted(given.items())}


def segments_of(
    steps: Sequence[Step], parameters: Sequence[Parameter], bindings: Mapping[str, str]
) -> tuple[Segment, ...]:
    """The snippets of a workflow: one for each row of tool calls. Raises `Unwritable`."""
    for parameter in parameters:
        _check_parameter(parameter, steps)
    rows: list[list[Step]] = []
    for step in steps:
        _check_step(step)
        if step.kind == TOOL:
            if not rows or rows[-1][-1].index != step.index - 1:
                rows.append([])
            rows[-1].append(step)
    found: list[Segment] = []
    for number, row in enumerate(rows, start=1):
        gives = _wanted_later(steps, row)
        text = _snippet(row, gives, bindings)
        file = SNIPPET if number == 1 else f"workflow.{number}.snippet"
        segment = Segment(steps=tuple(step.index for step in row), gives=gives, snippet=text, file=file)
        check_segment(segment, steps, parameters, bindings)
        found.append(segment)
    return tuple(found)


def inputs_of_segment(
    segment: Segment, steps: Sequence[Step], parameters: Sequence[Parameter]
) -> tuple[str, ...]:
    """The variables that a snippet begins with: its parameters, and outcomes of steps before it."""
    used = [parameter.name for parameter in parameters if parameter.step in segment.steps]
    earlier = {
        flow.step
        for index in segment.steps
        for source in steps[index - 1].inputs.values()
        for flow in flows(source)
        if flow.step not in segment.steps
    }
    return (*used, *(f"step_{index}" for index in sorted(earlier)))


def check_segment(
    segment: Segment, steps: Sequence[Step], parameters: Sequence[Parameter], bindings: Mapping[str, str]
) -> Checked:
    """The snippet, checked. Raises `Unwritable` where the check finds a problem."""
    names = inputs_of_segment(segment, steps, parameters)
    try:
        found = check(segment.snippet, tools_of(steps, bindings), inputs=names)
    except ValueError as error:
        raise Unwritable(str(error)) from error
    if isinstance(found, Checked):
        return found
    raise Unwritable(f"line {found[0].line} of its snippet: {found[0].message}")


def _check_parameter(parameter: Parameter, steps: Sequence[Step]) -> None:
    """What a run is given stands in its log, so it can be given no secret."""
    if parameter.secret:
        step = steps[parameter.step - 1]
        raise Unwritable(
            f"step {step.index} {step.name!r} takes {parameter.name}, which was redacted: "
            "a workflow would have to be given the secret, and its log would keep it"
        )


def _check_step(step: Step) -> None:
    said = f"step {step.index} {step.name!r}"
    if step.needs_approval:
        raise Unwritable(f"{said} needs an approval, which no snippet can ask for")
    if holds_mark(step.name):
        raise Unwritable(f"the name of step {step.index} was redacted")
    if step.kind == MODEL:
        unknown = sorted(set(step.inputs) - REQUEST_FIELDS)
        if unknown:
            raise Unwritable(f"{said} asks a model for {', '.join(unknown)}, which no Request holds")
    elif step.kind == SIGNAL:
        if not _NAME.fullmatch(step.name):
            raise Unwritable(f"{said} waits for what no signal is called")
        if any(holds_mark(list(answer.accepted)) for answer in step.answers):
            raise Unwritable(f"{said} waits for an answer that was redacted")
        if sum(len(_accepted(step, answer)) for answer in step.answers) > ANSWERS_CHARS_MAX:
            raise Unwritable(f"{said} was answered in too many ways, and what they decide is not known")
    elif step.kind != TOOL:
        raise Unwritable(f"{said} is a {step.kind}, which no workflow can do by itself")


def _wanted_later(steps: Sequence[Step], row: Sequence[Step]) -> tuple[int, ...]:
    """The steps of `row` whose outcomes are needed behind it. The last step of all gives the result."""
    mine = {step.index for step in row}
    last = row[-1].index
    wanted = {
        flow.step
        for step in steps[last:]
        for source in step.inputs.values()
        for flow in flows(source)
        if flow.step in mine
    }
    return tuple(sorted(wanted | {last}))


def _snippet(row: Sequence[Step], gives: Sequence[int], bindings: Mapping[str, str]) -> str:
    lines = [f"step_{step.index} = {bindings[step.name]}({_arguments(step)})" for step in row]
    given = ", ".join(f"step_{index}" for index in gives)
    lines.append(f"return {given}" if len(gives) == 1 else f"return [{given}]")
    return "\n".join([*lines, ""])


def _arguments(step: Step) -> str:
    """Arguments by name; those whose names are no plain identifiers stand in a dict."""
    plain, other = list[str](), list[str]()
    for name, source in step.inputs.items():
        written = expression(source)
        if _PLAIN_NAME.fullmatch(name) and name not in HARD_KEYWORDS:
            plain.append(f"{name}={written}")
        else:
            other.append(f"{literal(_told(name))}: {written}")
    return ", ".join([*plain, *([f"**{{{', '.join(other)}}}"] if other else [])])


# ------------------------------------------------------------------ workflow.py

_MODULE: Final = '''"""A workflow that was crystallized out of recorded runs.

    host = ToolHost([...])
    manifest = build_manifest(host.surface, ManifestOptions(side_effect_ceiling={ceiling}))
    program = workflow(host, manifest)          # a persona, for Engine.open(..., personas=[program])

Its tools are found in `manifest` by their own names, and nothing else in it can be called. What
`manifest` does not allow is not done: its ceiling, denials and gates hold.{unknown}
"""

from dataclasses import replace as _replace
from pathlib import Path as _Path
from typing import Any as _Any

{imports}

NAME = {name}
CANDIDATE = {candidate}
BINDINGS = {bindings}
"""What the snippets call each tool."""
LIMITS = _CompositionLimits({limits})
"""Of each snippet: what its calls took when they were recorded, with room to spare."""
LEFT_OUT = {left_out}
"""What agents also did, and this does not: before which step, kind, name, and in how many of the examples."""
{asked}SNIPPETS = tuple(
    _Path(__file__).with_name(_file).read_text(encoding="utf-8") for _file in {files}
)


def narrowed(manifest: _Manifest) -> _Manifest:
    """The tools of the workflow and nothing else. Raises LookupError where one is missing or stands twice."""
    entries = []
    for name, binding in BINDINGS.items():
        found = [entry for entry in manifest.entries if entry.name == name]
        if not found and name in manifest.denied:
            raise LookupError(f"the manifest denies {{name!r}}, which is needed: {{manifest.denied[name]}}")
        if len(found) != 1:
            raise LookupError(f"the manifest has {{len(found)}} tools called {{name!r}}, and one is needed")
        entries.append(_replace(found[0], binding=binding))
    return _Manifest(entries=tuple(entries), side_effect_ceiling=manifest.side_effect_ceiling)


{helpers}def workflow(
    host: _Any,
    manifest: _Manifest,
    *,
    name: str = NAME,
    limits: _CompositionLimits = LIMITS,
    policy: _Policy | None = None,{models}
) -> _Any:
    """The persona. `host` carries its calls out; `policy` bounds all that it does."""
    _host, _limits, _tools = host, limits, narrowed(manifest){clients}

    async def _run(_number: int, **_inputs: _Any) -> _Any:
        """Run one snippet with these variables; its result, or an error that says why there is none."""
        composed = await _compose(
            SNIPPETS[_number],
            _tools,
            _host,
            inputs=_inputs,
            limits=_limits,
            ceiling=_tools.side_effect_ceiling,
        )
        return composed.value()

    @_persona(name=name, policy=policy)
    async def crystallized({parameters}) -> _Any:
{body}

    return crystallized
'''
_ANSWERS: Final = '''_SHAPES = {
    **{str: "text", bool: "boolean", int: "number", float: "number"},
    **{list: "list", dict: "object", type(None): "null"},
}


def _shape(value: _Any) -> _Any:
    return _SHAPES.get(type(value))


def _names(value: _Any) -> _Any:
    return sorted(value) if isinstance(value, dict) else _shape(value)


def _accept(signal: str, answer: _Any, accepted: list[_Any]) -> None:
    """What follows was done after these answers. After another one nobody knows what is to be done."""
    if _dumps(answer, sort_keys=True) not in [_dumps(each, sort_keys=True) for each in accepted]:
        raise ValueError(f"{signal!r} was answered {answer!r}: this workflow goes on after {accepted!r}")


'''
_MODELS: Final = '''MODELS = {names}
"""The clients that are asked, as they were called: `models={{name: client}}` says who they are."""
'''
_ASKED: Final = '''def asked(models: _Mapping[str, _Any]) -> dict[str, _Any]:
    """The clients that the workflow asks. Raises LookupError where one is missing."""
    for name in MODELS:
        if name not in models:
            raise LookupError(f"the workflow asks {name!r}, and `models` says of no client that it is it")
    return {name: models[name] for name in MODELS}


'''
_IMPORTS: Final = frozenset(
    ("playhead", name) for name in ("CompositionLimits", "Manifest", "Policy", "compose", "persona")
)
_MORE_IMPORTS: Final = {
    MODEL: frozenset(
        {
            *(("msgspec", name) for name in ("convert", "to_builtins")),
            ("collections.abc", "Mapping"),
            *(("playhead", name) for name in ("Request", "model_call")),
        }
    ),
    SIGNAL: frozenset({("json", "dumps"), ("playhead", "signal")}),
}
"""What is imported, and what more where there is a step of this kind: under names that no parameter has."""


def workflow_of(candidate: Candidate) -> str:
    """The text of workflow.py. Raises `Unwritable`."""
    kinds = {step.kind for step in candidate.steps}
    ceiling = _ceiling(candidate.steps)
    asked = sorted({step.name for step in candidate.steps if step.kind == MODEL})
    needed = _IMPORTS.union(*(_MORE_IMPORTS.get(kind, ()) for kind in kinds))
    parameters = ", ".join(f"{each.name}: {_TYPES[each.type]}" for each in candidate.parameters)
    return _MODULE.format(
        imports="\n".join(f"from {module} import {name} as _{name}" for module, name in sorted(needed)),
        ceiling=literal(ceiling) if ceiling else "...",
        unknown="" if ceiling else " How high the ceiling has to\nbe, the recorded runs do not tell.",
        name=literal(candidate.name),
        candidate=literal(candidate.id),
        bindings=literal(candidate.bindings),
        left_out=literal([list(msgspec.structs.astuple(each)) for each in candidate.left_out]),
        limits=", ".join(
            f"{name}={value}" for name, value in msgspec.structs.asdict(candidate.bounds).items()
        ),
        files=_tuple([segment.file for segment in candidate.segments]),
        parameters=parameters,
        helpers=(_ANSWERS if any(step.answers for step in candidate.steps) else "")
        + (_ASKED if asked else ""),
        asked=_MODELS.format(names=_tuple(asked)) if asked else "",
        models="\n    models: _Mapping[str, _Any]," if asked else "",
        clients="\n    _models = asked(models)" if asked else "",
        body="\n".join(f"        {line}" for line in _body(candidate)),
    )


def _ceiling(steps: Sequence[Step]) -> str | None:
    """The highest level of the tools; None where the traces do not tell it of each."""
    told = {step.level for step in steps if step.kind == TOOL}
    known = [level for level in LEVELS if level in told]
    return known[-1] if known and told <= set(known) else None


def _tuple(values: Sequence[str]) -> str:
    return f"({''.join(f'{literal(value)}, ' for value in values).rstrip()})"


def _body(candidate: Candidate) -> list[str]:
    """The lines of the persona: snippets in a row, and what is done between them."""
    lines: list[str] = []
    first = {segment.steps[0]: number for number, segment in enumerate(candidate.segments)}
    for step in candidate.steps:
        if step.index in first:
            number = first[step.index]
            segment = candidate.segments[number]
            names = inputs_of_segment(segment, candidate.steps, candidate.parameters)
            given = "".join(f", {name}={name}" for name in names)
            targets = ", ".join(f"step_{index}" for index in segment.gives)
            lines.append(f"{targets} = await _run({number}{given})")
        elif step.kind == MODEL:
            members = expression(Members(members=step.inputs))
            asked = f"_model_call(_models[{literal(step.name)}], _convert({members}, _Request))"
            lines.append(f"step_{step.index} = _to_builtins(await {asked})")
        elif step.kind == SIGNAL:
            lines.append(f"step_{step.index} = await _signal({literal(step.name)})")
            lines += [_accepted(step, answer) for answer in step.answers]
    last = lines.pop().removeprefix(f"step_{candidate.steps[-1].index} = ")
    return [*lines, f"return {last}"]


def _accepted(step: Step, answer: Answer) -> str:
    """The line that goes on after a recorded answer only."""
    found = expression(Flow(step=step.index, path=answer.path))
    seen = {"value": found, "shape": f"_shape({found})", "names": f"_names({found})"}[answer.what]
    return f"_accept({literal(step.name)}, {seen}, {literal(list(answer.accepted))})"
