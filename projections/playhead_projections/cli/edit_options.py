"""The options that say what is edited in a fork."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from playhead_projections.cli.faults import Usage
from playhead_projections.cli.running import from_json, pair

if TYPE_CHECKING:
    from playhead.policy.capability import Policy
    from playhead.replay.edits import Edits

C = TypeVar("C", bound=Callable[..., Any])

# In the order of the help.
EDITS: Final = (
    click.option("--set-args", metavar="JSON", help="Arguments of the run, as an object by name."),
    click.option("--arg", "args", multiple=True, metavar="PATH=JSON", help="An argument, such as urls.0."),
    click.option(
        "--outcome",
        "outcomes",
        multiple=True,
        metavar="OP=JSON",
        help="What came of an operation; OP is its id, the end of it, or @SEQ.",
    ),
    click.option("--fail", "failures", multiple=True, metavar="OP=TEXT", help="It failed: Type: message."),
    click.option("--state", "states", multiple=True, metavar="KEY=JSON", help="What reading state gave."),
    click.option("--model", help="The model that requests name past the cut."),
    click.option("--policy", type=click.Path(path_type=Path), metavar="FILE", help="A policy around it all."),
    click.option(
        "--override",
        "overrides",
        multiple=True,
        metavar="KEY=JSON",
        help="llm:CALL, mcp:SERVER:CALL, secret:NAME, time:LABEL or host:CAPABILITY:CALL.",
    ),
)


def edit_options(function: C) -> C:
    """Adds the options that say what is edited."""
    for option in reversed(EDITS):
        function = option(function)
    return function


def edits_of(options: dict[str, Any]) -> Edits:
    """The edits that the options say. Raises `Usage`."""
    from playhead.replay.edits import Edits

    args: dict[str, Any] = {}
    if options["set_args"] is not None:
        said = from_json(options["set_args"], "--set-args")
        if not isinstance(said, dict):
            raise Usage("--set-args takes an object.", expected='{"name": value}', found=options["set_args"])
        args |= cast("dict[str, Any]", said)
    args |= _values("--arg", options["args"], args)
    failures: dict[str, str] = {}
    for text in options["failures"]:
        name, message = pair(text, "--fail", failures)
        failures[name] = message
    return Edits(
        args=args,
        outcomes=_values("--outcome", options["outcomes"], {}),
        failures=failures,
        state=_values("--state", options["states"], {}),
        model=options["model"],
        policy=None if options["policy"] is None else _policy(options["policy"]),
        overrides=_values("--override", options["overrides"], {}),
    )


def _values(option: str, texts: tuple[str, ...], known: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for text in texts:
        name, value = pair(text, option, {**known, **given})
        given[name] = from_json(value, f"{option} {name}")
    return given


def _policy(file: Path) -> Policy:
    from playhead_projections.cli.policies import read

    told = read(file)
    return replace(told.policy, autonomy=(*told.policy.scopes, *told.scopes))
