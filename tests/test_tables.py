"""The tables of events and errors in the docs say what the code says, line by line."""

import inspect
import re

import pytest

from playhead import errors
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact
from playhead.snippet.helpers import HELPERS
from playhead.snippet.methods import METHOD_NAMES
from playhead.snippet.values import ERROR_TYPES
from tests.checkout import ROOT


def rows(page: str, first: str) -> list[str]:
    """The lines of the table whose first column is called `first`."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first} |"))
    table: list[str] = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append(line)
    return table


def words(thing: object) -> str:
    return " ".join((thing.__doc__ or "").split())


def kind(fact: type[Fact]) -> str:
    if fact.PROGRAM:
        return "program"
    return "outcome" if fact.OUTCOME else "world"


def test_every_event_stands_in_its_table_with_its_kind_and_its_moment() -> None:
    expected = [f"| `{name}` | {kind(fact)} | {words(fact)} |" for name, fact in CATALOG.facts.items()]

    assert rows("events.md", "type") == expected


def test_every_error_stands_in_its_table_with_its_code() -> None:
    known = [
        thing
        for thing in vars(errors).values()
        if inspect.isclass(thing) and issubclass(thing, errors.PlayheadError)
    ]

    assert rows("errors.md", "error") == [
        f"| `{error.__name__}` | `{error.code}` | {words(error)} |" for error in known
    ]


def test_a_table_that_is_not_there_is_missed() -> None:
    with pytest.raises(StopIteration):
        rows("events.md", "no such column")


def test_every_helper_method_and_error_of_snippets_stands_on_the_page_of_their_language() -> None:
    page = (ROOT / "docs" / "snippet_language.md").read_text()
    told = set(re.findall(r"`([A-Za-z_0-9]+)[`(]", page))

    assert not {*HELPERS, *ERROR_TYPES, *METHOD_NAMES} - told
