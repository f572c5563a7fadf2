"""What a secret is known by: the name under which it stands, what stands before it in a text, or its shape.

    is_sensitive("db_password")                          # True
    suspicious("curl -u ada:hunter2 http://host/")       # ['ada:hunter2']
    replaced("PASSWORD=hunter2 make", lambda _: "***")   # 'PASSWORD=*** make'

A name counts by its end: `api_key`, `DB_PASSWORD2`, `private_key_pem`. What some call so and others do not
(`tokens`, `pass`) counts where a text stands under it, and not where a number does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from playhead.composition.surface import as_list, as_object
from playhead.events.redaction import PREFIX

# A name without everything but its letters and digits, or its end.
_NAMES: Final = ("auth", "bearer", "pin", "pwd", "sessionid", "otp", "jwt", "pat")
_ENDS: Final = (
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "accountkey",
    "secretkey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "authorization",
    "cookie",
    "credential",
)
_MANY: Final = tuple(f"{end}s" for end in _ENDS if end != "token")
_LAST_WORDS: Final = frozenset({"pwd", "pin", "otp", "jwt", "pat"})
_TEXTS_ONLY: Final = frozenset({"tokens", "pass", "auth"})
_TAILS: Final = re.compile(r"(?:[0-9]+|pem|value|header|hash|json|string|b64|base64)$")
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

KNOWN: Final = rf"(?:(?:sha256:|{re.escape(PREFIX)})[0-9a-f]{{64}}(?![0-9A-Za-z_-])|\[redacted:\d+\])"
"""What was made here: digests of files and runs, of what the log redacted, and marks."""
MARK: Final = re.compile(r"\[redacted:\d+\]")
_LOGGED: Final = re.compile(rf"{re.escape(PREFIX)}[0-9a-f]{{64}}")
_PREFIXES: Final = (
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "pk_live_",
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
_WORDS: Final = r"(?:[A-Za-z]{1,20}[0-9]{0,2}[_\-]+)+[A-Za-z]{1,20}[0-9]{0,2}"
"""A long name of a tool is no secret: words that a person could say."""
_SHAPES: Final = re.compile(
    rf"""(?P<known>{KNOWN})
    |-----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----[\s\S]*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    |(?<=://)[^\s/@:]+:[^\s/@]+(?=@)
    |(?<=[Bb]earer\s)[^\s"',;]{{6,}}
    |(?<=[Bb]asic\s)[A-Za-z0-9+/]{{8,}}={{0,2}}
    |(?<=hooks\.slack\.com/services/)[A-Za-z0-9/]+
    |(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]+){{1,2}}
    |(?<=[?&])(?i:sig|signature)=[^\s&"'#]+
    |(?<![A-Za-z0-9])(?:{"|".join(map(re.escape, _PREFIXES))})[A-Za-z0-9_\-]{{3,}}
    |(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{{16,}}|npm_[A-Za-z0-9]{{30,}})
    |(?<![A-Za-z0-9])(?:ya29\.[A-Za-z0-9_\-]{{6,}}|SG\.[A-Za-z0-9_\-]{{8,}}\.[A-Za-z0-9_\-]+)
    |(?<![0-9])[0-9]{{8,10}}:[A-Za-z0-9_\-]{{30,}}
    |(?<![A-Za-z0-9+/=])(?=(?:[a-z0-9+/]*[A-Z]){{5}})(?=[A-Za-z+/]*[0-9])(?=(?:[A-Z0-9+/]*[a-z]){{5}})
        [A-Za-z0-9+/]{{40}}(?![A-Za-z0-9+/=])
    |(?<![A-Za-z0-9_\-])(?!{_WORDS}(?![A-Za-z0-9_\-]))[A-Za-z0-9_\-]{{49,}}""",
    re.VERBOSE,
)

_KEY: Final = (
    r"(?P<key>(?i:pass(?:word|wd|phrase|code)|pwd|secret|token|credential|cookie"
    r"|(?:api|access|account|secret|private|signing|encryption)[_\-]?key)(?i:s?)[0-9]{0,2})"
)
_SAID: Final = re.compile(
    rf"""{_KEY}(?:
        (?P<equals>\\*["']?[ \t]*(?:=>?|:(?=[ \t]*\\*["']))(?!=)[ \t]*)
        (?:(?P<quote>\\+["'])(?P<inner>[^\n]*?)(?:(?P=quote)|(?=\n)|\Z)
        |"(?P<double>(?:[^"\\\n]|\\.)*)|'(?P<single>(?:[^'\\\n]|\\.)*)
        |(?P<bare>[^\s"'`,;&()<>{{}}\[\]|\\]++)(?P<after>[(\[.,)]?))
    |:[ \t]+(?P<alone>[^\s"'`,;&()<>{{}}\[\]|\\]++)(?P<end>(?=[ \t]*(?:$|\r)))?
    |[ \t]+(?P<option>[^\s"'`,;&()<>{{}}\[\]|\\\-][^\s"'`]*)
    )
    |\bcurl\b[^\n]{{0,400}}?[ \t](?:-u|--user|--proxy-user)[ =]*["']?(?P<pair>[^\s"':]+:[^\s"']+)""",
    re.VERBOSE | re.MULTILINE,
)
_OPTION: Final = re.compile(r"(?<!\S)--[A-Za-z0-9_\-]*\Z")
_LINE_START: Final = re.compile(r"(?:^|\n)[ \t\-]*[A-Za-z0-9_\-]*\Z")
_PLACEHOLDER: Final = re.compile(r"\$\{?\w+\}?|<[^>]*>|\{[^}]*\}|\*+|%\w+%|[$%@.…]+")
_TYPES: Final = frozenset(
    {
        "str",
        "string",
        "text",
        "int",
        "number",
        "bool",
        "boolean",
        "bytes",
        "any",
        "none",
        "null",
        "true",
        "false",
    }
)
_DOTTED: Final = re.compile(r"[a-z_]+(?:\.[a-z_]+)+")
_OF_CODE: Final = re.compile(r"[A-Za-z_]+(?:_\d+)?")
_BEFORE_CHARS: Final = 80


@lru_cache(4_096)
def is_sensitive(name: str) -> bool:
    """Whether what stands under `name` goes, whatever it is."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    while plain not in _NAMES and not plain.endswith((*_ENDS, *_MANY)):
        shorter = _TAILS.sub("", plain)
        if shorter == plain:
            return _last_word(name) in _LAST_WORDS
        plain = shorter
    return True


@lru_cache(4_096)
def _last_word(name: str) -> str:
    words: list[str] = _WORD.findall(name)
    return words[-1].lower() if words else ""


def holds_secret(name: str, value: Any) -> bool:
    """Whether `value` goes because it stands under `name`."""
    return is_sensitive(name) or (_last_word(name) in _TEXTS_ONLY and _has_text(value))


def is_mark(value: Any) -> bool:
    """Whether `value` stands for something that was redacted, here or by the log."""
    return isinstance(value, str) and (_LOGGED.fullmatch(value) or MARK.fullmatch(value)) is not None


def option_before(text: str) -> bool:
    """Whether `text` is an option of a command that is given a secret, such as `--password`."""
    return _OPTION.fullmatch(text) is not None and is_sensitive(text)


def _has_text(value: Any) -> bool:
    left: list[Any] = [value]
    while left:
        found = left.pop()
        if isinstance(found, str) and not is_mark(found):
            return True
        left += (as_object(found) or {}).values() or as_list(found) or ()
    return False


def suspicious(text: str, *, code: bool = False) -> list[str]:
    """What in `text` looks like a secret. In code, what is assigned to a name is none."""
    found: list[str] = []

    def noted(secret: str) -> str:
        found.append(secret)
        return "[redacted:0]"

    _shapes_replaced(text, noted) if code else replaced(text, noted)
    return found


def replaced(text: str, by: Callable[[str], str]) -> str:
    """`text` with something else in place of what looks like a secret in it."""
    return _shapes_replaced(_SAID.sub(lambda found: _said(found, by), text), by)


def _shapes_replaced(text: str, by: Callable[[str], str]) -> str:
    return _SHAPES.sub(lambda found: found[0] if found["known"] else by(found[0]), text)


_PARTS: Final = ("inner", "double", "single", "bare", "alone", "option", "pair")


def _said(found: re.Match[str], by: Callable[[str], str]) -> str:
    part = next(name for name in _PARTS if found[name] is not None)
    value = found[part]
    if not _is_secret(found, part, value):
        return found[0]
    start, end = (place - found.start() for place in found.span(part))
    return f"{found[0][:start]}{by(value)}{found[0][end:]}"


def _is_secret(found: re.Match[str], part: str, value: str) -> bool:
    """Whether what stands behind a telling name is a value: no mark, no placeholder, no code."""
    if not value or re.fullmatch(KNOWN, value):
        return False
    if part == "pair":
        return True
    key = found["key"].lower()
    if _PLACEHOLDER.fullmatch(value) or value.lower() in _TYPES or key.upper() in value:
        return False
    if key.endswith("tokens") and re.fullmatch(r"[0-9.]+", value):
        return False
    before = found.string[max(0, found.start() - _BEFORE_CHARS) : found.start()]
    if part == "option":
        return _OPTION.search(before) is not None
    mixed = re.search(r"[0-9]", value) is not None and re.search(r"[A-Za-z]", value) is not None
    if part == "alone":
        return mixed or (found["end"] is not None and _LINE_START.search(before) is not None)
    if part == "bare":
        return not _is_code(found, value, mixed=mixed)
    return True


def _is_code(found: re.Match[str], value: str, *, mixed: bool) -> bool:
    """Whether a value without quotes is an expression of a program, and says nothing."""
    if value.lower() == found["key"].lower() or _DOTTED.fullmatch(value):
        return True
    spaced = found["equals"].strip() != found["equals"]
    name = _OF_CODE.fullmatch(value) is not None
    if found["after"] in ("(", "["):
        return name or not mixed
    return name and (bool(found["after"]) or (spaced and "_" in value))
