"""The values of snippets: plain ones of Python, and a few kinds of our own in place of its objects.

Plain are None, bool, int of 64 bits, float, str, list, tuple, dict and range. Nothing else
of Python is ever reachable. Comparing goes through `same` and `before`, which count what
they look at, because comparing two small nests of shared lists can take for ever.
"""

# The values of snippets are Any, and what their own types are is asked where they are used.
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import isfinite, isnan
from typing import Any, Final, NamedTuple

from playhead.snippet.meter import Limit, Meter
from playhead.snippet.protocol import ToolBinding

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
DEPTH_MAX: Final = 60
LONG_TEXT: Final = 256
SEARCHED_PLAINLY: Final = 30_000

Frame = list[Any]
"""A call under way: meter, enclosing frame, calls open, nodes open, task, then the variables."""

METER, OUTER, DEPTH, HEIGHT, TASK, FIRST_VARIABLE = range(6)
LINE, COL = FIRST_VARIABLE, FIRST_VARIABLE + 1
"""In the frame of a helper, which has no variables: where it is called."""

SCALARS: Final = frozenset({type(None), bool, int, float, str})
NUMBERS: Final = frozenset({bool, int, float})


UNBOUND: Final = object()
"""What a variable holds before it is assigned, and after it is gone."""


class Raised(Exception):
    """An error of the snippet on its way up. The position is filled in by the statement it leaves."""

    def __init__(self, error: ErrorValue) -> None:
        super().__init__(error)
        self.error = error
        self.line = 0
        self.col = 0
        self.trace: list[tuple[str, int]] = []
        """The calls that it left, innermost first: the function, and the line where it was called."""

    def at(self, line: int, col: int) -> None:
        """It was raised here, unless somewhere deeper said so already."""
        if not self.line:
            self.line, self.col = line, col


class ErrorType:
    """A name that can be raised and caught."""

    __slots__ = ("kinds", "name")

    def __init__(self, name: str, *bases: ErrorType) -> None:
        self.name = name
        self.kinds: frozenset[str] = frozenset({name}).union(*(base.kinds for base in bases))


class ErrorValue:
    """An error as a value. `category` is set where a tool failed."""

    __slots__ = ("args", "category", "type")

    def __init__(self, type_: ErrorType, args: tuple[Any, ...], category: str = "") -> None:
        self.type = type_
        self.args = args
        self.category = category


def _error_types() -> dict[str, ErrorType]:
    every = ErrorType("Exception")
    arithmetic, lookup, runtime = (
        ErrorType(name, every) for name in ("ArithmeticError", "LookupError", "RuntimeError")
    )
    found = [
        every,
        arithmetic,
        lookup,
        runtime,
        ErrorType("ZeroDivisionError", arithmetic),
        ErrorType("OverflowError", arithmetic),
        ErrorType("KeyError", lookup),
        ErrorType("IndexError", lookup),
        ErrorType("RecursionError", runtime),
        ErrorType("NotImplementedError", runtime),
    ]
    names = ("AssertionError", "AttributeError", "NameError", "TypeError", "ValueError", "ToolError")
    found += [ErrorType(name, every) for name in names]
    known = {each.name: each for each in found}
    known["UnboundLocalError"] = ErrorType("UnboundLocalError", known["NameError"])
    return known


ERROR_TYPES: Final = _error_types()


def failed(kind: str, message: str) -> Raised:
    """An error to raise."""
    return Raised(ErrorValue(ERROR_TYPES[kind], (message,)))


class SetValue:
    """A set that keeps the order in which its members came. `members` maps each to None."""

    __slots__ = ("members",)

    def __init__(self, members: dict[Any, None]) -> None:
        self.members = members

    def __len__(self) -> int:
        return len(self.members)


class Parameters(NamedTuple):
    """What a function takes, in the order of the variables that hold it."""

    names: tuple[str, ...]
    positional_only: int
    named: tuple[str, ...]
    rest: str | None
    named_rest: str | None

    @property
    def plain(self) -> bool:
        """Whether arguments are given by position only, each to its own name."""
        return not self.named and self.rest is None and self.named_rest is None


class Code:
    """A function as it was compiled. `body` gives the value of a call, or an awaitable of it."""

    __slots__ = ("body", "count", "height", "name", "parameters", "plain", "unbound", "waits")

    def __init__(
        self,
        name: str,
        parameters: Parameters,
        *,
        variables: int,
        height: int,
        waits: bool,
        body: Callable[[Frame], Any],
    ) -> None:
        self.name = name
        self.parameters = parameters
        self.plain = parameters.plain
        self.count = len(parameters.names)
        self.unbound = [UNBOUND] * variables
        """What the variables hold when a call begins."""
        self.height = height
        self.waits = waits
        self.body = body


class Function:
    """A function of the snippet, with what it closes over."""

    __slots__ = ("code", "defaults", "named_defaults", "outer")

    def __init__(
        self, code: Code, outer: Frame, defaults: tuple[Any, ...], named_defaults: dict[str, Any]
    ) -> None:
        self.code = code
        self.outer = outer
        self.defaults = defaults
        self.named_defaults = named_defaults


class Tool:
    """A binding as a value."""

    __slots__ = ("binding", "name")

    def __init__(self, name: str, binding: ToolBinding) -> None:
        self.name = name
        self.binding = binding


class Helper:
    """A function of the language. `waits`: it may call functions of the snippet, so it is awaited.

    It is called with the calling frame, and its arguments by position, those that were left out as their
    defaults. `rest`: all arguments by position come first, as a list. `named_rest`: all that have other names
    come last, as a dict. `plain` does the same without waiting, where only a `key` would be waited for.
    `types` are what `isinstance` compares with, where its name is one of a type.
    """

    __slots__ = (
        "defaults",
        "function",
        "name",
        "named_only",
        "named_rest",
        "names",
        "plain",
        "required",
        "rest",
        "simple",
        "types",
        "waits",
    )

    def __init__(
        self,
        name: str,
        function: Callable[..., Any] | Callable[..., Awaitable[Any]],
        names: tuple[str, ...],
        required: int,
        defaults: tuple[Any, ...],
        *,
        named_only: int = 0,
        rest: bool = False,
        named_rest: bool = False,
        waits: bool = False,
        plain: Callable[..., Any] | None = None,
        types: tuple[type, ...] = (),
    ) -> None:
        self.name = name
        self.function = function
        self.names = names
        self.required = required
        self.defaults = defaults
        self.named_only = named_only
        self.rest = rest
        self.named_rest = named_rest
        self.waits = waits
        self.plain = plain
        self.types = types
        self.simple = not (rest or named_rest or named_only)
        """Whether as many arguments as there are names, given by position, are already in order."""


def helper(
    name: str,
    function: Callable[..., Any],
    names: str = "",
    *defaults: Any,
    named_only: int = 0,
    rest: bool = False,
    named_rest: bool = False,
    waits: bool = False,
    plain: Callable[..., Any] | None = None,
    types: tuple[type, ...] = (),
) -> Helper:
    """A helper whose arguments have these names; the last ones have those defaults."""
    parameters = tuple(names.split())
    return Helper(
        name,
        function,
        parameters,
        len(parameters) - len(defaults),
        defaults,
        named_only=named_only,
        rest=rest,
        named_rest=named_rest,
        waits=waits,
        plain=plain,
        types=types,
    )


_KINDS: Final[dict[type, str]] = {
    type(None): "None",
    SetValue: "set",
    Function: "function",
    Tool: "tool",
    Helper: "function",
    ErrorType: "error type",
    ErrorValue: "error",
}


def kind_of(value: Any) -> str:
    """The name of a value's type, as messages and users say it."""
    found = type(value)
    return _KINDS.get(found) or found.__name__


def is_callable(value: Any) -> bool:
    """Whether a snippet may call it."""
    return type(value) in (Function, Tool, Helper, ErrorType)


def key(meter: Meter, value: Any) -> Any:
    """`value` where it may be a key of a dict or a member of a set. Raises a `TypeError` of the snippet."""
    found = type(value)
    if found is str:
        if len(value) > LONG_TEXT:
            meter.read(len(value))
        return value
    if found is int or found is bool or value is None:
        return value
    if found is float:
        if isnan(value):
            raise failed("ValueError", "NaN cannot be a key")
        return value
    if found is not tuple:
        raise failed("TypeError", f"a {kind_of(value)} cannot be a key")
    meter.spend(len(value) + 1)
    for each in value:
        if type(each) not in SCALARS or each != each:  # noqa: PLR0124  only NaN is not itself
            raise failed(
                "TypeError", "a tuple can be a key only if it holds texts, numbers, booleans and None"
            )
        if type(each) is str:
            meter.read(len(each))
    return value


def number(value: Any) -> int:
    """`value` as an integer of 64 bits. Raises an `OverflowError` of the snippet."""
    if INT_MIN <= value <= INT_MAX:
        return int(value)
    raise failed("OverflowError", "the number does not fit in 64 bits")


# Comparing.


def same(meter: Meter, a: Any, b: Any, depth: int = 0) -> bool:
    """Whether two values are equal, as Python has it."""
    if a is b:
        return not (type(a) is float and isnan(a) and depth == 0)
    left = type(a)
    right = type(b)
    if left in SCALARS or right in SCALARS:
        if left is str and right is str:
            meter.read(min(len(a), len(b)))
        return left in SCALARS and right in SCALARS and bool(a == b)
    if left is not right:
        return False
    if depth >= DEPTH_MAX:
        raise Limit("max_depth", f"values nested deeper than {DEPTH_MAX} cannot be compared.")
    if left is list or left is tuple:
        return _same_items(meter, a, b, depth)
    if left is dict:
        if len(a) != len(b):
            return False
        meter.spend(len(a) // 2 + 6)
        return all(name in b and same(meter, a[name], b[name], depth + 1) for name in a)
    if left is SetValue:
        meter.spend(len(a) // 2 + 6)
        return bool(a.members.keys() == b.members.keys())
    return left is range and bool(a == b)


def _same_items(meter: Meter, a: Any, b: Any, depth: int) -> bool:
    if len(a) != len(b):
        return False
    meter.spend(len(a) // 2 + 6)
    for x, y in zip(a, b, strict=True):
        if type(x) in SCALARS and type(y) in SCALARS and type(x) is not str:
            if x is not y and x != y:
                return False
        elif not same(meter, x, y, depth + 1):
            return False
    return True


def before(meter: Meter, a: Any, b: Any, depth: int = 0) -> bool:
    """Whether `a < b`. Raises a `TypeError` of the snippet where they have no order."""
    left = type(a)
    right = type(b)
    if left in NUMBERS and right in NUMBERS:
        return bool(a < b)
    if left is str and right is str:
        meter.read(min(len(a), len(b)))
        return bool(a < b)
    if (left is list or left is tuple) and left is right:
        if depth >= DEPTH_MAX:
            raise Limit("max_depth", f"values nested deeper than {DEPTH_MAX} cannot be compared.")
        meter.spend(min(len(a), len(b)) // 2 + 6)
        for x, y in zip(a, b, strict=False):
            if not same(meter, x, y, depth + 1):
                return before(meter, x, y, depth + 1)
        return len(a) < len(b)
    raise failed("TypeError", f"a {kind_of(a)} and a {kind_of(b)} have no order")


def holds(meter: Meter, container: Any, item: Any) -> bool:
    """Whether `item in container`."""
    found = type(container)
    if found is dict:
        return key(meter, item) in container
    if found is SetValue:
        return type(item) is not SetValue and key(meter, item) in container.members
    if found is str:
        if type(item) is not str:
            raise failed("TypeError", f"only a text can be in a text, not a {kind_of(item)}")
        search(meter, container, item)
        return item in container
    if found is range:
        # Python looks for a float by going over the whole range.
        return type(item) in NUMBERS and isfinite(item) and item == int(item) and int(item) in container
    if found is list or found is tuple:
        return position(meter, container, item) >= 0
    raise failed("TypeError", f"nothing can be in a {kind_of(container)}")


def position(meter: Meter, items: Any, item: Any) -> int:
    """Where `item` is in a list or tuple; -1 where it is not."""
    meter.spend(len(items) // 8 + 1)
    plain = type(item) in SCALARS
    if type(item) is str and len(item) > LONG_TEXT:
        meter.read(sum(len(item) for each in items if type(each) is str and len(each) == len(item)))
    for place, each in enumerate(items):
        if each is item:
            return place
        if plain and type(each) in SCALARS:
            if each == item:
                return place
        elif not plain and same(meter, each, item, 1):
            return place
    return -1


def search(meter: Meter, text: str, wanted: str) -> None:
    """Charge looking for a text in another from its start."""
    # Where both are short, Python compares each place with all that is wanted, at worst.
    meter.read(
        len(text) * (min(len(wanted) + 1, 8) + (len(wanted) // 8 if len(text) <= SEARCHED_PLAINLY else 0))
    )


def search_back(meter: Meter, text: str, wanted: str) -> None:
    """Charge looking from the end, which takes Python as long as both lengths multiplied."""
    meter.read(len(text) + len(wanted) * max(len(text) - len(wanted), 0) // 8)
