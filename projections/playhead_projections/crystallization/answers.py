"""Answers: after what of somebody a workflow goes on, and after what it does not.

    answers = answers_of([True, True], taken=set())       # one of [True], and nothing else
    unaccepted(answers, False)                            # that one: nobody knows what comes after False

What was recorded came after these answers. An answer that decides cannot be told from one that does not, so
another one is accepted only where a later step takes it: then it decides nothing but what that step is given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from playhead.composition.surface import as_object
from playhead_projections.crystallization.plans import Answer
from playhead_projections.crystallization.redaction import holds_mark
from playhead_projections.crystallization.values import MISSING, Path, at, key_of, shape


def answers_of(values: Sequence[Any], taken: Collection[Path]) -> tuple[Answer, ...]:
    """What the recorded `values` have in common. `taken` are the places that later steps take."""
    return tuple(_answers(values, taken, ()))


def unaccepted(answers: Sequence[Answer], value: Any) -> Answer | None:
    """The first of `answers` that `value` is not."""
    for answer in answers:
        found = at(value, answer.path)
        if found is MISSING or key_of(_seen(answer, found)) not in map(key_of, answer.accepted):
            return answer
    return None


def _answers(values: Sequence[Any], taken: Collection[Path], path: Path) -> Iterator[Answer]:
    if path in taken:
        yield Answer(path=path, what="shape", accepted=tuple(sorted({shape_of(value) for value in values})))
        return
    objects = [members for value in values if (members := as_object(value))]
    names = sorted(objects[0]) if objects else []
    alike = len(objects) == len(values) and all(sorted(each) == names for each in objects)
    if not alike or any(map(holds_mark, names)):
        each = {key_of(value): value for value in values}
        yield Answer(path=path, what="value", accepted=tuple(each[key] for key in sorted(each)))
        return
    yield Answer(path=path, what="names", accepted=(names,))
    for name in names:
        yield from _answers([each[name] for each in objects], taken, (*path, name))


def _seen(answer: Answer, value: Any) -> Any:
    """What of `value` counts for `answer`."""
    match answer.what:
        case "value":
            return value
        case "shape":
            return shape_of(value)
        case "names":
            return sorted(as_object(value) or {})


def shape_of(value: Any) -> str:
    """Text, number, boolean, null, list or object."""
    return "object" if as_object(value) is not None else shape(value)
