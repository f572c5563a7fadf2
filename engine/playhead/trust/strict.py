"""JSON of strangers, read so that what readers would take differently is not taken at all.

    value = read_json(data, bytes_max=1_000_000)
    list(plain_problems(value))        # what stands in it and is no value, each with its place

A key that stands twice in an object, NaN and infinity, and a number too large are left in the value as `Odd`,
so that all of them can be told at once.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, Final

from playhead.errors import BadValue
from playhead.trust.plain import Odd
from playhead.trust.problem import cut

DIGITS_MAX: Final = 20
"""An integer that is written with more characters does not fit 64 bits."""


def read_json(data: bytes, *, bytes_max: int) -> Any:
    """The value in `data`. Raises `BadValue` for what is too long, no UTF-8, no JSON, or far too deep."""
    if len(data) > bytes_max:
        raise BadValue(
            f"the file has {len(data)} bytes, and {bytes_max} are the most that are read.",
            expected=bytes_max,
            found=len(data),
        )
    try:
        return _decoder.decode(data.decode())
    except UnicodeDecodeError as error:
        raise BadValue(f"the file is not UTF-8, at byte {error.start}.") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadValue(f"the file is not JSON: {place}: {cut(error.msg)}.") from error
    except RecursionError as error:
        raise BadValue("the file is not read: it is nested far too deep.") from error


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    keys = Counter(key for key, _ in pairs)
    twice = next(key for key, times in keys.items() if times > 1)
    return Odd(f"the key {twice[:60]!r} stands in the object more than once")


def _integer(text: str) -> Any:
    return int(text) if len(text) <= DIGITS_MAX else _too_large(text)


def _float(text: str) -> Any:
    number = float(text)
    return number if math.isfinite(number) else _too_large(text)


def _too_large(text: str) -> Odd:
    return Odd(f"the number {text if len(text) <= 40 else f'{text[:40]}…'} is too large")


def _constant(text: str) -> Odd:
    return Odd(f"{text} is no number of JSON")


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
