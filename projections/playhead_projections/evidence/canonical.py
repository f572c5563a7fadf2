r"""Canonical JSON by RFC 8785: one text for each document, so that its hash says something.

    written({"b": 2.0, "a": "é"})          # b'{"a":"\xc3\xa9","b":2}\n'
    read(data)                             # raises BadValue where `data` is written in any other way

This is the rule of receipts and of everything around them. The records of the trust graph are hashed by
another one, which is older than this and writes numbers as they came.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, Final, cast

import rfc8785

from playhead.errors import BadValue

NUMBER_MAX: Final = 2**53 - 1
"""The largest whole number that every reader of JSON takes for what it is."""


def canonical(document: Any) -> bytes:
    """The canonical bytes of a document. Raises `BadValue` for what JSON cannot say."""
    try:
        return rfc8785.dumps(document)
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise BadValue(f"this has no canonical form: {error}.") from error


def written(document: Any) -> bytes:
    """A document as it stands in a file: the canonical bytes and a line feed."""
    return canonical(document) + b"\n"


def read(data: bytes) -> dict[str, Any]:
    """The object in a file of canonical JSON. Raises `BadValue` where it could be written differently."""
    try:
        document = json.loads(data.decode(), parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise BadValue(f"this is no JSON: {error}.") from error
    if not isinstance(document, dict) or data.removesuffix(b"\n") != canonical(document):
        raise BadValue("this is not written canonically, as RFC 8785 says, so it was changed.")
    return cast("dict[str, Any]", document)


def hash_of(document: Any) -> str:
    """The SHA-256 of the canonical bytes, as receipts write it."""
    return told(sha256(canonical(document)).digest())


def told(digest: bytes) -> str:
    """A SHA-256 as receipts write it."""
    return f"sha256:{digest.hex()}"


def _whole(text: str) -> int | float:
    """A whole number, as a float where it is one that canonical JSON writes without a point."""
    number = int(text)
    return number if abs(number) <= NUMBER_MAX else float(number)
