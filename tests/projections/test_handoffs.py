"""The handoffs of a run are found wherever a value says that it is one, and those of one id are one."""

from pathlib import Path
from typing import Any

from playhead import Engine, StateConflict, persona, state, tool
from playhead.log.reader import LogReader
from playhead_projections.handoffs import Flawed, Found, handoffs_of

JUDGE: dict[str, Any] = {
    "id": "h1",
    "source_persona": "triage",
    "target": "legal",
    "task": "judge it",
    "reason": "asked to",
    "receipt_links": [{"href": "one"}],
}


@tool(side_effect_level="none")
async def drafts() -> list[Any]:
    return [1, {"name": "draft", "data": {**JUDGE, "id": "h2", "reason": "drafted"}}, "no handoff"]


@persona
async def passes_on() -> dict[str, Any]:
    notes = await state("notes", "s1", conflict_policy="error")
    await notes.handoff(JUDGE)
    await notes.handoff({"done": True})
    await notes.write("other.json", {**JUDGE, "task": "another", "receipt_links": [{"href": "two"}]})
    await notes.write("plan.json", {"task": "no handoff"})
    await notes.write("broken.json", {"_type": "handoff_artifact", "task": "x"})
    other = await state("notes", "s1", conflict_policy="error", writer_id="other")
    try:
        await other.write("plan.json", {**JUDGE, "id": "h3"})  # it is refused, so it is none
    except StateConflict:
        await drafts()
    return {**JUDGE, "open_questions": ["who pays?"]}


async def told(path: Path, last: int | None = None) -> tuple[list[Found], list[Flawed]]:
    async with Engine.open(path, personas=[passes_on]) as engine:
        run = await engine.start(passes_on)
        await run.result()
        (await engine.replay(run.id)).check()
    with LogReader(path) as log:
        return handoffs_of(log, run.id, last)


async def test_handoffs_are_found_in_what_a_run_kept_was_told_and_gave_back(tmp_path: Path) -> None:
    found, _ = await told(tmp_path / "runs.db")

    assert [each.artifact["id"] for each in found] == ["h1", "h2"]
    assert [len(each.seqs) for each in found] == [3, 1]
    assert found[1].artifact["reason"] == "drafted"


async def test_handoffs_of_one_id_are_merged_the_first_wins_later_ones_fill_gaps(tmp_path: Path) -> None:
    found, _ = await told(tmp_path / "runs.db")

    (first, _) = (each.artifact for each in found)
    assert (first["task"], first["open_questions"]) == ("judge it", ["who pays?"])
    assert [link["href"] for link in first["receipt_links"]] == ["one", "two"]


async def test_a_handoff_without_an_id_is_one_however_often_it_is_told(tmp_path: Path) -> None:
    said = {name: value for name, value in JUDGE.items() if name != "id"}

    @persona
    async def passes() -> dict[str, Any]:
        await (await state("notes", "s1")).handoff(said)
        await (await state("notes", "s2")).handoff(said)
        return said

    async with Engine.open(tmp_path / "runs.db", personas=[passes]) as engine:
        run = await engine.start(passes)
        await run.result()
    with LogReader(tmp_path / "runs.db") as log:
        (found,), _ = handoffs_of(log, run.id)
    assert len(found.seqs) == 3


async def test_what_says_that_it_is_a_handoff_and_lacks_what_one_needs_is_named(tmp_path: Path) -> None:
    found, flawed = await told(tmp_path / "runs.db")

    assert [each.why for each in flawed] == ["a handoff needs source_persona."]
    assert flawed[0].seq > found[0].seqs[1]


async def test_handoffs_as_of_an_event_are_those_that_were_kept_by_then(tmp_path: Path) -> None:
    whole, _ = await told(tmp_path / "runs.db")
    asked = whole[0].seqs[0]

    assert (await told(tmp_path / "asked.db", asked))[0] == []
    kept, _ = await told(tmp_path / "kept.db", asked + 1)
    assert [each.artifact["id"] for each in kept] == ["h1"]
    assert kept[0].artifact["open_questions"] == []
