"""A host for tests: tools in memory, a clock that only moves when all wait, outcomes in a defined order."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from playhead.snippet.check import Checked, check
from playhead.snippet.diagnostic import Diagnostic
from playhead.snippet.machine import Machine
from playhead.snippet.protocol import Call, Err, Limits, Ok, Outcome, SnippetVM, Step, ToolBinding

BINDINGS = {
    "read_file": ToolBinding(("path", "limit"), ("path",)),
    "search": ToolBinding(("query", "limit"), ("query",)),
    "echo": ToolBinding(("value",), ("value",)),
    "slow": ToolBinding(("ms",), ("ms",)),
    "fail": ToolBinding(("message",), ("message",)),
    "write_file": ToolBinding(("path", "text"), ("path", "text")),
    "send_mail": ToolBinding(("to", "body"), ("to", "body")),
    "delete_file": ToolBinding(("path",), ("path",), refusal="denied by policy"),
}

Answer = Callable[[dict[str, Any]], Outcome]


def ok(value: Any) -> Outcome:
    return Ok(json.dumps(value))


ANSWERS: dict[str, Answer] = {
    "read_file": lambda given: ok({"path": given["path"], "text": f"text of {given['path']}"}),
    "search": lambda given: ok([{"path": f"f{i}", "line": i} for i in range(given.get("limit", 3))]),
    "echo": lambda given: ok(given["value"]),
    "slow": lambda given: ok({"ms": given["ms"]}),
    "fail": lambda given: Err("child_tool_error", given["message"]),
    "write_file": lambda given: Err("policy_denied", "write_file is above the ceiling"),
    "send_mail": lambda given: Err("policy_denied", "send_mail needs approval"),
}


@dataclass
class Ended:
    """How a run ended, and all that happened on the way."""

    step: Step
    calls: list[Call] = field(default_factory=list)
    outcomes: list[tuple[int, Outcome]] = field(default_factory=list)
    most_in_flight: int = 0
    steps: list[Step] = field(default_factory=list)

    @property
    def value(self) -> Any:
        assert self.step.status == "done", self.step
        assert self.step.result_json is not None
        return json.loads(self.step.result_json)

    @property
    def error(self) -> str:
        assert self.step.error is not None, self.step
        return f"{self.step.error.type}: {self.step.error.message}"


def checked(source: str, bindings: dict[str, ToolBinding] | None = None) -> Checked:
    found = check(source, BINDINGS if bindings is None else bindings)
    assert isinstance(found, Checked), found
    return found


def problems(source: str, bindings: dict[str, ToolBinding] | None = None) -> list[Diagnostic]:
    found = check(source, BINDINGS if bindings is None else bindings)
    assert not isinstance(found, Checked), "nothing was found wrong"
    return found


def run(
    source: str | Checked,
    limits: Limits | None = None,
    *,
    operations_max: int = 100,
    concurrent_max: int = 8,
    timeout_ms: int = 5_000,
) -> Ended:
    """Run a snippet to its end, or until the host ends it."""
    machine: SnippetVM = Machine(checked(source) if isinstance(source, str) else source, limits)
    step = machine.start()
    ended = Ended(step)
    queue: deque[Call] = deque()
    flying: list[tuple[int, int, Call]] = []
    now = 0
    while True:
        ended.step = step
        ended.steps.append(step)
        if step.status != "waiting":
            return ended
        for call in step.calls:
            if len(ended.calls) == operations_max:
                return _stopped(ended)
            ended.calls.append(call)
            queue.append(call)
        while queue and len(flying) < concurrent_max:
            call = queue.popleft()
            given = json.loads(call.input_json)
            takes = given["ms"] if call.binding == "slow" and type(given["ms"]) is int else 0
            heappush(flying, (now + takes, call.op, call))
        ended.most_in_flight = max(ended.most_in_flight, len(flying))
        now, _, call = heappop(flying)
        if now > timeout_ms:
            return _stopped(ended)
        outcome = answer(call)
        ended.outcomes.append((call.op, outcome))
        step = machine.resume(call.op, outcome)


def _stopped(ended: Ended) -> Ended:
    ended.step = ended.step._replace(status="limit", calls=(), result_json=None)
    ended.steps[-1] = ended.step
    return ended


def answer(call: Call) -> Outcome:
    try:
        return ANSWERS[call.binding](json.loads(call.input_json))
    except (KeyError, TypeError) as error:
        return Err("schema_validation", f"{call.binding} does not take this: {type(error).__name__}")


def replay(source: str | Checked, ended: Ended, limits: Limits | None = None) -> Ended:
    """Run it again with the outcomes of a run that ended, in their order."""
    machine = Machine(checked(source) if isinstance(source, str) else source, limits)
    again = Ended(machine.start(), outcomes=ended.outcomes)
    again.steps.append(again.step)
    again.calls.extend(again.step.calls)
    for op, outcome in ended.outcomes:
        again.step = machine.resume(op, outcome)
        again.steps.append(again.step)
        again.calls.extend(again.step.calls)
    return again
