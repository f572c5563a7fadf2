"""Names of state: roots, sessions and keys, and the streams in which they are kept.

    place = Place.of("notes", "s1")
    place.key("evidence/a.json")                 # checked; the text as it is kept
    place.stream("evidence/a.json")              # state/notes/s1/evidence/a.json

A key is a relative path. Everything that could mean two things on some file system, or
look like another key to a reader, is refused here, so that a session can be written into
any directory, and two spellings of one name share a stream, where one of them wins.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Final, NamedTuple, Self

from playhead.agent_state.alike import in_disguise, unseen
from playhead.errors import BadValue

KIND: Final = "state"
META: Final = ".agent_state_meta"
TEMPORARY: Final = ".agent_state_tmp"
HANDOFF: Final = "__handoff.json"

ROOT_BYTES_MAX: Final = 80
SESSION_BYTES_MAX: Final = 100
KEY_BYTES_MAX: Final = 300
COMPONENT_BYTES_MAX: Final = 200
"""What leaves room for `.json` and a temporary ending in the name of a file."""
NAMES_KEPT_MAX: Final = 4096
"""Names that are known to be good: a program says the same ones again and again."""

_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{port}{n}" for port in ("com", "lpt") for n in (*"123456789", "¹", "²", "³")}
)
_TAKEN: Final = frozenset('*?"<>|')
_NEXT: Final = "Use a relative path of plain words, such as evidence/a.json."


class Place(NamedTuple):
    """A session under a root: where keys are."""

    root: str
    session: str

    @classmethod
    def of(cls, root: str, session: str) -> Self:
        """The place called so. Raises `BadValue` for a name that could be no directory."""
        where = _path(root, "root", ROOT_BYTES_MAX)
        return cls("/".join(where), _session(session))

    @property
    def stream(self) -> str:
        """The stream of the session itself, which says that it exists."""
        return f"{KIND}/{_quoted(folded(self.root))}/{_quoted(folded(self.session))}"

    def stream_of(self, key: str) -> str:
        """The stream of a key that was checked. Spellings of one name have the same one."""
        return f"{self.stream}/{folded(key)}"

    def check_spelling(self, root: str, session: str) -> None:
        """Raise `BadValue` where the place is kept as another spelling of its names."""
        for what, said, kept in (("root", self.root, root), ("session", self.session, session)):
            if said != kept:
                raise BadValue(
                    f"{what} {said!r} is kept as {kept!r}, which some file systems take for the same.",
                    expected=kept,
                    found=said,
                    next_step=f"Use the spelling {kept}.",
                )

    @staticmethod
    def key(key: str) -> str:
        """`key` as it is kept. Raises `BadValue`."""
        parts = _path(key, "key", KEY_BYTES_MAX)
        if folded(parts[0]) == HANDOFF and parts != (HANDOFF,):
            raise _bad("key", key, f"is too much like {HANDOFF}, which handoffs are kept under")
        return "/".join(parts)


def fits(stream: str, root: str, session: str, key: str = "") -> bool:
    """Whether an event that says so may stand in `stream`: a log can be from anybody."""
    try:
        place = Place.of(root, session)
        if key and Place.key(key) != key:
            return False
    except BadValue:
        return False
    return place == (root, session) and stream == (place.stream_of(key) if key else place.stream)


def names_in(stream: str) -> tuple[str, str, str]:
    """Root, session and key in the name of a stream, as they are when they are folded."""
    root, session, key = [*stream.split("/", 3)[1:], "", "", ""][:3]
    return _unquoted(root), _unquoted(session), key


def folders(key: str) -> list[str]:
    """The paths above `key`, outermost first."""
    parts = key.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def folded(text: str) -> str:
    """What all spellings of a name have in common, on any file system."""
    once = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", once)


def _quoted(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F")


def _unquoted(name: str) -> str:
    return name.replace("%2F", "/").replace("%25", "%")


def _session(session: str) -> str:
    return _checked_session(_text(session, "session"))


@functools.lru_cache(NAMES_KEPT_MAX)
def _checked_session(session: str) -> str:
    text = session.strip()
    if not text:
        raise _bad("session", session, "must be a non-empty text")
    if text.startswith("/"):
        raise _bad("session", session, "must be relative")
    if text in (".", ".."):
        raise _bad("session", session, "must not escape its root")
    if "/" in text:
        raise _bad("session", session, "must be one name, without /")
    _check_component(text, "session", session)
    if len(text.encode()) > SESSION_BYTES_MAX or len(_quoted(folded(text)).encode()) > SESSION_BYTES_MAX:
        raise _bad("session", session, f"is longer than {SESSION_BYTES_MAX} bytes")
    return text


def _path(said: str, what: str, size_max: int) -> tuple[str, ...]:
    return _checked_path(_text(said, what), what, size_max)


@functools.lru_cache(NAMES_KEPT_MAX)
def _checked_path(said: str, what: str, size_max: int) -> tuple[str, ...]:
    text = said.strip()
    if not text:
        raise _bad(what, said, "must be a non-empty relative path")
    if text.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", text):
        raise _bad(what, said, "must be relative")
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    if ".." in parts:
        raise _bad(what, said, "must not escape the session root")
    if not parts:
        raise _bad(what, said, "must contain at least one path component")
    for part in parts:
        _check_component(part, what, said)
    whole = "/".join(parts)
    if max(len(whole.encode()), len(_measured(whole, what).encode())) > size_max:
        raise _bad(what, said, f"is longer than {size_max} bytes")
    return parts


def _measured(whole: str, what: str) -> str:
    return _quoted(folded(whole)) if what == "root" else folded(whole)


def _text(said: object, what: str) -> str:
    if not isinstance(said, str):
        raise BadValue(f"a {what} is a text.", expected="a text", found=said, next_step=_NEXT)
    return said


def _check_component(part: str, what: str, said: str) -> None:
    """Raise `BadValue` where `part` means something else than itself to some file system or reader."""
    if (hidden := unseen(part)) is not None:
        raise _bad(what, said, f"holds {hidden!a}, which nobody sees")
    if (other := in_disguise(part)) is not None:
        name = unicodedata.name(other).title()
        raise _bad(what, said, f"holds {other!a} ({name}) in a word of Latin letters, which looks like one")
    same = folded(part)
    if META in same or TEMPORARY in same:
        raise _bad(what, said, "uses a reserved internal path")
    if any(char in same for char in "/\\:\u2044\u2215\u29f8") or same in (".", ".."):
        raise _bad(what, said, "holds what some systems take for a way out of its directory")
    if taken := [char for char in same if char in _TAKEN]:
        raise _bad(what, said, f"holds {taken[0]}, which no file can be called on some systems")
    if same.partition(".")[0].rstrip() in _DEVICES:
        raise _bad(what, said, "is the name of a device on some systems")
    if any(each != each.strip() or each.endswith(".") for each in (part, same)):
        raise _bad(what, said, "has a part that ends in a dot, or begins or ends in a space")
    if (size := max(len(part.encode()), len(same.encode()))) > COMPONENT_BYTES_MAX:
        raise _bad(
            what, said, f"has a part of {size} bytes as some system writes it, above {COMPONENT_BYTES_MAX}"
        )


def _bad(what: str, said: str, why: str) -> BadValue:
    if why.startswith(("must be a non-empty", "must contain")):
        return BadValue(f"{what} {why}.", found=said, next_step=_NEXT)
    return BadValue(f"{what} {said[:100]!r} {why}.", found=said[:400], next_step=_NEXT)
