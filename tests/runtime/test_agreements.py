"""What is asked of people and what comes back: the record of a yes, a no, four eyes, and a takeover."""

import asyncio
from typing import Any

import msgspec
import pytest

from playhead import Autonomy, Engine, RunFailed, persona
from playhead.errors import ApprovalDenied, ApprovalTimedOut, BadValue
from playhead.events.approval import ApprovalAnswered, ApprovalGranted
from playhead.events.values import encode_value
from playhead.runtime.approving import (
    Approval,
    digest_of,
    dual_control,
    escalate_to,
    request_approval,
    request_of,
)
from tests.runtime.conftest import Home, until
from tests.runtime.people import asked, of


async def test_an_approval_is_dated_and_reasoned_by_the_answer_that_decided(home: Home) -> None:
    got: list[Approval] = []

    @persona
    async def asks() -> None:
        got.append(await request_approval("publish", quorum=2))

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        request = (await asked(engine, run.id)).request
        for reviewer, reason in (("cy", "first"), ("ada", "and last")):
            await run.answer(request, "approve", reviewer=reviewer, reason=reason)
        await run.result()
        answers = await of(engine, run.id, ApprovalAnswered)
        (granted,) = await of(engine, run.id, ApprovalGranted)
    assert (got[0].request, got[0].reviewers) == (request, ["ada", "cy"])
    assert (got[0].approved_at, got[0].reason) == (answers[1].said_at, "and last")
    assert [(each["reviewer"], each["signed_at"]) for each in got[0].signatures] == [
        (answer.reviewer, answer.said_at) for answer in answers
    ]
    assert (granted.request, granted.reason, granted.edited) == (request, "and last", False)


async def test_what_is_asked_stands_in_the_log_whole(home: Home) -> None:
    @persona
    async def asks() -> None:
        await request_approval(
            "publish",
            args={"page": "a"},
            detail={"words": 300},
            reviewers=["bob", "ada"],
            quorum=2,
            principal="the desk",
            capabilities=["site.write", "mail.send"],
        )

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        request = await asked(engine, run.id)
        await run.cancel()
    assert (request.kind, request.action, request.principal) == ("approval", "publish", "the desk")
    assert (request.reviewers, request.quorum) == (("ada", "bob"), 2)
    assert request.capabilities == ("mail.send", "site.write")
    assert msgspec.msgpack.decode(request.args) == {"page": "a"}
    assert msgspec.msgpack.decode(request.detail) == {"words": 300}
    assert request.digest == digest_of("approval", "publish", request.args)


def test_the_id_of_a_request_never_changes_from_version_to_version() -> None:
    args = msgspec.Raw(encode_value({"page": "about", "n": 1}, where="args", plain=True, ordered=True))
    digest = digest_of("approval", "publish", args)

    assert digest == "sha256:50f460eadc3814e431ee51b55c941de0ca76b05f01f01266bfac3763a01224d9"
    assert request_of("approval", "run1", "0/approval#0", digest) == "approval_09c7f49af7a198a1e62b1973"


async def test_a_no_and_a_time_out_name_the_request(home: Home) -> None:
    @persona
    async def asks(deadline_s: float) -> list[str]:
        try:
            await request_approval("publish", deadline_s=deadline_s)
        except (ApprovalDenied, ApprovalTimedOut) as error:
            return [error.request, error.message]
        return []

    async with home.engine(asks) as engine:
        denied, late = await engine.start(asks, 60.0), await engine.start(asks, 0.01)
        request = (await asked(engine, denied.id)).request
        await denied.answer(request, "deny", reviewer="bob")
        assert await denied.result() == [request, "the approval of 'publish' was denied by bob."]
        request = (await asked(engine, late.id)).request
        assert await late.result() == [request, "the approval of 'publish' timed out."]


async def test_a_list_of_reviewers_that_names_nobody_is_nobody_and_refused(home: Home) -> None:
    @persona
    async def asks() -> None:
        await request_approval("publish", reviewers=[])

    async with home.engine(asks) as engine:
        with pytest.raises(RunFailed, match="a quorum of 1 cannot be reached by 0 reviewers"):
            await (await engine.start(asks)).result()
    with pytest.raises(ValueError, match="a quorum of 1 cannot be reached by 0 reviewers"):
        Autonomy(reviewers=[])


async def test_each_approver_of_dual_control_is_another_person_and_both_numbers_are_positive(
    home: Home,
) -> None:
    async def nothing() -> None: ...

    wrong: list[tuple[Any, str]] = [
        (lambda: dual_control(1, 0, nothing), "m must be positive"),
        (lambda: dual_control(-1, 1, nothing), "n must be positive"),
        (lambda: dual_control(2, 2, nothing, approvers=["ada", " ada"]), "at least 2 approvers, got 1"),
        (lambda: dual_control(2, 2, nothing, approvers=["ada", "asks"]), "cannot be reached by 1"),
    ]

    @persona
    async def asks() -> list[str]:
        said: list[str] = []
        for call, _ in wrong:
            with pytest.raises(BadValue) as error:
                await call()
            said.append(error.value.message)
        return said

    async with home.engine(asks) as engine:
        for message, (_, part) in zip(await (await engine.start(asks)).result(), wrong, strict=True):
            assert part in message


async def test_dual_control_names_its_work_its_numbers_and_its_approvers(home: Home) -> None:
    async def erase(what: str = "") -> None: ...

    @persona
    async def cleans() -> None:
        await asyncio.gather(
            dual_control(1, 2, erase, approvers=["bob", "ada"]), dual_control(1, 1, lambda: erase("it"))
        )

    async with home.engine(cleans) as engine:
        run = await engine.start(cleans)
        named, unnamed = await asked(engine, run.id), await asked(engine, run.id, 2)
        await run.cancel()
    assert (named.action, unnamed.action) == ("erase", "anonymous")
    assert msgspec.msgpack.decode(named.args) == {"n": 1, "m": 2, "approvers": ["ada", "bob"]}
    assert msgspec.msgpack.decode(unnamed.args) == {"n": 1, "m": 1, "approvers": None}


async def test_dual_control_that_is_denied_does_nothing_and_what_its_work_raises_is_raised(
    home: Home,
) -> None:
    done: list[str] = []

    async def erase() -> None:
        done.append("erased")
        raise LookupError("nothing there")

    @persona
    async def cleans() -> str:
        try:
            await dual_control(1, 1, erase)
        except (ApprovalDenied, LookupError) as error:
            return type(error).__name__
        return ""

    async with home.engine(cleans) as engine:
        for word, said, count in (("deny", "ApprovalDenied", 0), ("approve", "LookupError", 1)):
            run = await engine.start(cleans)
            await run.answer((await asked(engine, run.id)).request, word, reviewer="ada")  # type: ignore[arg-type]
            assert await run.result() == said
            assert len(done) == count


async def test_an_escalation_is_taken_by_one_who_is_named(home: Home) -> None:
    got: list[Approval] = []

    @persona
    async def escalates() -> None:
        got.append(await escalate_to("oncall", "the disk is full", reviewers=["ada", "bob"]))

    async with home.engine(escalates) as engine:
        run = await engine.start(escalates)
        request = await asked(engine, run.id)
        assert (request.kind, request.action, request.quorum) == ("escalation", "oncall", 1)
        await run.answer(request.request, "approve", reviewer="eve")
        await run.answer(request.request, "approve", reviewer="bob", reason="on my way")
        await run.result()
        answers = await of(engine, run.id, ApprovalAnswered)
    assert (got[0].request, got[0].reviewers, got[0].reason) == (request.request, ["bob"], "on my way")
    assert (got[0].args, got[0].approved_at) == ({"reason": "the disk is full"}, answers[1].said_at)


async def test_a_replay_of_a_run_that_still_waits_asks_nobody_and_says_for_what_it_waits(home: Home) -> None:
    @persona
    async def asks() -> None:
        await request_approval("publish", quorum=2)

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        await run.answer((await asked(engine, run.id)).request, "approve", reviewer="ada")
        await until(lambda: _answered(engine, run.id))
        before = len(await home.events(run.id))
        outcome = await engine.replay(run.id)
        assert (outcome.verdict, outcome.waiting) == ("incomplete", ("0/approval#0",))
        assert len(await home.events(run.id)) == before
        await run.cancel()


async def _answered(engine: Engine, run: str) -> bool:
    return bool(await of(engine, run, ApprovalAnswered))
