"""A plan says what the fork then does: word for word what it begins with, and what would go live."""

from typing import Any

import pytest

from playhead import Engine, Reply, Request, child_run, hook, model_call, persona, tool
from playhead.errors import BadValue, ForkUnavailable, HookMissing, KeyReuse
from playhead.log.memory_store import MemoryLog
from playhead.replay.edits import Edits
from tests.replay import prefixes
from tests.replay.forked import Parrot, agent, events, facts, play, recorded, seq_of

KEYS = iter(range(1_000_000))


@tool(effect="effect", side_effect_level="network", name="posts")
async def post(text: str) -> str:
    return f"posted {text}"


@persona
async def inner(text: str) -> str:
    return await post(text)


@persona
async def outer(text: str) -> str:
    return await child_run(inner, text)


@pytest.mark.parametrize(
    "edits",
    [
        Edits(),
        Edits(args={"place": "sea"}),
        Edits(outcomes={"look#0": "EDITED", "pay#0": "FREE"}),
        Edits(failures={"keep#0": "no"}, model="opus"),
    ],
)
def test_a_plan_is_what_is_made_and_what_it_withholds_is_withheld(edits: Edits) -> None:
    log, run, _ = recorded()
    cuts = range(0, len(events(log, run)), 2 if edits else 1)

    async def work(engine: Engine, at: int) -> None:
        wish: dict[str, Any] = {"at": at, "edits": edits, "key": f"plan {next(KEYS)}"}
        plan = await engine.plan_fork(run, **wish)
        made = await engine.fork(run, **wish)
        begins = plan.events(engine.catalog, engine.clock.now())
        assert [(e.type, e.op, e.payload) for e in events(log, made.id)[: len(begins)]] == [
            (e.type, e.op, e.payload) for e in begins
        ], at
        if any(plan.verdict(live) == "waits" and live.kind == "signal" for live in plan.imagined.live):
            await made.signal("go", "gone")
        ending = await engine.ending(made.id)
        withheld = {live.op for live in plan.imagined.live if plan.verdict(live) == "withheld"}
        kept = [event.op for event in events(log, made.id) if event.type == "effect.withheld"]
        assert withheld <= set(kept), at
        if plan.imagined.status is not None:
            assert (plan.imagined.status, kept) == (ending.status, []), at

    for at in cuts:
        play(log, lambda engine, at=at: work(engine, at))


def _played(log: MemoryLog, work: Any, **options: Any) -> Any:
    return prefixes.play(log, work, personas=[outer, inner, asks], **options)


def test_a_child_begins_and_stands_behind_the_same_fence() -> None:
    log = MemoryLog()

    async def once(engine: Engine) -> Any:
        run = await engine.start(outer, "hello")
        await run.result()
        plan = await engine.plan_fork(run.id, at=0)
        fork = await engine.fork(run.id, at=0)
        await engine.ending(fork.id)
        return plan, fork.id

    plan, made = _played(log, once)

    (live,) = plan.imagined.live
    assert (live.kind, plan.verdict(live), plan.withheld(live)) == ("child", "begins", None)
    (asked,) = facts(log, made, "child.requested")
    assert facts(log, asked.run, "run.started")[0].fence == plan.started.fence == ()
    assert facts(log, asked.run, "effect.withheld")


def test_what_may_be_allowed_has_a_name() -> None:
    log, run, _ = recorded()

    async def work(engine: Engine) -> None:
        at = seq_of(log, run, "timer.fired")
        for word in ("nosuch", "pay it", "model:nobody", "state.red", "Effect"):
            with pytest.raises(BadValue, match=f"is called '{word}'") as found:
                await engine.plan_fork(run, at=at, allow=[word])
            assert "pay" in str(found.value.expected)
        known = (
            "pay",
            "posts",
            "model:parrot",
            "state.write",
            "effect",
            "network.call",
            "tool:nosuch",
            "all",
        )
        for word in known:
            assert (await engine.plan_fork(run, at=at, allow=[word])).started.fence == (word,)
        with pytest.raises(BadValue, match="is one text"):
            await engine.plan_fork(run, allow="all")
        by_name = await engine.plan_fork(run, at=seq_of(log, run, "signal.received"), allow=["tool:pay"])
        assert [by_name.verdict(live) for live in by_name.imagined.live] == ["live"]

    play(log, work)


def test_the_same_key_with_another_fence_is_another_fork() -> None:
    log, run, _ = recorded()

    async def work(engine: Engine) -> None:
        first = await engine.fork(run, at=0, key="k")
        assert (await engine.ending(first.id)).status == "failed"
        with pytest.raises(KeyReuse, match="may do something else"):
            await engine.fork(run, at=0, key="k", allow=["all"])
        assert (await engine.fork(run, at=0, key="k")).id == first.id

    play(log, work)


@persona
async def asks(text: str) -> list[str]:
    return [(await model_call(Request(prompt=text))).text, await post(text)]


def _asked() -> tuple[MemoryLog, str]:
    """A run that asked a model."""
    log = MemoryLog()

    async def once(engine: Engine) -> str:
        run = await engine.start(asks, "what?")
        await run.result()
        return run.id

    run = _played(log, once, model=Parrot())
    return log, run


def test_a_fork_whose_model_client_is_not_there_is_refused_before_it_is_made() -> None:
    log, run = _asked()
    length = len(events(log, run))

    async def without(engine: Engine) -> Any:
        for planned in (engine.plan_fork, engine.fork):
            with pytest.raises(ForkUnavailable, match="asks the model client 'parrot'"):
                await planned(run, at=length - 3, allow=["all"])
        whole = await engine.fork(run)
        return await whole.result()

    streams = len(log.streams)
    assert _played(log, without) == ["plain what?", "posted what?"]
    assert len(log.streams) == streams + 2  # the whole one, and the mailbox of its source


def test_a_plan_misses_the_hooks_that_the_fork_would() -> None:
    @hook("PreToolUse")
    async def judges(moment: Any) -> None:
        return None

    log = MemoryLog()

    async def once(engine: Engine) -> str:
        run = await engine.start(inner, "hello")
        await run.result()
        return run.id

    run = _played(log, once, hooks=[judges])

    async def without(engine: Engine) -> None:
        with pytest.raises(HookMissing):
            await engine.plan_fork(run)

    _played(log, without)


def test_an_edit_of_what_the_program_has_not_come_to_is_said_to_be_unchecked() -> None:
    log, run, _ = recorded()

    async def work(engine: Engine) -> Any:
        return await engine.plan_fork(run, at=0, edits=Edits(outcomes={"pay#0": "FREE"}))

    plan = play(log, work)

    assert plan.unchecked == ("0/pay#0",)
    assert agent.name == plan.started.persona


class Chatty:
    name = "chatty"

    async def complete(self, request: Request) -> Reply:
        return Reply(text="hm")


def test_another_client_is_another_question() -> None:
    log, run = _asked()

    async def other(engine: Engine) -> Any:
        with pytest.raises(ForkUnavailable, match="chatty#0 is not on the tape"):
            await engine.fork(run)
        fork = await engine.fork(run, mode="with_overrides", allow=["model:chatty", "posts"])
        return await fork.result()

    assert _played(log, other, model=Chatty()) == ["hm", "posted what?"]
