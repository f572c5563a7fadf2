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
import functools
import math
import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, cast, get_args, get_origin
from uuid import UUID

import msgspec
import msgspec.inspect
from msgspec import Raw

from playhead.errors import BadValue
from playhead.log.envelope import PAYLOAD_BYTES_MAX

DEPTH_MAX: Final = 200
VALUE_BYTES_MAX: Final = PAYLOAD_BYTES_MAX - 1024 * 1024
"""What leaves room in a payload for the rest of a fact."""

# msgpack writes every float as 0xcb and eight bytes; NaN and infinity start 7ff or fff.
# A hit inside a text is possible, so a hit only asks for a closer look.
_not_finite: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
_WRITTEN_AS_THEY_ARE: Final = (bytes, bytearray, datetime, date, time, timedelta, UUID, Decimal)
_LEAVES: Final = frozenset({str, int, bool, type(None), bytes, datetime})


def _to_plain(value: Any) -> Any:
    """What msgspec does not know itself: pydantic models, without importing pydantic."""
    kind = cast("type[object]", type(value))
    if _is_model(kind):
        # What validates again: without computed fields, under the names that it is read by, and with
        # what a subclass adds, so that losing it is noticed.
        by_alias = _reads_aliases(cast("Any", kind))
        return value.model_dump(mode="python", round_trip=True, by_alias=by_alias, serialize_as_any=True)
    instead = getattr(kind, "RECORD_INSTEAD", None)
    hint = f" (record {instead} instead)" if isinstance(instead, str) else ""
    raise NotImplementedError(f"{kind.__module__}.{kind.__qualname__}{hint}")


def _is_model(kind: type) -> bool:
    return hasattr(kind, "__pydantic_validator__")


@functools.cache
def _reads_aliases(kind: Any) -> bool:
    """Whether a pydantic model is read by the aliases of its fields, and not by their names."""
    config = kind.model_config
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return not by_name and any(field.validation_alias is not None for field in kind.model_fields.values())


def _from_plain(kind: type, value: Any) -> Any:
    if _is_model(kind):
        return kind.model_validate(value)  # type: ignore[attr-defined]
    raise NotImplementedError(f"{kind.__module__}.{kind.__qualname__}")


_encode: Final = msgspec.msgpack.Encoder(enc_hook=_to_plain, decimal_format="string").encode
_encode_sorted: Final = msgspec.msgpack.Encoder(
    enc_hook=_to_plain, decimal_format="string", order="deterministic"
).encode


class ValueCodec:
    """Encodes and decodes values of one annotation. Cheap to use, made once per function."""

    __slots__ = ("_decode", "_may_lose", "annotation", "plain", "where")

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
        self._may_lose = False
        for part in _parts(annotation):
            self._may_lose |= isinstance(part, _WITH_FIELDS)
            if isinstance(part, msgspec.inspect.CustomType) and not _is_model(part.cls):
                raise BadValue(
                    f"{where}: a {part.cls.__module__}.{part.cls.__qualname__} cannot be recorded.",
                    found=annotation,
                    next_step="Use list, dict or set, a dataclass, a msgspec Struct or a pydantic model.",
                )

    def encode(self, value: Any, *, ordered: bool = False) -> Raw:
        """The stored bytes of `value`; `ordered` as in `encode_value`.

        Raises `BadValue`, also for a value that is not what its type says, or says more than its type.
        """
        data = encode_value(value, where=self.where, plain=self.plain, ordered=ordered)
        if self.annotation is not Any:
            try:
                decoded = self._decode(data)
                if self._may_lose and _canonical(decoded) != _canonical(value):
                    raise BadValue(
                        f"{self.where}: a {type(value).__qualname__} holds more than its annotation.",
                        expected=repr(decoded)[:200],
                        found=repr(value)[:200],
                        next_step="Annotate with the type that the value has, or leave out what it adds.",
                    )
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
        read = self._decode
        try:
            return read(raw)
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise BadValue(
                f"{self.where}: what the tape holds does not fit {self.annotation!r}: {error}.",
                expected=self.annotation,
                next_step="Keep the old type readable, or guard the change with patched().",
            ) from error


def encode_value(value: Any, *, where: str, plain: bool, ordered: bool = False) -> bytes:
    """msgpack of `value`; `ordered` sorts keys and sets, for what is compared: equal means equal bytes."""
    try:
        data = _canonical(value) if ordered else _encode(value)
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
    size = len(data)
    if size > VALUE_BYTES_MAX:
        raise BadValue(
            f"{where}: {size} bytes are too many for one event.",
            expected=VALUE_BYTES_MAX,
            found=size,
            next_step="Keep it in a file, and record where it is and its digest.",
        )
    if size > DEPTH_MAX or _not_finite.search(data) is not None:
        _check_encoded(data, where)
    return data


def _canonical(value: Any) -> bytes:
    """msgpack of `value` with keys and sets sorted. Keys of several types stand as they came."""
    try:
        return _encode_sorted(value)
    except TypeError:
        pass  # the encoder sorts texts only; what it writes is the same below
    try:
        ordered = msgspec.to_builtins(
            value, enc_hook=_to_plain, order="deterministic", builtin_types=_WRITTEN_AS_THEY_ARE
        )
    except TypeError:
        return _encode(value)
    return _encode(ordered)


def _parts(annotation: Any) -> Iterator[Any]:
    """Everything that `annotation` is made of, as msgspec sees it, each once."""
    seen: set[int] = set()
    waiting: list[Any] = [msgspec.inspect.type_info(annotation)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, (tuple, list)):
            waiting.extend(cast("Sequence[Any]", part))
        elif isinstance(part, (msgspec.inspect.Type, msgspec.inspect.Field)) and id(part) not in seen:
            seen.add(id(part))
            yield part
            waiting.extend(getattr(part, name) for name in part.__struct_fields__)


_WITH_FIELDS: Final = (
    msgspec.inspect.StructType,
    msgspec.inspect.DataclassType,
    msgspec.inspect.NamedTupleType,
    msgspec.inspect.TypedDictType,
    msgspec.inspect.CustomType,
)


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
    except Exception:  # noqa: BLE001  an argument may be anything, and raise anything when it is looked at
        return None
    return list(values) if len(data) <= ARGUMENTS_BYTES_MAX else None


ARGUMENTS_BYTES_MAX: Final = 16 * 1024
