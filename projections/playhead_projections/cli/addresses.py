"""One way to say which run and which event: RUN, RUN@12, RUN@12..40, @, @failed.

RUN is a whole id, a name, or the beginning of an id, tried in this order. What fits
more than one run is refused with the candidates, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from playhead.errors import BadValue, NotFound
from playhead_projections.cli.faults import Usage
from playhead_projections.cli.output import cleaned

if TYPE_CHECKING:
    from pathlib import Path

    from playhead.log.reader import LogReader
    from playhead_projections.projector import Parked, ReadModels

C = TypeVar("C", bound=Callable[..., Any])
T = TypeVar("T")

CANDIDATES_MAX: Final = 10
CHILDREN_PASSED_MAX: Final = 200
ID_LENGTH: Final = 12
DIGITS_MAX: Final = 18
LATEST: Final = "@"
AS_OF: Final = "RUN@N|POSITION|TIME"
FAILED: Final = "@failed"

_PLACE: Final = re.compile(r"(?P<run>.*?)@(?P<first>\d+)(?P<range>\.\.(?P<last>\d*))?")


def as_of_option(function: C) -> C:
    """Adds `--as-of`."""
    return click.option(
        "--as-of", metavar=AS_OF, help="As things stood at this event, position of the log, or time."
    )(function)


class Moment(NamedTuple):
    """A past: the position that the log stood at, and the time, nanoseconds since the epoch."""

    position: int
    at: int


class Address(NamedTuple):
    """A run and the events of it that are meant: all, one (`last` is `first`), or from `first` to `last`."""

    run: str
    first: int | None = None
    last: int | None = None

    @property
    def stream(self) -> str:
        return f"run/{self.run}"


def split(text: str) -> tuple[str, int | None, int | None]:
    """The run as it was written, and the first and last event. Raises `Usage`."""
    match = _PLACE.fullmatch(text)
    if match is None:
        if "@" in text and text not in {LATEST, FAILED}:
            raise Usage(
                f"{text!r} is no address.", expected="RUN, RUN@12, RUN@12..40, @ or @failed", found=text
            )
        return text, None, None
    run = match["run"] or LATEST
    first = _number(match["first"], text)
    if match["range"] is None:
        return run, first, first
    last = _number(match["last"], text) if match["last"] else None
    if last is not None and last < first:
        raise Usage(f"{text!r} ends before it begins.", expected=f"{run}@{last}..{first}", found=text)
    return run, first, last


def _number(digits: str, text: str) -> int:
    """A place in a stream or in the log. Raises `NotFound` for one that no log can have."""
    if len(digits) > DIGITS_MAX:
        raise NotFound(
            "no log has that many events.", expected=f"a number of at most {DIGITS_MAX} digits", found=text
        )
    return int(digits)


def find(log: LogReader, store: Path, text: str) -> Address:
    """The run and events that `text` names. Raises `NotFound`, and `Usage` where it fits several runs."""
    run, first, last = split(text)
    return Address(find_run(log, store, run), first, last)


def find_whole(log: LogReader, store: Path, text: str) -> Address:
    """The run that `text` names. Raises `Usage` where it names an event of it."""
    address = find(log, store, text)
    if address.first is not None:
        raise Usage("a whole run is meant here, not an event of it.", expected="RUN", found=text)
    return address


def check_event(log: LogReader, address: Address, text: str) -> None:
    """Raise `NotFound` where the run has no event as the first that `text` names."""
    end = log.head(address.stream).seq
    if address.first is not None and address.first >= end:
        raise NotFound(
            f"run {address.run} has no event {address.first}.",
            expected=f"{address.run}@0 to @{end - 1}",
            found=text,
        )


def find_one(log: LogReader, store: Path, text: str) -> tuple[str, int]:
    """The run and the one event that `text` names. Raises `Usage` where it names none."""
    address = find(log, store, text)
    if address.first is None or address.last != address.first:
        raise Usage(f"{text!r} names no single event.", expected="RUN@SEQ", found=text)
    return address.run, address.first


def moment_of(log: LogReader, store: Path, text: str) -> Moment:
    """The past that `text` names, as RUN@N, as a position of the log, or as a time.

    Raises `NotFound` where there is no such event, and `Usage` for anything else.
    """
    from playhead.clock import SystemClock
    from playhead_projections.moments import position_at
    from playhead_projections.times import EXAMPLES, time_in

    if "@" in text:
        address = find(log, store, text)
        if address.first is None or address.first != address.last:
            raise Usage("one event is meant here.", expected="RUN@N", found=text)
        check_event(log, address, text)
        (found,) = log.positions(address.stream, address.first, 1)
        return Moment(found, log.at(found).at)
    if text.isascii() and text.isdigit():
        position, end = _number(text, text), log.position()
        if not 0 < position <= end:
            raise NotFound(f"the log has no event at position {text}.", expected=f"1 to {end}", found=text)
        return Moment(position, log.at(position).at)
    time = time_in(text, SystemClock().now())
    if time is None:
        raise Usage(
            f"{text!r} is no moment.", expected=f"RUN@N, a position, or a time as {EXAMPLES}", found=text
        )
    return Moment(position_at(log, time), time)


def position_of(log: LogReader, store: Path, text: str) -> int:
    """Where the log stood at what `text` names. Raises as `moment_of`."""
    return moment_of(log, store, text).position


def find_as_of(log: LogReader, store: Path, text: str, as_of: str | None) -> Address:
    """The run and events that `text` names, with --as-of: the run up to then.

    Raises as `find` and `moment_of`, `NotFound` where the run had not begun then, and `Usage` where both say
    which event.
    """
    address = find(log, store, text)
    if as_of is None:
        return address
    if address.first is not None:
        both = f"{text} --as-of {as_of}"
        raise Usage("RUN@N and --as-of both say as of when.", expected="one of them", found=both)
    last = log.count_at(address.stream, position_of(log, store, as_of)) - 1
    if last < 0:
        raise NotFound(f"run {address.run} had not begun then.", expected="a later moment", found=as_of)
    return Address(address.run, last, last)


def time_of(text: str, what: str) -> int:
    """A time in nanoseconds since the epoch. Raises `Usage`, which calls it `what`, for what is none."""
    from datetime import UTC, datetime, timedelta

    from playhead.trust.timestamp import instant

    expected = "2026-05-01T12:00:00Z"
    with suppress(BadValue):
        return instant(text)
    try:  # what is written a little more freely, such as without seconds
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise Usage(f"{what} is a time.", expected=expected, found=text) from error
    if when.tzinfo is None:
        raise Usage(f"{what} needs a time zone.", expected=expected, found=text)
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


def find_run(log: LogReader, store: Path, text: str) -> str:
    """The id of the run that `text` names. Raises `NotFound`, and `Usage` where it fits several."""
    if not text:
        raise Usage("no run was named.", expected="an id, a name, @ or @failed")
    if text in {LATEST, FAILED}:
        return _latest(log, store, failed=text == FAILED)
    if len(text) == ID_LENGTH and log.head(f"run/{text}").seq:
        return text
    prefix = log.streams("run", text, limit=CANDIDATES_MAX + 1)
    found = _named(log, store, text) or [stream.partition("/")[2] for stream in reversed(prefix)]
    if not found:
        raise NotFound(
            f"no run is called {text!r} or has an id that begins so.", next_step="See `playhead runs`."
        )
    if len(found) > 1:
        more = f" and {len(found) - CANDIDATES_MAX} more" if len(found) > CANDIDATES_MAX else ""
        raise Usage(
            f"{text!r} fits {'more than ' if more and len(found) > CANDIDATES_MAX else ''}"
            f"{min(len(found), CANDIDATES_MAX)} runs.",
            expected="one run",
            found=", ".join(found[:CANDIDATES_MAX]) + more,
            next_step="Write more of the id.",
        )
    return found[0]


def of_runs(log: LogReader, store: Path, work: Callable[[ReadModels], T], *, quiet: bool = False) -> T:
    """What `work` makes of the list of runs, caught up; where the list stands still, that is said."""
    from playhead_projections.asking import ask
    from playhead_projections.projector import ReadModels
    from playhead_projections.runs import Runs

    def asked(models: ReadModels) -> tuple[T, Parked | None]:
        return work(models), models.standings()[0].parked

    found, stopped = ask(ReadModels, log, store, [Runs()], asked)
    if stopped is not None and not quiet:
        click.echo(stands_still(stopped), err=True)
    return found


def stands_still(parked: Parked, what: str = "the list of runs") -> str:
    """What to say where a read model could not fold an event: which one, what is missing, what to do."""
    place = f"{parked.stream}@{parked.seq}"
    return cleaned(
        f"{what} stops at {place}, position {parked.position}: {parked.error}\n"
        "What came later is missing from it; `playhead show` and `log` still find it by its whole id.\n"
        f"See it: playhead event {place}. Try again, as with a newer playhead: playhead rebuild"
    )


def _is_child(log: LogReader, stream: str) -> bool:
    from playhead.events.catalog import RunStarted
    from playhead_projections.cli.wording import decoded

    started = decoded(log.read(stream, 0, 1)[0])
    return isinstance(started, RunStarted) and started.parent is not None


def _named(log: LogReader, store: Path, name: str) -> list[str]:
    from playhead_projections.runs import Runs

    return of_runs(log, store, lambda models: models.labelled(Runs(), name))


def _latest(log: LogReader, store: Path, *, failed: bool) -> str:
    if not failed:
        heads = log.heads("run", limit=CHILDREN_PASSED_MAX)
        if not heads:
            raise NotFound("there are no runs yet.", next_step="Start one: `playhead run FILE.py:persona`.")
        # A child run is somebody's operation: the newest run is the newest that a person started.
        newest = next((head for head in heads if not _is_child(log, head.stream)), heads[0])
        return newest.stream.partition("/")[2]
    from playhead_projections.runs import Runs

    def newest_failed(models: ReadModels) -> str | None:
        lives = (line.life for line in models.newest(Runs()))
        return next((life.run for life in lives if life.status == "failed"), None)

    if (found := of_runs(log, store, newest_failed)) is None:
        raise NotFound("no run has failed.", next_step="See `playhead runs`.")
    return found
