"""How a function is called: arguments by name, encoded once, and a result of one type.

Arguments are recorded with defaults filled in and keys sorted, so that a fact is
complete and equal calls have equal bytes.
"""

from __future__ import annotations

import copy
import inspect
import re
import types
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, TypeVar, get_type_hints
from uuid import UUID

import msgspec
from msgspec import Raw

from playhead.errors import BadValue, ProgramError
from playhead.events.values import ValueCodec, encode_value, has_any

A = TypeVar("A", tuple[Any, ...], dict[str, Any])

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:\-]{0,99}")

_EMPTY: Final = inspect.Parameter.empty
_BY_POSITION: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def check_name(name: str, what: str) -> str:
    """`name`, if it can stand in the id of an operation. Raises `ProgramError`."""
    if not NAME.fullmatch(name):
        raise ProgramError(
            f"{what} cannot be called {name!r}.",
            expected="a letter, then letters, digits and . : _ -, 100 at most",
            found=name,
            next_step="Use a letter first, then letters, digits and . : _ -, 100 at most.",
        )
    return name


_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


_IMMUTABLE: Final = frozenset(
    {int, str, float, bool, type(None), bytes, date, datetime, time, timedelta, Decimal, UUID}
)


def own(arguments: A) -> A:
    """`arguments` for world code alone: neither side sees what the other does to them later."""
    if arguments:
        values: Iterable[Any] = arguments.values() if isinstance(arguments, dict) else arguments
        for value in values:
            if type(value) not in _IMMUTABLE:
                return copy.deepcopy(arguments)
    return arguments


class Signature:
    """The parameters and the result of one function. Hints are read on first use, not at import."""

    def __init__(self, function: Callable[..., Any], what: str) -> None:
        self.function = function
        self.what = what
        self._where = f"arguments of {what}"
        self._parameters = inspect.signature(function).parameters
        self.names = tuple(self._parameters)
        kinds = [parameter.kind for parameter in self._parameters.values()]
        self._all = len(kinds) if all(kind in _BY_POSITION for kind in kinds) else -1
        """How many arguments are all that there are, where each can be given by its position."""
        self._defaults = {
            name: parameter.default
            for name, parameter in self._parameters.items()
            if parameter.default is not _EMPTY
        }
        # How many leading arguments may be handed over without looking closer.
        self._required = len(self.names) - len(self._defaults)

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Type hints by name, `return` among them. Raises `ProgramError` where one cannot be resolved."""
        try:
            return get_type_hints(self.function, include_extras=True)
        except (NameError, TypeError, AttributeError) as error:
            raise ProgramError(
                f"the type hints of {self.what} cannot be resolved: {error}.",
                next_step="Import the types where the function is defined, not only for type checkers.",
            ) from error

    @cached_property
    def result(self) -> ValueCodec:
        """The codec of what the function returns."""
        return ValueCodec(self.hints.get("return", Any), where=f"result of {self.what}")

    @cached_property
    def _open(self) -> tuple[str, ...]:
        """Parameters whose values must be looked at one by one, because no type says what comes back."""
        return tuple(name for name in self.names if has_any(self.hints.get(name, Any)))

    @cached_property
    def _decoder(self) -> type[msgspec.Struct]:
        fields: list[Any] = []
        for name, parameter in self._parameters.items():
            hint = self.hints.get(name, Any)
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                hint = types.GenericAlias(list, (hint,))
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                hint = types.GenericAlias(dict, (str, hint))
            # A tape that was recorded before the parameter was there gets its default.
            required = parameter.default is inspect.Parameter.empty and parameter.kind not in _VARIADIC
            fields.append((name, hint) if required else (name, hint, msgspec.UNSET))
        return msgspec.defstruct("Arguments", fields, kw_only=True)

    @cached_property
    def _arguments(self) -> ValueCodec:
        return ValueCodec(self._decoder, where=self._where)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name, defaults filled in. Raises `TypeError` as a call would."""
        if not kwargs:
            if len(args) == self._all:
                return dict(zip(self.names, args))  # noqa: B905  (they are as many)
            if self._required <= len(args) <= self._all:
                return {**self._defaults, **dict(zip(self.names, args, strict=False))}
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        for name, parameter in self._parameters.items():
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                arguments[name] = list(arguments[name])
        return arguments

    def bind_named(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Like `bind`, with every argument by name, also those that a call can give by position only."""
        named, by_position = dict(arguments), list[Any]()
        for name, parameter in self._parameters.items():
            if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY or name not in named:
                break
            by_position.append(named.pop(name))
        return self.bind(tuple(by_position), named)

    def recordable(self, arguments: dict[str, Any], redacted: Callable[[Raw], Raw]) -> Raw:
        """The recorded form of bound `arguments`, without secrets, as the program can be given it.

        Raises `BadValue` for values that cannot be recorded, and for ones that do not fit the hints.
        """
        raw = redacted(self.encode(arguments))
        try:
            self.decode(raw)
        except BadValue as error:
            raise BadValue(
                f"{self._where} do not fit: {error.__cause__}.",
                expected=", ".join(f"{name}: {self.hints.get(name, Any)!r}" for name in self.names),
                next_step="Give values of the types that are declared.",
            ) from error
        return raw

    def encode(self, arguments: dict[str, Any]) -> Raw:
        """The recorded form of bound `arguments`. Raises `BadValue` naming the argument."""
        for name in self._open:
            encode_value(arguments[name], where=f"argument {name} of {self.what}", plain=True)
        return Raw(encode_value(arguments, where=self._where, plain=False, ordered=True))

    def decode(self, raw: Raw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call that `encode` recorded, as positional and keyword arguments. Raises `BadValue`."""
        decoded = self._arguments.decode(raw)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        by_name = False
        for name, parameter in self._parameters.items():
            value = getattr(decoded, name)
            if value is msgspec.UNSET:
                by_name = True
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                args.extend(value)
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                kwargs.update(value)
            elif by_name or parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                kwargs[name] = value
            else:
                args.append(value)
        return tuple(args), kwargs


def coerce(signature: Signature, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments` given as plain values, for example on a command line, as the types of the hints.

    Raises `BadValue` for a missing, unknown or misfit argument.
    """
    unknown = [name for name in arguments if name not in signature.names]
    if unknown:
        raise BadValue(
            f"{signature.what} takes no {', '.join(unknown)}.",
            expected=list(signature.names),
            found=unknown,
            next_step=f"It takes: {', '.join(signature.names) or 'nothing'}.",
        )
    coerced: dict[str, Any] = {}
    for name, value in arguments.items():
        hint = signature.hints.get(name, Any)
        where = f"argument {name} of {signature.what}"
        try:
            coerced[name] = ValueCodec(hint, where=where).decode(
                encode_value(value, where=where, plain=False)
            )
        except BadValue as error:
            if not isinstance(value, str):
                raise BadValue(
                    f"{where}: {value!r} does not fit.",
                    expected=hint,
                    found=type(value).__qualname__,
                    next_step="Give a value of the type that is declared.",
                ) from error
            coerced[name] = _from_text(hint, value, where)
    return coerced


def _from_text(hint: Any, text: str, where: str) -> Any:
    try:
        return msgspec.convert(text, hint, strict=False)
    except (msgspec.ValidationError, TypeError) as error:
        raise BadValue(f"{where}: {error}.", expected=hint, found=text) from error
