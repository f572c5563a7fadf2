"""Traces made by hand, and what is common to the tests that use them."""

from typing import Any

from playhead_projections.crystallization.mining import Options, Report, mined
from playhead_projections.trace import Action, SideEffect, Trace


def call(name: str, output: Any = None, /, **inputs: Any) -> Action:
    """A call of a tool that only reads."""
    return Action(
        id=name,
        kind="tool_call",
        name=name,
        inputs=inputs,
        output=output,
        effect="read_only",
        side_effects_known=True,
    )


def write(name: str, output: Any = None, /, **inputs: Any) -> Action:
    """A call of a tool that changes something."""
    return Action(
        id=name,
        kind="tool_call",
        name=name,
        inputs=inputs,
        output=output,
        effect="effect",
        side_effects=(SideEffect(kind="file_write", target=name),),
        side_effects_known=True,
    )


def ask(prompt: str, text: str) -> Action:
    return Action(
        id="ask",
        kind="model_call",
        name="tiny",
        inputs={"prompt": prompt},
        output={"text": text},
        side_effects_known=True,
        fuzzy=True,
    )


def trace(name: str, *actions: Action) -> Trace:
    return Trace(id=name, source=f"{name}.json", source_hash=f"sha256:{name * 8}", actions=actions)


def search_and_read(n: int, *between: Action) -> Trace:
    """One example of what the tests mine most: the path that is read was found before."""
    hits = [{"path": f"{n}.py", "score": n}, {"path": "README.md", "score": 0}]
    text = f"text of {n}"
    return trace(
        f"t{n}",
        call("search", hits, query=f"q{n}", limit=5),
        *between,
        call("read.file", {"text": text}, path=f"{n}.py"),
        write("save", len(text), text=text, to="out.md"),
    )


def report(*traces: Trace, **options: Any) -> Report:
    return mined(traces, Options(**options))
