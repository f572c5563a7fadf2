"""What leaves a trace before anything is made of it: one set of rules for everything that is written.

    clean = redacted([trace])            # the same traces, without what looks like a secret
    suspicious("token=sk-live-1234")     # ['sk-live-1234']

Traces are redacted first, and everything else comes out of them: report, workflow, fixtures. A value under a
sensitive name goes, at any depth; so does a text that looks like a secret, inside of longer texts too, in
names as well as in values; and so does a value that went in one place wherever else it stands. In its place
stands `[redacted:1]`, numbered by trace, so that what was one value still is one. What the log redacted stays
as it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, cast

import msgspec

from playhead.composition.hashing import canonical_json
from playhead.composition.surface import as_list, as_object
from playhead.events.redaction import PREFIX
from playhead_projections.trace import Trace

RULES: Final = ("sensitive_keys", "secret_value_heuristic", "repeated_secrets", "relative_sources")
REPEATED_CHARS_MIN: Final = 6

# A name without everything but its letters and digits, or its end.
_NAMES: Final = ("auth", "bearer", "pin", "pwd", "sessionid", "otp")
_ENDS: Final = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "secrets",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "authorization",
    "cookie",
    "cookies",
    "credential",
    "credentials",
)
_PREFIXES: Final = (
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "ghp_",
    "ghs_",
    "gho_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxa-",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
)
_KNOWN: Final = rf"(?:(?:sha256:|{re.escape(PREFIX)})[0-9a-f]{{64}}(?![0-9A-Za-z_-])|\[redacted:\d+\])"
"""What was made here: digests of files and runs, of what the log redacted, and marks."""
_WORDS: Final = r"(?:[A-Za-z]{1,20}[0-9]{0,2}[_\-]+)+[A-Za-z]{1,20}[0-9]{0,2}"
"""A long name of a tool is no secret: words that a person could say."""
_SECRET: Final = re.compile(
    rf"""(?P<known>{_KNOWN})
    |-----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----[\s\S]*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    |(?<=://)[^\s/@:]+:[^\s/@]+(?=@)
    |(?<=[Bb]earer\s)[^\s"',;]{{6,}}
    |(?<=[Bb]asic\s)[A-Za-z0-9+/]{{8,}}={{0,2}}
    |(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+){{1,2}}
    |(?<=[?&])(?i:password|passwd|token|secret|api_?key|access_token|sig|signature)=[^\s&"'#]+
    |(?<![A-Za-z0-9])(?:{"|".join(map(re.escape, _PREFIXES))})[A-Za-z0-9_\-]{{3,}}
    |(?<![A-Za-z0-9_\-])(?!{_WORDS}(?![A-Za-z0-9_\-]))[A-Za-z0-9_\-]{{49,}}""",
    re.VERBOSE,
)
_LOGGED: Final = re.compile(rf"{re.escape(PREFIX)}[0-9a-f]{{64}}")
_MARK: Final = re.compile(r"\[redacted:\d+\]")
_MADE: Final = re.compile(rf"({_KNOWN})")


@lru_cache(4_096)
def is_sensitive(name: str) -> bool:
    """Whether what stands under `name` goes, whatever it is."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return plain in _NAMES or plain.endswith(_ENDS)


def suspicious(text: str) -> list[str]:
    """What in `text` looks like a secret."""
    return [found[0] for found in _SECRET.finditer(text) if found["known"] is None]


def is_mark(value: Any) -> bool:
    """Whether `value` stands for something that was redacted, here or by the log."""
    return isinstance(value, str) and (_LOGGED.fullmatch(value) or _MARK.fullmatch(value)) is not None


def holds_mark(value: Any) -> bool:
    """Whether something in `value` was redacted, here or by the log."""
    written = canonical_json(value).decode()
    return PREFIX in written or _MARK.search(written) is not None


def redacted(traces: Sequence[Trace]) -> list[Trace]:
    """`traces` without secrets. The same traces give the same marks, in whatever order they come."""
    # Through JSON, so that every list is one: what is a tuple would not be looked into.
    plain = [cast("dict[str, Any]", msgspec.json.decode(msgspec.json.encode(trace))) for trace in traces]
    known = sorted({each for trace in plain for each in _secrets(trace)}, key=lambda each: (-len(each), each))
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
    return _Cleaner(()).text(text)


def _secrets(trace: Any) -> Iterator[str]:
    """The texts under sensitive names, which may stand elsewhere too. Our own fields have no such names."""
    left: list[tuple[bool, Any]] = [(False, _of_the_user(trace))]
    while left:
        secret, value = left.pop()
        members = as_object(value)
        if members is not None:
            left += [(secret or is_sensitive(name), each) for name, each in members.items()]
        elif isinstance(value, list):
            left += [(secret, each) for each in as_list(value) or ()]
        elif isinstance(value, str):
            if secret and len(value) >= REPEATED_CHARS_MIN and not is_mark(value):
                yield value
            yield from (each for each in suspicious(value) if len(each) >= REPEATED_CHARS_MIN)


_OURS: Final = {"required_secrets"}
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

    def __init__(self, known: Iterable[str]) -> None:
        self._marks: dict[str, str] = {}
        self._known: dict[str, list[str]] = {}
        """Secrets by how they begin, the longest first."""
        for secret in known:
            self._known.setdefault(secret[:REPEATED_CHARS_MIN], []).append(secret)

    def trace(self, trace: dict[str, Any]) -> dict[str, Any]:
        fields: dict[str, Callable[[Any], Any]] = {
            "actions": lambda actions: [self._action(each) for each in actions],
            "tools": self._schema,
        }
        return {name: fields.get(name, self._value)(value) for name, value in trace.items()}

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
            name: [self.text(each) for each in value] if name in _OURS else self._value(value)
            for name, value in action.items()
        }

    def _value(self, value: Any) -> Any:
        members = as_object(value)
        if members is not None:
            found: dict[str, Any] = {}
            for name in sorted(members):
                item = members[name]
                cleaned = self._secret(item) if is_sensitive(name) else self._value(item)
                found[self._free(self.text(name), found)] = cleaned
            return found
        if isinstance(value, list):
            return [self._value(each) for each in as_list(value) or ()]
        return self.text(value) if isinstance(value, str) else value

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
        return self._mark(value if isinstance(value, str) else canonical_json(value).decode())

    def text(self, text: str) -> str:
        """`text` with a mark in place of each secret."""
        cleaned = _SECRET.sub(lambda found: found[0] if found["known"] else self._mark(found[0]), text)
        if not self._known:
            return cleaned
        parts = _MADE.split(cleaned)
        return "".join(part if n % 2 else self._repeated(part) for n, part in enumerate(parts))

    def _repeated(self, text: str) -> str:
        """`text` with a mark in place of each value that is a secret elsewhere."""
        parts: list[str] = []
        start = place = 0
        while place <= len(text) - REPEATED_CHARS_MIN:
            beginning = self._known.get(text[place : place + REPEATED_CHARS_MIN], ())
            found = next((each for each in beginning if text.startswith(each, place)), "")
            if found:
                parts += [text[start:place], self._mark(found)]
                start = place = place + len(found)
            else:
                place += 1
        return "".join([*parts, text[start:]])

    def _mark(self, secret: str) -> str:
        if _MARK.fullmatch(secret):
            return secret
        return self._marks.setdefault(secret, f"[redacted:{len(self._marks) + 1}]")
