"""What leaves a trace before anything is made of it: one set of rules for everything that is written.

    clean = redacted([trace])            # the same traces, without what looks like a secret

Traces are redacted first, and everything else comes out of them: report, workflow, fixtures. A value under a
sensitive name goes, at any depth; so does what looks like a secret (`secrecy`), inside of longer texts too,
in names as well as in values; and so does a value that went in one place wherever else it stands, also as
JSON writes it. One without spaces and digits goes only as a word, and so does a short one; one of less than
four characters stays elsewhere. In its place stands `[redacted:1]`, numbered by trace, so that what was one
value still is one. What the log redacted stays as it is.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, Final, cast

import msgspec

from playhead.composition.hashing import canonical_json
from playhead.composition.surface import as_list, as_object
from playhead.events.redaction import PREFIX
from playhead_projections.crystallization.secrecy import (
    KNOWN,
    MARK,
    holds_secret,
    is_mark,
    option_before,
    replaced,
    suspicious,
)
from playhead_projections.trace import Trace

RULES: Final = ("sensitive_keys", "secret_value_heuristic", "repeated_secrets", "relative_sources")
REPEATED_CHARS_MIN: Final = 6
SHORT_CHARS_MIN: Final = 4

_WORD: Final = re.compile(r"[^\W\d_]+|[0-9.eE+\-]+")
_MADE: Final = re.compile(rf"({KNOWN})")


def holds_mark(value: Any) -> bool:
    """Whether something in `value` was redacted, here or by the log."""
    written = canonical_json(value).decode()
    return PREFIX in written or MARK.search(written) is not None


def redacted(traces: Sequence[Trace]) -> list[Trace]:
    """`traces` without secrets. The same traces give the same marks, in whatever order they come."""
    # Through JSON, so that every list is one: what is a tuple would not be looked into.
    plain = [cast("dict[str, Any]", msgspec.json.decode(msgspec.json.encode(trace))) for trace in traces]
    known = _Known({each for trace in plain for each in _secrets(trace)})
    return _told_apart([msgspec.convert(_Cleaner(known).trace(trace), Trace) for trace in plain])


def _told_apart(traces: list[Trace]) -> list[Trace]:
    """Traces whose ids became one, each with an id of its own again."""
    count = Counter(trace.id for trace in traces)
    return [
        trace
        if count[trace.id] == 1
        else msgspec.structs.replace(
            trace, id=f"{trace.id}-{sha256(msgspec.json.encode(trace, order='sorted')).hexdigest()[:16]}"
        )
        for trace in traces
    ]


def redacted_text(text: str) -> str:
    """A text of a person, such as a name, without secrets."""
    return _Cleaner(_Known(())).text(text)


def _secrets(trace: Any) -> Iterator[str]:
    """What stands under sensitive names, and may stand elsewhere too. Our own fields have no such names."""
    left: list[tuple[bool, Any]] = [(False, _of_the_user(trace))]
    while left:
        secret, value = left.pop()
        members = as_object(value)
        if members is not None:
            left += [(secret or holds_secret(name, each), each) for name, each in members.items()]
        elif isinstance(value, list):
            elements = as_list(value) or []
            left += [(secret or _behind_option(elements, n), each) for n, each in enumerate(elements)]
        elif isinstance(value, str):
            if secret and not is_mark(value):
                yield value
            yield from suspicious(value)
        elif secret and isinstance(value, (int, float)) and not isinstance(value, bool):
            yield _written(value)


def _behind_option(elements: Sequence[Any], place: int) -> bool:
    """Whether an element of a command is what a sensitive option before it is given."""
    before = elements[place - 1] if place else None
    return isinstance(before, str) and isinstance(elements[place], str) and option_before(before)


def _written(value: Any) -> str:
    return canonical_json(value).decode()


class _Known:
    """Secrets of all traces, to be found wherever else they stand."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.numbers: set[str] = set()
        """What goes as a whole, also where it is a number."""
        self.anywhere: dict[str, list[str]] = {}
        """By how they begin, the longest first."""
        self.plain: dict[str, str] = {}
        """What each stands for: itself, or what JSON writes so."""
        words: list[str] = []
        for secret in sorted(secrets, key=lambda each: (-len(each), each)):
            if len(secret) < SHORT_CHARS_MIN:
                continue
            self.numbers.add(secret)
            if secret.isalpha() and len(secret) < REPEATED_CHARS_MIN:
                continue
            if _WORD.fullmatch(secret) or len(secret) < REPEATED_CHARS_MIN:
                words.append(secret)
                continue
            for way in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
                if self.plain.setdefault(way, secret) == secret:
                    found = self.anywhere.setdefault(way[:REPEATED_CHARS_MIN], [])
                    found += [] if way in found else [way]
        for found in self.anywhere.values():
            found.sort(key=lambda each: (-len(each), each))
        listed = "|".join(map(re.escape, words))
        self.words = re.compile(rf"(?<![A-Za-z0-9])(?:{listed})(?![A-Za-z0-9])") if words else None


_OURS: Final = {"required_secrets"}
_ANYBODYS: Final = {"inputs", "output", "parameters", "metadata", "side_effects", "flow"}
"""The fields in which a number may be anything."""
_VALUES: Final = {"default", "const", "enum", "example", "examples"}


def _of_the_user(trace: dict[str, Any]) -> dict[str, Any]:
    """A trace without the fields whose names are ours and sound sensitive."""
    actions: list[dict[str, Any]] = trace.get("actions", [])
    return trace | {
        "tools": {},
        "actions": [{name: each[name] for name in each.keys() - _OURS} for each in actions],
    }


class _Cleaner:
    """Cleans one trace, and numbers what it takes out."""

    def __init__(self, known: _Known) -> None:
        self._marks: dict[str, str] = {}
        self._known = known

    def trace(self, trace: dict[str, Any]) -> dict[str, Any]:
        fields: dict[str, Callable[[Any], Any]] = {
            "actions": lambda actions: [self._action(each) for each in actions],
            "tools": self._schema,
            "usage": lambda usage: self._value(usage, numbers=False),
        }
        return {
            name: fields[name](value) if name in fields else self._value(value, numbers=name in _ANYBODYS)
            for name, value in trace.items()
        }

    def _schema(self, value: Any, inside: str = "") -> Any:
        """What is said of tools: there a sensitive name is one of a parameter, and values are left out."""
        members = as_object(value)
        if members is not None:
            kept = [name for name in sorted(members) if name not in _VALUES or inside == "properties"]
            return {self.text(name): self._schema(members[name], name) for name in kept}
        if isinstance(value, list):
            return [self._schema(each) for each in as_list(value) or ()]
        return self.text(value) if isinstance(value, str) else value

    def _action(self, action: dict[str, Any]) -> dict[str, Any]:
        return {
            name: [self.text(each) for each in value]
            if name in _OURS
            else self._value(value, numbers=name in _ANYBODYS)
            for name, value in action.items()
        }

    def _value(self, value: Any, *, numbers: bool = True) -> Any:
        members = as_object(value)
        if members is not None:
            found: dict[str, Any] = {}
            for name in sorted(members):
                item = members[name]
                secret = holds_secret(name, item)
                cleaned = self._secret(item) if secret else self._value(item, numbers=numbers)
                found[self._free(self.text(name), found)] = cleaned
            return found
        if isinstance(value, list):
            elements = as_list(value) or []
            return [
                self._secret(each) if _behind_option(elements, n) else self._value(each, numbers=numbers)
                for n, each in enumerate(elements)
            ]
        if isinstance(value, str):
            return self.text(value)
        if numbers and isinstance(value, (int, float)) and not isinstance(value, bool):
            written = _written(value)
            return self._mark(written) if written in self._known.numbers else value
        return value

    @staticmethod
    def _free(name: str, taken: dict[str, Any]) -> str:
        """`name`, or one beside it where two names became one: no member is lost."""
        while name in taken:
            name += "'"
        return name

    def _secret(self, value: Any) -> Any:
        """The mark of a value under a sensitive name; nothing is no secret."""
        if value is None or is_mark(value):
            return value
        return self._mark(value if isinstance(value, str) else _written(value))

    def text(self, text: str) -> str:
        """`text` with a mark in place of each secret."""
        cleaned = replaced(text, self._mark)
        if self._known.anywhere:
            cleaned = self._between_marks(cleaned, self._repeated)
        words = self._known.words
        if words is not None:
            cleaned = self._between_marks(
                cleaned, lambda part: words.sub(lambda found: self._mark(found[0]), part)
            )
        return cleaned

    @staticmethod
    def _between_marks(text: str, change: Callable[[str], str]) -> str:
        parts = _MADE.split(text)
        return "".join(part if n % 2 else change(part) for n, part in enumerate(parts))

    def _repeated(self, text: str) -> str:
        """`text` with a mark in place of each value that is a secret elsewhere."""
        parts: list[str] = []
        start = place = 0
        while place <= len(text) - REPEATED_CHARS_MIN:
            beginning = self._known.anywhere.get(text[place : place + REPEATED_CHARS_MIN], ())
            found = next((each for each in beginning if text.startswith(each, place)), "")
            if found:
                parts += [text[start:place], self._mark(self._known.plain[found])]
                start = place = place + len(found)
            else:
                place += 1
        return "".join([*parts, text[start:]])

    def _mark(self, secret: str) -> str:
        if MARK.fullmatch(secret):
            return secret
        return self._marks.setdefault(secret, f"[redacted:{len(self._marks) + 1}]")
