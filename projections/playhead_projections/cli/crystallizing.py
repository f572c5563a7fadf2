"""`playhead crystallize …`: workflows out of what was recorded, and how they compare with other traces."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from playhead.errors import BadValue, NotFound
from playhead_projections.cli.faults import DONE, NO, AnswerIsNo, Usage
from playhead_projections.cli.output import brief, count, cut, table
from playhead_projections.cli.session import Session, command, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playhead_projections.crystallization.mining import Report
    from playhead_projections.crystallization.plans import Candidate, Verdict
    from playhead_projections.trace import Trace

GAP_LARGEST: Final = 50
WHY: Final = 70
VALUE: Final = 40
BUNDLE_SCHEMA: Final = "playhead.crystallization.mined/1"
PROBLEMS_SCHEMA: Final = "playhead.crystallization.problems/1"
SHADOW_SCHEMA: Final = "playhead.crystallization.shadow/1"

bundle_argument = click.argument("bundle", type=click.Path(path_type=Path))


def trace_options(function: Any) -> Any:
    """Adds where traces come from."""
    for option in (
        click.argument("runs", nargs=-1, metavar="[RUN...]"),
        click.option(
            "--persona",
            "personas",
            multiple=True,
            metavar="NAME",
            help="All completed runs of this persona; may be given again.",
        ),
        click.option(
            "--from", "directory", type=click.Path(path_type=Path), help="All *.json below a directory."
        ),
    ):
        function = option(function)
    return function


@click.group("crystallize")
def crystallize() -> None:
    """Turn what was done again and again into a workflow, and hold it against what was recorded."""


def _traces(
    session: Session, runs: Sequence[str], personas: Sequence[str], directory: Path | None
) -> list[Trace]:
    """The traces that are meant, each once. Raises `NotFound`, and `BadValue` for what is no trace."""
    from playhead_projections.cli.addresses import find
    from playhead_projections.crystallization.reading import one_of_each, read_traces
    from playhead_projections.projector import state_at
    from playhead_projections.trace import Traces, trace_of

    found = read_traces(directory) if directory is not None else []
    if runs or personas:
        with session.reading() as log:
            addresses = [find(log, session.store, each) for each in runs]
            wanted = {address.stream: address.last for address in addresses}
            wanted = dict.fromkeys(_finished(session, personas)) | wanted if personas else wanted
            found += [trace_of(state_at(log, Traces(), each, last).state) for each, last in wanted.items()]
    return one_of_each(found)


def _finished(session: Session, personas: Sequence[str]) -> list[str]:
    """The streams of all completed runs of these personas, the oldest first.

    Raises `NotFound` for a persona that never ran, and `BadValue` for one of which no run completed.
    """
    from playhead_projections.cli.addresses import of_runs
    from playhead_projections.runs import Runs

    with session.reading() as log:
        lives = of_runs(log, session.store, lambda models: [line.life for line in models.newest(Runs())])
    for persona in personas:
        ended = Counter(str(life.status) for life in lives if life.persona == persona)
        if not ended:
            known = sorted({life.persona for life in lives if life.persona})
            raise NotFound(
                f"no run of a persona called {persona!r} is recorded.",
                expected=", ".join(known) or "nothing: no run is recorded",
                found=persona,
            )
        if not ended["completed"]:
            said = ", ".join(f"{number} {status}" for status, number in sorted(ended.items()))
            raise BadValue(
                f"no run of {persona} completed, and only those are taken.",
                expected="completed runs",
                found=said,
                next_step="Name runs that did not complete one by one, where they are to be taken too.",
            )
    streams = [f"run/{life.run}" for life in lives if life.persona in personas and life.status == "completed"]
    return streams[::-1]


# ------------------------------------------------------------------ mine


@command("mine")
@trace_options
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="BUNDLE", help="Where it goes."
)
@click.option("--min-examples", default=2, show_default=True, help="In how many traces steps have to stand.")
@click.option(
    "--gap",
    default=2,
    show_default=True,
    type=click.IntRange(0, GAP_LARGEST),
    help="How many other actions may stand between two steps.",
)
@click.option("--name", help="What the workflow is called.")
@click.option("--pick", metavar="ID", help="Another candidate than the best one.")
@click.option("--force", is_flag=True, help="Put it in the place of another bundle.")
@json_option
def mine(
    session: Session,
    *,
    runs: tuple[str, ...],
    personas: tuple[str, ...],
    directory: Path | None,
    out: Path,
    min_examples: int,
    gap: int,
    name: str | None,
    pick: str | None,
    force: bool,
    as_json: bool,
) -> int:
    """Find what RUNs have in common, and write it as a bundle with a workflow that does it.

    Exit code 1 when there is no candidate, or when the one that was picked is rejected; what was found is
    written all the same.
    """
    from playhead_projections.crystallization.bundle import write_bundle
    from playhead_projections.crystallization.mining import Options, document_of, mined

    if not runs and not personas and directory is None:
        raise Usage("what is to be mined?", expected="RUN..., --persona NAME or --from DIRECTORY")
    traces = _traces(session, runs, personas, directory)
    report = mined(traces, Options(min_examples=min_examples, gap_max=gap, name=name, pick=pick))
    files = write_bundle(report, out, force=force)
    if as_json:
        body = {"bundle": str(out), "files": files, "report": document_of(report)}
        session.out.document(BUNDLE_SCHEMA, body)
    else:
        _tell(session, report, out)
    return NO if report.selected is None or report.selected.kind == "rejected" else DONE


def _tell(session: Session, report: Report, out: Path) -> None:
    from playhead_projections.crystallization.values import in_line

    rows = [_row(session, each) for each in report.candidates]
    if rows:
        head = ["candidate", "kind", "confidence", "risk", "traces", "held out", "steps, or why not"]
        session.out.lines(table(rows, head=head, right=(2, 4, 5)))
    else:
        session.out.line(_why_none(report))
    for warning in report.warnings:
        session.out.line(in_line(warning))
    held = f", {len(report.held_out)} of them held out" if report.held_out else ""
    chosen = report.selected.id if report.selected else "no candidate"
    session.out.line(f"{count(len(report.traces), 'trace')}{held}: {chosen} in {out}")


def _why_none(report: Report) -> str:
    """What is lacking where nothing was found at all."""
    lengths = sorted(sum(action.told for action in trace.actions) for trace in report.traces)
    least, most = lengths[0], lengths[-1]
    held = count(most, "completed action") if least == most else f"{least} to {most} completed actions"
    return (
        f"no 2 steps follow each other in {report.min_examples} traces or more, within --gap: "
        f"each holds {held}"
    )


def _row(session: Session, candidate: Candidate) -> list[str]:
    steps = " -> ".join(step.name for step in candidate.steps)
    return [
        candidate.id,
        session.out.word(candidate.kind),
        f"{candidate.confidence:.2f}",
        candidate.risk,
        str(len(candidate.examples) + len(candidate.also_in)),
        str(len(candidate.also_in)),
        cut(f"{steps}: {candidate.reasons[0]}" if candidate.reasons else steps, WHY),
    ]


# -------------------------------------------------------------- validate


@command("validate")
@bundle_argument
@json_option
def validate(session: Session, *, bundle: Path, as_json: bool) -> int:
    """Say everything that is wrong with BUNDLE. Nothing of it is run. Exit code 1 when something is wrong."""
    from playhead_projections.crystallization.checking import problems_of

    problems = problems_of(bundle)
    if as_json:
        body = {"bundle": str(bundle), "problems": [problem._asdict() for problem in problems]}
        session.out.document(PROBLEMS_SCHEMA, body)
    else:
        for problem in problems:
            session.out.line(f"{problem.file}: {problem.message}")
        session.out.line(
            count(len(problems), "problem") if problems else f"{session.out.word('ok')}  {bundle}"
        )
    return NO if problems else DONE


# ---------------------------------------------------------------- shadow


@command("shadow")
@bundle_argument
@trace_options
@json_option
def shadow(
    session: Session,
    *,
    bundle: Path,
    runs: tuple[str, ...],
    personas: tuple[str, ...],
    directory: Path | None,
    as_json: bool,
) -> int:
    """Run the workflow of BUNDLE against what was recorded, touching nothing.

    Against RUNs or files, where some are named, else against the traces in the bundle. Exit code 1 when one
    differs, or when none is the same.
    """
    from playhead.composition.machines import Workers
    from playhead_projections.crystallization.checking import load
    from playhead_projections.crystallization.redaction import redacted
    from playhead_projections.crystallization.shadow import shadow as compared

    found = load(bundle)
    candidate = found.candidate
    if candidate is None or candidate.kind != "candidate":
        what = candidate.kind if candidate else "no candidate"
        raise AnswerIsNo(f"{bundle} has no workflow.", expected="a candidate", found=what)
    if runs or personas or directory is not None:
        traces = redacted(_traces(session, runs, personas, directory))
        expected: dict[str, str] = {}
    else:
        traces = [found.traces[case.fixture] for case in found.cases]
        expected = {case.trace: case.expected for case in found.cases}
    with Workers() as workers:
        verdicts = [compared(candidate, trace, workers.machine) for trace in traces]
    if as_json:
        listed = [
            {**msgspec.to_builtins(verdict), "wanted": expected.get(verdict.trace)} for verdict in verdicts
        ]
        body = {"bundle": str(bundle), "candidate": candidate.id, "verdicts": listed}
        session.out.document(SHADOW_SCHEMA, body)
    else:
        rows = [_verdict_row(session, candidate, verdict) for verdict in verdicts]
        head = ["trace", "verdict", "step", "what", "expected", "found"]
        session.out.lines(table(rows, head=head) if rows else [])
        same = sum(verdict.verdict == "same" for verdict in verdicts)
        session.out.line(f"{count(len(verdicts), 'trace')}, {same} the same")
    differs = any(
        verdict.verdict == "different" or verdict.verdict != expected.get(verdict.trace, verdict.verdict)
        for verdict in verdicts
    )
    return NO if differs or not any(verdict.verdict == "same" for verdict in verdicts) else DONE


def _verdict_row(session: Session, candidate: Candidate, verdict: Verdict) -> list[str]:
    from playhead_projections.crystallization.values import in_line

    steps = {step.index: in_line(step.name) for step in candidate.steps}
    step = "" if verdict.step is None else f"{verdict.step} {steps.get(verdict.step, '')}".rstrip()
    changed = ", ".join(steps[index] for index in verdict.changed)
    return [
        in_line(verdict.trace),
        session.out.word(verdict.verdict),
        step,
        in_line(verdict.what) if verdict.what else (f"another outcome of {changed}" if changed else ""),
        "" if verdict.expected is None else brief(verdict.expected, VALUE),
        "" if verdict.found is None else brief(verdict.found, VALUE),
    ]


for _sub in (mine, validate, shadow):
    crystallize.add_command(_sub)
