"""What verification knows: faults, and the walk that finds them. Pure: no file is opened here.

    walk = Walk(expect=[Expectation.parse("run/4wq2mzkq7xha@12:9f86…")])
    walk.store("playhead.store/1")
    walk.head("run/4wq2mzkq7xha", 13, digest, epoch)    # of all streams, before the events
    for event in events:                                # of all streams, in order of position
        walk.event(event, running=running)
    assert walk.finish().ok

The walk goes past a fault: it takes the stored digests as the next event's
predecessors, so one broken event is one fault, and what follows is still checked.
`playhead.log.verify` feeds it from a file, imports from a list of events, and the
model store from its dictionaries.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from playhead.log.chain import GENESIS, SCHEME, STORE_SCHEME, commitment, event_digest, header, store_digest
from playhead.log.envelope import Anchor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from playhead.log.envelope import Event

FAULTS_LISTED_MAX: Final = 1000
ERASED_TYPE: Final = "payload.erased"
STORE: Final = "store"

_EXPECTATION: Final = re.compile(r"(?P<stream>.+)@(?P<seq>\d+):(?P<digest>[0-9a-fA-F]{64})", re.DOTALL)


class Fault(NamedTuple):
    """One thing that is not as it was written. `kind` is a word of the closed list in docs/file_format.md."""

    kind: str
    sentence: str
    stream: str | None = None
    seq: int | None = None
    position: int | None = None
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        place = self.stream or ""
        if self.seq is not None:
            place += f"@{self.seq}"
        if self.position is not None:
            place = f"{place} (position {self.position})" if place else f"position {self.position}"
        said = f"{place}: {self.sentence}" if place else self.sentence
        if self.expected is not None:
            said += f" Expected {self.expected}, found {self.found}."
        return f"[{self.kind}] {said}"


class Expectation(NamedTuple):
    """A digest kept elsewhere: of event `seq` of `stream`, or of the whole store at position `seq`."""

    stream: str
    seq: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.stream}@{self.seq}:{self.digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> Expectation:
        """Read `STREAM@SEQ:DIGEST` or `store@POSITION:DIGEST`. Raises `ValueError` for anything else."""
        match = _EXPECTATION.fullmatch(text)
        if match is None:
            raise ValueError(f"expected STREAM@SEQ:DIGEST with 64 hex digits, found {text!r}")
        return cls(match["stream"], int(match["seq"]), bytes.fromhex(match["digest"]))


class Verification(NamedTuple):
    """What a verification saw. `ends` are the anchors to keep elsewhere, `store` the one of the whole."""

    events: int
    streams: int
    erased: int
    ends: tuple[Expectation, ...]
    store: Expectation
    faults: tuple[Fault, ...]
    faults_unlisted: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


class _Head(NamedTuple):
    """What the store promises of a stream: at least `seq` events, and the digest of the last of these."""

    seq: int
    digest: bytes
    epoch: int


class _Stream:
    """How far one stream was followed."""

    __slots__ = ("computed", "digest", "epoch", "erased", "head", "known", "seq")

    def __init__(self, head: _Head | None) -> None:
        self.head = head
        self.seq = 0  # the next one
        self.digest = GENESIS  # as stored with the last event
        self.computed = GENESIS  # as it should have been stored
        self.known = True  # whether `digest` is that of event seq - 1
        self.epoch = 0
        self.erased: dict[int, int] = {}  # seq to position, until an event names it


class Walk:
    """Follows all events in order of position, and remembers what does not fit.

    A `whole` store has a row about itself, a head for each stream, and positions without a hole.
    """

    def __init__(
        self, *, expect: Sequence[Expectation] = (), anchors: Iterable[Anchor] = (), whole: bool = True
    ) -> None:
        self._whole = whole
        self._streams: dict[str, _Stream] = {}
        self._heads: dict[str, _Head] = {}
        self._faults: list[Fault] = []
        self._unlisted = 0
        self._running = GENESIS  # as stored with the last event
        self._computed = GENESIS  # as it should have been stored
        self._known = True  # whether `_running` is that after the event before
        self._gap = False  # whether rows behind the last event could not be read
        self._position = 0
        self._events = 0
        self._erased = 0
        self._stores = 0
        self._digests_due: dict[tuple[str, int], list[tuple[bytes, str, int | None]]] = {}
        self._anchors_due: dict[int, list[tuple[int | None, bytes, str]]] = {}
        for one in expect:
            self._expect(one, f"expectation {one}")
        for anchor in anchors:
            self.expect_anchor(anchor)

    def _expect(self, one: Expectation, source: str, position: int | None = None) -> None:
        if one.stream == STORE:
            self._anchors_due.setdefault(one.seq, []).append((None, one.digest, source))
        else:
            self._digests_due.setdefault((one.stream, one.seq), []).append((one.digest, source, position))

    def expect_anchor(self, anchor: Anchor) -> None:
        """Let the walk meet what an anchor says. Before the first event."""
        source = f"anchor of position {anchor.position}"
        due = self._anchors_due.setdefault(anchor.position, [])
        due.append((anchor.events, anchor.store_digest, source))
        self._expect(Expectation(anchor.stream, anchor.seq, anchor.digest), source, anchor.position)

    def fault(
        self,
        kind: str,
        sentence: str,
        *,
        stream: str | None = None,
        seq: int | None = None,
        position: int | None = None,
        expected: Any = None,
        found: Any = None,
    ) -> None:
        """Remember a fault. After `FAULTS_LISTED_MAX` they are only counted."""
        if len(self._faults) >= FAULTS_LISTED_MAX:
            self._unlisted += 1
            return
        told = expected is not None
        self._faults.append(
            Fault(
                kind,
                sentence,
                stream,
                seq,
                position,
                _shown(expected) if told else None,
                _shown(found) if told else None,
            )
        )

    def event(self, event: Event, committed: bytes | None = None, running: bytes | None = None) -> None:
        """Take the next event. `committed` is the commitment that an erased payload left behind.

        `running` is the running digest that is stored with it, where one is.
        """
        self._advance(event.position, event.stream, event.seq)
        stream = self._stream(event.stream)
        linked = self._in_order(stream, event)
        if event.payload is not None and event.salt is not None:
            committed = commitment(event.salt, event.payload)
        elif committed is not None:
            self._erased += 1
            stream.erased[event.seq] = event.position
        else:
            self._at(event, "payload", "neither the payload nor its commitment can be read.")
        if event.type == ERASED_TYPE and event.cause is not None and event.cause < event.seq:
            stream.erased.pop(event.cause, None)
        computed = self._check_digest(stream, event, committed, linked=linked)
        if event.seq >= stream.seq:
            stream.seq = event.seq + 1
            stream.digest = event.digest
            stream.computed = computed
            stream.known = True
            if computed == event.digest:
                stream.epoch = event.epoch
        self._check_running(event, computed, running)
        head = stream.head
        if head is not None and head.seq == event.seq + 1 and head.digest not in (event.digest, computed):
            self._at(event, "head", "the head has another digest.", head.digest, event.digest)
        self._meet(event.stream, event.seq, event.position, event.digest)

    def broken(self, stream_name: str | None, seq: int | None, position: int) -> None:
        """Take an event of which a fault was told already and whose columns make no event."""
        self._advance(position, stream_name, seq)
        self._known = False
        if stream_name is None:
            return
        stream = self._stream(stream_name)
        stream.known = False
        if seq is not None and seq == stream.seq:
            stream.seq += 1

    def unreadable(self) -> None:
        """An unknown number of events could not be read here: no stream is linked across the gap."""
        self._known, self._gap = False, True
        for stream in self._streams.values():
            stream.known = False

    def head(self, name: str, seq: int, digest: bytes, epoch: int) -> None:
        """Take what the store promises of a stream. Before the first event."""
        self._heads[name] = _Head(seq, digest, epoch)

    def store(self, scheme: str) -> None:
        """Take what the store says of itself."""
        self._stores += 1
        if scheme != STORE_SCHEME:
            self.fault("store", "unknown scheme.", expected=STORE_SCHEME, found=scheme)

    def finish(self) -> Verification:
        """Say what is left undone."""
        self._unkept()
        for name, stream in self._streams.items():
            if stream.head is None and self._whole:
                self.fault("head", "the stream has events and no head.", stream=name)
            for seq, position in stream.erased.items():
                self.fault(
                    "erased",
                    f"the payload is gone, and no later {ERASED_TYPE} event names it.",
                    stream=name,
                    seq=seq,
                    position=position,
                )
        if self._stores != 1 and self._whole:
            self.fault("store", "the store says what it is once.", expected=1, found=self._stores)
        self._unmet()
        return Verification(
            events=self._events,
            streams=len(self._streams),
            erased=self._erased,
            ends=tuple(Expectation(n, s.seq - 1, s.digest) for n, s in self._streams.items()),
            store=Expectation(STORE, self._position, self._running),
            faults=tuple(self._faults),
            faults_unlisted=self._unlisted,
        )

    def _stream(self, name: str) -> _Stream:
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = _Stream(self._heads.get(name))
        return stream

    def _unkept(self) -> None:
        """Heads that promise more than there is. What lies behind them, no head knows of."""
        for name, head in self._heads.items():
            stream = self._streams.get(name)
            if stream is None:
                self.fault("missing", f"the head says {head.seq} events, and there are none.", stream=name)
            elif head.seq > stream.seq:
                lost = _range(stream.seq, head.seq - 1)
                self.fault("missing", f"{lost} at the end.", stream=name, seq=stream.seq)
            elif head.epoch != stream.epoch:
                sentence = "the head has another epoch than the last event."
                self.fault("head", sentence, stream=name, expected=head.epoch, found=stream.epoch)

    def _at(self, event: Event, kind: str, sentence: str, expected: Any = None, found: Any = None) -> None:
        self.fault(
            kind,
            sentence,
            stream=event.stream,
            seq=event.seq,
            position=event.position,
            expected=expected,
            found=found,
        )

    def _advance(self, position: int, stream: str | None, seq: int | None) -> None:
        if position <= self._position:
            self.fault(
                "order",
                "the position does not grow.",
                stream=stream,
                seq=seq,
                position=position,
                expected=f"more than {self._position}",
                found=position,
            )
        elif self._whole and not self._gap and position > self._position + 1:
            lost = _range(self._position + 1, position - 1, "position")
            self.fault("missing", f"{lost} before it: events were taken out of the store.", position=position)
            self._known = False
        self._position = position
        self._gap = False
        self._events += 1

    def _in_order(self, stream: _Stream, event: Event) -> bool:
        """Whether the event before this one is at hand, and its digest known."""
        if event.seq > stream.seq:
            lost = _range(stream.seq, event.seq - 1)
            self._at(event, "missing", f"{lost} before it, so it cannot be checked against what came before.")
            return False
        if event.seq < stream.seq:
            self._at(event, "order", "it stands at the wrong place.", stream.seq, event.seq)
            return event.seq == 0
        if event.epoch < stream.epoch:
            self._at(event, "order", "the epoch falls.", f"at least {stream.epoch}", event.epoch)
        return stream.known or event.seq == 0

    def _check_digest(self, stream: _Stream, event: Event, committed: bytes | None, *, linked: bool) -> bytes:
        """Compare the event's digest with its content; return what it should be, as far as can be told."""
        try:
            header_bytes = header(
                event.stream.encode(),
                event.seq,
                event.type,
                event.version,
                event.at,
                event.epoch,
                event.op,
                event.cause,
                event.append_id,
            )
        except (struct.error, UnicodeError) as error:
            self._at(event, "type", f"a column is out of range: {error}.")
            return event.digest
        if committed is None or not linked:
            return event.digest
        first = event.seq == 0
        computed = event_digest(GENESIS if first else stream.digest, header_bytes, committed)
        if computed == event.digest:
            return computed
        # Where only the digest before this one was edited, this event is as it was written.
        if not first and event_digest(stream.computed, header_bytes, committed) == event.digest:
            return event.digest
        self._at(
            event,
            "digest",
            "the digest does not match the event and the one before it: one of its columns, its salt,"
            " its payload or its place was changed.",
            event.digest,
            computed,
        )
        return computed

    def _check_running(self, event: Event, computed: bytes, stored: bytes | None) -> None:
        """Compare the running digest after `event`; `computed` is what the event's own should be."""
        position = max(event.position, 0)
        running = store_digest(self._running, position, event.digest)
        if stored is None:
            stored = running
        elif not self._known:
            running = stored
        # Where only an event's digest or only the running digest before was edited, this one is as written.
        elif stored != running and stored not in (
            store_digest(self._running, position, computed),
            store_digest(self._computed, position, event.digest),
            store_digest(self._computed, position, computed),
        ):
            self._at(
                event,
                "running",
                "the running digest does not match the events up to here: it was changed, or a whole"
                " event was taken out, put in or moved.",
                stored,
                running,
            )
        self._running, self._computed, self._known = stored, running, True

    def _meet(self, stream: str, seq: int, position: int, digest: bytes) -> None:
        """Compare this point with what was written down elsewhere about it."""
        for wanted, source, _ in self._digests_due.pop((stream, seq), ()) if self._digests_due else ():
            if wanted != digest:
                self.fault(
                    "anchor",
                    f"the {source} names another event.",
                    stream=stream,
                    seq=seq,
                    position=position,
                    expected=wanted,
                    found=digest,
                )
        for events, running, source in self._anchors_due.pop(position, ()) if self._anchors_due else ():
            if events is not None and events != self._events:
                self.fault(
                    "anchor",
                    f"the {source} counts other events up to here.",
                    position=position,
                    expected=events,
                    found=self._events,
                )
            if running != self._running:
                self.fault(
                    "anchor",
                    f"the {source} has another running digest.",
                    position=position,
                    expected=running,
                    found=self._running,
                )

    def _unmet(self) -> None:
        """What was written down elsewhere and is not here: the tail was cut, or an old copy put back."""
        beyond = sorted(position for position in self._anchors_due if position > self._position)
        for position in sorted(self._anchors_due):
            if position <= self._position or position == beyond[-1]:
                cut = position > self._position
                more = f" ({len(beyond) - 1} more anchors say so.)" if cut and len(beyond) > 1 else ""
                self.fault(
                    "anchor",
                    f"the {self._anchors_due[position][0][2]} names a position that is not here:"
                    f" the tail was cut off, events were taken out, or an older copy was put back.{more}",
                    position=position,
                    expected=f"position {position}",
                    found=f"the last position {self._position}" if cut else "no such position",
                )
        for (name, seq), due in self._digests_due.items():
            # Of an anchor whose position is not here either, that was said above.
            told = [source for _, source, position in due if position not in self._anchors_due]
            if told:
                here = self._streams[name].seq if name in self._streams else 0
                self.fault(
                    "anchor",
                    f"the {told[0]} names an event that is not here.",
                    stream=name,
                    seq=seq,
                    expected=f"event {seq}",
                    found=f"{here} events",
                )


def verify_events(
    events: Iterable[Event],
    *,
    commitments: Mapping[int, bytes] | None = None,
    expect: Sequence[Expectation] = (),
) -> Verification:
    """Verify one stream, or several after one another, from a list, without a store around it.

    Positions only have to grow. `commitments` holds what erased payloads left, by position.
    """
    walk = Walk(expect=expect, whole=False)
    for event in events:
        walk.event(event, (commitments or {}).get(event.position))
    return walk.finish()


def check_scheme(walk: Walk, stream: str, scheme: object) -> None:
    """Tell of a stream whose chain is of a scheme that this version does not know."""
    if scheme != SCHEME:
        walk.fault("stream", "unknown scheme of the chain.", stream=stream, expected=SCHEME, found=scheme)


def _range(first: int, last: int, what: str = "event") -> str:
    return f"{what} {first} is missing" if first == last else f"{what}s {first} to {last} are missing"


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 64 else f"{value[:32].hex()}… ({len(value)} bytes)"
    return str(value)
