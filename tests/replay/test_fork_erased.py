"""A fork of a run of which something was erased goes by what is left, or says exactly what is not."""

import asyncio
from typing import Any

import pytest

from playhead import Engine, Reply, Request, model_call, persona, request_approval, signal, tool
from playhead.errors import BadValue, ForkUnavailable
from playhead.log.memory_store import MemoryLog
from playhead.replay.edits import Edits
from tests.replay import prefixes
from tests.replay.forked import facts, plain, seq_of

KEYS = iter(range(1_000_000))
DONE: list[str] = []


@tool(effect="read_only")
async def look_up(name: str) -> dict[str, str]:
    return {"email": f"{name}@example.org", "team": "audits"}


@tool(effect="effect")
async def send(to: str, text: str) -> str:
    DONE.append(to)
    return f"receipt 7 for {to}"


class Writer:
    name = "writer"

    async def complete(self, request: Request) -> Reply:
        return Reply(text="The report is ready.")


@persona
async def writes_to(name: str, place: str = "here") -> str:
    found = await look_up(name)
    await request_approval("write", args={"place": place}, reviewers=["ben"])
    text = await model_call(Request(prompt=f"Write to {found['team']} in {place}"))
    return await send(found["email"], text.text)


@persona
async def waits() -> str:
    return str((await signal("go", dict[str, str]))["to"])


def play(log: MemoryLog, work: Any) -> Any:
    DONE.clear()
    return prefixes.play(log, work, personas=[writes_to, waits], model=Writer())


@pytest.fixture
def source() -> tuple[MemoryLog, str]:
    log = MemoryLog()

    async def once(engine: Engine) -> str:
        run = await engine.start(writes_to, "adaline")
        while not (asked := facts(log, run.id, "approval.requested")):  # noqa: ASYNC110
            await asyncio.sleep(1)
        await run.answer(asked[0].request, "approve", reviewer="ben", reason="he knows adaline")
        await run.result()
        return run.id

    return log, play(log, once)


def signalled() -> tuple[MemoryLog, str]:
    """A run that waited for a signal, and got it."""
    log = MemoryLog()

    async def once(engine: Engine) -> str:
        run = await engine.start(waits)
        await run.signal("go", {"to": "adaline"})
        await run.result()
        return run.id

    run = play(log, once)
    return log, run


def erase(log: MemoryLog, run: str, kind: str, *parts: str) -> int:
    """Erase parts of the only event of that type, or all of it, and return its number."""
    at = seq_of(log, run, kind)

    async def work(engine: Engine) -> None:
        for part in parts or ("",):
            await engine.redact(run, at, part, reason="request 12", by="cy")

    play(log, work)
    return at


def fork(log: MemoryLog, run: str, **wish: Any) -> Any:
    async def work(engine: Engine) -> Any:
        made = await engine.fork(run, key=f"fork {next(KEYS)}", **wish)
        result = await made.result()
        replayed = await engine.replay(made.id)
        assert replayed.identical, str(replayed.divergence)
        return result

    return play(log, work)


def plan(log: MemoryLog, run: str, **wish: Any) -> Any:
    async def work(engine: Engine) -> Any:
        return await engine.plan_fork(run, **wish)

    return play(log, work)


Source = tuple[MemoryLog, str]
RESULT = "receipt 7 for adaline@example.org"


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("tool.requested", ["/args/name"]),
        ("tool.requested", []),
        ("model.called", ["/request/prompt"]),
        ("model.called", []),
        ("approval.requested", ["/args/place"]),
        ("approval.answered", ["/reason"]),
        ("approval.granted", ["/reason"]),
        ("approval.granted", []),
        ("run.completed", []),
    ],
)
def test_what_was_erased_of_what_the_program_said_does_not_make_it_another_question(
    source: Source, kind: str, parts: list[str]
) -> None:
    log, run = source
    erase(log, run, kind, *parts)

    assert fork(log, run) == RESULT
    assert fork(log, run, edits=Edits(outcomes={"send#0": "nothing"})) == "nothing"
    assert DONE == []


def test_another_value_beside_an_erased_one_is_still_another_question(source: Source) -> None:
    log, run = source
    at = seq_of(log, run, "tool.requested", "send#0")

    async def work(engine: Engine) -> None:
        await engine.redact(run, at, "/args/to", reason="request 12", by="cy")

    play(log, work)
    other = Edits(outcomes={"writer#0": "Another text."})
    asked = plan(log, run, edits=other).imagined.live

    assert [(live.op, live.why) for live in asked] == [("0/send#0", "changed")]


@pytest.mark.parametrize(("parts", "said"), [(["/result/email"], " in part (/result/email)"), ([], "")])
def test_an_outcome_of_which_something_was_erased_is_named_and_can_be_given(
    source: Source, parts: list[str], said: str
) -> None:
    log, run = source
    at = erase(log, run, "tool.completed", *parts)

    with pytest.raises(ForkUnavailable) as found:
        fork(log, run)
    given = Edits(outcomes={f"@{at}": {"email": "bo@example.org", "team": "audits"}})
    open_ = plan(log, run, mode="with_overrides").imagined.live
    asked = plan(log, run, edits=given).imagined.live

    assert f"event {at} (tool.completed) was erased{said} by cy: request 12" in str(found.value)
    assert "--outcome 0/look_up#0=JSON" in str(found.value)
    assert [(live.op, live.why) for live in open_] == [("0/look_up#0", "erased")]
    assert [(live.op, live.why, plain(live.request.args)["to"]) for live in asked] == [
        ("0/send#0", "changed", "bo@example.org")
    ]


def test_a_fork_before_what_was_erased_does_not_need_it(source: Source) -> None:
    log, run = source
    at = erase(log, run, "model.answered")

    made = plan(log, run, at=at - 1)

    assert [(live.op, live.why) for live in made.imagined.live] == [("0/writer#0", "later")]


@pytest.mark.parametrize("parts", [["/args/name"], []])
def test_erased_arguments_are_named_and_can_be_given(source: Source, parts: list[str]) -> None:
    log, run = source
    erase(log, run, "run.started", *parts)
    given: dict[str, Any] = {"name": "adaline"} if parts else {"name": "adaline", "place": "here"}

    with pytest.raises(ForkUnavailable, match=r"event 0 \(run.started\) was erased .*, so name") as found:
        fork(log, run)

    assert "--arg name=JSON" in str(found.value)
    assert fork(log, run, edits=Edits(args=given)) == RESULT
    assert DONE == []


def test_a_signal_of_which_something_was_erased_is_named_and_can_be_given() -> None:
    log, run = signalled()
    at = erase(log, run, "signal.received", "/value/to")

    with pytest.raises(ForkUnavailable, match=r"signal.received\) was erased in part \(/value/to\)"):
        fork(log, run)
    assert [live.why for live in plan(log, run, mode="with_overrides").imagined.live] == ["erased"]
    assert fork(log, run, edits=Edits(outcomes={f"@{at}": {"to": "bo"}})) == "bo"
    assert fork(log, run, edits=Edits(outcomes={"go#0": {"to": "bo"}})) == "bo"


def test_what_nobody_knows_any_more_is_not_edited() -> None:
    log, run = signalled()
    at = erase(log, run, "signal.received")

    with pytest.raises(BadValue, match=r"signal.received\) was erased by cy: request 12"):
        fork(log, run, edits=Edits(outcomes={f"@{at}": {"to": "bo"}}))
