"""A fork begins with what its source was told, changes nothing unless it is allowed to, and ends alike."""

import asyncio
from typing import Any

import pytest

from playhead import Engine, Policy
from playhead.errors import BadValue, ForkUnavailable, KeyReuse, NotFound
from playhead.events.catalog import RunForked
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact
from playhead.log.memory_store import MemoryLog
from playhead.replay.edits import Edits
from playhead_projections.run_report import Report, RunReport
from tests.replay import test_prefixes as long
from tests.replay.forked import DONE, agent, events, facts, look, plain, play, recorded, seq_of, story, words
from tests.replay.prefixes import copied, cut

KEYS = iter(range(1_000_000))


def fork(log: MemoryLog, run: str, *, go: str | None = None, **wish: Any) -> Any:
    """Fork `run`, wait for the end of the fork, and say what that was. `go` is sent as its signal."""
    wish.setdefault("key", f"fork {next(KEYS)}")

    async def work(engine: Engine) -> Any:
        made = await engine.fork(run, **wish)
        if go is not None:
            await made.signal("go", go)
        ending = await engine.ending(made.id)
        replayed = await engine.replay(made.id)
        assert replayed.identical, str(replayed.divergence)
        assert (await engine.store.verify()).ok
        if ending.result is not None:
            return made.id, plain(ending.result)
        return made.id, ending.failure

    DONE.clear()
    return play(log, work)


@pytest.fixture
def source() -> tuple[MemoryLog, str, list[str]]:
    return recorded()


Source = tuple[MemoryLog, str, list[str]]


def test_a_fork_of_everything_is_the_same_run_and_nothing_happens_again(source: Source) -> None:
    log, run, result = source

    made, ended = fork(log, run)

    assert ended == result
    assert DONE == []
    assert [told[:2] for told in story(log, made)] == [told[:2] for told in story(log, run)]
    assert events(log, made)[-1].type == "run.completed"


def test_forked_at_every_event_it_comes_to_the_same_end(source: Source) -> None:
    log, run, result = source
    answered = seq_of(log, run, "signal.received")

    for n in range(len(events(log, run))):
        _, ended = fork(log, run, at=n, allow=["all"], go=None if n >= answered else "gone")

        assert [said.replace("done with home", "None") for said in ended] == result, n


@pytest.mark.long
def test_a_run_with_races_timeouts_and_retries_ends_alike_from_every_event() -> None:
    log = MemoryLog()
    run, result = long.play(log, long.first_time)
    every = list(events(log, run))

    for n in range(len(every)):
        shorter = copied(log, run, lambda told: told)
        taken = any(event.type == "signal.received" for event in every[: n + 1])

        async def work(engine: Engine, n: int = n, taken: bool = taken) -> Any:
            made = await engine.fork(run, at=n, allow=["all"], key=f"{n}")
            if not taken:
                await made.signal("go", "gone")
            return await made.result(), await engine.replay(made.id), await engine.store.verify()

        ended, replayed, verified = long.play(shorter, work)

        assert ended == result, n
        assert replayed.identical, f"{n}: {replayed.divergence}"
        assert verified.ok, n


def test_a_fork_that_is_allowed_nothing_changes_nothing_and_asks_no_model(source: Source) -> None:
    log, run, _ = source

    made, failure = fork(log, run, at=0)

    assert [name for name, _ in DONE] == ["look"]
    assert failure.type == "ForkDenied"
    withheld = facts(log, made, "effect.withheld")
    assert [(each.kind, each.name) for each in withheld] == [("model", "parrot")]
    assert withheld[0].allow == ("model", "model:parrot")


@pytest.mark.parametrize(
    ("after", "allow", "happened"),
    [
        ("state.completed", ("model",), []),
        ("state.completed", ("keep", "model"), ["keep"]),
        ("state.completed", ("idempotent", "pay", "state", "model"), ["keep", "pay", "parrot"]),
        ("timer.fired", (), []),
        ("timer.fired", ("effect",), ["pay"]),
        ("timer.fired", ("effect", "state"), ["pay"]),
        ("timer.fired", ("effect", "state", "model:parrot"), ["pay", "parrot"]),
    ],
)
def test_what_changes_or_costs_happens_only_where_it_is_named(
    source: Source, after: str, allow: tuple[str, ...], happened: list[str]
) -> None:
    log, run, _ = source
    at = seq_of(log, run, after, nth=-2 if after == "state.completed" else 0)

    fork(log, run, at=at, allow=allow)

    assert [name for name, _ in DONE] == happened


def test_state_of_the_source_is_not_changed_by_a_fork_that_may_not(source: Source) -> None:
    log, run, _ = source
    before = {name: len(told) for name, told in log.streams.items() if name.startswith("state")}

    _, failure = fork(log, run, at=seq_of(log, run, "timer.fired"), allow=["pay", "model"])

    assert failure.type == "ForkDenied"
    assert {name: len(told) for name, told in log.streams.items() if name.startswith("state")} == before


def test_a_fork_has_idempotency_keys_of_its_own(source: Source) -> None:
    log, run, _ = source
    fork(log, run, at=seq_of(log, run, "timer.fired"), allow=["all"])
    first = [key for name, key in DONE if name == "pay"]
    fork(log, run, at=seq_of(log, run, "timer.fired"), allow=["all"])
    second = [key for name, key in DONE if name == "pay"]

    assert len({*first, *second}) == 2


def test_an_effect_that_was_under_way_at_the_cut_begins_and_is_not_in_doubt(source: Source) -> None:
    log, run, result = source

    made, ended = fork(log, run, at=seq_of(log, run, "tool.requested", "pay#0"), allow=["all"])

    assert ended[5] == result[5]
    assert [name for name, _ in DONE] == ["pay", "parrot"]
    assert not facts(log, made, "operation.outcome_unknown")


def test_what_is_told_last_is_told_now_so_that_time_limits_begin_anew(source: Source) -> None:
    log, run, _ = source
    at = seq_of(log, run, "tool.completed", "keep#0")

    async def work(engine: Engine) -> int:
        made = await engine.fork(run, at=at, allow=["all"], key="later")
        await made.signal("go", "gone")
        await made.result()
        return next(e.at for e in events(log, made.id) if e.type == "timer.fired")

    fired = play(log, work, begins_s=1000)

    assert fired >= 1060e9


# ------------------------------------------------------------------------ edits


def test_an_edited_argument_reaches_the_program_and_what_follows_from_it_goes_live(source: Source) -> None:
    log, run, _ = source

    _, ended = fork(log, run, edits=Edits(args={"place": "sea"}), allow=["all"], go="gone")

    assert ended[0] == "<sea>"
    assert [name for name, _ in DONE] == ["look", "parrot", "keep", "pay"]
    assert ended[-1] == "plain the end"  # asked as it was, and so answered from the tape


def test_an_edited_argument_inside_of_a_list_is_found_by_its_path(source: Source) -> None:
    log, run, _ = source

    _, ended = fork(log, run, edits=Edits(args={"times.0": 9}), allow=["keep"])

    assert ended[3] == "kept home 9"
    assert [name for name, _ in DONE] == ["keep"]


@pytest.mark.parametrize(
    ("edits", "place", "said"),
    [
        (Edits(outcomes={"look#0": "EDITED"}), 0, "EDITED"),
        (Edits(outcomes={"think#0/parrot#0": "EDITED"}), 1, "EDITED"),
        (Edits(overrides={"llm:think#0/parrot#0": "EDITED"}), 1, "EDITED"),
        (Edits(overrides={"host:look:look#0": "EDITED"}), 0, "EDITED"),
        (Edits(overrides={"host:tool:look#0": "EDITED"}), 0, "EDITED"),
        (Edits(state={"plan": "EDITED"}), 2, "EDITED"),
        (Edits(outcomes={"go#0": "EDITED"}), 4, "EDITED"),
        (Edits(overrides={"host:signal:go#0": "EDITED"}), 4, "EDITED"),
        (Edits(overrides={"secret:place": "EDITED"}), 0, "<EDITED>"),
    ],
)
def test_every_kind_of_edit_is_what_the_program_gets(
    source: Source, edits: Edits, place: int, said: str
) -> None:
    log, run, result = source

    made, ended = fork(log, run, edits=edits, allow=["all"])

    assert ended[place] == said
    assert ended[:place] == result[:place]
    (edit,) = words(log, made).edits
    assert edit.before
    assert edit.after != edit.before


def test_an_edited_failure_is_raised_into_the_program(source: Source) -> None:
    log, run, _ = source

    _, failure = fork(log, run, edits=Edits(failures={"look#0": "ConnectionError: no network"}))

    assert (failure.type, failure.message) == ("ConnectionError", "no network")
    assert DONE == []


def test_an_edited_time_is_when_the_timer_went_off(source: Source) -> None:
    log, run, result = source
    edits = Edits(overrides={"time:sleep#0": "2031-05-05T00:00:00Z"})

    made, ended = fork(log, run, edits=edits)

    assert ended == result
    fired = next(event for event in events(log, made) if event.type == "timer.fired")
    assert fired.at == 1_935_705_600 * 10**9


def test_another_model_is_asked_past_the_cut_and_answers_before_it_stay(source: Source) -> None:
    log, run, result = source
    at = seq_of(log, run, "timer.fired")

    _, ended = fork(log, run, at=at, edits=Edits(model="opus"), allow=["all"])

    assert ended[1] == result[1]
    assert ended[-1] == "opus the end"


def test_a_policy_encloses_the_whole_fork(source: Source) -> None:
    log, run, _ = source

    _, failure = fork(log, run, edits=Edits(policy=Policy(tools={"look"})), allow=["all"])

    assert failure.type == "ToolRejected"
    assert DONE == []


@pytest.mark.parametrize(
    ("edits", "error"),
    [
        (Edits(args={"nowhere": 1}), BadValue),
        (Edits(args={"times.7": 1}), BadValue),
        (Edits(args={"times": "no list"}), BadValue),
        (Edits(outcomes={"nothing#0": 1}), NotFound),
        (Edits(outcomes={"@3000": 1}), NotFound),
        (Edits(outcomes={"@x": 1}), NotFound),
        (Edits(outcomes={"look#0": 17}), BadValue),
        (Edits(outcomes={"parrot#0": "x"}), BadValue),
        (Edits(outcomes={"think#0/parrot#0": {"text": 1}}), BadValue),
        (Edits(outcomes={"look#0": float("nan")}), BadValue),
        (Edits(failures={"sleep#0": "no"}), BadValue),
        (Edits(overrides={"llm:look#0": "x"}), NotFound),
        (Edits(overrides={"mcp:there:look#0": "x"}), NotFound),
        (Edits(overrides={"host:mail:look#0": "x"}), NotFound),
        (Edits(overrides={"what:look#0": "x"}), BadValue),
        (Edits(overrides={"llm:": "x"}), BadValue),
        (Edits(state={"other": 1}), NotFound),
        (Edits(outcomes={"look#0": "a", "0/look#0": "b"}), BadValue),
        (Edits(model=""), BadValue),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused_and_nothing_is_made(
    source: Source, edits: Edits, error: type[Exception]
) -> None:
    log, run, _ = source
    streams = len(log.streams)

    with pytest.raises(error):
        fork(log, run, edits=edits)

    assert len(log.streams) == streams


# ------------------------------------------------------------------------ modes


def test_an_exact_fork_names_what_its_tape_does_not_answer(source: Source) -> None:
    log, run, _ = source
    original = agent.function

    async def other(place: str, times: list[int]) -> list[str]:

        return [await look("elsewhere")]

    agent.function = other
    try:
        with pytest.raises(ForkUnavailable, match="look#0"):
            fork(log, run)
        _, ended = fork(log, run, mode="with_overrides")
    finally:
        agent.function = original

    assert ended == ["<elsewhere>"]


def test_an_exact_fork_takes_no_edits(source: Source) -> None:
    log, run, _ = source

    with pytest.raises(BadValue, match="no edits"):
        fork(log, run, mode="exact", edits=Edits(args={"place": "sea"}))


def test_a_fork_from_a_checkpoint_is_exact_up_to_it_and_edits_only_what_comes_after(source: Source) -> None:
    log, run, result = source
    at = seq_of(log, run, "state.completed", nth=1)

    with pytest.raises(BadValue, match="before the checkpoint"):
        fork(log, run, at=at, mode="from_checkpoint", edits=Edits(outcomes={"look#0": "EDITED"}))
    _, ended = fork(
        log,
        run,
        at=at,
        mode="from_checkpoint",
        edits=Edits(outcomes={"keep#0": "EDITED", "pay#0": "FREE"}),
        allow=["model", "state"],
        go="gone",
    )

    assert ended[:3] == result[:3]
    assert ended[3:6] == ["EDITED", "gone", "FREE"]
    assert [name for name, _ in DONE] == ["parrot"]


# ------------------------------------------------------------------- provenance


def test_a_fork_and_its_source_name_each_other(source: Source) -> None:
    log, run, _ = source
    at = seq_of(log, run, "tool.completed", "look#0")

    made, _ = fork(
        log, run, at=at, edits=Edits(outcomes={"look#0": "EDITED"}), reason="to see", allow=["all"], go="x"
    )

    found = words(log, made)
    assert (found.run, found.event, found.mode, found.reason) == (run, at, "with_overrides", "to see")
    assert found.digest == events(log, run)[at].digest.hex()
    assert [(edit.what, edit.of, edit.event) for edit in found.edits] == [("outcome", "0/look#0", at)]
    told = CATALOG.decode(log.streams[f"mailbox/{run}"][-1])
    assert isinstance(told, RunForked)
    assert (told.run, told.event, told.reason) == (made, at, "to see")


def test_the_same_fork_under_the_same_key_is_the_same_run_and_another_is_refused(source: Source) -> None:
    log, run, _ = source

    first, _ = fork(log, run, key="once")
    told = len(log.streams[f"mailbox/{run}"])
    second, _ = fork(log, run, key="once")

    assert first == second
    assert len(log.streams[f"mailbox/{run}"]) == told
    with pytest.raises(KeyReuse):
        fork(log, run, key="once", at=3)
    with pytest.raises(KeyReuse):
        fork(log, run, key="once", edits=Edits(outcomes={"look#0": "EDITED"}))


def test_a_fork_can_be_forked(source: Source) -> None:
    log, run, result = source
    first, _ = fork(log, run, edits=Edits(outcomes={"look#0": "EDITED"}), allow=["all"])

    at = seq_of(log, first, "tool.completed", "pay#0")
    second, ended = fork(log, first, at=at, allow=["all"])

    assert ended[0] == "EDITED"
    assert ended[3:5] == result[3:5]
    assert words(log, second).run == first
    assert [name for name, _ in DONE] == ["parrot"]


def test_a_fork_that_dies_at_any_event_goes_on_behind_its_fence(source: Source) -> None:
    log, run, _ = source
    at = seq_of(log, run, "tool.requested", "pay#0")
    made, failure = fork(log, run, at=at)
    length = len(events(log, made))

    for n in range(words(log, made).events + 2, length):
        dead = cut(log, made, n)
        DONE.clear()

        async def again(engine: Engine) -> Any:
            await engine.recover()
            return (await engine.ending(made)).failure

        assert play(dead, again) == failure, n
        assert DONE == []


def test_a_run_that_was_forked_while_it_slept_wakes_as_before() -> None:
    log = MemoryLog()

    async def sleeps(engine: Engine) -> str:
        run = await engine.start(agent, "home", [1])
        await asyncio.sleep(100)
        assert await engine.status(run.id) == "suspended"
        return run.id

    run = play(log, sleeps)
    _, ended = fork(log, run, allow=["all"], go="forked")

    async def wakes(engine: Engine) -> Any:
        found = await engine.recover()
        handle = next(each for each in found if each.id == run)
        await handle.signal("go", "gone")
        return await handle.result()

    assert ended[4] == "forked"
    assert play(log, wakes, begins_s=500)[4] == "gone"


def test_a_message_that_the_source_took_is_none_of_the_mailbox_of_a_fork(source: Source) -> None:
    log, run, _ = source
    made, ended = fork(log, run, at=seq_of(log, run, "signal.received"), allow=["all"])

    assert ended[4] == "gone"
    assert [fact.message for fact in facts(log, run, "signal.received")] == [0]
    assert [fact.message for fact in facts(log, made, "signal.received")] == [-1]


def told_of(log: MemoryLog, run: str) -> Report:
    """What is told of a run by its report."""
    projection = RunReport()
    report = projection.initial(run)
    for event in events(log, run):
        fact = CATALOG.decode(event)
        assert isinstance(fact, Fact)
        report = projection.apply(report, event, fact)
    return report


@pytest.mark.parametrize("kind", ["tool.requested", "tool.completed", "model.answered"])
def test_how_long_ago_its_source_ran_is_no_part_of_how_long_a_fork_took(kind: str) -> None:
    log, run, _ = recorded()
    at = seq_of(log, run, kind)

    async def again(engine: Engine) -> str:
        fork = await engine.fork(run, at=at, allow=["all"], key=f"fork {next(KEYS)}")
        await fork.signal("go", "gone")
        await fork.result()
        return fork.id

    report = told_of(log, play(log, again, begins_s=86_400))

    assert report.life.duration is not None
    assert report.life.duration < 120 * 10**9
    spans = [(each.started, each.ended) for each in report.operations.values()]
    spans += [(each.started, each.ended) for each in report.steps.values()]
    for began, ended in spans:
        assert ended is not None
        assert 0 <= ended - began < 120 * 10**9
