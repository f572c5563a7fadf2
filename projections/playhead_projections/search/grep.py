"""A scan of events for a text: what each says, value by value, without an index.

    pattern = Pattern("pages/7", ignore_case=True)
    pattern.hits(event)         # [Hit(path="args.url", text="pages/77", start=0, end=7)]

The texts of an event are its operation and every value that `playhead event` shows of it, written as in
`playhead_projections.search.texts`, and an error as `Type: message` besides. What was erased has none, and
neither has the mark that stands there.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from playhead.errors import BadEvent, BadValue
from playhead.events.erasing import MARK
from playhead.log.envelope import Event
from playhead_projections.search.said import errors_by, may_record_errors, omitted, said_by
from playhead_projections.search.texts import folded, only_in_texts, texts

HITS_MAX: Final = 100


class Hit(NamedTuple):
    """One text that matches, where it stands in the event, and the first part of it that matches."""

    path: str
    text: str
    start: int
    end: int


class Found(NamedTuple):
    """An event that matches, with its hits, or one that stands beside such (`hits` is None).

    `apart` says that events before it were left out.
    """

    event: Event
    hits: list[Hit] | None
    apart: bool


class Pattern:
    """What is looked for: a text as it is, one without case, or a regular expression."""

    def __init__(self, text: str, *, regex: bool = False, ignore_case: bool = False) -> None:
        """Raises `BadValue` for a regular expression that is none, and for a text that is none."""
        try:
            text.encode()
            self._regex = re.compile(text, re.IGNORECASE if ignore_case else 0) if regex else None
        except (re.error, UnicodeEncodeError, OverflowError, RecursionError) as error:
            raise BadValue(
                f"{text!r} cannot be looked for: {error}.",
                expected="a regular expression" if regex else "a text",
                found=text.encode(errors="replace").decode(),
            ) from error
        if not text:
            raise BadValue(
                "there is nothing to look for.", expected="at least one character", found="nothing"
            )
        self._folds = ignore_case and not regex
        self._needle = folded(text) if self._folds else text
        plain_text = not regex and not ignore_case and only_in_texts(text)
        self._bytes = text.encode() if plain_text else None
        self._may_join = ":" in text or text[:1] == " "
        """Whether it may begin in the type of an error and end in the message, which are kept apart."""
        self._silent: dict[str, bool] = {}
        """By the type of an event, whether what is not written in its payload says nothing of it."""

    def hits(self, event: Event) -> list[Hit]:
        """Every text of `event` that matches, at most `HITS_MAX`. Raises `BadEvent`."""
        found: list[Hit] = []
        for path, text in self._texts(event):
            place = self._place(text)
            if place is not None:
                found.append(Hit(path, text, *place))
                if len(found) == HITS_MAX:
                    break
        return found

    def _texts(self, event: Event) -> Iterator[tuple[str, str]]:
        if event.op:
            yield "op", event.op
        if event.payload is None or (self._bytes is not None and not self._may_be_in(event)):
            return
        for path, text in texts(said_by(event)):
            if text != MARK or event.salt is not None:
                yield path, text
        yield from self._whole_errors(event)

    def _whole_errors(self, event: Event) -> Iterator[tuple[str, str]]:
        """Errors as they are shown, `Type: message`, where neither half matches alone."""
        if not may_record_errors(event.type):
            return
        for path, *halves in errors_by(event):
            if all(halves) and not any(map(self._place, halves)) and MARK not in halves:
                yield path, ": ".join(halves)

    def _may_be_in(self, event: Event) -> bool:
        """Whether the text may be one of the event, as far as the bytes of its payload tell."""
        assert self._bytes is not None
        assert event.payload is not None
        if self._bytes in event.payload or (self._may_join and may_record_errors(event.type)):
            return True
        if event.type not in self._silent:
            self._silent[event.type] = not any(self._needle in text for text in omitted(event.type))
        return not self._silent[event.type]

    def _place(self, text: str) -> tuple[int, int] | None:
        """The first part of `text` that matches."""
        if self._regex is not None:
            match = self._regex.search(text)
            return None if match is None else match.span()
        if not self._folds:
            at = text.find(self._needle)
            return None if at < 0 else (at, at + len(self._needle))
        at = folded(text).find(self._needle)
        if at < 0:
            return None
        if text.isascii():
            return at, at + len(self._needle)
        # A letter may fold to several, or several to one: look for as much of the text as folds to that.
        places, last = range(len(text) + 1), at + len(self._needle)
        start = bisect_right(places, at, key=lambda end: len(folded(text[:end]))) - 1
        longest = bisect_right(places, last, key=lambda end: len(folded(text[:end]))) - 1
        shortest = bisect_left(places, last, key=lambda end: len(folded(text[:end])))
        return max(start, 0), min(max(longest, shortest), len(text))


class Scan:
    """Which events of a stream match, with those beside them. Counts what it could not read."""

    def __init__(self, pattern: Pattern, *, negated: bool = False, context: int = 0) -> None:
        self._pattern, self._negated, self._context = pattern, negated, context
        self.read = 0
        self.unreadable = 0

    def over(self, events: Iterable[Event], types: tuple[str, ...] = ()) -> Iterator[Found]:
        """Events of one stream that match and are of one of `types`, in order, with those beside them."""
        before: deque[Event] = deque(maxlen=self._context)
        left, last = 0, -1
        for event in events:
            self.read += 1
            hits = self._hits(event) if not types or event.type in types else None
            if hits is None:
                if left:
                    left, last = left - 1, event.seq
                    yield Found(event, None, apart=False)
                else:
                    before.append(event)
                continue
            for n, earlier in enumerate(before):
                yield Found(earlier, None, apart=n == 0 and last >= 0 and earlier.seq > last + 1)
            yield Found(event, hits, apart=not before and last >= 0 and event.seq > last + 1)
            before.clear()
            left, last = self._context, event.seq

    def _hits(self, event: Event) -> list[Hit] | None:
        """What matches; None where the event does not count."""
        try:
            hits = self._pattern.hits(event)
        except BadEvent:
            self.unreadable += 1
            return None
        if self._negated:
            return None if hits else []
        return hits or None
