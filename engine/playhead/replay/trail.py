"""A trail: what the lines of the user's own code held, one by one, while a tape was played.

    with Tracer(watching) as tracer:
        ...                        # load the program, play its tape
    tracer.trail()

Each call of a function is a stretch, and each line that it went through a row: what the names on it held
before and after. Two trails of one tape under different conditions part where a program is not determined,
whatever it was that it asked: see `playhead.replay.parting`.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Iterator
from types import CodeType, FrameType, ModuleType
from typing import Any, Final, NamedTuple, Self, cast

import msgspec

from playhead.replay.frames import is_installed
from playhead.replay.kept import kept
from playhead.replay.portrait import is_alike, portrait
from playhead.runtime.place import is_ours, is_pump
from playhead.runtime.scope import current

ROWS_MAX: Final = 300_000
ROWS_OF_A_LINE_MAX: Final = 20_000
"""A line that is gone through more often is looked at so many times."""
BY_IDS: Final = "iteration over a set, ordered by ids"
"""What a line asks that holds a set of objects which are told apart by their addresses."""


class Row(msgspec.Struct, array_like=True):
    """A line that was gone through. `after` holds what is another than `before`; at `closed` 0 it goes on."""

    line: int
    opened: int
    closed: int
    before: dict[str, str]
    after: dict[str, str]
    result: str | None
    calls: list[int]
    raised: bool = False


class Stretch(msgspec.Struct, array_like=True):
    """One call of a function, or one run through a module. `done` says whether it came to its end."""

    file: str
    function: str
    first: int
    rows: list[Row]
    done: bool = False


class Trail(msgspec.Struct):
    """All of one play. `here` is where it diverged, innermost first, as numbers of stretch and row."""

    stretches: list[Stretch]
    roots: dict[str, list[int]]
    here: list[tuple[int, int]]
    sets: bool
    """Whether there was a set whose order another process may not have."""
    asks: dict[str, list[str]]
    """What the lines name of modules that are not the user's own, by `file:line`."""
    whole: bool = True


class _Line(NamedTuple):
    reads: tuple[str, ...]
    names: tuple[str, ...]
    dotted: tuple[tuple[str, str], ...]
    members: frozenset[str]
    """What is named after a dot."""
    makes_set: bool


class Tracer:
    """Follows the calling thread through the user's own code, from `with` to its end."""

    def __init__(self) -> None:
        self.full = False
        self.sets = False
        self.at: tuple[CodeType, int] = (is_ordered.__code__, 0)
        """The line that is looked at."""
        self.stretches: list[_Call] = []
        self._here: list[tuple[int, int]] = []
        self._roots: dict[str, list[int]] = {}
        # By id, because the hash of code is one over all that it holds: one that is known stays alive.
        self._own: dict[int, bool] = {}
        self._codes: list[CodeType] = []
        self._lines: dict[int, dict[int, _Line]] = {}
        self._ends: dict[int, tuple[frozenset[int], frozenset[int]]] = {}
        self._times: dict[tuple[int, int], int] = {}
        self._asks: dict[str, dict[str, None]] = {}
        self._rows = 0
        self._tick = 0

    def __enter__(self) -> Self:
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def diverged(self, frame: FrameType) -> None:
        """The program did something else than its tape says, in a call that `frame` came from."""
        self._here = [(call.number, len(call.rows) - 1) for call in _calls(frame) if call.rows]
        sys.settrace(None)  # what is called from here on is not the program's, and would be slow

    def trail(self) -> Trail:
        """What was seen."""
        asks = {place: list(found) for place, found in self._asks.items()}
        stretches = [call.stretch() for call in self.stretches]
        return Trail(stretches, self._roots, self._here, self.sets, asks, not self.full)

    def asked(self, code: CodeType, line: int, what: str) -> None:
        """A line names something of a module that is not the user's own."""
        self._asks.setdefault(f"{code.co_filename}:{line}", {})[what] = None

    def _called(self, frame: FrameType, event: str, arg: Any) -> Any:
        own = self._own.get(id(frame.f_code))
        if own is None:
            self._codes.append(frame.f_code)
            own = self._own[id(frame.f_code)] = _is_own(frame)
        if not own:
            return None
        if isinstance(getattr(frame.f_trace, "__self__", None), _Call):
            return frame.f_trace  # it goes on where it waited
        around = next(_calls(frame.f_back), None)
        if around is not None and (around.row is None or self.full):
            return None
        call = _Call(self, len(self.stretches), frame)
        self.stretches.append(call)
        if around is not None and around.row is not None:
            around.row.calls.append(call.number)
        else:
            scope = current()
            self._roots.setdefault("" if scope is None else scope.path, []).append(call.number)
        return call.trace

    def row(self, code: CodeType, line: int) -> Row | None:
        """A row for a line; None where it was looked at often enough."""
        times = self._times.get((id(code), line), 0)
        self._times[id(code), line] = times + 1
        self._rows += 1
        if self._rows > ROWS_MAX:
            self.full = True
        if times >= ROWS_OF_A_LINE_MAX or self.full:
            return None
        return Row(line, self.tick(), 0, {}, {}, None, [])

    def tick(self) -> int:
        """A moment later than all before."""
        self._tick += 1
        return self._tick

    def line(self, code: CodeType, line: int) -> _Line | None:
        """What is named on a line."""
        lines = self._lines.get(id(code))
        if lines is None:
            lines = self._lines[id(code)] = dict(_lines_of(code))
        found = lines.get(line)
        if found is not None and found.makes_set:
            self.sets = True
        return found

    def ends(self, code: CodeType) -> tuple[frozenset[int], frozenset[int]]:
        """The instructions that return from code, and those that hand a value over meanwhile."""
        found = self._ends.get(id(code))
        if found is None:
            ops = [(each.opname, each.offset) for each in dis.get_instructions(code)]
            returns = frozenset(at for name, at in ops if name.startswith("RETURN_"))
            yields = frozenset(at for name, at in ops if name == "YIELD_VALUE")
            found = self._ends[id(code)] = (returns, yields)
        return found

    def seen(self, value: object) -> str:
        """What a value looks like."""
        return portrait(value, self._met)

    def _met(self, value: set[object]) -> None:
        if len(value) > 1 and any(map(is_by_id, value)):
            self.asked(*self.at, BY_IDS)
        self.sets = self.sets or (len(value) > 1 and not all(map(is_ordered, value)))


class _Call:
    """One call that is followed."""

    def __init__(self, tracer: Tracer, number: int, frame: FrameType) -> None:
        self.number = number
        self.rows: list[Row] = []
        self.row: Row | None = None
        self.done = False
        self._fails = False
        self._code = frame.f_code
        self._tracer = tracer
        self._is_module = frame.f_code.co_name == "<module>"
        self._module = str(frame.f_globals.get("__name__", "?"))
        is_class = not (self._is_module or frame.f_code.co_flags & inspect.CO_OPTIMIZED)
        self._inside = f"{self._module}:{frame.f_code.co_qualname}." if is_class else ""
        """What stands before the names of a class that is being made: they are those of its members."""

    def stretch(self) -> Stretch:
        code = self._code
        return Stretch(code.co_filename, code.co_qualname, code.co_firstlineno, self.rows, self.done)

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self._fails = False
            if self.row is not None:
                self._close(frame, self.row)
            self._open(frame)
        elif event == "exception":
            self._fails = True
            if self.row is not None and not isinstance(arg[1], GeneratorExit):
                self.row.result, self.row.raised = self._tracer.seen(arg[1]), True
        elif event == "return":
            self._returned(frame, arg)
        return self.trace

    def _returned(self, frame: FrameType, value: object) -> None:
        returns, yields = self._tracer.ends(self._code)
        raised = frame.f_lasti not in returns and (self._fails and value is None)
        if frame.f_lasti in yields and not raised:
            if self.row is not None and not self._code.co_flags & inspect.CO_COROUTINE:
                self.row.result = self._tracer.seen(value)
                self._close(frame, self.row)  # so far: it may go on here
            return
        if self.row is not None:
            if not raised:
                self.row.result = self._tracer.seen(value)
            self._close(frame, self.row)
        self.row = None
        self.done = True

    def _open(self, frame: FrameType) -> None:
        self.row = self._tracer.row(self._code, frame.f_lineno)
        if self.row is not None:
            self.rows.append(self.row)
            named = self._tracer.line(self._code, frame.f_lineno)
            if named is not None:
                self._look(frame, self.row.line, named, named.reads, self.row.before)

    def _close(self, frame: FrameType, row: Row) -> None:
        named = self._tracer.line(self._code, row.line)
        if named is not None:
            self._look(frame, row.line, named, named.names, row.after)
            for name, seen in row.before.items():
                if row.after.get(name) == seen:
                    del row.after[name]
        row.closed = self._tracer.tick()

    def _look(
        self, frame: FrameType, line: int, named: _Line, names: tuple[str, ...], into: dict[str, str]
    ) -> None:
        held, known = frame.f_locals, frame.f_globals
        self._tracer.at = (self._code, line)
        found: dict[str, object] = {}
        for name in names:
            mine = not self._is_module and name in held
            value = held.get(name, _NOTHING) if mine else known.get(name, _NOTHING)
            if value is not _NOTHING:
                whole = f"{self._inside}{name}" if mine else f"{self._module}:{name}"
                found.update(kept(whole, value, named.members))
        into.update((name, self._tracer.seen(value)) for name, value in found.items())
        for root, rest in named.dotted:
            module = held.get(root, known.get(root))
            if not isinstance(module, ModuleType):
                continue
            name, file = rest.partition(".")[0], getattr(module, "__file__", None)
            value = vars(module).get(name, _NOTHING)
            if file is None or is_installed(file):
                self._tracer.asked(self._code, line, f"{module.__name__}.{rest}")
            elif value is not _NOTHING and not is_alike(value):
                into[f"{module.__name__}:{name}"] = self._tracer.seen(value)


_NOTHING: Final = object()


def is_ordered(value: object) -> bool:
    """Whether sets of such values are walked in the same order by every process."""
    if isinstance(value, tuple):
        return all(map(is_ordered, cast("tuple[object, ...]", value)))
    return isinstance(value, (int, float))


def is_by_id(value: object) -> bool:
    """Whether where a value comes in a set is decided by its address."""
    if isinstance(value, tuple):
        return any(map(is_by_id, cast("tuple[object, ...]", value)))
    return type(value).__hash__ is object.__hash__


def _calls(frame: FrameType | None) -> Iterator[_Call]:
    """The calls that are followed, of what runs now, innermost first."""
    while frame is not None and not is_pump(frame):
        call = getattr(frame.f_trace, "__self__", None)
        if isinstance(call, _Call):
            yield call
        frame = frame.f_back


def _is_own(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return not name.startswith("<") and not is_installed(name) and not is_ours(frame)


def _lines_of(code: CodeType) -> Iterator[tuple[int, _Line]]:
    """What is named on each line of code."""
    reads: dict[int, dict[str, None]] = {}
    names: dict[int, dict[str, None]] = {}
    dotted: dict[int, dict[tuple[str, str], None]] = {}
    members: dict[int, set[str]] = {}
    makes: set[int] = set()
    root, rest, line = "", "", code.co_firstlineno
    for each in dis.get_instructions(code):
        line = each.positions.lineno if each.positions and each.positions.lineno is not None else line
        held: Any = each.argval
        args = cast("tuple[object, ...]", held) if isinstance(held, tuple) else (held,)
        words = [arg for arg in args if isinstance(arg, str)]
        name = words[-1] if words else ""
        if each.opname in ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR"):
            members.setdefault(line, set()).add(name)
        if each.opname in ("LOAD_ATTR", "LOAD_METHOD") and root:
            rest = f"{rest}.{name}" if rest else name
            continue
        if root and rest:
            dotted.setdefault(line, {})[root, rest] = None
        root, rest = "", ""
        if each.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_CLOSURE")):
            root = name
            reads.setdefault(line, {}).update(dict.fromkeys(words))
            names.setdefault(line, {}).update(dict.fromkeys(words))
        elif each.opname.startswith(("STORE_FAST", "STORE_DEREF", "STORE_GLOBAL", "STORE_NAME")):
            names.setdefault(line, {}).update(dict.fromkeys(words))
        if each.opname in ("BUILD_SET", "SET_ADD", "SET_UPDATE") or name in ("set", "frozenset"):
            makes.add(line)
    for line in sorted({*names, *reads, *dotted, *makes}):
        read, named = tuple(reads.get(line, ())), tuple(names.get(line, ()))
        after_dots = frozenset(members.get(line, ()))
        yield line, _Line(read, named, tuple(dotted.get(line, ())), after_dots, line in makes)
