"""How answers are printed: aligned, in words, cut where a screen ends and saying so.

Meaning is carried by words, so that it survives a pipe; colour only repeats it, and
only where the output is a terminal and NO_COLOR is not set. Unknown is `?` in words
and null in JSON, never 0.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from playhead.events.json_text import json_text

WIDTH_MIN: Final = 60
WIDTH_PIPED: Final = 120
UNKNOWN: Final = "?"
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

_COLOURS: Final = {
    "completed": "green",
    "identical": "green",
    "ok": "green",
    "yes": "green",
    "failed": "red",
    "diverged": "red",
    "no": "red",
    "parked": "red",
    "interrupted": "yellow",
    "cancelled": "yellow",
    "in": "yellow",
    "waiting": "yellow",
}
_OUR_COLOURS: Final = re.compile("(\x1b\\[(?:0|2|31|32|33)m)")
_UNSEEN: Final = re.compile("[\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


class Printer:
    """Where answers go."""

    def __init__(self, color: str) -> None:
        self._answers = sys.stdout
        """Where answers go, also while `sys.stdout` leads elsewhere."""
        self.terminal = self._answers is not None and self._answers.isatty()
        wanted = self.terminal and not os.environ.get("NO_COLOR")
        self.color = {"always": True, "never": False}.get(color, wanted)

    @property
    def width(self) -> int:
        """Columns that a line may take."""
        if self.terminal or os.environ.get("COLUMNS"):
            return max(WIDTH_MIN, terminal_size().columns)
        return WIDTH_PIPED

    def word(self, text: str) -> str:
        """`text`, coloured by its first word where that is wanted."""
        colour = _COLOURS.get(text.partition(" ")[0]) if self.color else None
        return click.style(text, fg=colour) if colour else text

    def dim(self, text: str) -> str:
        return click.style(text, dim=True) if self.color else text

    def line(self, text: str = "") -> None:
        click.echo(cleaned(text, colours=self.color), file=self._answers, color=self.color)

    def lines(self, found: Iterable[str]) -> None:
        """Many lines, through a pager where they do not fit on the terminal."""
        if not self.terminal:
            for text in found:
                self.line(text)
            return
        listed = [cleaned(text, colours=self.color) for text in found]
        if len(listed) < terminal_size().lines:
            click.echo("\n".join(listed), file=self._answers, color=self.color)
        else:
            click.echo_via_pager("\n".join(listed), color=self.color)

    def document(self, schema: str, body: dict[str, Any]) -> None:
        """One JSON document."""
        click.echo(in_json({"schema": schema, **body}, indent=2), file=self._answers)

    def record(self, body: dict[str, Any]) -> None:
        """One JSON object on a line of its own."""
        click.echo(in_json(body), file=self._answers)

    def aside(self, text: str) -> None:
        """Something beside the answer, for a person."""
        click.echo(cleaned(text), err=True)


def terminal_size() -> os.terminal_size:
    """Columns and lines, as COLUMNS and LINES say, else as the terminal does, else 80 by 24."""
    try:
        found = os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1)
    except (OSError, ValueError):
        found = os.terminal_size((80, 24))
    wished = [os.environ.get(name, "") for name in ("COLUMNS", "LINES")]
    columns, lines = (int(wish) if wish.isdigit() else size for wish, size in zip(wished, found, strict=True))
    return os.terminal_size((columns or 80, lines or 24))


def shown(value: Any) -> Any:
    """What JSON has no word for."""
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": bytes(value).hex()}
    return str(value)


def table(rows: Sequence[Sequence[str]], *, head: Sequence[str] = (), right: Sequence[int] = ()) -> list[str]:
    """Aligned columns, two spaces apart, by the widths of the plain texts. `right` are set to the right."""
    listed: list[Sequence[str]] = [head, *rows]
    everything = [list(row) for row in listed if row]
    if not everything:
        return []
    columns = max(len(row) for row in everything)
    widths = [
        max((len(plain(row[n])) for row in everything if n < len(row)), default=0) for n in range(columns)
    ]
    lines: list[str] = []
    for row in everything:
        cells: list[str] = []
        for n, cell in enumerate(row):
            space = " " * (widths[n] - len(plain(cell)))
            cells.append(space + cell if n in right else cell + space)
        lines.append("  ".join(cells).rstrip())
    return lines


def plain(text: str) -> str:
    """`text` without its colours."""
    return click.unstyle(text) if "\x1b" in text else text


def cleaned(text: str, *, colours: bool = False) -> str:
    """`text` for a terminal: line ends stay, whatever else is not printable leaves a mark.

    What a log holds was written by anybody; an escape sequence in it must not reach the terminal. With
    `colours`, those that this module makes are let through.
    """
    if text.isprintable():
        return text
    if colours:
        parts = _OUR_COLOURS.split(text)
        return "".join(part if n % 2 else cleaned(part) for n, part in enumerate(parts))
    return "".join(ch if ch == "\n" or ch.isprintable() else REPLACEMENT for ch in text)


def in_json(value: Any, *, indent: int | None = None) -> str:
    """`value` in JSON, where what a terminal could take for a command is escaped."""
    text = json_text(value, indent=indent, default=shown)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def cut(text: str, width: int) -> str:
    """`text` on one line, and not longer than `width`; what is left out leaves a mark."""
    flat = text
    if not text.isprintable():
        flat = "".join(" " if ch in "\r\n\t" else ch if ch.isprintable() else REPLACEMENT for ch in text)
    return flat if len(flat) <= width else flat[: max(width - 1, 0)] + "…"


def brief(value: Any, width: int) -> str:
    """A value of the user on one line."""
    return cut(json_text(value, default=shown), width)


def span(ns: int | None) -> str:
    """A length of time: `812 ms`, `4.2 s`, `7 m 3 s`."""
    if ns is None:
        return UNKNOWN
    if abs(ns) < 1_000_000:
        return f"{ns / 1e6:.1f} ms" if ns else "0 ms"
    if abs(ns) < 1_000_000_000:
        return f"{ns // 1_000_000} ms"
    if abs(ns) < 60_000_000_000:
        return f"{ns / 1e9:.1f} s"
    parts: list[str] = []
    seconds = ns // 1_000_000_000
    for size, unit in _UNITS:
        if seconds >= size:
            parts.append(f"{seconds // size} {unit}")
            seconds %= size
    return " ".join(parts[:2])


def age(ns: int | None) -> str:
    """How long ago: one number and a unit."""
    if ns is None:
        return UNKNOWN
    seconds = max(ns, 0) // 1_000_000_000
    return next((f"{seconds // size} {unit}" for size, unit in _UNITS if seconds >= size), "now")


def money(micros: int | None, unknown: int = 0) -> str:
    """Millionths of a dollar as dollars; `+?` says that some of it is unknown."""
    if micros is None:
        return UNKNOWN
    places = 4 if micros % 100 == 0 else 6
    return f"${micros / 1_000_000:.{places}f}" + ("+?" if unknown else "")


def count(number: int | None, what: str = "", *, unknown: int = 0) -> str:
    """A number with thousands marked, and what it counts in the right number."""
    text = UNKNOWN if number is None else f"{number:,}" + ("+?" if unknown else "")
    if not what:
        return text
    return f"{text} {what if number == 1 else what + 's'}"


def moment(ns: int | None) -> str:
    """A time of day with its date, UTC, to the millisecond."""
    if ns is None:
        return UNKNOWN
    from datetime import UTC, datetime

    when = datetime.fromtimestamp(ns // 1_000_000_000, UTC)
    return f"{when:%Y-%m-%d %H:%M:%S}.{ns % 1_000_000_000 // 1_000_000:03d}Z"
