"""What the statements of snippets do.

Each gives None when it comes to its end, and something else when it leaves what it stands
in: BREAK, CONTINUE, or the value of a `return` in a tuple.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from playhead.snippet.building import BREAK, CONTINUE, Builder, Make, Part, Run, after, after_all, after_both
from playhead.snippet.meter import STEPS_PER_ERROR
from playhead.snippet.operators import elements, in_place, item, put, remove
from playhead.snippet.targets import Target, own_slot, store_name, target
from playhead.snippet.values import (
    ERROR_TYPES,
    INT_MAX,
    INT_MIN,
    METER,
    UNBOUND,
    ErrorType,
    ErrorValue,
    Frame,
    Raised,
    failed,
    kind_of,
)
from playhead.snippet.weight import weight

# Assigning.


def _expression(builder: Builder, node: ast.Expr) -> Part:
    run, waits = builder.part(node.value)

    async def done_waiting(frame: Frame) -> None:
        await run(frame)

    def done(frame: Frame) -> None:
        run(frame)

    return Part(done_waiting if waits else done, waits)


def _assign(builder: Builder, node: ast.Assign) -> Part:
    return _assigned(
        builder.part(node.value), [target(builder, each) for each in node.targets], builder, node
    )


def _assigned(value: Part, targets: list[Target], builder: Builder, node: ast.Assign) -> Part:
    run, waits = value
    store = targets[0].store

    async def several_waiting(frame: Frame) -> None:
        given = await run(frame) if waits else run(frame)
        for each in targets:
            if each.waits:
                await each.store(frame, given)
            else:
                each.store(frame, given)

    def several(frame: Frame) -> None:
        given = run(frame)
        for each in targets:
            each.store(frame, given)

    def one(frame: Frame) -> None:
        store(frame, run(frame))

    slot = own_slot(builder, node.targets[0])
    if waits or any(each.waits for each in targets):
        return Part(several_waiting, True)
    if len(targets) > 1:
        return Part(several, False)
    return Part(one if slot is None else _to_slot(slot, run), False)


def _to_slot(slot: int, run: Run) -> Run:
    def store(frame: Frame) -> None:
        frame[slot] = run(frame)

    return store


def _assign_annotated(builder: Builder, node: ast.AnnAssign) -> Part:
    if node.value is None:
        return Part(_nothing, False)
    return after(builder.part(node.value), target(builder, node.target).store)


def _nothing(_: Frame) -> None:
    return


_FAST: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mult": operator.mul,
}


def _assign_augmented(builder: Builder, node: ast.AugAssign) -> Part:
    called = type(node.op).__name__
    value = builder.part(node.value)
    if isinstance(node.target, ast.Name):
        return _augmented_name(builder, node.target, called, value)
    assert isinstance(node.target, ast.Subscript), "nothing else passes the check"
    holder, index = builder.part(node.target.value), builder.part(node.target.slice)
    # The element is read before the value is found, as in Python.
    found = after_both(holder, index, lambda frame, a, at: (a, at, item(frame[METER], a, at)))

    def finish(frame: Frame, element: tuple[Any, Any, Any], given: Any) -> None:
        meter = frame[METER]
        whole, at, before = element
        put(meter, whole, at, in_place(called, meter, before, given))

    return after_both(found, value, finish)


def _augmented_name(builder: Builder, node: ast.Name, called: str, value: Part) -> Part:
    read = builder.part(ast.Name(node.id, ast.Load()))
    store = store_name(builder, node.id)
    slot = own_slot(builder, node)
    if value.waits or slot is None or called not in _FAST:

        def finish(frame: Frame, before: Any, given: Any) -> None:
            store(frame, in_place(called, frame[METER], before, given))

        return after_both(read, value, finish)
    return Part(_counted(slot, read.run, value.run, called), False)


def _counted(slot: int, read: Run, value: Run, called: str) -> Run:
    fast = _FAST[called]

    def run(frame: Frame) -> None:
        before = read(frame)
        given = value(frame)
        if type(before) is int and type(given) is int:
            found = fast(before, given)
            if INT_MIN <= found <= INT_MAX:
                frame[slot] = found
                return
        frame[slot] = in_place(called, frame[0], before, given)

    return run


def _delete(builder: Builder, node: ast.Delete) -> Part:
    parts: list[Part] = []
    waiting = list(node.targets)
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, ast.Tuple | ast.List):
            waiting[:0] = each.elts
        elif isinstance(each, ast.Subscript):
            parts.append(after_both(builder.part(each.value), builder.part(each.slice), _removed))
    return after_all(parts, _all_done)


def _removed(frame: Frame, value: Any, at: Any) -> None:
    remove(frame[METER], value, at)


def _all_done(_: Frame, __: list[Any]) -> None:
    return


# Leaving.


def _return(builder: Builder, node: ast.Return) -> Part:
    value = builder.part(node.value) if node.value is not None else Part(_nothing, False)
    run, waits = value
    if builder.scope.kind == "top":
        line, col = builder.where(node)

        return after(value, lambda _, result: (result, line, col))

    async def returned_waiting(frame: Frame) -> tuple[Any, ...]:
        return (await run(frame),)

    def returned(frame: Frame) -> tuple[Any, ...]:
        return (run(frame),)

    return Part(returned_waiting if waits else returned, waits)


def _leave(_: Frame) -> Any:
    return BREAK


def _go_on(_: Frame) -> Any:
    return CONTINUE


def _break(_: Builder, __: ast.Break) -> Part:
    return Part(_leave, False)


def _continue(_: Builder, __: ast.Continue) -> Part:
    return Part(_go_on, False)


# Choosing and repeating.


def _if(builder: Builder, node: ast.If) -> Part:
    test, body = builder.part(node.test), builder.block(node.body)
    orelse = builder.block(node.orelse) if node.orelse else Part(_nothing, False)
    asks, does, does_else = test.run, body.run, orelse.run

    async def run_waiting(frame: Frame) -> Any:
        answer = await asks(frame) if test.waits else asks(frame)
        chosen, waits = body if answer else orelse
        return await chosen(frame) if waits else chosen(frame)

    def run(frame: Frame) -> Any:
        return does(frame) if asks(frame) else does_else(frame)

    waits = test.waits or body.waits or orelse.waits
    return Part(run_waiting if waits else run, waits)


def _for(builder: Builder, node: ast.For) -> Part:
    values = builder.part(node.iter)
    goal, slot = target(builder, node.target), own_slot(builder, node.target)
    body = builder.block(node.body, extra=weight(node.target) // 8)
    orelse = builder.block(node.orelse) if node.orelse else Part(_nothing, False)
    if values.waits or goal.waits or body.waits or orelse.waits:
        return Part(_for_waiting(values, goal, body, orelse), True)
    get_values, store, does, does_else = values.run, goal.store, body.run, orelse.run

    def run(frame: Frame) -> Any:
        for value in elements(frame[0], get_values(frame)):
            if slot is not None:
                frame[slot] = value
            else:
                store(frame, value)
            result = does(frame)
            if result is not None and result is not CONTINUE:
                return None if result is BREAK else result
        return does_else(frame)

    return Part(run, False)


def _for_waiting(values: Part, goal: Target, body: Part, orelse: Part) -> Run:
    async def run(frame: Frame) -> Any:
        found = await values.run(frame) if values.waits else values.run(frame)
        does, waits = body
        for value in elements(frame[METER], found):
            stored = goal.store(frame, value)
            if goal.waits:
                await stored
            result = await does(frame) if waits else does(frame)
            if result is not None and result is not CONTINUE:
                return None if result is BREAK else result
        return await orelse.run(frame) if orelse.waits else orelse.run(frame)

    return run


def _while(builder: Builder, node: ast.While) -> Part:
    test = builder.part(node.test)
    body = builder.block(node.body, extra=weight(node.test) // 8)
    orelse = builder.block(node.orelse) if node.orelse else Part(_nothing, False)
    asks, does, does_else = test.run, body.run, orelse.run

    async def run_waiting(frame: Frame) -> Any:
        while await asks(frame) if test.waits else asks(frame):
            result = await does(frame) if body.waits else does(frame)
            if result is not None and result is not CONTINUE:
                return None if result is BREAK else result
        return await does_else(frame) if orelse.waits else does_else(frame)

    def run(frame: Frame) -> Any:
        while asks(frame):
            result = does(frame)
            if result is not None and result is not CONTINUE:
                return None if result is BREAK else result
        return does_else(frame)

    waits = test.waits or body.waits or orelse.waits
    return Part(run_waiting if waits else run, waits)


# Errors.


def _raise(builder: Builder, node: ast.Raise) -> Part:
    if node.exc is None:
        assert builder.caught is not None, "the check lets it stand in an except only"
        slot = builder.caught

        def again(frame: Frame) -> Any:
            raise frame[slot]

        return Part(again, False)
    cause = builder.optional(node.cause) or Part(_nothing, False)

    def finish(frame: Frame, error: Any, cause: Any) -> Any:
        if cause is not None and type(cause) not in (ErrorType, ErrorValue):
            raise failed("TypeError", f"the cause of an error is an error, not a {kind_of(cause)}")
        if type(error) is ErrorType:
            frame[METER].grow(4)
            error = ErrorValue(error, ())
        if type(error) is not ErrorValue:
            raise failed("TypeError", f"what is raised is an error, not a {kind_of(error)}")
        raise Raised(error)

    return after_both(builder.part(node.exc), cause, finish)


def _assert(builder: Builder, node: ast.Assert) -> Part:
    test, message = builder.part(node.test), builder.optional(node.msg)

    async def run_waiting(frame: Frame) -> None:
        if not (await test.run(frame) if test.waits else test.run(frame)):
            said: list[Any] = []
            if message is not None:
                said.append(await message.run(frame) if message.waits else message.run(frame))
            _deny(said)

    def run(frame: Frame) -> None:
        if not test.run(frame):
            _deny([] if message is None else [message.run(frame)])

    waits = test.waits or (message is not None and message.waits)
    return Part(run_waiting if waits else run, waits)


def _deny(said: list[Any]) -> None:
    raise Raised(ErrorValue(ERROR_TYPES["AssertionError"], tuple(said)))


class _Handler(NamedTuple):
    """One `except`. `kinds`: the names of the errors, None for all. `slot`: of the name after `as`."""

    kinds: frozenset[str] | None
    store: Callable[[Frame, Any], Any] | None
    body: Part


def _try(builder: Builder, node: ast.Try) -> Part:
    body = builder.block(node.body)
    caught = builder.scope.new_slot()
    handlers = [_handler(builder, each, caught) for each in node.handlers]
    orelse = builder.block(node.orelse) if node.orelse else Part(_nothing, False)
    if handlers or node.orelse:
        body = _with_handlers(body, handlers, orelse, caught)
    if not node.finalbody:
        return body
    return _with_final(body, builder.block(node.finalbody))


def _handler(builder: Builder, node: ast.ExceptHandler, caught: int) -> _Handler:
    names = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    kinds = frozenset(each.id for each in names if isinstance(each, ast.Name))
    outer, builder.caught = builder.caught, caught
    body = builder.block(node.body)
    builder.caught = outer
    store = store_name(builder, node.name) if node.name is not None else None
    return _Handler(kinds if node.type is not None else None, store, body)


def _matching(handlers: list[_Handler], raised: Raised) -> _Handler:
    """The first handler for an error. Raises it where there is none."""
    for each in handlers:
        if each.kinds is None or each.kinds & raised.error.type.kinds:
            return each
    raise raised


def _with_handlers(body: Part, handlers: list[_Handler], orelse: Part, slot: int) -> Part:
    async def run_waiting(frame: Frame) -> Any:
        # A handler runs outside of Python's own `except`, or errors would be chained without end.
        caught: Raised | None = None
        result: Any = None
        try:
            result = await body.run(frame) if body.waits else body.run(frame)
        except Raised as raised:
            caught = raised
        if caught is None:
            if result is not None:
                return result
            return await orelse.run(frame) if orelse.waits else orelse.run(frame)
        handler = _matching(handlers, caught)
        _note(frame, slot, handler, caught)
        try:
            return await handler.body.run(frame) if handler.body.waits else handler.body.run(frame)
        finally:
            _forget(frame, slot, handler)

    def run(frame: Frame) -> Any:
        caught: Raised | None = None
        result: Any = None
        try:
            result = body.run(frame)
        except Raised as raised:
            caught = raised
        if caught is None:
            return result if result is not None else orelse.run(frame)
        handler = _matching(handlers, caught)
        _note(frame, slot, handler, caught)
        try:
            return handler.body.run(frame)
        finally:
            _forget(frame, slot, handler)

    waits = body.waits or orelse.waits or any(each.body.waits for each in handlers)
    return Part(run_waiting if waits else run, waits)


def _note(frame: Frame, slot: int, handler: _Handler, caught: Raised) -> None:
    caught.__traceback__ = caught.__context__ = None
    frame[METER].spend(STEPS_PER_ERROR)
    frame[slot] = caught
    if handler.store is not None:
        handler.store(frame, caught.error)


def _forget(frame: Frame, slot: int, handler: _Handler) -> None:
    frame[slot] = UNBOUND
    if handler.store is not None:
        handler.store(frame, UNBOUND)


def _with_final(body: Part, final: Part) -> Part:
    async def run_waiting(frame: Frame) -> Any:
        pending: Raised | None = None
        result: Any = None
        try:
            result = await body.run(frame) if body.waits else body.run(frame)
        except Raised as raised:
            pending = raised
        leaves = await final.run(frame) if final.waits else final.run(frame)
        return _after(pending, result, leaves)

    def run(frame: Frame) -> Any:
        pending: Raised | None = None
        result: Any = None
        try:
            result = body.run(frame)
        except Raised as raised:
            pending = raised
        return _after(pending, result, final.run(frame))

    waits = body.waits or final.waits
    return Part(run_waiting if waits else run, waits)


def _after(pending: Raised | None, result: Any, leaves: Any) -> Any:
    """What a `finally` leaves by comes before what it was entered with."""
    if leaves is not None:
        return leaves
    if pending is not None:
        pending.__traceback__ = None
        raise pending
    return result


STATEMENTS: Final[Mapping[type[ast.AST], Make]] = {
    ast.Expr: _expression,
    ast.Assign: _assign,
    ast.AnnAssign: _assign_annotated,
    ast.AugAssign: _assign_augmented,
    ast.Delete: _delete,
    ast.Return: _return,
    ast.Break: _break,
    ast.Continue: _continue,
    ast.If: _if,
    ast.For: _for,
    ast.While: _while,
    ast.Raise: _raise,
    ast.Assert: _assert,
    ast.Try: _try,
}
