"""Values of users, at the door: what goes in comes out equal, or is refused before anything is written.

    codec = ValueCodec(list[Page], where="result of fetch")
    raw = codec.encode(pages)        # msgpack, once
    codec.decode(raw) == pages

An annotation decides what comes out. Without one only plain values are let in
(None, bool, int, float, str, bytes, list, dict with text keys, aware datetimes),
because a tuple would come back as a list and a dataclass as a dict.

Refused with `BadValue`: NaN and infinity, lone surrogates, integers beyond 64
bits, nesting deeper than 200, and keys that are not text in plain values.
"""

from __future__ import annotations

import enum
import math
import re
from datetime import datetime
from typing import Any, Final, cast, get_args, get_origin

import msgspec
from msgspec import Raw

from playhead.errors import BadValue

DEPTH_MAX: Final = 200

# msgpack writes every float as 0xcb and eight bytes; NaN and infinity start 7ff or fff.
# A hit inside a text is possible, so a hit only asks for a closer look.
_not_finite: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
_LEAVES: Final = frozenset({str, int, bool, type(None), bytes, datetime})


def _to_plain(value: Any) -> Any:
    """What msgspec does not know itself: pydantic models, without importing pydantic."""
    kind = cast("type[object]", type(value))
    if hasattr(kind, "__pydantic_validator__"):
        return value.model_dump(mode="python")
    raise NotImplementedError(f"{kind.__module__}.{kind.__qualname__}")


def _from_plain(kind: type, value: Any) -> Any:
    if hasattr(kind, "__pydantic_validator__"):
        return kind.model_validate(value)  # type: ignore[attr-defined]
    raise NotImplementedError(f"{kind.__module__}.{kind.__qualname__}")


_encode: Final = msgspec.msgpack.Encoder(enc_hook=_to_plain, decimal_format="string").encode
_encode_sorted: Final = msgspec.msgpack.Encoder(
    enc_hook=_to_plain, decimal_format="string", order="deterministic"
).encode


class ValueCodec:
    """Encodes and decodes values of one annotation. Cheap to use, made once per function."""

    __slots__ = ("_decode", "annotation", "plain", "where")

    def __init__(self, annotation: Any, *, where: str) -> None:
        self.annotation = annotation
        self.where = where
        self.plain = has_any(annotation)
        try:
            self._decode = msgspec.msgpack.Decoder(annotation, dec_hook=_from_plain).decode
        except TypeError as error:
            raise BadValue(
                f"{where}: the annotation {annotation!r} cannot be recorded: {error}.",
                next_step="Use types that msgspec or pydantic can encode, or return something plainer.",
            ) from error

    def encode(self, value: Any) -> Raw:
        """The stored bytes of `value`. Raises `BadValue`, also for a value that is not what its type says."""
        data = encode_value(value, where=self.where, plain=self.plain)
        if self.annotation is not Any:
            try:
                self._decode(data)
            except (msgspec.MsgspecError, ValueError, TypeError) as error:
                raise BadValue(
                    f"{self.where}: the value does not fit {self.annotation!r}: {error}.",
                    expected=self.annotation,
                    found=type(value).__qualname__,
                    next_step="Return what the annotation says, or correct the annotation.",
                ) from error
        return Raw(data)

    def decode(self, raw: Raw | bytes) -> Any:
        """The value in `raw`. Raises `BadValue` where it does not fit the annotation any more."""
        try:
            return self._decode(raw)
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise BadValue(
                f"{self.where}: what the tape holds does not fit {self.annotation!r}: {error}.",
                expected=self.annotation,
                next_step="Keep the old type readable, or guard the change with patched().",
            ) from error


def encode_value(value: Any, *, where: str, plain: bool, ordered: bool = False) -> bytes:
    """msgpack of `value`; `ordered` sorts keys, for arguments, so that equal means equal bytes."""
    try:
        data = (_encode_sorted if ordered else _encode)(value)
    except (TypeError, NotImplementedError) as error:
        raise BadValue(
            f"{where}: a value of type {type(value).__qualname__} cannot be recorded: {error}.",
            next_step="Use plain values, dataclasses, msgspec Structs or pydantic models.",
        ) from error
    except UnicodeEncodeError as error:
        raise BadValue(
            f"{where}: a text holds a lone surrogate at {error.start}.",
            next_step="Clean the text first, for example with .encode('utf-8', 'replace').decode().",
        ) from error
    except OverflowError as error:
        raise BadValue(
            f"{where}: an integer does not fit 64 bits.", next_step="Record it as a text."
        ) from error
    except RecursionError as error:
        raise BadValue(
            f"{where}: nested deeper than {DEPTH_MAX}.", expected=DEPTH_MAX, next_step="Flatten it."
        ) from error
    if plain:
        _check_plain(value, where)
    if len(data) > DEPTH_MAX or _not_finite.search(data) is not None:
        _check_encoded(data, where)
    return data


def _check_encoded(data: bytes, where: str) -> None:
    """NaN, infinity and depth, found in what was really encoded, level by level."""
    if _not_finite.search(data) is None and not _may_be_deep(data):
        return
    level: list[Any] = [msgspec.msgpack.decode(data, strict=False)]
    for _ in range(DEPTH_MAX + 1):
        below: list[Any] = []
        for value in level:
            kind = cast("type[object]", type(value))
            if kind is float:
                if not math.isfinite(value):
                    raise BadValue(
                        f"{where}: {value} is not a finite number.",
                        found=value,
                        next_step="Use None, or a text, for what is not a number.",
                    )
            elif kind is list:
                below.extend(value)
            elif kind is dict:
                below.extend(value)
                below.extend(value.values())
        if not below:
            return
        level = below
    raise BadValue(f"{where}: nested deeper than {DEPTH_MAX}.", expected=DEPTH_MAX, next_step="Flatten it.")


def _may_be_deep(data: bytes) -> bool:
    """Whether there are enough container headers for more than DEPTH_MAX levels.

    Counts bytes that could be headers, so it may say yes for a text, never no for a deep value.
    """
    return len(data) - len(data.translate(None, _CONTAINER_HEADERS)) > DEPTH_MAX


_CONTAINER_HEADERS: Final = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])


def _check_plain(value: Any, where: str) -> None:
    """Only what comes back equal without an annotation."""
    level: list[Any] = [value]
    for _ in range(DEPTH_MAX + 1):
        below: list[Any] = []
        for item in level:
            kind = cast("type[object]", type(item))
            if kind in _LEAVES or kind is float:
                if kind is datetime and item.tzinfo is None:
                    raise BadValue(f"{where}: a datetime without a time zone needs an annotation.")
                continue
            if kind is list:
                below.extend(item)
            elif kind is dict:
                for key in item:
                    if type(key) is not str:
                        raise BadValue(
                            f"{where}: the key {key!r} is not a text.",
                            expected="str",
                            found=type(key).__qualname__,
                            next_step="Annotate the mapping's type, or use text keys.",
                        )
                below.extend(item.values())
            else:
                raise BadValue(
                    f"{where}: a {kind.__qualname__} would not come back equal without an annotation.",
                    found=kind.__qualname__,
                    next_step="Annotate the parameter or the result with its type.",
                )
        if not below:
            return
        level = below
    raise BadValue(f"{where}: nested deeper than {DEPTH_MAX}.", expected=DEPTH_MAX, next_step="Flatten it.")


def has_any(annotation: Any) -> bool:
    """Whether some part of `annotation` takes anything, so that values must be looked at one by one."""
    if annotation is Any or annotation is object:
        return True
    if annotation in (list, dict, tuple, set, frozenset):
        return True
    origin = get_origin(annotation)
    if origin is not None:
        return any(
            has_any(argument)
            for argument in get_args(annotation)
            if argument is not Ellipsis and not isinstance(argument, (str, int, bytes, enum.Enum))
        )
    # A structure with an Any inside is checked as a whole after encoding; its
    # own types come back, only what stands under the Any does not.
    return False


def plain_or_none(values: tuple[Any, ...]) -> list[Any] | None:
    """`values` as a list if all of them are plain and small, else None. Never raises."""
    try:
        data = encode_value(list(values), where="arguments of an error", plain=True)
    except BadValue:
        return None
    return list(values) if len(data) <= ARGUMENTS_BYTES_MAX else None


ARGUMENTS_BYTES_MAX: Final = 16 * 1024
