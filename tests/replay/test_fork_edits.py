"""An edit that does not fit is refused before anything is made, and one that fits says itself what it is."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from playhead import (
    Engine,
    Reply,
    Request,
    ask_user,
    dual_control,
    model_call,
    persona,
    request_approval,
    signal,
    sleep,
    state,
    timeout,
    tool,
)
from playhead.errors import BadValue, NotFound
from playhead.events.approval import ApprovalAnswered, ApprovalGranted
from playhead.events.catalog import RunStarted
from playhead.log.memory_store import MemoryLog
from playhead.replay.edits import Edits, apply
from playhead.replay.script import Script
from playhead.runtime.tape import Tape
from tests.replay import prefixes
from tests.replay.forked import events, facts, plain, words

KEYS = iter(range(1_000_000))


@tool(effect="read_only")
async def look(place: str) -> str:
    return f"<{place}>"


async def _nothing() -> str:
    return "launched"


@persona
async def asks(place: str) -> list[Any]:
    colour = await ask_user("Which colour?", kind=int, reviewers=["ada"])
    agreed = await request_approval("publish", args={"page": place}, reviewers=["ada"])
    both = await dual_control(1, 2, _nothing, approvers=["ada", "bob"])
    number = await signal("go", int)
    return [colour, agreed.args, agreed.edited, agreed.signatures, both, number]


@persona
async def waits(seconds: int, limit: int) -> str:
    try:
        async with timeout(limit):
            await sleep(seconds)
    except TimeoutError:
        return "too late"
    return await look("after")


@persona
async def reads() -> list[Any]:
    one, other = await state("notes", "one"), await state("notes", "two")
    found = [await one.read("plan"), await other.read("plan")]
    await one.write("plan", "written")
    return [*found, await one.read("plan"), await other.read("plan"), await other.read("alone")]


class Wise:
    name = "wise"

    async def complete(self, request: Request) -> Reply:
        return Reply(text="wise")


@persona
async def thinks() -> str:
    return (await model_call(Request(prompt="what?"))).text


def play(log: MemoryLog, work: Any) -> Any:
    return prefixes.play(log, work, personas=[asks, waits, reads, thinks], model=Wise())


def recorded(one: Any, *args: Any) -> tuple[MemoryLog, str]:
    log = MemoryLog()

    async def once(engine: Engine) -> str:
        run = await engine.start(one, *args)
        if one is asks:
            for nth, said in enumerate((7, None, None)):
                asked = await _asked(log, run.id, nth)
                value: Any = ... if said is None else said
                await run.answer(asked, "approve", value, reviewer="ada")
            await run.signal("go", 5)
        await run.result()
        return run.id

    return log, play(log, once)


async def _asked(log: MemoryLog, run: str, nth: int) -> str:
    """The id of the `nth` request, once people are asked."""
    while len(found := facts(log, run, "approval.requested")) <= nth:  # noqa: ASYNC110
        await asyncio.sleep(1)
    return str(found[nth].request)


def fork(log: MemoryLog, run: str, edits: Edits, **wish: Any) -> Any:
    async def work(engine: Engine) -> Any:
        made = await engine.fork(run, key=f"fork {next(KEYS)}", edits=edits, allow=["all"], **wish)
        result = await made.result()
        replayed = await engine.replay(made.id)
        assert replayed.identical, str(replayed.divergence)
        return made.id, result

    return play(log, work)


@pytest.fixture(scope="module")
def asked() -> tuple[MemoryLog, str]:
    return recorded(asks, "about")


def _answers(log: MemoryLog, run: str) -> list[str]:
    return [f"@{event.seq}" for event in events(log, run) if event.type == "approval.answered"]


# ----------------------------------------------------------------------- people


def test_an_edited_answer_says_that_nobody_gave_it(asked: tuple[MemoryLog, str]) -> None:
    log, run = asked
    question, approval, _ = _answers(log, run)

    made, result = fork(
        log, run, Edits(outcomes={question: 8, approval: {"value": {"page": "home"}, "reason": "better"}})
    )

    assert result[:3] == [8, {"page": "home"}, True]
    assert [each["edited_by"] for each in result[3]] == ["fork"]
    told: list[ApprovalAnswered] = facts(log, made, "approval.answered")
    assert [(each.reviewer, each.edited_by) for each in told] == [
        ("ada", "fork"),
        ("ada", "fork"),
        ("ada", ""),
    ]
    granted: list[ApprovalGranted] = facts(log, made, "approval.granted")
    assert [each.granted[0].edited_by for each in granted] == ["fork", "fork", ""]
    assert plain(granted[1].args) == {"page": "home"}


def test_an_edited_no_says_so_where_it_is_decided(asked: tuple[MemoryLog, str]) -> None:
    log, run = asked
    approval = _answers(log, run)[1]

    async def work(engine: Engine) -> Any:
        made = await engine.fork(
            run, key=f"no {next(KEYS)}", edits=Edits(outcomes={approval: {"word": "deny"}})
        )
        return made.id, (await engine.ending(made.id)).status

    made, status = play(log, work)

    assert status == "failed"
    assert facts(log, made, "approval.denied")[0].edited_by == "fork"


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, {"nonsense": 1}, "has no 'nonsense'"),
        (0, {"word": "maybe"}, "none of approve"),
        (0, {"reason": 5}, "no text"),
        (0, {}, "says nothing"),
        (0, {"word": "deny", "value": 3}, "has a value"),
        (0, "no number", "counts for nothing"),
        (0, {"reviewer": "mallory"}, "has no 'reviewer'"),
        (1, True, "the answer to an approval"),
        (1, {"value": {"page": "x"}, "signature": "y"}, "has no 'signature'"),
        (2, {"value": 3}, "nobody asked for"),
        (2, "yes", "the answer to an dual control"),
    ],
)
def test_an_answer_that_nobody_could_have_given_is_refused(
    asked: tuple[MemoryLog, str], place: int, value: Any, said: str
) -> None:
    log, run = asked
    streams = len(log.streams)

    with pytest.raises(BadValue) as found:
        fork(log, run, Edits(outcomes={_answers(log, run)[place]: value}))

    assert said in str(found.value)
    assert len(log.streams) == streams


@pytest.mark.parametrize("value", ["bob", 7, {"word": "approve"}, "2001-01-01T00:00:00Z"])
def test_an_answer_to_what_nobody_had_answered_is_refused_as_one(value: Any) -> None:
    log = MemoryLog()

    async def once(engine: Engine) -> str:
        run = await engine.start(asks, "about")
        await _asked(log, run.id, 0)
        return run.id

    run = play(log, once)

    with pytest.raises(BadValue, match="nobody answered question#0") as found:
        fork(log, run, Edits(outcomes={"question#0": value}))

    assert "the time at which it is too late" in str(found.value.expected)
    assert "Answer it in the fork." in str(found.value)


def test_a_signal_that_the_program_cannot_read_is_refused(asked: tuple[MemoryLog, str]) -> None:
    log, run = asked

    with pytest.raises(BadValue, match="go"):
        fork(log, run, Edits(outcomes={"go#0": "no number"}))
    _, result = fork(log, run, Edits(outcomes={"go#0": 6}))

    assert result[-1] == 6


def test_a_reply_has_the_fields_of_a_reply_and_no_others() -> None:
    log, run = recorded(thinks)

    with pytest.raises(BadValue, match="no 'txt'"):
        fork(log, run, Edits(outcomes={"wise#0": {"txt": "hm"}}))
    with pytest.raises(BadValue, match="wise#0"):
        fork(log, run, Edits(outcomes={"wise#0": 5}))
    _, result = fork(log, run, Edits(outcomes={"wise#0": {"text": "hm"}}))

    assert result == "hm"


# ------------------------------------------------------------------------ times


def _at(log: MemoryLog, run: str, seconds: float) -> str:
    begun = events(log, run)[0].at
    return (
        datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=begun // 1000, seconds=seconds)
    ).isoformat()


def test_a_timer_that_is_edited_to_go_off_later_loses_to_a_time_limit_before_that() -> None:
    log, run = recorded(waits, 10, 30)

    _, sooner = fork(log, run, Edits(outcomes={"sleep#0": _at(log, run, 20)}))
    made, later = fork(log, run, Edits(outcomes={"sleep#0": _at(log, run, 100)}))

    assert sooner == "<after>"
    assert later == "too late"
    assert [event.at for event in events(log, made) if event.type == "timer.fired"] == [
        events(log, run)[0].at + 30 * 10**9
    ]


def test_a_timer_does_not_go_off_before_it_is_due() -> None:
    log, run = recorded(waits, 10, 30)

    with pytest.raises(BadValue, match=r"is due at .*Z, and no timer goes off before that"):
        fork(log, run, Edits(outcomes={"sleep#0": _at(log, run, 5)}))
    with pytest.raises(BadValue, match=r"is due at .*Z, and no timer goes off before that"):
        fork(log, run, Edits(args={"seconds": 20}, outcomes={"sleep#0": _at(log, run, 15)}))


@pytest.mark.parametrize(
    "value",
    [
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        2**63,
        -1,
        1e9,
        True,
        None,
        "noon",
        "2026-01-01T00:00:00",
    ],
)
def test_a_time_that_no_log_can_hold_is_refused(value: Any) -> None:
    log, run = recorded(waits, 10, 30)

    with pytest.raises(BadValue, match="goes off at a time"):
        fork(log, run, Edits(outcomes={"sleep#0": value}))


# ------------------------------------------------------------------------ state


def test_a_key_of_state_is_edited_in_the_session_that_is_named() -> None:
    log, run = recorded(reads)

    made, result = fork(log, run, Edits(state={"two/plan": "EDITED"}))

    assert result == [None, "EDITED", "written", "EDITED", None]
    assert {edit.of for edit in words(log, made).edits} == {"notes/two/plan"}
    assert fork(log, run, Edits(state={"notes/one/plan": "EDITED"}))[1] == [
        "EDITED",
        None,
        "written",
        None,
        None,
    ]
    assert fork(log, run, Edits(state={"alone": "EDITED"}))[1][-1] == "EDITED"


def test_a_key_that_several_sessions_have_is_refused_with_their_names() -> None:
    log, run = recorded(reads)

    with pytest.raises(BadValue, match="2 sessions") as found:
        fork(log, run, Edits(state={"plan": "EDITED"}))
    assert found.value.expected == "one of notes/one/plan, notes/two/plan"
    with pytest.raises(NotFound) as missing:
        fork(log, run, Edits(state={"three/plan": "EDITED"}))
    assert missing.value.expected == "notes/one/plan, notes/two/alone, notes/two/plan"


# -------------------------------------------------------------------- arguments


def test_an_argument_that_the_program_has_since_is_given_and_another_is_refused() -> None:
    log, run = recorded(waits, 10, 30)
    before, signature = waits.function, waits.signature

    async def longer(seconds: int, limit: int, place: str = "after") -> str:
        return await look(place)

    newer = persona(longer)
    waits.function, waits.signature = newer.function, newer.signature
    try:
        made, result = fork(log, run, Edits(args={"place": "home"}))
        with pytest.raises(BadValue) as found:
            fork(log, run, Edits(args={"nowhere": 1}))
    finally:
        waits.function, waits.signature = before, signature

    assert result == "<home>"
    assert plain(facts(log, made, "run.started")[0].args)["place"] == "home"
    assert words(log, made).edits[0].of == "place"
    assert found.value.expected == "limit, seconds, place"


# ---------------------------------------------------------------------- digests


def test_digests_of_edits_are_whole_and_nobody_guesses_a_value_by_them() -> None:
    log, run = recorded(waits, 10, 30)

    made, _ = fork(log, run, Edits(args={"limit": 31}))
    same, _ = fork(log, run, Edits(args={"limit": 31}))
    other, _ = fork(log, run, Edits(args={"limit": 32}))

    (edit,) = words(log, made).edits
    assert words(log, same).edits == (edit,)
    (another,) = words(log, other).edits
    assert (another.before, another.after == edit.after) == (edit.before, False)
    assert {len(edit.before), len(edit.after)} == {64}
    assert hashlib.sha256(b"\x1f").hexdigest() not in (edit.before, edit.after)
    started: RunStarted = facts(log, made, "run.started")[0]
    assert hashlib.sha256(b"\x1f").hexdigest()[:32].encode() not in bytes(started.args)


def test_digests_of_an_edit_are_others_under_another_key_and_without_one_there_are_none() -> None:
    log, run = recorded(waits, 10, 30)
    script = Script.of(Tape(run, log.streams[f"run/{run}"]))
    edits = Edits(args={"limit": 31})

    one, same, other, none = (
        apply(edits, script, waits, None, key).words[0] for key in (b"1" * 32, b"1" * 32, b"2" * 32, None)
    )

    assert one == same
    assert {one.before, one.after}.isdisjoint((other.before, other.after))
    assert (none.before, none.after) == ("", "")


def test_the_same_edited_fork_under_the_same_key_is_the_same_run() -> None:
    log, run = recorded(thinks)

    async def twice(engine: Engine) -> Any:
        edits = Edits(outcomes={"wise#0": "hm"})
        return [(await engine.fork(run, key="same", edits=edits)).id for _ in range(2)]

    first, second = play(log, twice), play(log, twice)

    assert len({*first, *second}) == 1
