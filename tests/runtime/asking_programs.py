"""Programs that ask people, as data, so that a test can draw, edit, cut and run them.

    program = (Leaf("tool", "send", "a", 1), Block("loop", 2, (Leaf("approval", "publish", "b", 1),)))
    agent = persona_of(program, mode="strict")

Each leaf waits for a yes to one exact call and then writes what it does to a file on the disk, beside the
log. What stands in that file is what really happened.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hypothesis import strategies as st

from playhead import ApprovalRules, Policy, Retry, attempt, persona, race, step, task_group, tool
from playhead.errors import ApprovalDenied, ApprovalTimedOut
from playhead.runtime.approving import ask_user, dual_control, request_approval
from tests.runtime.asked_and_answered import GATED

PRINCIPAL = "agent"

Kind = Literal["tool", "approval", "dual_control", "question"]


@dataclass(frozen=True)
class Leaf:
    """One thing that people are asked for, and the effect that is done with their yes."""

    kind: Kind
    what: str
    to: str
    copies: int
    reviewers: tuple[str, ...] | None = None
    quorum: int = 1
    deadline_s: float | None = None


@dataclass(frozen=True)
class Block:
    """Leaves in a row, done `times` over: here, by another persona, or by a step that fails at first."""

    how: Literal["loop", "retry", "helper"]
    times: int
    body: tuple[Leaf, ...]


@dataclass(frozen=True)
class Group:
    """Branches at once. In a race the first that ends ends the others."""

    how: Literal["group", "race"]
    branches: tuple[tuple[Leaf, ...], ...]


Node = Leaf | Block | Group
Program = tuple[Node, ...]


# What is done, and where it can be seen.


class Disk:
    """The file of one life. Every effect is a line of it."""

    path = Path()

    @classmethod
    def begin(cls, path: Path) -> None:
        path.unlink(missing_ok=True)
        cls.path = path

    @classmethod
    def effects(cls) -> list[dict[str, Any]]:
        lines = cls.path.read_text().splitlines() if cls.path.exists() else []
        return [json.loads(line) for line in lines]


def happen(tool_name: str, **args: Any) -> None:
    now = attempt()
    line = {"run": now.run, "op": now.op, "number": now.number, "tool": tool_name, "args": args}
    descriptor = os.open(Disk.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.close(descriptor)


@tool(side_effect_level="network", effect="effect")
async def send(to: str, copies: int = 1) -> None:
    happen("send", to=to, copies=copies)


@tool(side_effect_level="network", effect="idempotent")
async def wipe(to: str, copies: int = 1) -> None:
    happen("wipe", to=to, copies=copies)


@tool(side_effect_level="network", effect="effect")
async def act(kind: str, what: str, args: Any) -> None:
    happen("act", kind=kind, what=what, args=args)


TOOLS = {"send": send, "wipe": wipe}


# The program.


def persona_of(program: Program, mode: Literal["strict", "relaxed"]) -> Any:
    """The persona that does `program`."""
    asks_first = Policy(approval=ApprovalRules(require_approval=GATED))

    @persona(name=PRINCIPAL, policy=asks_first, mode=mode)
    async def agent() -> list[str]:
        said: list[str] = []
        for node in program:
            await _node(node, said)
        return said

    return agent


async def _node(node: Node, said: list[str]) -> None:
    if isinstance(node, Leaf):
        await _leaves((node,), said)
    elif isinstance(node, Block):
        for _ in range(node.times):
            await _block(node, said)
    elif node.how == "race":
        await race(*(_leaves(branch, said) for branch in node.branches))
    else:
        async with task_group() as group:
            for branch in node.branches:
                group.start(_leaves(branch, said))


async def _block(node: Block, said: list[str]) -> None:
    times = 0

    @step(retry=Retry(max_attempts=2, first_wait_s=0.01))
    async def again() -> None:
        nonlocal times
        times += 1
        await _leaves(node.body, said)
        if times == 1:
            raise ConnectionError("once more")

    @persona
    async def helper() -> None:
        await _leaves(node.body, said)

    if node.how == "loop":
        await _leaves(node.body, said)
    else:
        await (again() if node.how == "retry" else helper())


async def _leaves(leaves: Sequence[Leaf], said: list[str]) -> None:
    """Do them, and say what became of each: `done`, `denied` or `late`."""
    for leaf in leaves:
        try:
            await _asked(leaf)
        except ApprovalDenied:
            said.append("denied")
        except ApprovalTimedOut:
            said.append("late")
        else:
            said.append("done")


async def _asked(leaf: Leaf) -> None:
    whom: Any = {"reviewers": leaf.reviewers, "deadline_s": leaf.deadline_s}
    match leaf.kind:
        case "tool":
            await TOOLS[leaf.what](leaf.to, leaf.copies)
        case "approval":
            args = {"to": leaf.to, "copies": leaf.copies}
            agreed = await request_approval(leaf.what, args=args, quorum=leaf.quorum, **whom)
            await act("approval", leaf.what, agreed.args)
        case "question":
            value = await ask_user(leaf.what, kind=int, **whom)
            await act("question", leaf.what, value)
        case "dual_control":
            of = 2 if leaf.reviewers is None else len(leaf.reviewers)
            approvers = None if leaf.reviewers is None else sorted(leaf.reviewers)

            async def work() -> None:
                await act("dual_control", leaf.what, {"n": leaf.quorum, "m": of, "approvers": approvers})

            work.__name__ = leaf.what
            await dual_control(leaf.quorum, of, work, approvers=leaf.reviewers, deadline_s=leaf.deadline_s)


# Drawing them. Few names, so that calls meet.


REVIEWERS = (None, ("ada", "bob"), ("ada", "bob", "cy"), (PRINCIPAL, "ada"))
WORDS = {
    "tool": GATED,
    "approval": ("publish", "erase"),
    "question": ("how many?", "which?"),
    "dual_control": ("erase", "publish"),
}


@st.composite
def leaves(draw: st.DrawFn) -> Leaf:
    kind: Kind = draw(st.sampled_from(("tool", "approval", "tool", "approval", "dual_control", "question")))
    what, to = draw(st.sampled_from(WORDS[kind])), draw(st.sampled_from("ab"))
    copies = draw(st.sampled_from((1, 2)))
    if kind == "tool":
        return Leaf(kind, what, to, copies)
    reviewers = draw(st.sampled_from(REVIEWERS))
    able = 2 if reviewers is None else len(set(reviewers) - {PRINCIPAL})
    quorum = 1 if kind == "question" else draw(st.integers(1, min(able, 2)))
    return Leaf(kind, what, to, copies, reviewers, quorum, draw(st.sampled_from((None, 50.0, 5.0))))


bodies = st.lists(leaves(), min_size=1, max_size=2).map(tuple)
nodes = st.one_of(
    leaves(),
    leaves(),
    st.builds(Block, st.sampled_from(("loop", "loop", "retry", "helper")), st.integers(1, 2), bodies),
    st.builds(Group, st.sampled_from(("group", "group", "race")), st.tuples(bodies, bodies)),
)
programs = st.lists(nodes, min_size=1, max_size=3).map(tuple)

Edit = tuple[str, int, Any]
CHANGES: tuple[dict[str, Any], ...] = (
    {"to": "b"},
    {"copies": 2},
    {"deadline_s": 5.0},
    {"deadline_s": None},
    {"reviewers": None, "quorum": 1},
    {"reviewers": ("ada", "bob", "cy"), "quorum": 2},
)
edits = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(0, 3), nodes),
        st.tuples(st.just("remove"), st.integers(0, 3), st.none()),
        st.tuples(st.just("swap"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("change"), st.integers(0, 7), st.sampled_from(CHANGES)),
        st.tuples(st.just("change"), st.integers(0, 7), st.sampled_from(CHANGES[:2])),
        st.tuples(st.just("rename"), st.integers(0, 7), st.integers(0, 1)),
    ),
    max_size=2,
)


def edited(program: Program, changes: Sequence[Edit]) -> Program:
    """What somebody made of `program` meanwhile."""
    found = list(program)
    for word, place, detail in changes:
        at = place % max(len(found), 1)
        if word == "insert":
            found.insert(place % (len(found) + 1), detail)
        elif word == "remove" and found:
            found.pop(at)
        elif word == "swap" and found:
            other = detail % len(found)
            found[at], found[other] = found[other], found[at]
        elif word in ("change", "rename") and found:
            found[at] = _changed(found[at], word, place, detail)
    return tuple(found)


def _changed(node: Node, word: str, place: int, detail: Any) -> Node:
    if isinstance(node, Leaf):
        return _another(node, word, detail)
    if isinstance(node, Block):
        return replace(node, body=tuple(_another(leaf, word, detail) for leaf in node.body))
    at = place % len(node.branches)
    branch = tuple(_another(leaf, word, detail) for leaf in node.branches[at])
    return replace(node, branches=(*node.branches[:at], branch, *node.branches[at + 1 :]))


def _another(leaf: Leaf, word: str, detail: Any) -> Leaf:
    if word == "rename":
        return replace(leaf, what=WORDS[leaf.kind][detail])
    kept = {"tool": {"to", "copies"}, "question": {"to", "copies", "reviewers", "deadline_s"}}.get(leaf.kind)
    return replace(leaf, **{name: each for name, each in detail.items() if kept is None or name in kept})
