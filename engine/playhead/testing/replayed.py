"""A recorded run that was played again, as a test looks at it.

    run = playhead_replay("nightly.jsonl", audit)

    assert run.result == "attrs: permissive"
    run.assert_steps("classify")
    run.assert_calls("read_licence", [{"package": "attrs"}])
    run.assert_cost_at_most(1_000)

Values are the recorded ones in plain types; only `result` is decoded to what the persona returns. What is
not known is None, never 0.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from playhead.events.catalog import RunCancelled, RunCompleted, RunFailed
from playhead.events.fact import Fact, Failure, type_of
from playhead.events.json_text import json_text
from playhead.replay.player import Outcome
from playhead.runtime.difference import Recorded
from playhead.runtime.persona import Persona
from playhead.runtime.tape import Tape
from playhead.testing.views import Approval, Call, Denied, ModelCall, Step, Views, fold, status_of

LINES_MAX: Final = 60
LINE_LENGTH_MAX: Final = 200


@dataclass(frozen=True, eq=False)
class Replayed:
    """One run of a recording. Every run in a file was played again before a test sees one.

    `outcome` is what the replay found: `identical`, or `incomplete` where the recording ends in flight.
    """

    file: str
    tape: Tape
    persona: Persona[..., Any]
    outcome: Outcome
    family: list[Replayed] = field(default_factory=list["Replayed"], repr=False)

    def __repr__(self) -> str:
        return f"<run {self.id} of {self.persona.name} in {self.file}, {self.status}>"

    @property
    def id(self) -> str:
        return self.tape.run

    @property
    def runs(self) -> tuple[Replayed, ...]:
        """All runs of the file, in its order, this one among them."""
        return tuple(self.family)

    @property
    def name(self) -> str | None:
        """What it was called when it was started."""
        return self.tape.started.name

    @cached_property
    def status(self) -> str:
        """How it ended or was left: a word of `playhead runs`; `interrupted` where nobody said."""
        return status_of(self.facts)

    @cached_property
    def facts(self) -> tuple[Recorded, ...]:
        """Every event that can be read, with its `seq`, its `op` and its `fact`."""
        decoded = ((event, self.tape.catalog.decode(event)) for event in self.tape.events)
        return tuple(Recorded(event.seq, event.op, fact) for event, fact in decoded if isinstance(fact, Fact))

    def events(self, *types: str) -> list[Any]:
        """The facts of these types, in order: `run.events("hook.decided")`. Without types, all of them."""
        return [fact.fact for fact in self.facts if not types or type_of(fact.fact) in types]

    @cached_property
    def _views(self) -> Views:
        return fold(self.facts)

    @property
    def steps(self) -> list[Step]:
        """The steps, in the order in which they were entered."""
        return list(self._views.steps.values())

    def calls(self, tool: str | None = None) -> list[Call]:
        """The calls of `tool`, or of every tool, in the order in which the program asked."""
        return [call for call in self._views.calls.values() if tool is None or call.tool == tool]

    @property
    def model_calls(self) -> list[ModelCall]:
        """What models were asked and answered, in the order of asking."""
        return list(self._views.model_calls.values())

    @property
    def denied(self) -> list[Denied]:
        """The calls that a policy or a hook refused; nothing was done for these."""
        return list(self._views.denied)

    @property
    def approvals(self) -> list[Approval]:
        """What people were asked, and what came of it."""
        return list(self._views.approvals.values())

    @property
    def tokens(self) -> int | None:
        """Tokens in and out of all answers that told; None where none did."""
        told = [call.tokens for call in self.model_calls if call.tokens is not None]
        return sum(told) if told or not self.model_calls else None

    @property
    def cost_micros(self) -> int | None:
        """What all answers that told did cost, in millionths; None where none did."""
        told = [call.cost_micros for call in self.model_calls if call.cost_micros is not None]
        return sum(told) if told or not self.model_calls else None

    @cached_property
    def _end(self) -> Fact | None:
        ends = (fact.fact for fact in self.facts)
        return next(
            (fact for fact in ends if isinstance(fact, (RunCompleted, RunFailed, RunCancelled))), None
        )

    @property
    def result(self) -> Any:
        """What the persona returned. Raises `AssertionError` for a run that did not complete."""
        __tracebackhide__ = True
        end = self._end if isinstance(self._end, RunCompleted) else None
        if end is None:
            raise AssertionError(f"{self._title} has no result: {self._why}")
        return self.persona.signature.result.decode(end.result)

    @property
    def error(self) -> Failure | None:
        """The error that ended it, with type, message and causes; None where none did."""
        return self._end.failure if isinstance(self._end, RunFailed) else None

    @property
    def _title(self) -> str:
        return cleaned(f"run {self.id} of {self.persona.name} in {self.file}")

    @property
    def _why(self) -> str:
        error = self.error
        return self.status if error is None else cleaned(f"{self.status}, {error.type}: {error.message}")

    # ------------------------------------------------------------ assertions

    def assert_steps(self, *names: str) -> None:
        """These steps were entered, in this order, and no others."""
        __tracebackhide__ = True
        where = [f"event {step.seq}, {step.op}, {step.status}" for step in self.steps]
        self._compare("steps", names, [step.name for step in self.steps], where)

    def assert_calls(self, tool: str, expected: int | Sequence[Mapping[str, Any]]) -> None:
        """The program asked for `tool` so many times, or with exactly these arguments in this order."""
        __tracebackhide__ = True
        calls = self.calls(tool)
        found = [_shown(call.args) for call in calls]
        where = [f"event {call.seq}, {call.op}, {call.status}" for call in calls]
        if not isinstance(expected, int):
            self._compare(f"calls of {tool}", [_shown(args) for args in expected], found, where)
        elif len(calls) != expected:
            lines = _cut(f"    {args}    {place}" for args, place in zip(found, where, strict=True))
            raise AssertionError(
                "\n".join([f"{self._title} calls {tool} {len(calls)} times, not {expected}:", *lines])
            )

    def assert_denied(self, *tools: str) -> None:
        """Calls of these tools were refused, in this order, and no others; none at all without names."""
        __tracebackhide__ = True
        where = [f"event {denied.seq}, {denied.verdict}: {denied.reason}" for denied in self.denied]
        self._compare("denied calls", tools, [denied.tool for denied in self.denied], where)

    def assert_cost_at_most(self, micros: int) -> None:
        """All model calls together cost at most so many millionths; none may be unknown."""
        __tracebackhide__ = True
        self._bounded("cost", micros, [call.cost_micros for call in self.model_calls], "millionths")

    def assert_tokens_at_most(self, tokens: int) -> None:
        """All model calls together used at most so many tokens; none may be unknown."""
        __tracebackhide__ = True
        self._bounded("used", tokens, [call.tokens for call in self.model_calls], "tokens")

    def _compare(
        self, what: str, expected: Sequence[str], found: Sequence[str], where: Sequence[str]
    ) -> None:
        __tracebackhide__ = True
        if list(expected) == list(found):
            return
        lines: list[str] = []
        matcher = difflib.SequenceMatcher(None, list(expected), list(found), autojunk=False)
        for tag, old, older, new, newer in matcher.get_opcodes():
            if tag == "equal":
                lines += [f"    {line}" for line in expected[old:older]]
            else:
                lines += [f"  - {line}" for line in expected[old:older]]
                lines += [f"  + {found[n]}    {where[n]}" for n in range(new, newer)]
        title = f"{self._title}: other {what} than expected (- expected, + recorded)"
        raise AssertionError("\n".join([title, *_cut(lines)]))

    def _bounded(self, verb: str, limit: int, took: Sequence[int | None], unit: str) -> None:
        __tracebackhide__ = True
        unknown = sum(each is None for each in took)
        total = sum(each or 0 for each in took)
        if total <= limit and not unknown:
            return
        said = f"{verb} {total:,} {unit}" + (
            f", and {unknown} of {len(took)} did not tell" if unknown else ""
        )
        shown = ["?" if each is None else f"{each:,}" for each in took]
        lines = [
            f"    {each:>9}  event {call.seq}, {call.op}, {call.model or call.client}"
            for each, call in zip(shown, self.model_calls, strict=True)
        ]
        title = f"{self._title}: model calls {said}; expected at most {limit:,}"
        raise AssertionError("\n".join([title, *_cut(lines)]))


def cleaned(text: str) -> str:
    """Text of a log, which anybody wrote, without what moves a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _shown(value: Any) -> str:
    """A value on one line, the same for equal values."""
    return json_text(value, ordered=True, default=repr)


def _cut(lines: Any) -> list[str]:
    """Lines that a person can read: not too many, and none too long."""
    shown = [cleaned(line) for line in lines]
    found = [
        line if len(line) <= LINE_LENGTH_MAX else f"{line[:LINE_LENGTH_MAX]}… ({len(line)} characters)"
        for line in shown
    ]
    left = len(found) - LINES_MAX
    return found if left <= 0 else [*found[:LINES_MAX], f"    … {left} more"]
