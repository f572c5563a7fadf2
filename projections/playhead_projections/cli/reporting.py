"""`playhead report`: what a run did and took, and who decided what, as text, JSON, Markdown or one page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from playhead_projections.cli.addresses import as_of_option, find_as_of
from playhead_projections.cli.faults import DONE, Usage
from playhead_projections.cli.output import cleaned, in_json
from playhead_projections.cli.session import Session, command, json_option, refuse_output

if TYPE_CHECKING:
    from playhead.log.reader import LogReader
    from playhead_projections.cli.addresses import Address

FORMATS: Final = ("text", "json", "markdown", "html")
ENDINGS: Final = {
    "": "text",
    ".txt": "text",
    ".json": "json",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
}
CHILDREN_MAX: Final = 100


@command("report")
@click.argument("run", default="@", metavar="RUN[@N]")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: text, or as the file is called.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="How many nodes of the tree are shown.")
@click.option("--all", "everything", is_flag=True, help="Every node.")
@as_of_option
@json_option
def report(
    session: Session,
    *,
    run: str,
    form: str | None,
    output: Path | None,
    limit: int | None,
    everything: bool,
    as_of: str | None,
    as_json: bool,
) -> int:
    """Report on RUN: what it did, what that took, what failed and why, and who decided; RUN@12 as of then."""
    if output is not None:
        refuse_output(session.store, output)
        if not output.resolve().parent.is_dir():
            raise Usage(f"there is no directory {output.resolve().parent}.", found=str(output))
    chosen = _form(form, output, as_json=as_json)
    with session.reading() as log:
        document = _document(session, log, find_as_of(log, session.store, run, as_of))
    if output is None and chosen == "text":
        session.out.lines(_lines(session, document, chosen, limit, everything=everything))
        return DONE
    if output is None and chosen == "json":
        schema = document.pop("schema")
        session.out.document(schema, document)
        return DONE
    found = _lines(session, document, chosen, limit, everything=everything)
    if output is None:
        for line in found:
            session.out.line(line)
        return DONE
    _write(output, found)
    session.out.aside(f"{chosen} to {output}")
    return DONE


def _form(form: str | None, output: Path | None, *, as_json: bool) -> str:
    """Which form is meant: as it is asked for, else by the ending of the file, else text."""
    if as_json and form not in (None, "json"):
        raise Usage("a report has one form.", expected=f"--json or --format {form}", found="both")
    if as_json or form is not None:
        return "json" if as_json else str(form)
    ending = "" if output is None else output.suffix.lower()
    if ending not in ENDINGS:
        raise Usage(
            f"no form of a report has files that end in {ending}.",
            expected=f"--format, or a file that ends in {', '.join(filter(None, ENDINGS))}",
            found=str(output),
        )
    return ENDINGS[ending]


def _document(session: Session, log: LogReader, address: Address) -> dict[str, Any]:
    from playhead_projections.cli.showing import checked_last
    from playhead_projections.cli.standing import Living
    from playhead_projections.projector import state_as_of
    from playhead_projections.reports.document import child_runs, document
    from playhead_projections.reports.fold import Reports

    last = checked_last(log, address)
    whole = state_as_of(log, Reports(), address.stream, last).state
    status = None if last is not None else Living(log, session.store).status(whole.report.life)
    children = [] if last is not None else _children(log, child_runs(whole))
    return document(whole, at=last, status=status, children=children)


def _children(log: LogReader, runs: list[str]) -> list[dict[str, Any]]:
    """What is known of child runs now, of the first so many."""
    from playhead_projections.projector import state_as_of
    from playhead_projections.reports.document import child_document
    from playhead_projections.reports.fold import Reports

    known = [run for run in runs if log.head(f"run/{run}").seq]
    return [child_document(state_as_of(log, Reports(), f"run/{run}").state) for run in known[:CHILDREN_MAX]]


def _lines(
    session: Session, document: dict[str, Any], form: str, limit: int | None, *, everything: bool
) -> Iterator[str]:
    if form == "json":
        return iter([in_json(document, indent=2)])
    from playhead_projections.cli.reports import markdown, page, text

    most = {"text": text.NODES, "markdown": markdown.NODES, "html": page.NODES}[form]
    shown = None if everything else limit or most
    if form == "text":
        return text.lines(document, limit=shown, width=session.out.width, word=session.out.word)
    if form == "markdown":
        return markdown.lines(document, limit=shown)
    return page.lines(document, limit=shown)


def _write(output: Path, found: Iterable[str]) -> None:
    """A file that is written whole or not at all; what is no file, such as a pipe, is written into."""
    lines = (f"{cleaned(line)}\n" for line in found)
    if output.exists() and not output.is_file():
        with output.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
        return
    target = output.resolve()  # a link stays one
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
