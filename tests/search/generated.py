"""Runs made up from a seed: every kind of part, every way to end, odd values, and things that are missing.

They are written event by event with a writer of the tests' own, so that nothing of the engine decides what
can stand in a log.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from tests.log.second_writer import SecondWriter

T0 = 1_700_000_000_000_000_000
WORDS = (
    "fetch",
    "publish",
    "save",
    "Straße",
    "STRASSE",
    "café",
    "cafe\u0301",
    "a\0b",
    "x*y",
    "[z]",
    "404",
    "true",
    "pages/7",
    "pages/77",
    "no such page",
    "licence?",
    "ab",
    "",
    "日本語の本",
    "line\nbreak",
    'say "hi"',
    "İstanbul",
)
NAMES = ("fetch", "publish", "save", "judge", "ask")
ERRORS = ("TimeoutError", "LookupError", "ValueError")
_encode = msgspec.msgpack.encode


def value(random: Random, depth: int = 3) -> Any:
    """A value as a user could record it."""
    if depth and random.random() < 0.4:
        if random.random() < 0.5:
            return {
                random.choice(("url", "x", "a b", "n", 'q"q')): value(random, depth - 1)
                for _ in range(random.randint(0, 3))
            }
        return [value(random, depth - 1) for _ in range(random.randint(0, 3))]
    plain: list[Any] = [
        None,
        True,
        False,
        0,
        1,
        2,
        42,
        -1,
        1.0,
        0.5,
        float("nan"),
        float("inf"),
        2**63,
        b"\x00\xff",
    ]
    return random.choice([*WORDS, *WORDS, *plain])


def args(random: Random) -> Any:
    """Arguments by name."""
    return {name: value(random) for name in ("url", "x", "n") if random.random() < 0.7}


def failure(random: Random, depth: int = 2) -> dict[str, Any]:
    """An error, sometimes with a cause or the members of a group."""
    made: dict[str, Any] = {"type": random.choice(ERRORS)}
    if random.random() < 0.7:
        made["message"] = random.choice(WORDS)
    if depth and random.random() < 0.3:
        made["cause"] = failure(random, depth - 1)
    if depth and random.random() < 0.2:
        made["members"] = [failure(random, depth - 1) for _ in range(2)]
    return made


Words = Callable[[Random, str, str], dict[str, Any]]

# What a program asks for: the type of the event, and what it says of a name and an operation.
ASKED: dict[str, tuple[str, Words]] = {
    "tool": (
        "tool.requested",
        lambda r, name, _: {"tool": name, "args": args(r), "effect": r.choice(("pure", "effect"))},
    ),
    "model": (
        "model.called",
        lambda r, *_: {
            "client": "oracle",
            "model": r.choice((None, "large", "tiny")),
            "request": {"prompt": r.choice(WORDS)},
        },
    ),
    "value": ("value.requested", lambda _, name, __: {"name": name}),
    "timer": ("timer.set", lambda *_: {"due": T0, "reason": "sleep"}),
    "child": (
        "child.requested",
        lambda r, name, _: {"run": "childchildch", "persona": name, "args": args(r)},
    ),
    "hook": (
        "hook.fired",
        lambda r, name, _: {"hook": name, "event": "e", "target": "t", "persona": "p", "shown": value(r)},
    ),
    "state": (
        "state.requested",
        lambda r, *_: {
            "action": "write",
            "root": "r",
            "session": "s",
            "policy": "warn",
            "writer": {},
            "key": r.choice(WORDS),
            "content": value(r),
        },
    ),
    "approval": (
        "approval.requested",
        lambda r, name, op: {
            "kind": "approval",
            "action": name,
            "digest": "d",
            "principal": "p",
            "request": f"approval_{op}",
            "args": r.choice((None, args(r))),
            "detail": args(r),
        },
    ),
    "composition": (
        "composition.started",
        lambda r, *_: {
            "language": "python",
            "engine": "e",
            "snippet_hash": "",
            "manifest_hash": "",
            "ceiling": "effect",
            "limits": {},
            "snippet": r.choice(WORDS),
            "inputs": args(r),
        },
    ),
}


class Making:
    """One run while it is made up."""

    def __init__(self, writer: SecondWriter, run: str, random: Random) -> None:
        self.writer, self.run, self.random = writer, run, random
        self.at = T0 + random.randrange(10) * 3_600_000_000_000
        self.steps: list[str] = []
        self.open: list[tuple[str, str]] = []
        self.waits: list[str] = []
        self.count = 0
        self.seq = 0

    def tell(self, type_: str, op: str = "", *, in_version: int = 1, **said: Any) -> None:
        self.at += self.random.choice((0, 1_000_000, 1_500_000_000, 60_000_000_000))
        payload = _encode({"type": type_, **said})
        self.writer.event(
            f"run/{self.run}", payload, type_=type_, op=op, at=self.at, version=in_version, append_id=b""
        )
        self.seq += 1

    def new_op(self, name: str) -> str:
        self.count += 1
        around = self.steps[-1] if self.steps else "0"
        branch = self.random.choice(("", "", ".1", ".2.1"))
        return f"{around}{branch}/{name}#{self.count}"

    # ------------------------------------------------------------ what happens

    def begin(self) -> None:
        random = self.random
        if random.random() < 0.05:
            return  # a run whose first event is something else
        more: dict[str, Any] = {}
        if random.random() < 0.5:
            more["name"] = random.choice(WORDS) or "n"
        if random.random() < 0.3:
            more["key"] = random.choice(NAMES)
        if random.random() < 0.5:
            more["tags"] = sorted(set(random.choices(("release", "Nightly", "é", "x*y"), k=2)))
        if random.random() < 0.2:
            more["parent"] = "parentparent"
        self.tell(
            "run.started",
            persona=random.choice(NAMES),
            args=args(random),
            args_digest="",
            mode=random.choice(("strict", "relaxed")),
            seed=bytes(16),
            **more,
        )
        if random.random() < 0.8:
            self.tell("run.claimed", worker=random.choice(("alive", "dead")), pid=1, host="h")

    def step(self) -> None:
        random = self.random
        if random.random() < 0.15:
            op = self.new_op("judge")
            self.tell("step.denied", op, step="judge", hook="h", reason=random.choice(WORDS))
        elif not self.steps or random.random() < 0.4:
            name = random.choice(NAMES)
            op = self.new_op(name)
            self.steps.append(op)
            self.tell("step.started", op, step=name, function=name, args=args(random))
        elif random.random() < 0.2:
            self.tell(
                "step.retried", self.steps[-1], step="s", attempt=1, failure=failure(random), retry_in_ms=1
            )
        else:
            self.end_step(self.steps.pop())

    def end_step(self, op: str) -> None:
        random = self.random
        how = random.choice(("completed", "failed", "skipped", "escalated", "cancelled"))
        if how == "completed":
            self.tell("step.completed", op, step="s", result=value(random))
        elif how == "cancelled":
            self.tell("step.cancelled", op, step="s")
        else:
            self.tell(f"step.{how}", op, step="s", failure=failure(random))

    def ask(self) -> None:
        random = self.random
        kind = random.choice(("tool", "tool", *ASKED, "denied"))
        name = random.choice(NAMES)
        op = self.new_op(name)
        if kind == "denied":
            self.tell("tool.denied", op, tool=name, args=args(random), reason=random.choice(WORDS))
            return
        type_, words = ASKED[kind]
        self.tell(type_, op, **words(random, name, op))
        self.open.append((kind, op))

    def answer(self) -> None:
        if not self.open:
            return
        random = self.random
        kind, op = self.open[random.randrange(len(self.open))]
        if random.random() < 0.35:
            self.meanwhile(kind, op)
            return
        self.open.remove((kind, op))
        if random.random() < 0.15:
            self.tell("operation.cancelled", op)
            if random.random() < 0.5:
                self.tell("attempt.finished", op, attempt=1, failure=failure(random))
            return
        failing = random.random() < 0.3 and kind not in {"timer", "approval"}
        if failing:
            self.fail(kind, op)
        else:
            self.complete(kind, op)

    def meanwhile(self, kind: str, op: str) -> None:
        random = self.random
        what = random.choice(("retry", "doubt", "resolved", "answered"))
        if kind == "approval" and what == "answered":
            self.tell(
                "approval.answered",
                request=f"approval_{op}",
                word="approve",
                reviewer=random.choice(NAMES),
                value=random.choice((None, value(random))),
                message=1,
                said_at=1,
                reason=random.choice(WORDS),
            )
        elif what == "retry":
            self.tell("attempt.finished", op, attempt=1, failure=failure(random), retry_in_ms=5)
            self.tell("attempt.started", op, attempt=2, reason="retry")
        elif what == "doubt":
            self.tell("operation.outcome_unknown", op, attempt=1)
        else:
            self.tell("operation.resolved", op, action="retry", by="ada")

    def fail(self, kind: str, op: str) -> None:
        random = self.random
        if kind == "composition":
            self.tell(
                "composition.failed",
                op,
                cause="error",
                category="execution_error",
                message=f"ValueError: {random.choice(WORDS)}",
                error={"type": "ValueError", "message": "m"},
            )
            return
        more: dict[str, Any] = {"status": "failed"} if kind == "child" else {}
        self.tell(f"{kind}.failed", op, failure=failure(random), **more)

    def complete(self, kind: str, op: str) -> None:
        random = self.random
        match kind:
            case "tool" | "child":
                self.tell(f"{kind}.completed", op, result=value(random))
            case "model":
                usage = {
                    name: random.choice((7, 50, 2**50))
                    for name in ("input_tokens", "output_tokens")
                    if random.random() < 0.8
                }
                cost = random.choice((None, 0, 200, 200_000, 2**60))
                self.tell(
                    "model.answered",
                    op,
                    reply={"text": random.choice(WORDS)},
                    usage=usage,
                    cost_micros=cost,
                    model=random.choice((None, "tiny-1")),
                )
            case "value":
                self.tell("value.recorded", op, value=value(random))
            case "timer":
                self.tell("timer.fired", op, due=self.at)
            case "hook":
                self.tell("hook.decided", op, decision="replace", value=value(random))
            case "state":
                self.tell("state.completed", op, answer=value(random))
            case "composition":
                self.tell("composition.completed", op, result=value(random), steps=1, calls=0)
            case _:
                how = random.choice(("granted", "denied", "timed_out"))
                more: dict[str, Any] = {
                    "granted": {"digest": "d", "args": args(random), "granted": []},
                    "denied": {"reviewer": "ada", "reason": random.choice(WORDS)},
                    "timed_out": {"due": 1},
                }[how]
                self.tell(f"approval.{how}", op, request="r", **more)

    def odd(self) -> None:
        random = self.random
        match random.randrange(7):
            case 0:
                self.tell("from.the_future", "0/new#1", anything=value(random))
            case 1:
                self.tell("tool.completed", "0/lost#1", in_version=9, result="of a newer version")
            case 2:
                self.tell("timer.fired", self.new_op("sleep"), due=self.at)
            case 3:
                self.tell(
                    "signal.received", signal=random.choice(("go", "stop")), value=value(random), message=1
                )
            case 4:
                self.waits.append(self.new_op("wait"))
                self.tell("wait.started", self.waits[-1], signal=random.choice(("go", "stop")))
            case 5 if self.waits:
                self.tell("operation.cancelled", self.waits.pop())
            case _:
                self.tell("tool.completed", "0/never_asked#1", result=1)

    def life(self) -> None:
        random = self.random
        match random.randrange(5):
            case 0:
                self.tell("run.suspended", waiting=[])
            case 1:
                self.tell("run.released", reason=random.choice(("closing", "diverged: here", "")))
            case 2:
                self.tell("run.parked", deaths=3, last_op="0/fetch#1", last_type="tool.requested")
            case 3:
                self.tell("run.resumed", after=random.choice(("crash", "release")))
            case _:
                self.tell("run.claimed", worker=random.choice(("alive", "dead")), pid=1, host="h")

    def end(self) -> None:
        random = self.random
        match random.randrange(5):
            case 0:
                self.tell("run.failed", failure=failure(random))
            case 1:
                self.tell("run.cancelled", reason=random.choice(WORDS))
            case 2:
                return
            case _:
                self.tell("run.completed", result=value(random))


def make_run(writer: SecondWriter, run: str, random: Random, *, turns: int = 14) -> None:
    """Make up a whole run."""
    made = Making(writer, run, random)
    made.begin()
    for _ in range(random.randint(0, turns)):
        random.choices((made.ask, made.answer, made.step, made.odd, made.life), (5, 6, 3, 3, 1))[0]()
    for op in reversed(made.steps):
        made.end_step(op)
    made.end()
    if not made.seq:
        made.life()
    if random.random() < 0.15:
        erase(writer, run, random.randrange(made.seq))


def erase(writer: SecondWriter, run: str, seq: int) -> None:
    """Erase a payload and say so."""
    stream = f"run/{run}"
    writer.erase(stream, seq, say_so=False)
    said = _encode({"type": "payload.erased", "reason": "asked for", "sender": "ada"})
    writer.event(stream, said, type_="payload.erased", cause=seq, at=T0 + 10**15, op="", append_id=b"")


def make_store(path: Path, seed: int, runs: int) -> list[str]:
    """A store of made up runs, and their ids, oldest first."""
    writer, random = SecondWriter(path, seed=seed), Random(seed)
    ids = [f"run{seed % 1000:03}{n:06}" for n in range(runs)]
    for run in ids:
        make_run(writer, run, random)
    writer.event("mailbox/x", _encode({"type": "cancel.sent", "reason": "pages/7"}), type_="cancel.sent")
    writer.close()
    return ids
