"""What commands say of a payload that was erased: that it was, why, by whom, and what was kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playhead.events.erasing import mended, said_in
from playhead_projections.cli.output import moment
from playhead_projections.cli.wording import body, decoded, said

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playhead.events.catalog import PayloadErased
    from playhead.log.envelope import Event
    from playhead.log.reader import LogReader


class Words:
    """What events of one log say in words, erased ones included."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self._said: dict[str, dict[int, PayloadErased]] = {}

    def about(self, event: Event) -> PayloadErased | None:
        """The word about the payload of `event`, where it was erased."""
        if event.salt is not None:
            return None
        if event.stream not in self._said:
            self._said[event.stream] = said_in(self._log, event.stream)
        return self._said[event.stream].get(event.seq)

    def of(self, event: Event) -> str:
        """What `event` says, on one line."""
        word = self.about(event)
        if word is None:
            return said(decoded(event))
        (kept,) = mended(self._log, [event])
        if kept.payload is None:
            return f"(erased: {word.reason})"
        return f"(erased in part: {word.reason}) {said(decoded(kept))}"

    def document(self, event: Event) -> dict[str, Any] | None:
        """The same for a script: None where nothing was erased."""
        word = self.about(event)
        if word is None:
            return None
        return {
            "reason": word.reason,
            "by": word.sender,
            "parts": list(word.parts),
            "kept": body(word)["kept"],
        }


def erasures(log: LogReader) -> Iterator[tuple[Event, Event, PayloadErased]]:
    """Each payload that is gone: its event, the newest event that says so, and what that says."""
    from playhead.events.catalog import PayloadErased as Said

    found: dict[tuple[str, int], tuple[Event, Said]] = {}
    after = 0
    while page := log.feed(after, types=["payload.erased"]):
        for event in page:
            fact = decoded(event)
            if isinstance(fact, Said) and event.cause is not None:
                found[event.stream, event.cause] = event, fact
        after = page[-1].position
    for (stream, seq), (event, fact) in found.items():
        for gone in log.read(stream, seq, 1):
            if gone.type != "payload.erased":
                yield gone, event, fact


def named(stream: str, seq: int) -> str:
    """How an event is addressed on the command line."""
    kind, _, name = stream.partition("/")
    return f"{name if kind == 'run' else stream}@{seq}"


def gaps(path: Path) -> list[dict[str, Any]]:
    """Every payload that is gone, with who erased it, when and why."""
    from playhead.log.reader import LogReader

    with LogReader(path) as log:
        return [_gap(*found) for found in erasures(log)]


def _gap(gone: Event, said: Event, fact: PayloadErased) -> dict[str, Any]:
    by = f" by {fact.sender}" if fact.sender else ""
    parts = f" {', '.join(fact.parts)}" if fact.parts else ""
    name = named(gone.stream, gone.seq)
    return {
        "stream": gone.stream,
        "event": gone.seq,
        "type": gone.type,
        "parts": list(fact.parts),
        "by": fact.sender,
        "at": said.at,
        "reason": fact.reason,
        "said_by": said.seq,
        "words": f"erased  {name}  {gone.type}{parts}{by}, {moment(said.at)}: {fact.reason}",
    }
