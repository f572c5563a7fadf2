"""The text of a snippet, looked at before Python's parser is: size, and characters that hide something.

What a person approves must be what runs, so nothing is let through that is not seen, or
that is seen elsewhere than it stands.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from playhead.snippet.diagnostic import Position, Problems

SOURCE_BYTES_MAX: Final = 32 * 1024
CHARACTERS_REPORTED_MAX: Final = 20

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_ALLOWED: Final = "\n\t"
# Format characters that only newer tables of Unicode know as such.
_UNSEEN_LATER: Final = range(0x13430, 0x13456)


def check_text(source: str, problems: Problems) -> str:
    """The source with lines that end alike. Notes what is too large or not to be seen."""
    text = source.replace("\r\n", "\n")
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if size > SOURCE_BYTES_MAX:
        message = f"a snippet has at most {SOURCE_BYTES_MAX} bytes, and this one has {size}"
        problems.add(Position(1, 1, 1, 1), "size", message, "do less in one snippet")
        return text
    if not (text.isascii() and text.replace("\n", "").replace("\t", "").isprintable()):
        _check_characters(text, problems)
    return text


def _check_characters(text: str, problems: Problems) -> None:
    line, start, reported = 1, 0, 0
    for place, character in enumerate(text):
        if character == "\n":
            line, start = line + 1, place + 1
        elif character in _ALLOWED or not is_unseen(character):
            continue
        elif reported < CHARACTERS_REPORTED_MAX:
            reported += 1
            code = ord(character)
            escape = (
                f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65_536 else f"\\U{code:08x}"
            )
            col = place - start + 1
            problems.add(
                Position(line, col, line, col + 1),
                "character",
                f"the character U+{code:04X} cannot be seen, so it may not stand in a snippet",
                f"inside of a text write {escape}",
            )


def is_unseen(character: str) -> bool:
    """Whether it is a control, a format character, half of a character, or a separator of lines."""
    return unicodedata.category(character) in _UNSEEN or ord(character) in _UNSEEN_LATER
