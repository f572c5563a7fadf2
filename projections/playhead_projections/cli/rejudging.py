"""`playhead trust what-if`: what another policy would have said of the effects of past runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from playhead_projections.cli.addresses import find_run
from playhead_projections.cli.faults import DONE, NO
from playhead_projections.cli.output import count, cut, table
from playhead_projections.cli.policies import read
from playhead_projections.cli.session import Session, command, json_option

if TYPE_CHECKING:
    from playhead_projections.trust_graph.rejudge import Rejudged

WIDTH: Final = 60


@command("what-if")
@click.option(
    "--policy",
    "file",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="A file as `playhead policy test` reads it.",
)
@click.argument("runs", nargs=-1, metavar="[RUN...]")
@json_option
def what_if(session: Session, *, file: Path, runs: tuple[str, ...], as_json: bool) -> int:
    """Say what the policy in FILE would have made of the effects of RUN, or of all runs. Nothing runs.

    How each agent stood is taken from the log. Exit code 1 where something would have become of an effect
    that did not.
    """
    from playhead_projections.trust_graph.rejudge import past_effects, rejudge

    told = read(file)
    with session.reading() as log:
        named = {find_run(log, session.store, run) for run in runs}
        effects = [effect for effect in past_effects(log) if not named or effect.run in named]
    found = list(rejudge(effects, told.scopes, told.policy))
    differing = [each for each in found if each.differs]
    changes = Counter((each.effect.verdict, each.verdict) for each in differing)
    if as_json:
        body = {
            "effects": [_document(each) for each in found],
            "differ": len(differing),
            "changes": [
                {"was": was, "would_be": would_be, "count": number}
                for (was, would_be), number in sorted(changes.items())
            ],
        }
        session.out.document("playhead.trust_what_if/1", body)
        return NO if differing else DONE
    rows = [_row(each) for each in differing]
    lines = table(rows, head=["where", "agent", "what", "was", "would be", "why"]) if rows else []
    told_changes = ", ".join(f"{n:,} {was} → {now}" for (was, now), n in sorted(changes.items()))
    others = f", {count(len(differing))} would differ: {told_changes}" if differing else ", none would differ"
    session.out.lines([*lines, f"{count(len(found), 'effect')}{others}"])
    return NO if differing else DONE


def _document(each: Rejudged) -> dict[str, Any]:
    effect = each.effect
    return {
        "run": effect.run,
        "seq": effect.seq,
        "at": effect.at,
        "op": effect.op,
        "agent": effect.agent,
        "tool": effect.tool,
        "class": effect.action,
        "decided": effect.decided,
        "standing": None if effect.standing is None else msgspec.structs.asdict(effect.standing),
        "was": effect.verdict,
        "would_be": each.verdict,
        "differs": each.differs,
        "reason": each.reason,
        "because": list(each.because),
    }


def _row(each: Rejudged) -> list[str]:
    effect = each.effect
    was = effect.verdict if effect.decided else f"{effect.verdict}, undecided"
    what = cut(f"{effect.tool} {effect.action}", WIDTH)
    return [
        f"{effect.run}@{effect.seq}",
        cut(effect.agent, WIDTH),
        what,
        was,
        each.verdict,
        cut(each.reason, WIDTH),
    ]
