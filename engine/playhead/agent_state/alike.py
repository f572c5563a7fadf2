r"""What a reader of a name is fooled by: letters that nobody sees, and letters that look like others.

    unseen("a\u200bb")              # '\u200b'
    in_disguise("p\u0430ypal")      # '\u0430', a Cyrillic letter among Latin ones

Only words that are Latin but for letters which look so are in disguise: whoever writes
wholly in another alphabet, or mixes letters that everybody can tell apart, means it. Some
alphabets look so much like Latin that nobody mixes them with it in good faith.
Sources: Unicode Standard Annex 44 (Default_Ignorable_Code_Point), Unicode Technical Standard 39.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters, marks and symbols by category that are shown as nothing at all.
_BLANK: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U0001d159\U000e0100-\U000e01ef]"
)
_WORDS: Final = re.compile(r"[^\W\d_]+")
# Cyrillic, Greek and Armenian letters.
_LIKE_LATIN: Final = frozenset("аеорсухіјѕһԁԛԝѵӏкАВЕКМНОРСТУХІЈЅҺԚԜѴӀονριυκχΑΒΕΖΗΙΚΜΝΟΡΤΥΧօոսցԼՕՍ")

_NEVER_MIXED: Final = (
    *("CHEROKEE ", "LISU ", "CANADIAN SYLLABICS ", "COPTIC ", "DESERET ", "OLD ITALIC ", "RUNIC "),
    *("GOTHIC ", "CARIAN ", "LYCIAN ", "LYDIAN ", "ELBASAN ", "WARANG CITI ", "VAI ", "BAMUM ", "TIFINAGH "),
)


def unseen(text: str) -> str | None:
    """The first character of `text` that nobody sees; None where there is none."""
    for char in text:
        if unicodedata.category(char) in _HIDDEN or _BLANK.match(char):
            return char
    return None


def in_disguise(text: str) -> str | None:
    """The first letter in a Latin word that is no Latin one and looks like one; None where there is none."""
    words: list[str] = _WORDS.findall(unicodedata.normalize("NFKC", text))
    for word in words:
        others = [letter for letter in word if not _latin(letter)]
        if not others or len(others) == len(word):
            continue
        if mixed := next((letter for letter in others if _name(letter).startswith(_NEVER_MIXED)), None):
            return mixed
        if all(letter in _LIKE_LATIN for letter in others):
            return others[0]
    return None


def _latin(letter: str) -> bool:
    return _name(letter).startswith("LATIN ")


def _name(letter: str) -> str:
    return unicodedata.name(letter, "")
