"""Asking people: who must agree, to exactly what, until when, and what a crash or a replay makes of it."""

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from playhead import (
    Engine,
    Moment,
    RunFailed,
    hook,
    persona,
    side_value,
    signal,
    tool,
)
from playhead.errors import ApprovalDenied, ApprovalTimedOut, BadValue, HookFailed, NotFound
from playhead.events.approval import (
    AnswerSent,
    ApprovalAnswered,
    ApprovalGranted,
)
from playhead.events.approval import (
    ApprovalDenied as Denied,
)
from playhead.events.approval import (
    ApprovalTimedOut as TimedOut,
)
from playhead.events.fact import type_of
from playhead.events.values import encode_value
from playhead.events.words import AnswerWord
from playhead.log.memory_store import MemoryLog
from playhead.runtime.approving import ask_user, digest_of, dual_control, escalate_to, request_approval
from tests.replay.prefixes import RUN, cut, play
from tests.runtime.conftest import Home, until
from tests.runtime.people import asked, of


@persona
async def publishes(page: str = "about") -> list[Any]:
    found = await request_approval("publish", args={"page": page}, reviewers=["ada", "bob", "cy"], quorum=2)
    return [found.reviewers, found.reason, found.args, found.edited]


async def test_so_many_reviewers_have_to_agree_and_a_replay_asks_nobody(home: Home) -> None:
    async with home.engine(publishes) as engine:
        run = await engine.start(publishes)
        request = await asked(engine, run.id)
        assert (request.kind, request.action, request.principal) == ("approval", "publish", "publishes")
        assert await run.requests() == [request]
        await run.answer(request.request, "approve", reviewer="cy", reason="fine")
        await run.answer(request.request, "approve", reviewer="ada", reason="go")
        assert await run.result() == [["ada", "cy"], "go", {"page": "about"}, False]
        assert await run.requests() == []
        assert (await engine.replay(run.id)).identical
        (granted,) = await of(engine, run.id, ApprovalGranted)
        answers = await of(engine, run.id, ApprovalAnswered)
    assert [each.reviewer for each in granted.granted] == ["cy", "ada"]
    assert [each.said_at for each in granted.granted] == [each.said_at for each in answers]
    assert {each.signed for each in granted.granted} == {"unsigned"}


async def test_who_waits_for_people_is_not_in_memory_and_answers_come_from_any_process(home: Home) -> None:
    async with home.engine(publishes, suspend_after_s=0) as engine:
        run = await engine.start(publishes)
        request = await asked(engine, run.id)
        await until(lambda: home.is_suspended(run.id))
        async with home.engine() as other:
            await other.answer(run.id, request.request, "approve", reviewer="ada")
            await other.answer(run.id, request.request, "approve", reviewer="bob")
        await engine.recover()
        assert (await engine.result(run.id))[0] == ["ada", "bob"]
        assert (await engine.replay(run.id)).identical


async def test_a_denial_ends_it_and_says_who_and_why(home: Home) -> None:
    @persona
    async def asks() -> list[str]:
        try:
            await request_approval("publish", reviewers=["ada", "bob"])
        except ApprovalDenied as error:
            return [error.message, error.reviewer]
        return []

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        request = await asked(engine, run.id)
        await run.answer(request.request, "deny", reviewer="bob", reason="not today")
        assert await run.result() == ["not today", "bob"]
        assert (await engine.replay(run.id)).identical
        assert [fact.reviewer for fact in await of(engine, run.id, Denied)] == ["bob"]


async def test_when_the_time_is_over_that_is_the_end_and_later_answers_are_recorded_without_effect(
    home: Home,
) -> None:
    @persona
    async def asks() -> list[Any]:
        first = ""
        try:
            await request_approval("publish", deadline_s=0.05)
        except ApprovalTimedOut as error:
            first = error.message
        await ask_user("go on?")
        return [first]

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        late = await asked(engine, run.id)
        question = await asked(engine, run.id, 2)
        await run.answer(late.request, "approve", reviewer="ada")
        await run.answer(question.request, "approve", "yes", reviewer="ada")
        assert await run.result() == ["the approval of 'publish' timed out."]
        assert (await engine.replay(run.id)).identical
        assert [fact.due for fact in await of(engine, run.id, TimedOut)] == [late.due]
        assert len(await of(engine, run.id, ApprovalAnswered)) == 2
        assert [fact.request for fact in await of(engine, run.id, ApprovalGranted)] == [question.request]


async def test_whoever_answers_a_run_that_is_over_is_told_so(home: Home) -> None:
    async with home.engine(publishes) as engine:
        run = await engine.start(publishes)
        request = (await asked(engine, run.id)).request
        for reviewer in ("ada", "bob"):
            await run.answer(request, "approve", reviewer=reviewer)
        await run.result()
        told = (await engine.store.head(f"mailbox/{run.id}")).seq
        with pytest.raises(NotFound, match="is over, and nobody waits"):
            await run.answer(request, "deny", reviewer="cy")
        assert (await engine.store.head(f"mailbox/{run.id}")).seq == told


async def test_an_answer_that_does_not_count_leaves_it_open(home: Home) -> None:
    async with home.engine(publishes) as engine:
        run = await engine.start(publishes)
        request = (await asked(engine, run.id)).request
        nobody: list[tuple[str, AnswerWord]] = [("eve", "approve"), ("publishes", "approve"), ("eve", "deny")]
        for reviewer, word in nobody:
            await run.answer(request, word, reviewer=reviewer)
        await run.answer(request, "withdraw", reviewer="ada")
        await run.answer(request, "approve", reviewer="ada")
        await run.answer(request, "approve", reviewer="ada")
        await run.answer(request, "withdraw", reviewer="ada")
        await run.answer(request, "approve", reviewer="bob")
        await until(lambda: _answers(engine, run.id, 8))
        assert await of(engine, run.id, ApprovalGranted) == []
        await run.answer(request, "approve", reviewer="cy")
        assert (await run.result())[0] == ["bob", "cy"]
        assert (await engine.replay(run.id)).identical


async def _answers(engine: Engine, run: str, many: int) -> bool:
    return len(await of(engine, run, ApprovalAnswered)) == many


async def test_people_agree_to_another_call_than_the_one_that_was_asked_for_and_it_says_so(
    home: Home,
) -> None:
    async with home.engine(publishes) as engine:
        run = await engine.start(publishes)
        request = (await asked(engine, run.id)).request
        await run.answer(request, "approve", {"page": "draft"}, reviewer="ada")
        await run.answer(request, "approve", reviewer="bob")  # to the one that was asked for
        await run.answer(request, "approve", {"page": "draft"}, reviewer="cy")
        assert await run.result() == [["ada", "cy"], "", {"page": "draft"}, True]
        assert (await engine.replay(run.id)).identical
        (granted,) = await of(engine, run.id, ApprovalGranted)
    assert granted.edited
    assert granted.digest == digest_of("approval", "publish", granted.args)


async def test_an_answer_to_one_call_never_serves_another_however_the_program_is_edited(home: Home) -> None:
    async with home.engine(publishes, suspend_after_s=0) as engine:
        run = await engine.start(publishes, "about")
        other = await engine.start(publishes, "about")
        first, second = (await asked(engine, run.id)).request, (await asked(engine, other.id)).request
        assert first != second  # the same call of another run
        with pytest.raises(NotFound, match="asked for no"):
            await run.answer(second, "approve", reviewer="ada")
        await until(lambda: home.is_suspended(run.id))
        await until(lambda: home.is_suspended(other.id))
        for reviewer in ("ada", "bob"):
            await run.answer(first, "approve", reviewer=reviewer)
        assert (await engine.result(run.id))[0] == ["ada", "bob"]

    @persona(name="publishes")
    async def edited(page: str = "about") -> Any:
        whom = ["ada", "bob", "cy"]
        return (await request_approval("publish", args={"page": "secret"}, reviewers=whom, quorum=2)).args

    async with home.engine(edited) as engine:
        outcome = await engine.replay(run.id)
        assert not outcome.identical
        assert "approval.requested" in str(outcome.divergence)


@pytest.mark.parametrize(
    ("kind", "said", "expected"),
    [(str, "blue", "blue"), (int, 7, 7), (list[int], [1, 2], [1, 2]), (bool, True, True)],
)
async def test_a_question_is_answered_with_a_value_of_its_kind(
    home: Home, kind: Any, said: Any, expected: Any
) -> None:
    @persona
    async def asks() -> Any:
        return await ask_user("which?", kind=kind)

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        request = (await asked(engine, run.id)).request
        await run.answer(request, "approve", {"no": "such thing"}, reviewer="ada")  # it fits nothing
        await run.answer(request, "approve", said, reviewer="ada")
        assert await run.result() == expected
        assert (await engine.replay(run.id)).identical


async def test_a_question_without_an_answer_comes_to_its_default_or_to_an_error(home: Home) -> None:
    @persona
    async def asks(fall_back: bool) -> Any:
        if fall_back:
            return await ask_user("which?", kind=int, default=3, deadline_s=0.02)
        return await ask_user("which?", kind=int, deadline_s=0.02)

    async with home.engine(asks) as engine:
        run = await engine.start(asks, True)
        assert await run.result() == 3
        assert (await engine.replay(run.id)).identical
        with pytest.raises(RunFailed, match="the question timed out"):
            await (await engine.start(asks, False)).result()


async def test_dual_control_does_its_work_only_after_enough_of_its_approvers_agreed(home: Home) -> None:
    done: list[str] = []

    async def erase() -> str:
        await side_value("erased", lambda: done.append("erased"))
        return "gone"

    @persona
    async def cleans() -> str:
        return await dual_control(2, 3, erase, approvers=["ada", "bob", "cy"])

    async with home.engine(cleans) as engine:
        run = await engine.start(cleans)
        request = await asked(engine, run.id)
        assert (request.kind, request.action, request.quorum) == ("dual_control", "erase", 2)
        await run.answer(request.request, "approve", reviewer="ada")
        await until(lambda: _answers(engine, run.id, 1))
        assert done == []
        await run.answer(request.request, "approve", reviewer="cy")
        assert await run.result() == "gone"
        assert (await engine.replay(run.id)).identical
    assert done == ["erased"]


async def test_an_escalation_ends_with_somebody_who_takes_it_or_refuses(home: Home) -> None:
    @persona
    async def escalates() -> list[Any]:
        try:
            found = await escalate_to("oncall", "the disk is full")
        except ApprovalDenied as error:
            return [error.reviewer]
        return [found.reviewers, found.args]

    async with home.engine(escalates) as engine:
        for word, expected in (
            ("approve", [["ada"], {"reason": "the disk is full"}]),
            ("deny", ["ada"]),
        ):
            run = await engine.start(escalates)
            request = await asked(engine, run.id)
            await run.answer(request.request, word, reviewer="ada")  # type: ignore[arg-type]
            assert await run.result() == expected
            assert (await engine.replay(run.id)).identical


async def test_several_requests_at_once_get_their_own_answers(home: Home) -> None:
    @persona
    async def asks() -> list[Any]:
        found = await asyncio.gather(*(ask_user(f"{n}?", kind=int) for n in range(3)))
        same = await asyncio.gather(ask_user("again?", kind=int), ask_user("again?", kind=int))
        return [*found, *same]

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        await asked(engine, run.id, 3)
        for n in (2, 0, 1):
            request = await asked(engine, run.id, n + 1)
            await run.answer(request.request, "approve", 10 * int(request.action[0]), reviewer="ada")
        await asked(engine, run.id, 5)
        for n in (5, 4):
            await run.answer((await asked(engine, run.id, n)).request, "approve", n, reviewer="ada")
        assert await run.result() == [0, 10, 20, 4, 5]
        assert (await engine.replay(run.id)).identical


async def test_what_could_never_be_granted_or_asked_is_refused_at_once(home: Home) -> None:
    async def nothing() -> None: ...

    no_work: Any = None

    calls: list[tuple[Any, str]] = [
        (
            lambda: request_approval("publish", reviewers=["ada"], quorum=2),
            "cannot be reached by 1 reviewers",
        ),
        (lambda: request_approval("publish", reviewers=["asks"]), "cannot be reached by 0"),
        (lambda: request_approval("publish", quorum=0), "quorum must be positive"),
        (lambda: request_approval("publish", deadline_s=-1), "deadline_s is a number of seconds"),
        (lambda: dual_control(2, 1, nothing), "n must be less than or equal to m"),
        (lambda: dual_control(0, 1, nothing), "n must be positive"),
        (lambda: dual_control(1, 3, nothing, approvers=["ada"]), "expected at least 3 approvers, got 1"),
        (lambda: dual_control(1, 1, no_work), "a function without arguments"),
        (lambda: ask_user("  "), "a text that is not empty"),
    ]

    @persona
    async def asks(number: int) -> str:
        try:
            await calls[number][0]()
        except BadValue as error:
            return error.message
        return "asked"

    async with home.engine(asks) as engine:
        for number, (_, said) in enumerate(calls):
            assert said in await (await engine.start(asks, number)).result()


async def test_an_answer_that_says_nothing_is_refused_before_it_is_sent(home: Home) -> None:
    @persona
    async def asks() -> None:
        await asyncio.gather(ask_user("which?"), request_approval("publish"), escalate_to("oncall"))

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        question, approval, escalation = [(await asked(engine, run.id, n)).request for n in (1, 2, 3)]
        wrong: list[tuple[str, Any, dict[str, Any]]] = [
            (question, "approve", {"reviewer": "ada"}),
            (question, "approve", {"value": "x", "reviewer": " "}),
            (approval, "perhaps", {"reviewer": "ada"}),
            (approval, "deny", {"value": 1, "reviewer": "ada"}),
            (escalation, "approve", {"value": 1, "reviewer": "ada"}),
            (approval, "approve", {"value": float("nan"), "reviewer": "ada"}),
        ]
        for request, word, said in wrong:
            with pytest.raises(BadValue):
                await run.answer(request, word, **said)
        assert (await engine.store.head(f"mailbox/{run.id}")).seq == 0
        await run.cancel()


async def test_a_cancelled_request_is_over(home: Home) -> None:
    @persona
    async def asks() -> str:
        task = asyncio.ensure_future(request_approval("publish"))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return "over"

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        assert await run.result() == "over"
        assert (await engine.replay(run.id)).identical
        assert "operation.cancelled" in await home.types(run.id)


def test_killed_at_every_event_an_approval_comes_to_the_same_end_and_its_effect_happens_once() -> None:
    published: list[str] = []

    @tool(side_effect_level="network", effect="idempotent")
    async def publish(page: str) -> str:
        published.append(page)
        return f"{page} is out"

    @persona
    async def asks() -> list[Any]:
        agreed = await request_approval(
            "publish", args={"page": "a"}, reviewers=["ada", "bob", "cy"], quorum=2
        )
        return [*agreed[1:], await publish(agreed.args["page"])]

    async def once(engine: Engine) -> tuple[str, Any]:
        run = await engine.start(asks)
        request = (await asked(engine, run.id)).request
        said: list[tuple[str, AnswerWord]] = [
            *(("eve", "approve"), ("ada", "approve"), ("ada", "approve"), ("ada", "withdraw")),
            *(("bob", "approve"), ("cy", "approve"), ("ada", "deny")),
        ]
        for reviewer, word in said:
            await run.answer(request, word, reviewer=reviewer)
        return run.id, await run.result()

    log = MemoryLog()
    run, result = play(log, once, personas=[asks])
    events = log.streams[RUN + run]
    assert (result[0], result[-1]) == (["bob", "cy"], "a is out")
    for length in range(1, len(events)):
        shorter = cut(log, run, length)
        published.clear()

        async def resume(engine: Engine) -> Any:
            await engine.recover()
            found = await engine.result(run)
            assert (await engine.replay(run)).identical
            return found

        assert play(shorter, resume, personas=[asks]) == result
        types = [event.type for event in shorter.streams[RUN + run]]
        assert types.count("approval.granted") == types.count("tool.completed") == 1
        done = "tool.completed" in [event.type for event in events[:length]]
        assert len(published) == (0 if done else 1)


async def test_an_answer_in_time_is_heard_and_a_late_one_is_not_also_where_nobody_held_the_run(
    home: Home,
) -> None:
    @persona
    async def asks() -> Any:
        try:
            return (await request_approval("publish", deadline_s=0.4)).reviewers
        except ApprovalTimedOut:
            return "late"

    for answers_in_time, result in ((True, ["ada"]), (False, "late")):
        async with home.engine(asks, suspend_after_s=0) as engine:
            run = await engine.start(asks)
            request = await asked(engine, run.id)
            await until(lambda: home.is_suspended(run.id))  # noqa: B023  awaited here
        assert request.due is not None
        async with home.engine() as other:
            if not answers_in_time:
                await _past(other, request.due)
            await other.answer(run.id, request.request, "approve", reviewer="ada")
            await _past(other, request.due)
        async with home.engine(asks) as engine:
            await engine.recover()
            assert await engine.result(run.id) == result
            assert (await engine.replay(run.id)).identical


async def _past(engine: Engine, due: int) -> None:
    await until(lambda: engine.clock.now() > due)


@pytest.mark.parametrize("mode", ["strict", "relaxed"])
async def test_a_deadline_holds_also_after_answers_that_decide_nothing(home: Home, mode: Any) -> None:
    @persona(mode=mode)
    async def asks() -> str:
        try:
            await request_approval("publish", reviewers=["ada", "bob"], quorum=2, deadline_s=0.3)
        except ApprovalTimedOut:
            return "late"
        return "granted"

    @hook("OnApprovalRequested")
    async def slow(moment: Moment) -> None:
        await asyncio.sleep(0.1 if moment.details["quorum"] == 2 else 0)

    async with home.engine(asks, hooks=[slow]) as engine:
        run = await engine.start(asks)
        await run.answer((await asked(engine, run.id)).request, "approve", reviewer="ada")  # while it is told
        async with asyncio.timeout(10):
            assert await run.result() == "late"
        assert (await engine.replay(run.id)).identical


async def test_a_signal_is_no_answer_whatever_it_is_called(home: Home) -> None:
    @persona
    async def asks() -> str:
        return str(await ask_user("which?"))

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        request = (await asked(engine, run.id)).request
        await run.signal(request, "no answer")
        await run.answer(request, "approve", "an answer", reviewer="ada")
        assert await run.result() == "an answer"
        assert (await engine.replay(run.id)).identical


@dataclass
class Size:
    n: int

    def __post_init__(self) -> None:
        if self.n < 0:
            raise KeyError("nothing is so small")


async def test_an_answer_that_a_type_of_the_user_chokes_on_leaves_it_open(home: Home) -> None:
    @persona
    async def asks() -> int:
        size: Size = await ask_user("how big?", kind=Size, reviewers=["ada"])
        return size.n

    async with home.engine(asks) as engine:
        run = await engine.start(asks)
        request = (await asked(engine, run.id)).request
        for reviewer in ("eve", "ada"):
            await run.answer(request, "approve", {"n": -1}, reviewer=reviewer)
        odd = AnswerSent(request=request, word="approve", reviewer="ada", value=msgspec.Raw(b"\xa1\xff"))
        await engine.store.append(
            f"mailbox/{run.id}", 2, [engine.catalog.new_event(odd, at=engine.clock.now())]
        )
        await run.answer(request, "approve", {"n": 3}, reviewer="ada")
        assert await run.result() == 3
        assert (await engine.replay(run.id)).identical


async def test_a_request_that_nobody_waits_for_is_over_also_after_an_answer(home: Home) -> None:
    @hook("OnApprovalRequested")
    async def broken(moment: Moment) -> None:
        await asyncio.sleep(0.1)
        raise LookupError("no mail today")

    @persona
    async def asks() -> str:
        try:
            await request_approval("publish", quorum=2)
        except HookFailed:
            return await ask_nobody()
        return ""

    async def ask_nobody() -> str:
        await signal("go_on")
        return "went on"

    async with home.engine(asks, hooks=[broken]) as engine:
        run = await engine.start(asks)
        await run.answer((await asked(engine, run.id)).request, "approve", reviewer="ada")
        await until(lambda: _waits(engine, run.id))
        assert await run.requests() == []
        await run.signal("go_on")
        assert await run.result() == "went on"
        assert (await engine.replay(run.id)).identical


async def _waits(engine: Engine, run: str) -> bool:
    return "wait.started" in [type_of(fact) for _, fact in await engine.facts_of(run)]


async def test_what_an_edit_is_comes_from_those_who_agreed_to_it_and_not_from_forged_mail(home: Home) -> None:
    good, evil = ({"page": "draft"}, {"page": "evil"})
    async with home.engine(publishes) as engine:
        run = await engine.start(publishes)
        request = (await asked(engine, run.id)).request
        digest = digest_of(
            "approval", "publish", msgspec.Raw(encode_value(good, where="", plain=True, ordered=True))
        )
        value = msgspec.Raw(msgspec.msgpack.encode(evil))
        forged: list[tuple[str, AnswerWord]] = [("eve", "approve"), ("bob", "withdraw"), ("bob", "approve")]
        for seq, (reviewer, word) in enumerate(forged):
            said = AnswerSent(request=request, word=word, reviewer=reviewer, value=value, digest=digest)
            event = engine.catalog.new_event(said, at=engine.clock.now())
            await engine.store.append(f"mailbox/{run.id}", seq, [event])
        await run.answer(request, "approve", good, reviewer="ada")
        await run.answer(request, "approve", good, reviewer="cy")
        assert await run.result() == [["ada", "cy"], "", good, True]
        assert (await engine.replay(run.id)).identical
