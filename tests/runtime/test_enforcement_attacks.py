"""What agents could do to get around what is decided about them, and do not."""

import asyncio
from typing import Any

import pytest

from playhead import (
    ApprovalDenied,
    ApprovalTimedOut,
    Autonomy,
    Deny,
    Engine,
    Moment,
    Policy,
    Proposed,
    Reply,
    Request,
    RunFailed,
    ToolRejected,
    child_run,
    hook,
    model_call,
    persona,
    signal,
    tool,
)
from playhead.errors import HookFailed
from playhead.events.approval import ApprovalAnswered, ApprovalRequested
from playhead.events.autonomy import AutonomyDecided, AutonomySpent, StandingRequested, TrustRecorded
from playhead.events.catalog import ChildRequested, ToolRequested
from playhead.policy.span import DAY_NS, HOUR_NS
from playhead.testing import ScriptedModel
from playhead.trust.standing import Spent
from tests.runtime.conftest import Home, until
from tests.runtime.people import asked, of
from tests.test_sign import signer_of

DONE: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()


@tool(side_effect_level="network", path_params=["to"])
async def send(to: list[str]) -> str:
    DONE.append(list(to))
    return f"sent to {', '.join(to)}"


@tool(side_effect_level="read_only")
async def look() -> None:
    await asyncio.sleep(0)


def changes_its_mind(policy: Policy | None) -> Any:
    """A persona that changes the arguments of a call after it was judged."""

    @persona(name="sender", policy=policy)
    async def sender() -> str:
        to = ["notes"]

        async def later() -> None:
            await look()
            to[:] = ["everybody"]

        task = asyncio.create_task(later())
        said = await send(to)
        await task
        return said

    return sender


# What is judged is what is done.


async def test_a_call_that_people_agreed_to_is_made_with_what_they_saw(home: Home) -> None:
    sender = changes_its_mind(Policy(autonomy=Autonomy(tier="act_with_approval")))
    async with home.engine(sender) as engine:
        run = await engine.start(sender)
        request = await asked(engine, run.id)
        await until(lambda: _looked(engine, run.id))
        await run.answer(request.request, "approve", reviewer="ada")
        assert await run.result() == "sent to notes"
        assert (await engine.replay(run.id)).identical
    assert DONE == [["notes"]]


async def _looked(engine: Engine, run: str) -> bool:
    return any(fact.tool == "look" for fact in await of(engine, run, ToolRequested))


async def test_what_a_policy_let_through_is_what_happens_however_long_the_look_up_takes(home: Home) -> None:
    @persona(policy=Policy(workspace_roots=["notes"], autonomy=Autonomy(tier="act_auto")))
    async def quicker() -> None:
        to = ["notes"]
        call = asyncio.create_task(send(to))
        await asyncio.sleep(0)
        to[:] = ["/etc/passwd"]
        await call

    async with home.engine(quicker) as engine:
        run = await engine.start(quicker)
        await run.result()
        assert (await engine.replay(run.id)).identical
    assert DONE == [["notes"]]


async def test_what_a_hook_was_shown_is_what_happens(home: Home) -> None:
    @hook("PreToolUse")
    async def strict(moment: Moment) -> Deny | None:
        return Deny("not to everybody") if "everybody" in moment.args.get("to", []) else None

    sender = changes_its_mind(None)
    async with home.engine(sender, hooks=[strict]) as engine:
        run = await engine.start(sender)
        assert await run.result() == "sent to notes"
    assert DONE == [["notes"]]


async def test_a_model_is_asked_what_people_agreed_to(home: Home) -> None:
    seen: list[Any] = []

    class Listening(ScriptedModel):
        async def complete(self, request: Request) -> Reply:
            seen.append(request.context)
            return await super().complete(request)

    @persona(policy=Policy(autonomy=Autonomy(actions={"model.call": "act_with_approval"})))
    async def thinks() -> str:
        context = {"about": "nice"}
        task = asyncio.create_task(model_call(Request(prompt="why?", context=context)))
        await look()
        context["about"] = "evil"
        return (await task).text

    async with home.engine(thinks, model=Listening([Reply(text="so")])) as engine:
        run = await engine.start(thinks)
        request = await asked(engine, run.id)
        await run.answer(request.request, "approve", reviewer="ada")
        assert await run.result() == "so"
    assert seen == [{"about": "nice"}]


# Every effect has one record, however the run ends.


@pytest.mark.parametrize("how", ["returns", "raises", "runs away"])
async def test_an_effect_that_is_under_way_when_its_run_ends_has_a_record(home: Home, how: str) -> None:
    gate = asyncio.Event()

    @tool(side_effect_level="network")
    async def pay() -> None:
        await gate.wait()

    @persona(policy=Policy(autonomy=Autonomy(tier="act_auto", actions={"send": "act_with_approval"})))
    async def pays() -> str:
        tasks = [asyncio.create_task(pay()), asyncio.create_task(send(["ada"]))]
        await signal("enough")
        assert not any(task.done() for task in tasks)
        if how == "raises":
            raise ValueError("enough")
        while how == "runs away":  # noqa: ASYNC110  it waits for nothing, and that is the point
            await asyncio.sleep(0)
        return "done"

    async with home.engine(pays) as engine:
        run = await engine.start(pays)
        await asked(engine, run.id)
        await until(lambda: _paying(engine, run.id))
        await run.signal("enough")
        if how != "returns":
            with pytest.raises(RunFailed, match=r"enough|turns"):
                await run.result()
        else:
            await run.result()
        found = await of(engine, run.id, TrustRecorded)
        assert (await engine.replay(run.id)).identical
        gate.set()
    assert [(each.tool, each.outcome, each.reason) for each in found] == [
        ("pay", "failure", "nobody waits for it any more, and it may have happened"),
        ("send", "denied", "the run ended before it was decided"),
    ]
    assert (await home.types(run.id))[-1].startswith("run.")


async def _paying(engine: Engine, run: str) -> bool:
    return bool(await of(engine, run, ToolRequested))


async def test_a_hook_that_fails_while_people_are_asked_leaves_a_record(home: Home) -> None:
    @hook("OnApprovalRequested")
    async def tells(moment: Moment) -> None:
        raise OSError("the mail server is down")

    @persona(policy=Policy(autonomy=Autonomy(tier="act_with_approval")))
    async def sender() -> str:
        try:
            return await send(["ada"])
        except HookFailed:
            return "not sent"

    async with home.engine(sender, hooks=[tells]) as engine:
        run = await engine.start(sender)
        assert await run.result() == "not sent"
        (record,) = await of(engine, run.id, TrustRecorded)
        assert (record.outcome, "the mail server is down" in record.reason) == ("denied", True)
        assert (await engine.replay(run.id)).identical
    assert not DONE


# Who may not do it, may not do it through another.


@persona
async def helper(to: str) -> bool:
    return isinstance(await send([to]), Proposed)


@persona(policy=Policy(autonomy=Autonomy(tier="act_auto")))
async def clerk() -> list[bool]:
    return [await helper("one"), await child_run(helper, "two"), isinstance(await send(["three"]), Proposed)]


async def test_what_an_agent_may_not_do_it_may_not_do_through_another_persona(home: Home) -> None:
    async with home.engine(clerk, helper) as engine:
        await engine.demote("clerk", "shadow", by="ada")
        run = await engine.start(clerk)
        assert await run.result() == [True, True, True]
        (first, second) = await of(engine, run.id, StandingRequested)
        assert ((first.agent, first.within), (second.agent, second.within)) == (
            ("helper", ("clerk",)),
            ("clerk", ()),
        )
        assert (await engine.replay(run.id)).identical
        alone = await engine.start(helper, "four")
        assert await alone.result() is False  # nobody demoted it
    assert DONE == [["four"]]


async def test_what_a_scope_says_of_an_agent_holds_for_all_that_its_code_calls(home: Home) -> None:
    @persona(
        policy=Policy(autonomy=Autonomy(tier="act_auto", agents={"boss": "shadow", "helper": "act_auto"}))
    )
    async def boss() -> list[bool]:
        return [await helper("one"), await child_run(helper, "two")]

    async with home.engine(boss, helper) as engine:
        run = await engine.start(boss)
        assert await run.result() == [True, True]
    assert not DONE


async def test_a_bound_counts_what_is_done_through_others(home: Home) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="act_auto", per_day=2, deadline_s=0.01)))
    async def boss() -> int:
        done = 0
        for number in range(4):
            try:
                await helper(str(number))
                done += 1
            except ApprovalTimedOut:
                continue
        return done

    async with home.engine(boss, helper) as engine:
        run = await engine.start(boss)
        assert await run.result() == 2
        for agent in ("boss", "helper"):
            assert (await engine.standing(agent)).day == 2
        assert (await engine.replay(run.id)).identical


async def test_who_encloses_the_call_is_none_of_its_reviewers(home: Home) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="act_with_approval", reviewers=["boss", "helper"])))
    async def boss() -> bool:
        return await helper("one")

    async with home.engine(boss, helper) as engine:
        run = await engine.start(boss)
        with pytest.raises(RunFailed, match="only nobody"):
            await run.result()
    assert not DONE


async def test_who_encloses_the_call_cannot_agree_to_it_where_anybody_else_may(home: Home) -> None:
    policy = Policy(autonomy=Autonomy(tier="act_with_approval", quorum=2))

    @persona(policy=policy)
    async def outer() -> list[bool]:
        return [await helper("one"), await child_run(helper, "two")]

    async with home.engine(outer, helper) as engine:
        run = await engine.start(outer)
        request = await asked(engine, run.id)
        assert (request.principal, request.within, request.reviewers) == ("helper", ("outer",), None)
        for reviewer in ("outer", "helper", "ada"):
            await run.answer(request.request, "approve", reviewer=reviewer)
        await until(lambda: _taken(engine, run.id, 3))
        assert len(await run.requests()) == 1
        assert not DONE
        await run.answer(request.request, "approve", reviewer="bob")
        await until(lambda: bool(DONE))
        await until(lambda: _has_child(engine, run.id))
        child = (await of(engine, run.id, ChildRequested))[0].run
        second = await asked(engine, child)
        assert second.within == ("outer",)
        for reviewer in ("outer", "ada", "bob"):
            await engine.answer(child, second.request, "approve", reviewer=reviewer)
        assert await run.result() == [False, False]


async def _has_child(engine: Engine, run: str) -> bool:
    return bool(await of(engine, run, ChildRequested))


async def _taken(engine: Engine, run: str, many: int) -> bool:
    return len(await of(engine, run, ApprovalAnswered)) >= many


async def test_where_only_those_have_keys_whose_code_asks_the_effect_is_denied(home: Home) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="act_with_approval")))
    async def outer() -> bool:
        return await helper("one")

    keys = {"outer": [signer_of(b"2" * 32).public]}
    async with home.engine(outer, helper, reviewer_keys=keys) as engine:
        run = await engine.start(outer)
        with pytest.raises(RunFailed, match="cannot be reached by 0 reviewers"):
            await run.result()
    assert not DONE


async def test_arguments_that_cannot_be_held_still_are_refused_when_they_have_changed(home: Home) -> None:
    class Slippery(list[str]):
        def __deepcopy__(self, memo: Any) -> "Slippery":
            return self

    @persona(policy=Policy(autonomy=Autonomy(tier="act_with_approval")))
    async def sender() -> str:
        to = Slippery(["ada"])
        task = asyncio.create_task(send(to))
        await look()
        to.append("everybody")
        try:
            return await task
        except ToolRejected as error:
            return error.message

    async with home.engine(sender) as engine:
        run = await engine.start(sender)
        request = await asked(engine, run.id)
        await until(lambda: _looked(engine, run.id))
        await run.answer(request.request, "approve", reviewer="bob")
        assert await run.result() == "arguments of send changed after they were judged"
        (record,) = await of(engine, run.id, TrustRecorded)
        assert record.outcome == "denied"
    assert not DONE


# Time.


def test_a_clock_that_goes_anywhere_and_comes_back_forgets_nothing() -> None:
    spent = Spent()
    days = (10, 10, 400, 401, 10, 3, 10)
    for number, day in enumerate(days):
        spent.apply(day * DAY_NS + 5 * HOUR_NS, AutonomySpent(agent="a", run="r", op=str(number)))
    assert spent.this(DAY_NS, 10 * DAY_NS) == 4
    assert spent.this(HOUR_NS, 10 * DAY_NS + 5 * HOUR_NS) == 4
    assert spent.known["r", "6"] == (3, 3)


async def test_who_is_demoted_while_people_think_does_nothing_on_their_yes(home: Home) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="act_with_approval")))
    async def sender() -> str:
        try:
            return await send(["ada"])
        except (ApprovalDenied, ToolRejected) as error:
            return error.message

    async with home.engine(sender) as engine:
        run = await engine.start(sender)
        request = await asked(engine, run.id)
        await engine.demote("sender", "shadow", by="eve")
        await run.answer(request.request, "approve", reviewer="ada")
        assert await run.result() == "people agreed, and meanwhile the agent is trusted with shadow"
        (record,) = await of(engine, run.id, TrustRecorded)
        assert (record.outcome, record.enforcement) == ("denied", "denied")
        assert len(await of(engine, run.id, ApprovalRequested)) == 1
        assert len(await of(engine, run.id, AutonomyDecided)) == 1
        assert (await engine.replay(run.id)).identical
    assert not DONE


async def test_what_was_only_proposed_says_so_however_it_is_used(home: Home) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="shadow")))
    async def sender() -> None:
        made: Any = await send(["ada"])
        with pytest.raises(AttributeError, match="only proposed"):
            _ = made.upper
        for use in (lambda: made[0], lambda: len(made), lambda: list(made)):
            with pytest.raises(TypeError, match="only proposed"):
                use()
        assert not made

    async with home.engine(sender) as engine:
        await (await engine.start(sender)).result()
