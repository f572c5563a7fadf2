"""`playhead policy test`: which rule decides about a call, and why, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import click
import msgspec

from playhead.policy.action import Action, action_of, known_class
from playhead.policy.annotations import Annotations
from playhead.policy.autonomy import Autonomy, Judgement, Ruling, Standing, Verdict, autonomy_of, rule
from playhead.policy.capability import Policy, policy_of
from playhead.policy.level import LEVELS
from playhead.policy.tier import TIERS
from playhead_projections.cli.faults import DONE, NO, Usage
from playhead_projections.cli.files import json_of
from playhead_projections.cli.programs import module_of
from playhead_projections.cli.session import Session, command, json_option
from playhead_projections.trust_graph.rejudge import combined

FILE: Final = 'a policy: {"autonomy": {"tier": "act_with_approval"}, "policy": {"tools": ["save"]}}'


VERDICTS: Final[dict[str, Verdict]] = {"approved": "act", "needs_approval": "ask", "denied": "denied"}
"""What a policy's word means where nothing is changed, so that autonomy has none."""


class Told(NamedTuple):
    """What a file says: the scopes of autonomy, outermost first, and what may be called at all."""

    scopes: list[Autonomy]
    policy: Policy


@click.group("policy")
def policy() -> None:
    """What policies say, before anything runs."""


@command("test")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("tool", metavar="TOOL")
@click.option("--agent", default="", help="Who calls: the name of a persona.")
@click.option("--arg", "texts", multiple=True, metavar="NAME=TEXT", help="An argument of the call.")
@click.option("--level", type=click.Choice(LEVELS), help="The side-effect level that the tool declares.")
@click.option("--kind", default="other", show_default=True, help="The kind that the tool declares.")
@click.option("--class", "word", help="The class of effects that the tool names itself, such as fs.write.")
@click.option("--path-param", "paths", multiple=True, help="A parameter that the tool declares as a path.")
@click.option(
    "--trusted", type=click.Choice(TIERS), help="The tier that the agent was promoted or demoted to."
)
@click.option("--promoted", is_flag=True, help="Somebody promoted it once: it is no newcomer.")
@click.option("--hour", default=0, help="How often it acted by itself in this hour.")
@click.option("--day", default=0, help="How often it acted by itself on this day.")
@json_option
def test(
    session: Session,
    *,
    file: Path,
    tool: str,
    agent: str,
    texts: tuple[str, ...],
    level: Any,
    kind: Any,
    word: str | None,
    paths: tuple[str, ...],
    trusted: Any,
    promoted: bool,
    hour: int,
    day: int,
    as_json: bool,
) -> int:
    """Say what the policy in FILE makes of a call of TOOL, and which rules say so.

    TOOL is path/to/file.py:NAME or package.module:NAME of a tool, which declares itself, or any name. FILE
    holds JSON: "autonomy", one scope or a list of them, the outermost first, and "policy", a capability
    policy as it is recorded. Exit code 1 where the call would not happen by itself.
    """
    told = read(file)
    if ":" in tool:
        name, said, action = _declared(tool)
    else:
        try:
            said = Annotations(kind=kind, side_effect_level=level, path_params=paths or None)
            name, action = tool, action_of(tool, said, declared=word)
        except ValueError as error:
            raise Usage(f"{error}.", found=tool) from error
    allowed = told.policy.decide(name, dict(_pairs(texts)), said)
    ruling = Ruling() if action is None else rule(told.scopes, agent, action)
    if action is None:
        judgement, verdict = None, VERDICTS[allowed.verdict]
    else:
        judgement, verdict = combined(ruling, Standing(trusted, hour, day, promoted), allowed)
    document = {
        "tool": name,
        "class": None if action is None else action.kind,
        "verdict": verdict,
        "policy": {"verdict": allowed.verdict, "reason": allowed.reason},
        "autonomy": None if judgement is None else msgspec.structs.asdict(judgement),
        "because": list(ruling.because),
        "reviewers": None if ruling.reviewers is None else list(ruling.reviewers),
        "quorum": ruling.quorum,
    }
    if as_json:
        session.out.document("playhead.policy_test/1", document)
    else:
        session.out.lines(_lines(document, ruling, judgement, action))
    return DONE if verdict == "act" else NO


def read(file: Path) -> Told:
    """The policies in a file. Raises `NotFound`, and `Usage` where it says what no policy could."""
    said = json_of(file, FILE)
    known = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
    if not known or set(known) - {"autonomy", "policy"}:
        raise Usage(f"{file} holds no policy.", expected=FILE, found=json.dumps(said)[:200])
    scopes = known.get("autonomy", [])
    listed = cast("list[object]", scopes) if isinstance(scopes, list) else [scopes]
    try:
        return Told(
            [autonomy_of(cast("dict[str, Any]", each)) for each in listed], policy_of(known.get("policy", {}))
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise Usage(f"{file} holds no policy: {error}.", expected=FILE) from error


def _declared(word: str) -> tuple[str, Annotations, Action | None]:
    from playhead.runtime.tool import Tool

    module, name = module_of(word)
    found = getattr(module, name or "", None)
    if not isinstance(found, Tool):
        raise Usage(f"{word!r} is no tool.", expected="the name of a function marked with @tool", found=name)
    known = cast("Tool[..., Any]", found)
    return known.name, known.annotations, known.wanted


def _pairs(texts: tuple[str, ...]) -> list[tuple[str, str]]:
    parted = [text.partition("=") for text in texts]
    if wrong := [text for text, (_, equals, _) in zip(texts, parted, strict=True) if not equals]:
        raise Usage(f"{wrong[0]!r} is no argument.", expected="NAME=TEXT")
    return [(name, value) for name, _, value in parted]


def _lines(
    document: dict[str, Any], ruling: Ruling, judgement: Judgement | None, action: Action | None
) -> list[str]:
    what = "changes nothing" if action is None else f"is {known_class(action.kind)}"
    lines = [f"{document['verdict']}: {document['tool']} {what}"]
    allowed = document["policy"]
    if allowed["verdict"] != "approved":
        lines.append(f"  policy: {allowed['verdict']}, {allowed['reason']}")
    lines += [f"  {because}" for because in ruling.because]
    if judgement is None:
        return [*lines, "  no scope of autonomy says a word"]
    lines.append(f"  {judgement.tier}: {judgement.reason}")
    if document["verdict"] == "ask":
        who = "anybody" if ruling.reviewers is None else ", ".join(ruling.reviewers)
        lines.append(f"  {ruling.quorum} of {who} must agree")
    return lines


policy.add_command(test)
