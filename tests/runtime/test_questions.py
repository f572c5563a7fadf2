"""Questions to people: values of a kind, what comes instead of an answer, and how long there is to answer."""

from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import pytest

from playhead import RunFailed, persona
from playhead.errors import ApprovalDenied
from playhead.events.approval import ApprovalTimedOut
from playhead.runtime.approving import ask_user, dual_control, escalate_to, request_approval
from tests.runtime.conftest import Home
from tests.runtime.people import asked, of

DAY_NS = 86_400 * 10**9


@dataclass
class Size:
    n: int
    unit: str = "cm"


async def test_a_default_may_be_a_value_of_the_kind_that_is_asked_for(home: Home) -> None:
    @persona
    async def asks() -> dict[str, Any]:
        return asdict(await ask_user("how big?", kind=Size, default=Size(3), deadline_s=0.02))

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        request = await asked(engine, run.id)
        assert msgspec.msgpack.decode(request.detail) == {
            "kind": "Size",
            "default": {"n": 3, "unit": "cm"},
        }
        assert await run.result() == {"n": 3, "unit": "cm"}
        assert (await engine.replay(run.id)).identical


async def test_what_an_answer_leaves_out_is_as_its_kind_says(home: Home) -> None:
    @persona
    async def asks() -> dict[str, Any]:
        return asdict(await ask_user("how big?", kind=Size))

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        await run.answer((await asked(engine, run.id)).request, "approve", {"n": 4}, reviewer="ada")
        assert await run.result() == {"n": 4, "unit": "cm"}
        assert (await engine.replay(run.id)).identical


async def test_whoever_will_not_answer_ends_the_question_and_no_default_comes(home: Home) -> None:
    @persona
    async def asks() -> Any:
        try:
            return await ask_user("which?", kind=int, default=3)
        except ApprovalDenied as error:
            return [error.message, error.reviewer]

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        await run.answer((await asked(engine, run.id)).request, "deny", reviewer="ada")
        assert await run.result() == ["the question was denied by ada.", "ada"]
        assert (await engine.replay(run.id)).identical


@pytest.mark.parametrize("kind", ["approval", "question", "dual_control", "escalation"])
async def test_people_have_a_day_where_nobody_says_and_as_long_as_it_takes_for_none(
    home: Home, kind: str
) -> None:
    async def nothing() -> None: ...

    async def ask(**how: Any) -> Any:
        match kind:
            case "approval":
                return await request_approval("publish", **how)
            case "question":
                return await ask_user("which?", **how)
            case "dual_control":
                return await dual_control(1, 1, nothing, **how)
            case _:
                return await escalate_to("oncall", **how)

    @persona
    async def asks(how: dict[str, Any]) -> None:
        await ask(**how)

    async with home.engine(asks) as engine:
        for how, time in (({}, DAY_NS), ({"deadline_s": 2}, 2 * 10**9), ({"deadline_s": None}, None)):
            run = await engine.start(asks, how)
            request = await asked(engine, run.id)
            assert request.kind == kind
            at = {event.type: event.at for event in await home.events(run.id)}
            if time is None:
                assert request.due is None
            else:
                assert request.due is not None
                assert at["run.started"] <= request.due - time <= at["approval.requested"]
            await run.cancel()
        late = await engine.start(asks, {"deadline_s": 0.01})
        with pytest.raises(RunFailed, match="timed out"):
            await late.result()
        assert len(await of(engine, late.id, ApprovalTimedOut)) == 1
        assert (await engine.replay(late.id)).identical
