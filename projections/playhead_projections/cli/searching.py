"""`playhead runs --where`: runs by an expression, counted by values, in an order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from playhead.clock import SystemClock
from playhead_projections.cli.faults import Usage
from playhead_projections.cli.output import count, cut, table
from playhead_projections.cli.session import Session

if TYPE_CHECKING:
    from playhead.log.reader import LogReader
    from playhead_projections.cli.standing import Living
    from playhead_projections.projector import Parked
    from playhead_projections.runs import Line
    from playhead_projections.search.fields import Field
    from playhead_projections.search.language import Node, Path

F = TypeVar("F", bound=Callable[..., Any])
FACET_VALUES_MAX: Final = 20
VALUE_WIDTH: Final = 60


class Wish(NamedTuple):
    """What was asked for, read before the store is opened."""

    where: Node | None
    facets: tuple[tuple[str, Field, Path], ...]
    sort: Field | None
    descending: bool


class Found(NamedTuple):
    """The runs that fit, in order, with their status; what their values are; and what is to be said of it."""

    lines: list[tuple[Line, str]]
    facets: dict[str, Counter[str]]
    parked: Parked | None
    unknown: int
    full_text: bool


def search_options(function: F) -> F:
    """Adds `--where`, `--facet` and `--sort`."""
    for add in (
        click.option(
            "--sort", metavar="FIELD", help="By this field instead of the age; -FIELD for the largest first."
        ),
        click.option(
            "--facet",
            "facets",
            multiple=True,
            metavar="FIELD",
            help="How many of them have which value of it; several may be given.",
        ),
        click.option("--where", metavar="EXPR", help="Only runs for which this holds; see docs/search.md."),
    ):
        function = add(function)
    return function


def wish_of(
    where: str | None, facets: Sequence[str], sort: str | None, now: int | None = None
) -> Wish | None:
    """What the options ask for; None where the list of runs answers it alone. Raises `BadQuery`, `Usage`.

    Times such as -1h are counted from `now`, which is the clock's where none is given.
    """
    if where is None and not facets and sort is None:
        return None
    from playhead_projections.search.language import field_named, parse

    node = None if where is None else parse(where, now=SystemClock().now() if now is None else now)
    named = tuple((text, *field_named(text)) for text in facets)
    for text, field, _ in named:
        if field.kind == "words":
            raise Usage(f"--facet {text} has no values to count.", expected="such as args.url", found=text)
    descending = sort is not None and sort.startswith("-")
    by = None if sort is None else _sorted_by(sort.removeprefix("-"))
    return Wish(node, named, by, descending)


def _sorted_by(text: str) -> Field:
    from playhead_projections.search.fields import RUN

    found = RUN.get(text)
    if found is None or found.kind == "many":
        names = ", ".join(sorted(name for name, field in RUN.items() if field.kind != "many"))
        raise Usage(f"runs cannot be sorted by {text!r}.", expected=names, found=text)
    return found


def find(
    log: LogReader, session: Session, wish: Wish, living: Living, fits: Callable[[Line, str], bool]
) -> Found:
    """The runs that `wish` asks for and that fit. Raises `Busy`, and what a damaged log raises."""
    from playhead_projections.asking import ask
    from playhead_projections.runs import Runs
    from playhead_projections.search.index import SEARCH, Index

    def work(index: Index) -> Found:
        lines: list[tuple[Line, str]] = []
        for run in index.find(wish.where, living=living.lives, sort=wish.sort, descending=wish.descending):
            line = index.get(Runs(), run)
            if line is not None and fits(line, status := living.status(line.life)):
                lines.append((line, status))
        ids = [line.life.run for line, _ in lines]
        facets = {text: index.facets(ids, field, path) for text, field, path in wish.facets}
        standings = index.standings()
        parked = next((each.parked for each in standings if each.parked is not None), None)
        return Found(lines, facets, parked, standings[0].skipped, index.full_text)

    return ask(Index, log, session.store, [SEARCH, Runs()], work)


def find_at(
    log: LogReader, session: Session, wish: Wish, position: int, fits: Callable[[Line, str], bool]
) -> Found:
    """The same as the log stood at a position. Raises `BadEvent` as well."""
    from playhead_projections.asking import ask
    from playhead_projections.runs import Runs, lines_at
    from playhead_projections.search.index import SEARCH, Index
    from playhead_projections.search.past import Past

    def work(index: Index) -> Found:
        then = {line.life.run: line for line in lines_at(log, index.newest(Runs()), position)}
        with Past(log, index, position) as past:
            ids = past.find(wish.where, sort=wish.sort, descending=wish.descending)
            found = [(line, line.life.status) for run in ids if (line := then.get(run)) is not None]
            lines = [(line, status) for line, status in found if fits(line, status)]
            ids = [line.life.run for line, _ in lines]
            facets = {text: past.facets(ids, field, path) for text, field, path in wish.facets}
        parked = next((each.parked for each in index.standings() if each.parked is not None), None)
        return Found(lines, facets, parked, index.standings()[0].skipped, index.full_text)

    return ask(Index, log, session.store, [SEARCH, Runs()], work)


def facets_document(facets: dict[str, Counter[str]]) -> dict[str, Any]:
    """Facets as JSON: every value with its runs, the most frequent first."""
    return {
        text: [{"value": value, "runs": runs} for value, runs in _ranked(counted)]
        for text, counted in facets.items()
    }


def facet_lines(facets: dict[str, Counter[str]]) -> list[str]:
    """Facets for people, each a small table."""
    lines: list[str] = []
    for text, counted in facets.items():
        ranked = _ranked(counted)
        rows = [[count(runs), cut(value, VALUE_WIDTH)] for value, runs in ranked[:FACET_VALUES_MAX]]
        lines += ["", cut(text, VALUE_WIDTH), *(f"  {line}" for line in table(rows, right=(0,)))]
        if not rows:
            lines.append("  no values")
        if len(ranked) > FACET_VALUES_MAX:
            lines.append(f"  … {len(ranked) - FACET_VALUES_MAX:,} more values: --json")
    return lines


def _ranked(counted: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))
