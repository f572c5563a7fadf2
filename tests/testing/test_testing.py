"""A program can be tested without waiting, without a model, and against its own tape."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from playhead import Budget, Engine, Reply, Request, model_call, now, persona, sleep, step, tool
from playhead.errors import LiveFileOpened
from playhead.testing import ScriptedModel, Spent, TurnedClock, assert_replays, priced, spent


@persona
async def patient(days: int) -> str:
    began = now()
    await sleep(days * 86_400)
    waited = now() - began
    reply = await model_call(Request(prompt="was it long?"))
    return f"{waited.days} days: {reply.text}"


@tool(side_effect_level="read_only")
async def fickle(answers: list[str]) -> str:
    return answers.pop(0)


async def test_a_week_passes_when_the_clock_is_turned(tmp_path: Path) -> None:
    clock = TurnedClock()
    model = ScriptedModel(["yes"])
    async with Engine.open(tmp_path / "runs.db", personas=[patient], model=model, clock=clock) as engine:
        run = await engine.start(patient, 7)

        clock.turn(days=7)

        assert await run.result() == "7 days: yes"
        assert [request.prompt for request in model.asked] == ["was it long?"]


async def test_a_replay_asks_the_model_nothing(tmp_path: Path) -> None:
    clock = TurnedClock()
    model = ScriptedModel([Reply(text="once")])
    async with Engine.open(tmp_path / "runs.db", personas=[patient], model=model, clock=clock) as engine:
        run = await engine.start(patient, 1)
        clock.turn(days=1)
        await run.result()

        outcome = await assert_replays(engine, run.id)

        assert outcome.identical
        assert len(model.asked) == 1


async def test_a_model_without_lines_says_so() -> None:
    model = ScriptedModel([])

    with pytest.raises(LookupError, match="0 lines"):
        await model.complete(Request(prompt="anything"))


def test_alarms_go_off_in_order_each_at_its_own_time() -> None:
    clock = TurnedClock()
    heard: list[tuple[str, int]] = []
    start = clock.now()
    clock.call_at(start + 2_000_000_000, lambda: heard.append(("second", clock.now() - start)))
    clock.call_at(start + 1_000_000_000, lambda: heard.append(("first", clock.now() - start)))
    clock.call_at(start + 1_500_000_000, lambda: heard.append(("never", 0))).cancel()

    clock.turn(seconds=3)

    assert heard == [("first", 1_000_000_000), ("second", 2_000_000_000)]
    assert clock.now() - start == timedelta(seconds=3) / timedelta(microseconds=1) * 1000


async def test_the_live_file_of_a_store_is_opened_by_nobody(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db"):
        with pytest.raises(LiveFileOpened):
            (tmp_path / "runs.db").read_bytes()


async def test_what_a_run_has_spent_is_told_as_a_whole_and_for_one_step(tmp_path: Path) -> None:
    @step(budget=Budget(max_tokens=25), error_boundary="continue")
    async def asks(n: int) -> None:
        for _ in range(n):
            await model_call(Request(prompt="?", max_output_tokens=15))

    @persona
    async def both() -> None:
        await asks(1)
        await asks(3)

    lines = [
        priced("a", tokens_in=3, tokens_out=4, micros=10),
        priced("b", tokens_in=10, tokens_out=None, micros=None),
        priced("c", tokens_in=5, tokens_out=5, micros=7),
    ]
    async with Engine.open(tmp_path / "runs.db", personas=[both], model=ScriptedModel(lines)) as engine:
        run = await engine.start(both)
        await run.result()

        whole = await spent(engine, run.id)
        assert whole == Spent(
            calls=3,
            tokens=27,
            micros=17,
            paid_tokens=whole.paid_tokens,
            paid_micros=17,
            exhausted=("asks",),
        )
        assert whole.paid_tokens > 7 + 15 + 10  # b did not tell, so what was reserved for it counts
        assert (await spent(engine, run.id, inside="0/asks#0")).tokens == 7
        assert (await spent(engine, run.id, inside="0/asks#1")).exhausted == ("asks",)
