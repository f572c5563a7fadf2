"""Calls of tools that wait for a yes: to exactly that call, once, under all that encloses it."""

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

from playhead import (
    ApprovalRules,
    ArgConstraint,
    Deny,
    Engine,
    HookDenied,
    Moment,
    Policy,
    ReplaceArgs,
    ToolRejected,
    hook,
    persona,
    tool,
)
from playhead.errors import ApprovalDenied, ApprovalTimedOut, BadValue
from playhead.events.approval import AnswerSent
from playhead.events.catalog import ToolRequested
from playhead.events.rules import ToolDenied
from playhead.events.values import encode_value
from playhead.runtime.approving import digest_of
from tests.runtime.conftest import Home, until
from tests.runtime.people import asked, of

sent: list[tuple[str, int]] = []


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    sent.clear()


@tool(side_effect_level="network", capabilities={"mail": ["send"]})
async def send(to: str, copies: int = 1) -> str:
    sent.append((to, copies))
    return f"sent to {to}"


ASKS_FIRST = Policy(approval=ApprovalRules(require_approval=["send"]))


@persona(policy=ASKS_FIRST)
async def sends() -> str:
    try:
        return await send("ada@x", copies=2)
    except (ApprovalDenied, ApprovalTimedOut, ToolRejected) as error:
        return f"{type(error).__name__}: {error.message}"


async def test_a_call_that_a_policy_wants_approved_waits_for_a_yes_to_exactly_that_call(home: Home) -> None:
    async with home.engine(sends) as engine:
        run = await engine.start(sends)
        request = await asked(engine, run.id)
        assert (request.action, request.principal) == ("send", "sends")
        assert request.capabilities == ("mail.send", "network.call")
        assert msgspec.msgpack.decode(request.args) == {"copies": 2, "to": "ada@x"}
        assert sent == []
        await run.answer(request.request, "approve", reviewer="bob")
        assert await run.result() == "sent to ada@x"
        assert (await engine.replay(run.id)).identical
    assert sent == [("ada@x", 2)]


async def test_a_call_that_is_denied_is_not_made_and_the_log_says_so(home: Home) -> None:
    async with home.engine(sends) as engine:
        run = await engine.start(sends)
        await run.answer((await asked(engine, run.id)).request, "deny", reviewer="bob", reason="no")
        assert await run.result() == "ApprovalDenied: no"
        assert (await engine.replay(run.id)).identical
        (denied,) = await of(engine, run.id, ToolDenied)
        assert (denied.tool, denied.reason, denied.verdict) == ("send", "no", "needs_approval")
    assert sent == []


async def test_a_call_is_made_with_the_arguments_that_were_agreed_to(home: Home) -> None:
    async with home.engine(sends) as engine:
        run = await engine.start(sends)
        request = (await asked(engine, run.id)).request
        odd: Any
        for odd in ({"nobody": "x"}, [1], {}, {"to": "cy@x"}):  # which could never count
            with pytest.raises(BadValue, match="names all that the call names"):
                await run.answer(request, "approve", odd, reviewer="bob")
            await mailed(engine, run.id, request, odd)  # nor where somebody sends it all the same
        for odd in ({"to": 3, "copies": 1}, {"to": "cy@x", "copies": 1, "also": 1}):  # it has no such call
            await run.answer(request, "approve", odd, reviewer="bob")
        await run.answer(request, "approve", {"to": "cy@x", "copies": 1}, reviewer="bob")
        assert await run.result() == "sent to cy@x"
        assert (await engine.replay(run.id)).identical
        (requested,) = await of(engine, run.id, ToolRequested)
        assert msgspec.msgpack.decode(requested.args) == {"copies": 1, "to": "cy@x"}
    assert sent == [("cy@x", 1)]


async def mailed(engine: Engine, run: str, request: str, edit: Any) -> None:
    """Put an edit into the mailbox as anybody can who reaches the log."""
    raw = msgspec.Raw(encode_value(edit, where="", plain=True, ordered=True))
    action = (await asked(engine, run)).action
    sent = AnswerSent(
        request=request,
        word="approve",
        reviewer="bob",
        value=raw,
        digest=digest_of("approval", action, raw),
    )
    stream = f"mailbox/{run}"
    seq = (await engine.store.head(stream)).seq
    await engine.store.append(stream, seq, [engine.catalog.new_event(sent, at=engine.clock.now())])
    await engine.look(run)


async def test_an_edit_that_leaves_arguments_out_counts_for_nothing_because_nobody_saw_them(
    home: Home,
) -> None:
    async with home.engine(sends) as engine:
        run = await engine.start(sends)
        request = (await asked(engine, run.id)).request
        await mailed(engine, run.id, request, {"to": "cy@x"})
        await run.answer(request, "deny", reviewer="eve", reason="say how many")
        assert await run.result() == "ApprovalDenied: say how many"
        assert (await engine.replay(run.id)).identical
    assert sent == []


async def test_an_approval_lifts_no_ceiling_also_for_what_was_edited(home: Home) -> None:
    rule = ArgConstraint(tool="send", arg_key="to", arg_patterns=["ada@x"])

    @persona(policy=replace(ASKS_FIRST, tool_arg_constraints=[rule]))
    async def bounded() -> str:
        try:
            return await send("ada@x")
        except ToolRejected as error:
            return error.verdict

    async with home.engine(bounded) as engine:
        run = await engine.start(bounded)
        request = (await asked(engine, run.id)).request
        await run.answer(request, "approve", {"to": "eve@x", "copies": 1}, reviewer="bob")
        assert await run.result() == "denied"
        assert (await engine.replay(run.id)).identical
    assert sent == []


async def test_hooks_and_approvals_both_have_their_say_and_people_see_what_hooks_made_of_it(
    home: Home,
) -> None:
    @hook("PreToolUse")
    async def fewer(moment: Moment) -> ReplaceArgs:
        return ReplaceArgs(moment.args["to"], copies=1)

    async with home.engine(sends, hooks=[fewer]) as engine:
        run = await engine.start(sends)
        request = await asked(engine, run.id)
        assert msgspec.msgpack.decode(request.args) == {"copies": 1, "to": "ada@x"}
        await run.answer(request.request, "approve", reviewer="bob")
        assert await run.result() == "sent to ada@x"
        assert (await engine.replay(run.id)).identical
    assert sent == [("ada@x", 1)]


async def test_hooks_are_asked_again_about_what_people_made_of_a_call(home: Home) -> None:
    told: list[Any] = []

    @hook("PreToolUse")
    async def never_eve(moment: Moment) -> Any:
        told.append(moment.args["to"])
        if moment.args["to"] == "cy@x":
            return ReplaceArgs("dan@x")
        return Deny("not to her") if moment.args["to"] == "eve@x" else None

    @hook("PostToolUse")
    async def after(moment: Moment) -> None:
        told.append(("after", moment.args["to"]))

    @persona(policy=ASKS_FIRST)
    async def mails() -> str:
        try:
            return await send("ada@x")
        except (HookDenied, ToolRejected) as error:
            return str(error.message)

    async with home.engine(mails, hooks=[never_eve, after]) as engine:
        for to, said in (
            ("bob@x", "sent to bob@x"),
            ("eve@x", "not to her"),
            ("cy@x", "a hook changed arguments of send that people had agreed to"),
        ):
            run = await engine.start(mails)
            request = (await asked(engine, run.id)).request
            await run.answer(request, "approve", {"to": to, "copies": 1}, reviewer="bob")
            assert await run.result() == said
            assert (await engine.replay(run.id)).identical
    assert sent == [("bob@x", 1)]
    assert told == ["ada@x", "bob@x", ("after", "bob@x"), "ada@x", "eve@x", "ada@x", "cy@x"]


async def test_each_call_is_approved_by_itself(home: Home) -> None:
    @persona(policy=ASKS_FIRST)
    async def twice() -> list[str]:
        return [await send("ada@x"), await send("ada@x")]

    async with home.engine(twice, suspend_after_s=0) as engine:
        run = await engine.start(twice)
        first = (await asked(engine, run.id)).request
        await run.answer(first, "approve", reviewer="bob")
        second = (await asked(engine, run.id, 2)).request
        assert second != first
        await run.answer(first, "approve", reviewer="cy")  # it has been used
        await until(lambda: home.is_suspended(run.id))
        assert len(sent) == 1
        await run.answer(second, "approve", reviewer="bob")
        assert await engine.result(run.id) == ["sent to ada@x"] * 2
        assert (await engine.replay(run.id)).identical


@dataclass
class Mail:
    to: str
    copies: int = 1


async def test_an_edit_names_all_that_the_call_names_also_inside_of_values(home: Home) -> None:
    posted: list[Mail] = []

    @tool(side_effect_level="network")
    async def post(mails: list[Mail]) -> None:
        posted.extend(mails)

    @persona(policy=Policy(approval=ApprovalRules(require_approval=["post"])))
    async def posts() -> None:
        await post([Mail("ada", 2), Mail("cy", 3)])

    async with home.engine(posts) as engine:
        run = await engine.start(posts)
        request = (await asked(engine, run.id)).request
        dropped = [{"to": "bob", "copies": 5, "dry_run": True}]  # which a mail does not have
        await run.answer(request, "approve", {"mails": dropped}, reviewer="bob")
        for mails in ([{"to": "bob"}], [{"to": "bob", "copies": 2}, {"to": "cy"}]):
            with pytest.raises(BadValue, match="names all that the call names"):
                await run.answer(request, "approve", {"mails": mails}, reviewer="bob")
            await mailed(engine, run.id, request, {"mails": mails})  # counts for nothing
        await run.answer(request, "approve", {"mails": [{"to": "bob", "copies": 5}]}, reviewer="bob")
        await run.result()
        assert (await engine.replay(run.id)).identical
    assert posted == [Mail("bob", 5)]


async def test_a_call_with_a_secret_is_agreed_to_as_it_is_and_nobody_edits_it(home: Home) -> None:
    got: list[str] = []

    @tool(side_effect_level="network", secret=["token"])
    async def post(to: str, token: str) -> None:
        got.append(to)

    @persona(policy=Policy(approval=ApprovalRules(require_approval=["post"])))
    async def posts() -> None:
        await post("ada", "s3cret")

    async with home.engine(posts) as engine:
        run = await engine.start(posts)
        request = (await asked(engine, run.id)).request
        with pytest.raises(BadValue, match="nobody can edit it"):
            await run.answer(request, "approve", {"to": "eve", "token": "n0ther"}, reviewer="bob")
        await run.answer(request, "approve", reviewer="bob")
        await run.result()
    assert got == ["ada"]
    assert not await engine_mail(home, run.id, b"n0ther")


async def engine_mail(home: Home, run: str, text: bytes) -> bool:
    async with home.store() as store:
        mail = await store.read(f"mailbox/{run}", 0, 100)
        return any(text in event.payload for event in mail)
