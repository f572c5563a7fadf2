"""Likely causes of a divergence: changed code, another Python, and unrecorded time, chance or order.

The source of the persona and of the functions around the diverging line is read
for calls whose answers no tape holds. Finding one is a hint, not a verdict.
"""

from __future__ import annotations

import ast
import inspect
import platform
import sys
import textwrap
from collections.abc import Callable, Container, Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any, Final, cast

from playhead.events.catalog import StepStarted
from playhead.events.fact import Failure, Site
from playhead.replay.frames import is_users
from playhead.runtime.difference import Divergence
from playhead.runtime.persona import Persona
from playhead.runtime.step import Step
from playhead.runtime.tape import Tape

CAUSES_MAX: Final = 6

_TIME: Final = {"time.time", "time.time_ns", "time.monotonic", "time.perf_counter", "datetime.now",
                "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now",
                "datetime.datetime.utcnow", "datetime.date.today"}  # fmt: skip
_CHANCE: Final = {"uuid.uuid4", "uuid4", "uuid.uuid1", "os.urandom"}
_SEEDED: Final = {"random.Random", "random.seed"}
"""Chance where they are handed nothing."""
_ENVIRONMENT: Final = {"os.getenv", "os.environ", "os.environ.get", "os.getpid", "os.getcwd",
                       "socket.gethostname", "sys.argv"}  # fmt: skip


def suspects(tape: Tape, persona: Persona[..., Any], found: Divergence, field: str | None) -> list[str]:
    """Sentences about what may have caused `found`, most likely first, at most `CAUSES_MAX`."""
    event = found.seq if found.seq is not None else tape.events[-1].seq
    shown = [seq for seq in tape.lost if seq < event]
    causes = [f"event {seq} was erased, and the program was told a mark" for seq in shown[-2:]]
    causes += [*_in_source(persona, found.site), *_changed_code(tape, persona, found)]
    failure = getattr(found.now[1], "failure", None) if found.now is not None else None
    if isinstance(failure, Failure):
        place = f" at {failure.site}" if failure.site else ""
        causes.insert(0, f"the program now raises {failure.type}: {failure.message}{place}")
    if found.kind == "changed" and field == "winner":
        causes.insert(0, "another contender won the race")
    if found.recorded is not None and found.now is not None and found.recorded.op != found.now[0]:
        causes.append("an operation was renamed, moved, added or removed before this one")
    running = platform.python_version()
    if tape.started.python != running:
        causes.append(f"the tape was recorded under Python {tape.started.python}, this is {running}")
    return list(dict.fromkeys(causes))[:CAUSES_MAX]


def _changed_code(tape: Tape, persona: Persona[..., Any], found: Divergence) -> Iterator[str]:
    if tape.started.code and tape.started.code != persona.code:
        yield f"the code of persona {persona.name} changed since it was recorded"
    recorded, now = found.recorded, found.now
    if (
        recorded is not None
        and now is not None
        and isinstance(recorded.fact, StepStarted)
        and isinstance(now[1], StepStarted)
        and recorded.fact.code != now[1].code
    ):
        yield f"the code of step {now[1].step} changed since it was recorded"


def _in_source(persona: Persona[..., Any], site: Site | None) -> Iterator[str]:
    for what, function, line in _reading(_functions(persona, site)):
        yield f"{what} at {function.__module__}:{getattr(function, '__qualname__', '?')}:{line}"


def _reading(functions: Iterable[Callable[..., Any]]) -> Iterator[tuple[str, Callable[..., Any], int]]:
    """Unrecorded reads in the source of functions: what, in which, and the line in its file."""
    for function in functions:
        try:
            lines, first = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError):
            continue
        for line, what in sorted(set(_reads(tree, getattr(function, "__globals__", {})))):
            yield what, function, first + line - 1


def hints(persona: Persona[..., Any]) -> Iterator[tuple[str, str, int, str]]:
    """Unrecorded reads in the source of the persona and what it calls: what, its file, line and function."""
    for what, function, line in _reading(_functions(persona, None)):
        yield what, inspect.getsourcefile(function) or "?", line, getattr(function, "__qualname__", "?")


def _functions(persona: Persona[..., Any], site: Site | None) -> Iterator[FunctionType]:
    """The function of the diverging line first, then the persona, and what of the user's own they call.

    What else is in their modules is of other runs: it is no cause here.
    """
    waiting: list[object] = [persona.function]
    if site is not None:
        found: object = sys.modules.get(site.module)
        for part in site.function.split("."):
            found = getattr(found, part, None)
        waiting.insert(0, getattr(found, "function", found))
    known: set[int] = set()
    for each in waiting:  # it grows by what is called on the way
        function = inspect.unwrap(each) if callable(each) else each
        if isinstance(function, FunctionType) and id(function) not in known:
            known.add(id(function))
            yield function
            waiting += _called(function)


def _called(function: FunctionType) -> Iterator[object]:
    """The functions, steps and methods of the user's own that a function names."""
    names = set(_names(function.__code__))
    owner = function.__globals__.get(function.__qualname__.partition(".")[0])
    if inspect.isclass(owner):
        yield from _methods(owner, names)
    places = [function.__globals__]
    known = {id(function.__globals__)}
    for place in places:  # it grows by modules
        for value in [place[name] for name in sorted(names & place.keys())]:
            if inspect.ismodule(value) and is_users(value.__name__) and id(vars(value)) not in known:
                known.add(id(vars(value)))
                places.append(vars(value))
            elif inspect.isclass(value) and is_users(value.__module__):
                yield from _methods(value, {*names, *_MADE})
            elif isinstance(value, Step):
                yield cast("Step[..., Any]", value).function
            elif inspect.isfunction(value) and is_users(value.__module__):
                yield value


def _methods(owner: type[Any], names: Container[str]) -> Iterator[object]:
    for name, held in vars(owner).items():
        if name in names:
            yield held.fget if isinstance(held, property) else getattr(held, "__func__", held)


_MADE: Final = ("__init__", "__post_init__", "__call__", "__enter__", "__aenter__", "__iter__")


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _names(each)


def _real(name: str, names: dict[str, Any]) -> str:
    """`name` with the module it stands for, where it was imported under another name."""
    root, dot, rest = name.partition(".")
    found = names.get(root)
    return f"{found.__name__}{dot}{rest}" if inspect.ismodule(found) else name


def _reads(tree: ast.AST, names: dict[str, Any]) -> Iterator[tuple[int, str]]:
    sets, free = _sets(tree), _free_of_order(tree)
    for node in _walk(tree):
        if isinstance(node, (ast.Call, ast.Attribute, ast.Subscript)):
            name = _real(_dotted(node.func if isinstance(node, ast.Call) else node), names)
            if name in _TIME:
                yield node.lineno, f"unrecorded time ({name})"
            elif name in _SEEDED:
                if isinstance(node, ast.Call) and not (node.args or node.keywords):
                    yield node.lineno, f"unrecorded chance ({name})"
            elif name in _CHANCE or name.startswith(("random.", "secrets.")):
                yield node.lineno, f"unrecorded chance ({name})"
            elif name in _ENVIRONMENT:
                yield node.lineno, f"unrecorded environment ({name})"
        if (
            isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension))
            and id(node) not in free
            and _is_set(node.iter, sets)
        ):
            yield (
                getattr(node, "lineno", node.iter.lineno),
                "iteration over a set, whose order is not recorded",
            )
        if isinstance(node, ast.Call) and _takes_order(node, sets):
            yield node.lineno, "a set made into a sequence, whose order is not recorded"


def _dotted(node: ast.expr) -> str:
    """The dotted name that a node is; nothing where it is more than that."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join((node.id, *reversed(parts))) if isinstance(node, ast.Name) else ""


def _last(node: ast.expr) -> str:
    """What a call calls: its name, or that of the attribute."""
    return node.attr if isinstance(node, ast.Attribute) else _plain(node)


def _plain(node: ast.expr) -> str:
    """The name that a node is; nothing where it is more than that."""
    return node.id if isinstance(node, ast.Name) else ""


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but what is handed to `side_value`, which is how such a thing is recorded."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not (isinstance(node, ast.Call) and _last(node.func).endswith("side_value")):
            waiting.extend(ast.iter_child_nodes(node))


def _sets(tree: ast.AST) -> frozenset[str]:
    """Names that hold a set, whenever they are given a value."""
    given = [
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    made = [
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_set(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    return frozenset(name for name in made if given.count(name) == made.count(name))


def _free_of_order(tree: ast.AST) -> frozenset[int]:
    """The comprehensions that come to the same in whatever order: a set, or what `sorted` is handed."""
    found = [
        part
        for node in ast.walk(tree)
        for part in (node, *(node.args if isinstance(node, ast.Call) and _sorts(node) else ()))
        if isinstance(part, ast.SetComp)
        or (part is not node and isinstance(part, (ast.ListComp, ast.GeneratorExp)))
    ]
    return frozenset(id(each) for part in found for each in part.generators)


def _sorts(call: ast.Call) -> bool:
    return _plain(call.func) in ("sorted", "set", "frozenset", "sum", "any", "all", "min", "max")


def _is_set(node: ast.AST, sets: Container[str] = ()) -> bool:
    if isinstance(node, ast.Set):  # numbers have the same order in every process
        return not all(isinstance(each, ast.Constant) and isinstance(each.value, int) for each in node.elts)
    if isinstance(node, ast.Name):
        return node.id in sets
    if isinstance(node, ast.SetComp):
        return True
    return isinstance(node, ast.Call) and _plain(node.func) in ("set", "frozenset")


def _takes_order(call: ast.Call, sets: Container[str]) -> bool:
    if isinstance(call.func, ast.Attribute) and call.func.attr == "pop" and not call.args:
        return _is_set(call.func.value, sets)
    joins = isinstance(call.func, ast.Attribute) and call.func.attr == "join"
    takes = joins or _plain(call.func) in ("list", "tuple", "next", "iter", "enumerate")
    return takes and bool(call.args) and _is_set(call.args[0], sets)
