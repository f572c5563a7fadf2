"""What functions, lambdas and comprehensions are made into."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from playhead.snippet.building import Builder, Make, Part, Run, after, after_all, values_of
from playhead.snippet.meter import Limit, Meter
from playhead.snippet.operators import elements
from playhead.snippet.scopes import Comprehension, Scope
from playhead.snippet.targets import Target, own_slot, store_name, target
from playhead.snippet.values import (
    DEPTH,
    HEIGHT,
    METER,
    TASK,
    UNBOUND,
    Code,
    Frame,
    Function,
    Parameters,
    Raised,
    SetValue,
    key,
)
from playhead.snippet.weight import height, steps

FUNCTION_CELLS: Final = 12
"""What a function holds on to: itself, and the frame that it was made in."""

# Functions.


def function(builder: Builder, node: ast.FunctionDef) -> Part:
    """`def`: makes the function and gives it to its variable."""
    inner = builder.within(node)
    block = inner.block(node.body)

    async def body_waiting(frame: Frame) -> Any:
        result = await block.run(frame)
        return None if result is None else result[0]

    def body(frame: Frame) -> Any:
        result = block.run(frame)
        return None if result is None else result[0]

    made = _made(builder, inner, node, node.name, Part(body_waiting if block.waits else body, block.waits))
    store = store_name(builder, node.name)
    return after(made, store)


def _lambda(builder: Builder, node: ast.Lambda) -> Part:
    inner = builder.within(node)
    value, waits = inner.part(node.body)
    cost = steps(node.body)
    line, col = inner.where(node.body)

    async def body_waiting(frame: Frame) -> Any:
        try:
            frame[METER].spend(cost)
            return await value(frame)
        except (Raised, Limit) as ended:
            ended.at(line, col)
            raise

    def body(frame: Frame) -> Any:
        try:
            frame[METER].spend(cost)
            return value(frame)
        except (Raised, Limit) as ended:
            ended.at(line, col)
            raise

    return _made(builder, inner, node, "<lambda>", Part(body_waiting if waits else body, waits))


def _made(
    builder: Builder, inner: Builder, node: ast.FunctionDef | ast.Lambda, name: str, body: Part
) -> Part:
    """A part that gives the function, with the defaults of its parameters as they are then."""
    arguments = node.args
    code = Code(
        name,
        Parameters(
            names=tuple(each.arg for each in (*arguments.posonlyargs, *arguments.args)),
            positional_only=len(arguments.posonlyargs),
            named=tuple(each.arg for each in arguments.kwonlyargs),
            rest=None if arguments.vararg is None else arguments.vararg.arg,
            named_rest=None if arguments.kwarg is None else arguments.kwarg.arg,
        ),
        variables=inner.scope.variables,
        height=height(node),
        waits=body.waits,
        body=body.run,
    )
    count = len(arguments.defaults)
    names = [
        each.arg
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    ]
    given = [*arguments.defaults, *(each for each in arguments.kw_defaults if each is not None)]

    def finish(frame: Frame, values: list[Any]) -> Function:
        frame[METER].grow(FUNCTION_CELLS)
        return Function(code, frame, tuple(values[:count]), dict(zip(names, values[count:], strict=True)))

    return after_all([builder.part(each) for each in given], finish)


# Comprehensions.


class _Round(NamedTuple):
    """One `for` of a comprehension, with its `if`s. `slot` stands for `target` where that is a variable."""

    iter: Part
    target: Target
    slot: int | None
    conditions: list[Part]
    cost: int

    @property
    def waits(self) -> bool:
        return self.iter.waits or self.target.waits or any(each.waits for each in self.conditions)


def _comprehension(builder: Builder, node: Comprehension) -> Part:
    first = builder.part(node.generators[0].iter)
    scope = builder.program.scopes.of(node)
    inner = builder.within(node)
    results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    # What the first `for` goes over is found outside of the comprehension; that of the others inside.
    iters = [_NO_ITER, *(inner.part(each.iter) for each in node.generators[1:])]
    rounds = [
        _round(inner, each, iter_, results if each is node.generators[-1] else [])
        for each, iter_ in zip(node.generators, iters, strict=True)
    ]
    element, add, new = _element(inner, node, results)
    starts = _starts(scope, several=len(rounds) > 1)
    finish: Callable[[Any], Any] = SetValue if isinstance(node, ast.SetComp) else _itself
    if first.waits or element.waits or any(each.waits for each in rounds):
        go = _rounds_waiting(rounds, element, add)

        async def run_waiting(frame: Frame) -> Any:
            meter = frame[METER]
            meter.grow(0)
            values = elements(meter, await first.run(frame) if first.waits else first.run(frame))
            found = new()
            await go(starts(frame), 0, found, values)
            return finish(found)

        return Part(run_waiting, True)
    go_on = _rounds(rounds, element.run, add)

    def run(frame: Frame) -> Any:
        meter = frame[0]
        meter.grow(0)
        values = elements(meter, first.run(frame))
        found = new()
        go_on(starts(frame), 0, found, values)
        return finish(found)

    return Part(run, False)


def _itself(found: Any) -> Any:
    return found


_NO_ITER: Final = Part(_itself, waits=False)


def _round(inner: Builder, node: ast.comprehension, iter_: Part, results: list[ast.expr]) -> _Round:
    inner_iter = None if iter_ is _NO_ITER else node.iter
    return _Round(
        iter_,
        target(inner, node.target),
        own_slot(inner, node.target),
        [inner.part(each) for each in node.ifs],
        steps(node.target, *node.ifs, *results, inner_iter),
    )


Add = Callable[[Meter, Any, Any], None]


def _element(
    inner: Builder, node: Comprehension, results: list[ast.expr]
) -> tuple[Part, Add, Callable[[], Any]]:
    """What a round adds: how it is calculated, how it is added, and to what."""
    if isinstance(node, ast.DictComp):
        pair = values_of([inner.part(each) for each in results])
        return pair, _add_pair, dict
    return (
        inner.part(results[0]),
        _add_member if isinstance(node, ast.SetComp) else _add_item,
        (dict if isinstance(node, ast.SetComp) else list),
    )


def _add_item(meter: Meter, found: Any, value: Any) -> None:
    meter.cells -= 1
    if meter.cells < 0:
        meter.grow(0)
    found.append(value)


def _add_member(meter: Meter, found: Any, value: Any) -> None:
    meter.grow(1)
    found[key(meter, value)] = None


def _add_pair(meter: Meter, found: Any, value: Any) -> None:
    meter.grow(2)
    found[key(meter, value[0])] = value[1]


def _starts(scope: Scope, *, several: bool) -> Callable[[Frame], Frame]:
    """The frame that a comprehension begins with."""
    if scope.has_frame:
        return lambda frame: [
            frame[METER],
            frame,
            frame[DEPTH],
            frame[HEIGHT],
            frame[TASK],
            *[UNBOUND] * scope.variables,
        ]
    slots = tuple(scope.slots.values()) if several else ()

    def same(frame: Frame) -> Frame:
        for slot in slots:
            frame[slot] = UNBOUND
        return frame

    return same if slots else _itself


def _rounds(rounds: list[_Round], element: Run, add: Add) -> Callable[[Frame, int, Any, Any], None]:
    rows = [
        (each.iter.run, each.target.store, each.slot, [part.run for part in each.conditions], each.cost)
        for each in rounds
    ]
    last = len(rows) - 1

    def go(frame: Frame, at: int, found: Any, values: Any) -> None:
        meter = frame[0]
        _, store, slot, conditions, cost = rows[at]
        for value in values:
            meter.steps -= cost
            if meter.steps < 0:
                meter.spend(0)
            if slot is not None:
                frame[slot] = value
            else:
                store(frame, value)
            for condition in conditions:
                if not condition(frame):
                    break
            else:
                if at == last:
                    add(meter, found, element(frame))
                else:
                    go(frame, at + 1, found, elements(meter, rows[at + 1][0](frame)))

    return go


def _rounds_waiting(rounds: list[_Round], element: Part, add: Add) -> Callable[[Frame, int, Any, Any], Any]:
    last = len(rounds) - 1

    async def go(frame: Frame, at: int, found: Any, values: Any) -> None:
        meter = frame[METER]
        this = rounds[at]
        for value in values:
            meter.spend(this.cost)
            stored = this.target.store(frame, value)
            if this.target.waits:
                await stored
            for condition, waits in this.conditions:
                if not (await condition(frame) if waits else condition(frame)):
                    break
            else:
                if at == last:
                    one = await element.run(frame) if element.waits else element.run(frame)
                    add(meter, found, one)
                else:
                    inner = rounds[at + 1].iter
                    more = await inner.run(frame) if inner.waits else inner.run(frame)
                    await go(frame, at + 1, found, elements(meter, more))

    return go


FUNCTIONS: Final[Mapping[type[ast.AST], Make]] = {
    ast.FunctionDef: function,
    ast.Lambda: _lambda,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.DictComp: _comprehension,
    ast.GeneratorExp: _comprehension,
}
